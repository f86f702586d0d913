use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

pub(super) fn accepted() -> DialAnswer {
    DialAnswer::Accepted {
        call_id: dial::call_id("api-2-09876543210-1700000000000").unwrap(),
        queued_for: Duration::ZERO,
    }
}

pub(super) fn is_refused(answer: &DialAnswer, class: RefusalClass, code: &str) -> bool {
    matches!(answer, DialAnswer::Refused(why) if why.class == class && why.code == code)
}

/// What a dial comes to when `dialcall` gets this reply.
async fn dial(reply: Reply) -> (DialAnswer, Server) {
    let server = Server::start([whole(200, GRANTED), reply]).await;
    let answer = sans(&server.base_url).dial(&dial_request()).await;
    (answer, server)
}

#[tokio::test]
async fn a_call_is_a_token_and_one_request() {
    let server = Server::start([whole(200, GRANTED), whole(200, PLACED), whole(200, PLACED)]).await;
    let mut config = config(&format!("{}/pbxadmin/sanpbxapi/", server.base_url));
    config.basic = Some(("me".to_owned(), Secret::new("p4ss")));
    let sans = SansPbx::tuned(config, tuning()).unwrap();
    assert_eq!(sans.dial(&dial_request()).await, accepted());
    assert_eq!(sans.dial(&dial_request()).await, accepted());

    let requests = server.seen();
    let head = requests[0].to_ascii_lowercase();
    assert!(
        head.starts_with("post /pbxadmin/sanpbxapi/gentoken http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("accesstoken: st4tic-of-mine\r\n"), "{head}");
    let basic = STANDARD.encode("me:p4ss").to_ascii_lowercase();
    assert!(
        head.contains(&format!("authorization: basic {basic}\r\n")),
        "{head}"
    );
    assert!(head.contains("content-type: application/json"), "{head}");
    let head = requests[1].to_ascii_lowercase();
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(
        !head.contains("transfer-encoding") && !head.contains("accesstoken"),
        "{head}"
    );

    let seen = seen(&server);
    assert_eq!(seen[0].2, r#"{"access_key":"k3y-of-mine"}"#);
    let (path, token, body) = &seen[1];
    assert_eq!(path, "/pbxadmin/sanpbxapi/dialcall");
    assert_eq!(token.as_deref(), Some("s3ssion-1"));
    let body: Value = serde_json::from_str(body).unwrap();
    let expected = json!({
        "appid": 2,
        "call_to": "09876543210",
        "caller_id": "1140001234",
        "status_callback": "https://d.example/webhooks/sanspbx/s1/YTpiOjE/0/m-c_",
        "custom_field": {"attempt": "a:b:1", "leg": 0},
    });
    assert_eq!(body, expected);
    assert_eq!(
        (seen.len(), &seen[2]),
        (3, &seen[1]),
        "one token, two calls"
    );
}

#[tokio::test]
async fn numbers_are_written_as_configured_and_never_to_another_country() {
    let server = Server::start([whole(200, GRANTED), whole(200, PLACED)]).await;
    let mut config = config(&server.base_url);
    (config.to_format, config.from_format) = ("00{cc}{national}".to_owned(), "{last7}".to_owned());
    let mut request = dial_request();
    request.to = E164::parse("+12125550123", None).unwrap();
    SansPbx::tuned(config, tuning())
        .unwrap()
        .dial(&request)
        .await;
    let body: Value = serde_json::from_str(&seen(&server)[1].2).unwrap();
    assert_eq!(
        (&body["call_to"], &body["caller_id"]),
        (&json!("0012125550123"), &json!("0001234"))
    );

    // "0" and the ten digits of New York would ring in India.
    let server = Server::start([whole(200, GRANTED), whole(200, PLACED)]).await;
    let answer = sans(&server.base_url).dial(&request).await;
    assert!(
        is_refused(&answer, RefusalClass::Failover, "number"),
        "{answer:?}"
    );
    assert!(
        server.seen().is_empty(),
        "nothing was sent, not even for a token"
    );
}

#[tokio::test]
async fn answers_are_judged() {
    use RefusalClass::{ConfigFault, Failover, RetryLater};
    let error = |message: &str| json!({"status": "error", "msg": message}).to_string();
    let refused = [
        (200, error("Insufficient balance"), ConfigFault, "HTTP 200"),
        (200, error("Invalid call_to"), Failover, "HTTP 200"),
        (200, error("Too many requests"), RetryLater, "HTTP 200"),
        (400, error("whatever"), ConfigFault, "HTTP 400"),
        (403, "<html>".to_owned(), ConfigFault, "HTTP 403"),
        (404, "<html>".to_owned(), ConfigFault, "HTTP 404"),
        (429, "slow down".to_owned(), RetryLater, "HTTP 429"),
    ];
    for (status, body, class, code) in refused {
        let (answer, server) = dial(whole(status, &body)).await;
        assert!(
            is_refused(&answer, class, code),
            "{status} {body}: {answer:?}"
        );
        assert_eq!(paths(&server), ["/gentoken", "/dialcall"]);
    }
    let unclear = [
        (200, String::new()),
        (200, "{}".to_owned()),
        (200, error("Call failed")),
        (200, r#"{"status":"success"}"#.to_owned()),
        (
            200,
            r#"{"status":"success","data":{"callid":""}}"#.to_owned(),
        ),
        (200, r#"{"data":{"callid":"api-1"}}"#.to_owned()),
        (
            200,
            r#"{"status":"error","data":{"callid":"api-1"}}"#.to_owned(),
        ),
        (200, r#"{"status":"queued","callid":"api-1"}"#.to_owned()),
        (200, format!("{PLACED},")),
        (
            200,
            format!(r#"{{"status":"success","callid":"{}"}}"#, "x".repeat(200)),
        ),
        (
            200,
            format!(
                r#"{{"status":"success","callid":"x","y":"{}"}}"#,
                "x".repeat(70_000)
            ),
        ),
        (302, String::new()),
        (400, "<html>".to_owned()),
        (408, error("Invalid token")),
        (409, error("limit exceeded")),
        (500, error("Invalid token")),
        (502, String::new()),
        (503, error("Too many requests")),
        (504, "<html>".to_owned()),
    ];
    for (status, body) in unclear {
        let (answer, server) = dial(whole(status, &body)).await;
        assert!(
            matches!(answer, DialAnswer::Unclear(_)),
            "{status} {body:.60}: {answer:?}"
        );
        assert_eq!(paths(&server), ["/gentoken", "/dialcall"]);
    }
}

#[tokio::test]
async fn wherever_an_answer_breaks_off_the_call_is_unclear() {
    let answer = http(200, PLACED);
    let cuts = (0..answer.len()).map(|at| Reply::Cut(answer.as_bytes()[..at].to_vec()));
    let server = Server::start([whole(200, GRANTED)].into_iter().chain(cuts)).await;
    let sans = sans(&server.base_url);
    for at in 0..answer.len() {
        let said = sans.dial(&dial_request()).await;
        assert!(
            matches!(said, DialAnswer::Unclear(_)),
            "cut at {at}: {said:?}"
        );
        assert_eq!(
            server.seen().len(),
            at + 2,
            "sent again after a cut at {at}"
        );
    }
}

#[tokio::test]
async fn no_answer_in_time_is_unclear() {
    let server = Server::start([whole(200, GRANTED), Reply::Never]).await;
    let tuning = Tuning {
        dial: Duration::from_millis(1_500),
        ..tuning()
    };
    let sans = SansPbx::tuned(config(&server.base_url), tuning).unwrap();
    let answer = sans.dial(&dial_request()).await;
    assert!(matches!(answer, DialAnswer::Unclear(_)), "{answer:?}");
    assert!(server.seen().len() <= 2);
}

#[tokio::test]
async fn no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Server::start([whole(200, PLACED)]).await;
        let location = format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {}/dialcall\r\ncontent-length: 0\r\n\r\n",
            elsewhere.base_url
        );
        let (answer, server) = dial(Reply::Whole(location)).await;
        assert!(
            matches!(answer, DialAnswer::Unclear(_)),
            "{status}: {answer:?}"
        );
        assert_eq!((server.seen().len(), elsewhere.seen().len()), (2, 0));
    }
}

#[tokio::test]
async fn what_fails_before_a_connection_stands_was_not_sent() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let answer = sans(&format!("http://{closed}"))
        .dial(&dial_request())
        .await;
    assert!(
        is_refused(&answer, RefusalClass::Failover, "connect"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn what_is_kept_of_an_answer_has_no_number_and_no_secret() {
    let message = format!(
        "s3ssion-1 k3y-of-mine st4tic-of-mine 09876543210 {}",
        "é".repeat(300)
    );
    let body = json!({"status": "error", "msg": message}).to_string();
    for status in [200, 400, 500] {
        let text = format!("{:?}", dial(whole(status, &body)).await.0);
        for secret in ["s3ssion", "k3y", "st4tic", "9876543210"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.chars().count() < 350, "{text}");
    }
    let text = format!("{:?}", dial(whole(200, PLACED)).await.0);
    assert!(!text.contains("9876543210"), "{text}");
}

#[tokio::test]
async fn the_configuration_can_teach_it_refusals() {
    let server = Server::start([
        whole(200, GRANTED),
        whole(200, r#"{"status":"failed","msg":"Subscriber is in DND"}"#),
    ])
    .await;
    let mut config = config(&server.base_url);
    config.refusals = BTreeMap::from([("in dnd".to_owned(), RefusalClass::BadNumber)]);
    let answer = SansPbx::tuned(config, tuning())
        .unwrap()
        .dial(&dial_request())
        .await;
    assert!(
        is_refused(&answer, RefusalClass::BadNumber, "HTTP 200"),
        "{answer:?}"
    );
}
