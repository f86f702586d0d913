use dialfleet_domain::call::Refusal;

use super::dialing::{accepted, is_refused};
use super::*;

#[tokio::test]
async fn a_refused_token_refuses_the_call_and_the_next_one_gets_another() {
    for refusal in [
        whole(401, ""),
        whole(200, r#"{"status":"error","msg":"Token expired"}"#),
    ] {
        let server = Server::start([
            whole(200, GRANTED),
            refusal,
            whole(200, GRANTED_ANEW),
            whole(200, PLACED),
        ])
        .await;
        let sans = sans(&server.base_url);
        let answer = sans.dial(&dial_request()).await;
        let DialAnswer::Refused(Refusal { class, .. }) = answer else {
            panic!("{answer:?}")
        };
        // It cannot have expired yet.
        assert_eq!(class, RefusalClass::ConfigFault);
        assert_eq!(paths(&server), ["/gentoken", "/dialcall"], "sent again");
        assert_eq!(sans.dial(&dial_request()).await, accepted());
        let tokens: Vec<_> = seen(&server)
            .into_iter()
            .map(|(_, token, _)| token)
            .collect();
        let (first, second) = (Some("s3ssion-1".to_owned()), Some("s3ssion-2".to_owned()));
        assert_eq!(tokens, [None, first, None, second]);
    }
}

#[tokio::test]
async fn a_token_is_renewed_when_its_time_is_over() {
    let server = Server::start([
        whole(200, GRANTED),
        whole(200, PLACED),
        whole(200, GRANTED_ANEW),
        whole(200, PLACED),
    ])
    .await;
    let mut tuning = tuning();
    tuning.ages.longest = Duration::ZERO;
    let sans = SansPbx::tuned(config(&server.base_url), tuning).unwrap();
    assert_eq!(sans.dial(&dial_request()).await, accepted());
    assert_eq!(sans.dial(&dial_request()).await, accepted());
    let calls: Vec<_> = seen(&server)
        .into_iter()
        .filter_map(|(_, token, _)| token)
        .collect();
    assert_eq!(calls, ["s3ssion-1", "s3ssion-2"]);
}

#[tokio::test]
async fn an_ageing_token_is_used_while_another_is_fetched() {
    let server = Server::start([whole(200, GRANTED), whole(200, GRANTED_ANEW)]).await;
    let mut tuning = tuning();
    tuning.ages.renew = Duration::ZERO;
    let sans = SansPbx::tuned(config(&server.base_url), tuning).unwrap();
    let secret = async || {
        sans.tokens
            .get()
            .await
            .unwrap()
            .secret()
            .expose()
            .to_owned()
    };
    assert_eq!(secret().await, "s3ssion-1");
    assert_eq!(
        secret().await,
        "s3ssion-1",
        "it does not wait for the next one"
    );
    let renewed = async {
        while secret().await != "s3ssion-2" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENT, renewed).await.unwrap();
}

#[tokio::test]
async fn a_slow_token_is_not_asked_for_again_by_the_next_call() {
    let server = Server::start([Reply::Never]).await;
    let tuning = Tuning {
        token: Duration::from_millis(300),
        ..tuning()
    };
    let sans = SansPbx::tuned(config(&server.base_url), tuning).unwrap();
    for _ in 0..3 {
        let answer = sans.dial(&dial_request()).await;
        assert!(
            is_refused(&answer, RefusalClass::Failover, "connect"),
            "{answer:?}"
        );
    }
    assert_eq!(paths(&server), ["/gentoken"]);
}

#[tokio::test]
async fn a_token_that_got_old_is_no_fault_of_the_account() {
    let server = Server::start([whole(200, GRANTED), whole(401, "")]).await;
    let mut tuning = tuning();
    tuning.ages.new = Duration::ZERO;
    let sans = SansPbx::tuned(config(&server.base_url), tuning).unwrap();
    let answer = sans.dial(&dial_request()).await;
    assert!(
        is_refused(&answer, RefusalClass::RetryLater, "HTTP 401"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn many_calls_at_once_ask_for_one_token() {
    let replies = (0..9).map(|n| {
        if n == 0 {
            whole(200, GRANTED)
        } else {
            whole(200, PLACED)
        }
    });
    let server = Server::start(replies).await;
    let sans = sans(&server.base_url);
    let request = dial_request();
    let answers = futures_util::future::join_all((0..8).map(|_| sans.dial(&request))).await;
    assert!(
        answers.iter().all(|answer| *answer == accepted()),
        "{answers:?}"
    );
    let asked = paths(&server)
        .iter()
        .filter(|path| *path == "/gentoken")
        .count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    use RefusalClass::{ConfigFault, Failover, RetryLater};
    let table = [
        (
            whole(200, r#"{"status":"error","msg":"Invalid access_key"}"#),
            ConfigFault,
            "token",
        ),
        (whole(401, ""), ConfigFault, "token"),
        (whole(403, "<html>"), ConfigFault, "token"),
        (whole(429, ""), RetryLater, "token"),
        (whole(200, r#"{"status":"success"}"#), Failover, "connect"),
        (
            whole(200, r#"{"status":"success","Apitoken":"a\nb"}"#),
            Failover,
            "connect",
        ),
        (whole(200, "<html>"), Failover, "connect"),
        (whole(302, ""), Failover, "connect"),
        (whole(500, GRANTED), Failover, "connect"),
        (
            Reply::Cut(http(200, GRANTED).into_bytes()[..60].to_vec()),
            Failover,
            "connect",
        ),
        (Reply::Cut(Vec::new()), Failover, "connect"),
    ];
    for (n, (reply, class, code)) in table.into_iter().enumerate() {
        let server = Server::start([reply]).await;
        let answer = sans(&server.base_url).dial(&dial_request()).await;
        assert!(is_refused(&answer, class, code), "{n}: {answer:?}");
        assert_eq!(paths(&server), ["/gentoken"], "{n}");
    }

    let server = Server::start([Reply::Never]).await;
    let tuning = Tuning {
        token: Duration::from_millis(200),
        ..tuning()
    };
    let sans = SansPbx::tuned(config(&server.base_url), tuning).unwrap();
    let answer = sans.dial(&dial_request()).await;
    assert!(
        is_refused(&answer, RefusalClass::Failover, "connect"),
        "{answer:?}"
    );
}
