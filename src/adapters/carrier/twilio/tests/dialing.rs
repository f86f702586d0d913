use dialfleet_domain::call::RefusalClass;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::server::{Reply, Server, http, whole};
use super::*;

const CALL: &str = r#"{"sid":"CA1","status":"queued","queue_time":"1500","date_created":null}"#;

fn accepted(queued_ms: u64) -> DialAnswer {
    DialAnswer::Accepted {
        call_id: CarrierCallId::parse("CA1").unwrap(),
        queued_for: Duration::from_millis(queued_ms),
    }
}

fn is_refused(answer: &DialAnswer, class: RefusalClass, code: &str) -> bool {
    matches!(answer, DialAnswer::Refused(why) if why.class == class && why.code == code)
}

/// What a dial comes to when the server gives these replies, and how many requests it read.
async fn dial(reply: Reply) -> (DialAnswer, usize) {
    let server = Server::start([reply]).await;
    let answer = twilio(&server.base_url, PATIENT)
        .dial(&dial_request())
        .await;
    (answer, server.seen().len())
}

#[tokio::test]
async fn an_accepted_call_is_one_signed_form() {
    let server = Server::start([whole(201, CALL)]).await;
    let twilio = twilio(&format!("{}/", server.base_url), PATIENT);
    assert_eq!(twilio.dial(&dial_request()).await, accepted(1_500));
    let seen = server.seen();
    let [request] = seen.as_slice() else {
        panic!("{seen:?}")
    };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /2010-04-01/Accounts/AC1/Calls.json HTTP/1.1\r\n"),
        "{head}"
    );
    let head = head.to_ascii_lowercase();
    let basic = STANDARD.encode("AC1:t0ken-of-mine").to_ascii_lowercase();
    assert!(
        head.contains(&format!("authorization: basic {basic}")),
        "{head}"
    );
    assert!(
        head.contains("content-type: application/x-www-form-urlencoded"),
        "{head}"
    );
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(body, request::create_form(&dial_request()));
}

#[tokio::test]
async fn an_api_key_stands_in_for_the_token() {
    let server = Server::start([whole(201, CALL)]).await;
    let mut config = config(&server.base_url);
    config.api_key = Some(("SK1".to_owned(), Secret::new("k3y")));
    Twilio::new(config).unwrap().dial(&dial_request()).await;
    assert!(server.seen()[0].contains(&format!("Basic {}", STANDARD.encode("SK1:k3y"))));
}

#[tokio::test]
async fn answers_are_judged() {
    use RefusalClass::{BadNumber, ConfigFault, DestinationFault, RetryLater};
    let error = |code: u32| format!(r#"{{"code":{code},"message":"no","status":400}}"#);
    let refused = [
        (400, error(21211), BadNumber, "21211"),
        (400, error(21215), DestinationFault, "21215"),
        (401, error(20003), ConfigFault, "20003"),
        (404, error(20404), ConfigFault, "20404"),
        (422, error(77777), ConfigFault, "77777"),
        (429, error(20429), RetryLater, "20429"),
        (429, "slow down".to_owned(), RetryLater, "HTTP 429"),
        (403, "<html>".to_owned(), ConfigFault, "HTTP 403"),
    ];
    for (status, body, class, code) in refused {
        let (answer, sent) = dial(whole(status, &body)).await;
        assert!(
            is_refused(&answer, class, code),
            "{status} {body}: {answer:?}"
        );
        assert_eq!(sent, 1);
    }
    let unclear = [
        (500, error(20500)),
        (500, error(21211)),
        (502, String::new()),
        (503, error(20503)),
        (504, "<html>".to_owned()),
        (400, "<html>".to_owned()),
        (408, error(21211)),
        (201, String::new()),
        (201, "{}".to_owned()),
        (201, r#"{"sid":"","status":"queued"}"#.to_owned()),
        (201, format!("{CALL},")),
        (
            200,
            format!(r#"{{"sid":"{}","status":"queued"}}"#, "x".repeat(70_000)),
        ),
    ];
    for (status, body) in unclear {
        let (answer, sent) = dial(whole(status, &body)).await;
        assert!(
            matches!(answer, DialAnswer::Unclear(_)),
            "{status} {body:.60}: {answer:?}"
        );
        assert_eq!(sent, 1);
    }
    for queue_time in ["null", "\"\"", "-1", "0"] {
        let body = format!(r#"{{"sid":"CA1","status":"queued","queue_time":{queue_time}}}"#);
        assert_eq!(dial(whole(201, &body)).await.0, accepted(0));
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Server::start([whole(201, CALL)]).await;
        let location = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {}/x\r\ncontent-length: 0\r\n\r\n",
            elsewhere.base_url
        );
        let (answer, sent) = dial(Reply::Whole(location)).await;
        assert!(
            matches!(answer, DialAnswer::Unclear(_)),
            "{status}: {answer:?}"
        );
        assert_eq!((sent, elsewhere.seen().len()), (1, 0));
    }
}

#[tokio::test]
async fn wherever_an_answer_breaks_off_the_call_is_unclear() {
    let answer = http(201, CALL);
    let cuts = (0..answer.len()).map(|at| Reply::Cut(answer.as_bytes()[..at].to_vec()));
    let server = Server::start(cuts).await;
    let twilio = twilio(&server.base_url, PATIENT);
    for at in 0..answer.len() {
        let said = twilio.dial(&dial_request()).await;
        assert!(
            matches!(said, DialAnswer::Unclear(_)),
            "cut at {at}: {said:?}"
        );
        assert_eq!(
            server.seen().len(),
            at + 1,
            "sent again after a cut at {at}"
        );
    }
}

#[tokio::test]
async fn no_answer_in_time_is_unclear() {
    let server = Server::start([Reply::Never]).await;
    let answer = twilio(&server.base_url, Duration::from_millis(1_500))
        .dial(&dial_request())
        .await;
    assert!(matches!(answer, DialAnswer::Unclear(_)), "{answer:?}");
    // Read or not: what counts is that it was not sent twice.
    assert!(server.seen().len() <= 1);
}

/// A server that closes each connection right after its answer: the next request may meet the dying
/// connection. It arrives once or not at all.
#[tokio::test]
async fn a_dying_connection_never_doubles_a_call() {
    let server = Server::start((0..200).map(|_| Reply::Cut(http(201, CALL).into_bytes()))).await;
    let twilio = twilio(&server.base_url, PATIENT);
    let mut request = dial_request();
    for n in 0..200 {
        request.to = E164::parse(&format!("+15550100{n:03}"), None).unwrap();
        match twilio.dial(&request).await {
            DialAnswer::Accepted { .. } | DialAnswer::Unclear(_) => {}
            DialAnswer::Refused(why) => panic!("{why:?}"),
        }
        let to = format!("To=%2B15550100{n:03}&");
        let arrived = server
            .seen()
            .iter()
            .filter(|request| request.contains(&to))
            .count();
        assert!(arrived <= 1, "call {n} arrived {arrived} times");
    }
}

#[tokio::test]
async fn what_fails_before_a_connection_stands_was_not_sent() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let answer = twilio(&format!("http://{closed}"), PATIENT)
        .dial(&dial_request())
        .await;
    assert!(
        is_refused(&answer, RefusalClass::Failover, "connect"),
        "{answer:?}"
    );

    let nowhere = twilio("http://no-such-host.invalid", PATIENT)
        .dial(&dial_request())
        .await;
    let DialAnswer::Refused(why) = &nowhere else {
        panic!("{nowhere:?}")
    };
    assert_eq!(why.class, RefusalClass::Failover);
    assert!(matches!(why.code.as_str(), "dns" | "connect"), "{why:?}");
}

#[tokio::test]
async fn a_failed_tls_handshake_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let twilio = twilio(
        &format!("https://{}", listener.local_addr().unwrap()),
        PATIENT,
    );
    let garbage = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        stream
    };
    let request = dial_request();
    let (answer, stream) = tokio::join!(twilio.dial(&request), garbage);
    drop(stream);
    assert!(
        is_refused(&answer, RefusalClass::Failover, "connect"),
        "{answer:?}"
    );

    // And one that never ends: the connect time-out, not the total one.
    let (answer, stream) = tokio::join!(twilio.dial(&request), listener.accept());
    drop(stream);
    assert!(
        is_refused(&answer, RefusalClass::Failover, "connect"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn what_is_kept_of_an_answer_has_no_number_and_no_token() {
    let message = format!(
        "{} 'To' number +15550100123 {}",
        "t0ken-of-mine",
        "é".repeat(300)
    );
    let body = serde_json::json!({"code": 21211, "message": message, "status": 400}).to_string();
    for status in [400, 500] {
        let text = format!("{:?}", dial(whole(status, &body)).await.0);
        assert!(
            !text.contains("t0ken") && !text.contains("0100123"),
            "{text}"
        );
        assert!(text.chars().count() < 350, "{text}");
    }
}
