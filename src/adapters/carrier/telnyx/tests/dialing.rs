use dialfleet_domain::call::RefusalClass;
use tokio::net::TcpListener;

use super::server::{Reply, Server, http, whole};
use super::*;

const CALL: &str = r#"{"data":{"record_type":"call","call_control_id":"v3:one","call_leg_id":"2dc6fc34-f9e0-11ea-b68e-02420a0f7768","call_session_id":"2dc1b3c8-f9e0-11ea-bc5a-02420a0f7768","is_alive":false,"client_state":"aGV5"}}"#;

fn accepted() -> DialAnswer {
    DialAnswer::Accepted {
        call_id: call_id("v3:one"),
        queued_for: Duration::ZERO,
    }
}

fn is_refused(answer: &DialAnswer, class: RefusalClass, code: &str) -> bool {
    matches!(answer, DialAnswer::Refused(why) if why.class == class && why.code == code)
}

/// What a dial comes to when the server gives these replies, and how many requests it read.
async fn dial(reply: Reply) -> (DialAnswer, usize) {
    let server = Server::start([reply]).await;
    let telnyx = telnyx(&server.base_url, PATIENT);
    let answer = telnyx.dial(&dial_request()).await;
    (answer, server.seen().len())
}

#[tokio::test]
async fn an_accepted_call_is_one_json_request() {
    for suffix in ["", "/", "/v2", "/v2/"] {
        let server = Server::start([whole(200, CALL)]).await;
        let telnyx = telnyx(&format!("{}{suffix}", server.base_url), PATIENT);
        assert_eq!(telnyx.dial(&dial_request()).await, accepted());
        let seen = server.seen();
        let [request] = seen.as_slice() else {
            panic!("{seen:?}")
        };
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v2/calls HTTP/1.1\r\n"), "{head}");
        let head = head.to_ascii_lowercase();
        assert!(head.contains("authorization: bearer key-of-mine"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let length = format!("content-length: {}", body.len());
        assert!(
            head.contains(&length) && !head.contains("transfer-encoding"),
            "{head}"
        );
        let carrier = CarrierId::parse("t1").unwrap();
        assert_eq!(body, request::dial(&dial_request(), &carrier, CONNECTION));
    }
}

#[tokio::test]
async fn answers_are_judged() {
    use RefusalClass::{
        BadNumber, CallerIdFault, ConfigFault, DestinationFault, Failover, RetryLater,
    };
    let error = |code: &str, detail: &str, pointer: &str| {
        let source = serde_json::json!({ "pointer": pointer });
        let error =
            serde_json::json!({"code": code, "title": "t", "detail": detail, "source": source});
        serde_json::json!({ "errors": [error] }).to_string()
    };
    let country = "Dialed number is not included in whitelisted countries D13";
    let refused = [
        (422, error("10016", "no", "/to"), BadNumber, "10016"),
        (422, error("10016", "no", "/from"), CallerIdFault, "10016"),
        (
            422,
            error("10015", "no", "/connection_id"),
            ConfigFault,
            "10015",
        ),
        (
            403,
            error("10010", country, ""),
            DestinationFault,
            "10010 D13",
        ),
        (403, error("10010", "no D11", ""), BadNumber, "10010 D11"),
        (403, error("10010", "no D1", ""), RetryLater, "10010 D1"),
        (403, error("10010", "no PE3", ""), Failover, "10010 PE3"),
        (401, error("10009", "no", ""), ConfigFault, "10009"),
        (402, error("20100", "no", "/to"), ConfigFault, "20100"),
        (404, error("10005", "no", ""), ConfigFault, "10005"),
        (429, error("90103", "no", ""), RetryLater, "90103"),
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
        (500, error("10016", "no D11", "/to")),
        (502, String::new()),
        (503, error("10011", "no", "")),
        (504, "<html>".to_owned()),
        (400, "<html>".to_owned()),
        (404, String::new()),
        (408, error("10016", "no", "/to")),
        (200, String::new()),
        (200, "{}".to_owned()),
        (200, r#"{"data":{"call_control_id":""}}"#.to_owned()),
        (200, format!("{CALL},")),
        (
            200,
            format!(
                r#"{{"data":{{"call_control_id":"{}"}}}}"#,
                "x".repeat(70_000)
            ),
        ),
    ];
    for (status, body) in unclear {
        let (answer, sent) = dial(whole(status, &body)).await;
        let is_unclear = matches!(answer, DialAnswer::Unclear(_));
        assert!(is_unclear, "{status} {body:.60}: {answer:?}");
        assert_eq!(sent, 1);
    }
}

#[tokio::test]
async fn no_redirect_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Server::start([whole(200, CALL)]).await;
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

/// Telnyx advises to send the command again after 500 ms. We do not.
#[tokio::test]
async fn wherever_an_answer_breaks_off_the_call_is_unclear_and_not_sent_again() {
    let answer = http(200, CALL);
    let cuts: Vec<usize> = (0..answer.len()).step_by(7).collect();
    let replies = cuts
        .iter()
        .map(|at| Reply::Cut(answer.as_bytes()[..*at].to_vec()));
    let server = Server::start(replies).await;
    let telnyx = telnyx(&server.base_url, PATIENT);
    for (n, at) in cuts.iter().enumerate() {
        let said = telnyx.dial(&dial_request()).await;
        assert!(
            matches!(said, DialAnswer::Unclear(_)),
            "cut at {at}: {said:?}"
        );
        assert_eq!(server.seen().len(), n + 1, "sent again after a cut at {at}");
    }
}

#[tokio::test]
async fn no_answer_in_time_is_unclear() {
    let server = Server::start([Reply::Never]).await;
    let telnyx = telnyx(&server.base_url, Duration::from_millis(1_500));
    let answer = telnyx.dial(&dial_request()).await;
    assert!(matches!(answer, DialAnswer::Unclear(_)), "{answer:?}");
    assert!(server.seen().len() <= 1);
}

#[tokio::test]
async fn what_fails_before_a_connection_stands_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let telnyx = telnyx(&format!("http://{closed}"), PATIENT);
    let answer = telnyx.dial(&dial_request()).await;
    assert!(
        is_refused(&answer, RefusalClass::Failover, "connect"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn what_is_kept_of_an_answer_has_no_number_and_no_key() {
    let detail = format!("KEY-of-mine may not dial +15550100123 {}", "é".repeat(300));
    let error = serde_json::json!({"code": "10010", "title": "t", "detail": detail});
    let body = serde_json::json!({ "errors": [error] }).to_string();
    for status in [403, 500] {
        let text = format!("{:?}", dial(whole(status, &body)).await.0);
        assert!(
            !text.contains("KEY-of") && !text.contains("0100123"),
            "{text}"
        );
        assert!(text.chars().count() < 350, "{text}");
    }
}
