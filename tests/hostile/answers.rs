//! A carrier's answers to us: only a clear yes is a placed call, only a documented no is none, and of
//! everything else nobody knows.

use std::sync::{Arc, Mutex};

use dialfleet_adapters::carrier::twilio::Twilio;
use dialfleet_domain::amd::Amd;
use dialfleet_domain::flow::Action;
use dialfleet_domain::id::{AttemptId, CarrierCallId};
use dialfleet_engine::port::Carrier;
use dialfleet_engine::port::carrier::{CarrierError, DialAnswer, DialRequest};
use dialfleet_tests::sample;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;

use crate::cases;
use crate::mutate::{edits, mutated, spoiled, spoils};
use crate::rig::{TOKEN, twilio};

/// A server that gives every request the same answer and closes the connection, and a client of it.
struct Line {
    runtime: Runtime,
    twilio: Twilio,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<Mutex<u32>>,
    _server: AbortOnDropHandle<()>,
}

async fn serve(mut stream: TcpStream, answer: Vec<u8>) {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).unwrap_or("0");
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                break;
            }
        }
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
    // Until the client has gone: what is closed with bytes unread may take the answer with it.
    let _ = stream.read_to_end(&mut request).await;
}

impl Line {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let answer = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::new(Mutex::new(0));
        let (given, count) = (answer.clone(), asked.clone());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let server = runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let answer = given.lock().unwrap().clone();
                serve(stream, answer).await;
            }
        });
        Self {
            runtime,
            twilio: twilio(&format!("http://{address}")),
            answer,
            asked,
            _server: AbortOnDropHandle::new(server),
        }
    }

    fn dial(&self, answer: Vec<u8>) -> DialAnswer {
        *self.answer.lock().unwrap() = answer;
        *self.asked.lock().unwrap() = 0;
        let request = DialRequest {
            attempt: AttemptId::parse("a:b:1").unwrap(),
            leg: 0,
            to: sample::phone(123),
            from: sample::phone(9_999),
            ring_timeout_s: 30,
            max_duration_s: 600,
            opening: Some(vec![Action::Hangup]),
            flow_url: String::new(),
            amd: Amd::default(),
            leaves_message: false,
            callback_url: "https://dial.example/webhooks".to_owned(),
        };
        let said = self.runtime.block_on(self.twilio.dial(&request));
        assert_eq!(*self.asked.lock().unwrap(), 1, "asked more than once");
        said
    }

    fn set(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }
}

fn http(status: u16, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn call() -> Value {
    json!({
        "sid": "CA0123456789abcdef0123456789abcdef", "status": "queued", "queue_time": "0", "duration": null,
        "date_created": "Sat, 21 Nov 2026 04:15:09 +0000", "to": "+15550100123", "from": "+15550109999", "price": null,
    })
}

fn refusal() -> Value {
    json!({
        "code": 21211, "status": 400, "more_info": "https://www.twilio.com/docs/errors/21211",
        "message": format!("The 'To' number +15550100123 is not valid ({TOKEN})."),
    })
}

fn page() -> Value {
    json!({ "calls": [call(), call()], "next_page_uri": null, "page": 0, "page_size": 1000 })
}

/// An answer that is HTTP, whatever its body is.
fn answer(good: fn() -> Value) -> impl Strategy<Value = (u16, Vec<u8>)> {
    let status = prop_oneof![
        4 => select(&[201_u16, 200, 202, 204, 400, 404]),
        2 => select(&[300, 302, 307, 401, 402, 403, 408, 409, 410, 422, 429, 451, 499, 500, 502, 503, 504, 599]),
        1 => 200..1_000_u16,
    ];
    let document = select(vec![good, call, refusal, page]);
    let body = prop_oneof![
        4 => (document.clone(), spoils()).prop_map(|(document, spoils)| spoiled(document(), &spoils)),
        2 => (document.clone(), edits()).prop_map(|(document, edits)| mutated(document().to_string().as_bytes(), &edits)),
        2 => document.prop_map(|document| document().to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..100),
        1 => select(&["", "null", "[]", "{}", "<html>502 Bad Gateway</html>", "201", "\"CA1\"", "{\"sid\":\"CA1\"}"]).prop_map(|text| text.as_bytes().to_vec()),
    ];
    (status, body)
}

/// What an answer to a request for a call may be taken for.
fn check(said: &DialAnswer, status: u16, body: &[u8]) -> TestCaseResult {
    let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    match said {
        DialAnswer::Accepted { call_id, .. } => {
            prop_assert_eq!(status, 201);
            prop_assert_eq!(document["sid"].as_str(), Some(call_id.as_str()));
            prop_assert!(call_id.as_str().starts_with("CA"));
        }
        DialAnswer::Refused(why) => {
            prop_assert!(
                (400..=499).contains(&status) && status != 408,
                "{}: {:?}",
                status,
                why
            );
            // What nobody asked for in it may be deeper or larger than can be read.
            if !matches!(status, 401 | 403 | 429) && !document.is_null() {
                let documented = document["message"].is_string()
                    && (document["code"].is_u64() || document["status"].is_u64());
                prop_assert!(documented, "{}: {:?} {}", status, why, document);
                let failed = document["status"]
                    .as_u64()
                    .is_some_and(|status| status >= 500);
                prop_assert!(
                    !failed && !matches!(document["code"].as_u64(), Some(20_500 | 20_503))
                );
            }
        }
        DialAnswer::Unclear(_) => {
            let clear = status == 201 && body == call().to_string().as_bytes();
            prop_assert!(!clear, "{:?}", said);
        }
    }
    let shown = format!("{said:?}");
    prop_assert!(
        !shown.contains("5550100123") && !shown.contains(TOKEN),
        "{}",
        shown
    );
    prop_assert!(shown.chars().count() < 1_000);
    Ok(())
}

#[test]
fn answers_to_a_request_for_a_call() {
    let line = Line::new();
    let clear = line.dial(http(201, "application/json", call().to_string().as_bytes()));
    assert!(matches!(clear, DialAnswer::Accepted { .. }), "{clear:?}");
    let clear = line.dial(http(
        400,
        "application/json",
        refusal().to_string().as_bytes(),
    ));
    assert!(matches!(clear, DialAnswer::Refused(_)), "{clear:?}");
    cases(1_500, answer(call), |(status, body)| {
        // These have no body, whatever their length says.
        let body = if matches!(status, 204 | 304) {
            Vec::new()
        } else {
            body
        };
        check(
            &line.dial(http(status, "application/json", &body)),
            status,
            &body,
        )
    });
}

/// The answer as bytes on the wire. What it is taken for must stand in its first line.
#[test]
fn answers_that_are_hardly_http() {
    let line = Line::new();
    let good = select(vec![
        (201, call as fn() -> Value),
        (400, refusal),
        (500, refusal),
    ]);
    cases(1_500, (good, edits()), |((status, document), edits)| {
        let body = document().to_string();
        let bytes = mutated(&http(status, "application/json", body.as_bytes()), &edits);
        let first = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let first = String::from_utf8_lossy(first).into_owned();
        match line.dial(bytes) {
            DialAnswer::Accepted { .. } => prop_assert!(first.contains(" 201"), "{}", first),
            DialAnswer::Refused(why) => prop_assert!(first.contains(" 4"), "{} {:?}", first, why),
            DialAnswer::Unclear(_) => {}
        }
        Ok(())
    });
}

#[test]
fn answers_that_are_nearly_clear() {
    let line = Line::new();
    let with = |member: &str, value: Value| {
        let mut call = call();
        call[member] = value;
        call.to_string()
    };
    let error = |code: Value, status: Value| {
        json!({ "code": code, "message": "no", "status": status }).to_string()
    };
    let good = call().to_string();
    let table = [
        (200, good.clone()),
        (202, good.clone()),
        (299, good.clone()),
        (201, format!("{good}{good}")),
        (201, format!("\u{feff}{good}")),
        (201, format!("[{good}]")),
        (201, good.replace("\"sid\"", "\"sid\":\"CA1\",\"sid\"")),
        (201, with("sid", Value::Null)),
        (201, with("sid", json!(7))),
        (201, with("sid", json!(""))),
        (201, with("sid", json!("CA"))),
        (
            201,
            with("sid", json!("SM0123456789abcdef0123456789abcdef")),
        ),
        (201, with("sid", json!("CA/../x"))),
        (201, with("sid", json!("CA 1"))),
        (201, with("sid", json!(format!("CA{}", "1".repeat(65))))),
        (201, with("status", Value::Null)),
        (201, refusal().to_string()),
        (400, error(json!(20_500), json!(500))),
        (400, error(json!(21_211), json!(500))),
        (400, error(json!(21_211), json!(201))),
        (400, error(json!(-1), json!(400))),
        (400, error(json!("21211"), json!(400))),
        (400, good.clone()),
        (408, refusal().to_string()),
        (500, refusal().to_string()),
        (301, refusal().to_string()),
    ];
    for (status, body) in table {
        let said = line.dial(http(status, "application/json", body.as_bytes()));
        assert!(
            matches!(said, DialAnswer::Unclear(_)),
            "{status} {body}: {said:?}"
        );
    }
    // Larger than any call, and said to be.
    let large = http(
        201,
        "application/json",
        with("price", json!("x".repeat(100_000))).as_bytes(),
    );
    assert!(matches!(line.dial(large), DialAnswer::Unclear(_)));
    let announced = b"HTTP/1.1 201 Created\r\ncontent-length: 99999999999999\r\n\r\n{\"sid\":\"CA1\",\"status\":\"queued\"}";
    assert!(matches!(
        line.dial(announced.to_vec()),
        DialAnswer::Unclear(_)
    ));
    let two = b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{\"sid\":\"CA1\",\"status\":\"queued\"}";
    assert!(matches!(line.dial(two.to_vec()), DialAnswer::Unclear(_)));
}

#[test]
fn answers_about_one_call() {
    let line = Line::new();
    let asked = CarrierCallId::parse("CA0123456789abcdef0123456789abcdef").unwrap();
    cases(800, answer(call), |(status, body)| {
        line.set(http(status, "application/json", &body));
        if let Ok(record) = line.runtime.block_on(line.twilio.look(&asked)) {
            prop_assert_eq!((status, &record.call_id), (200, &asked));
        }
        match line.runtime.block_on(line.twilio.hang_up(&asked)) {
            Ok(()) => prop_assert!((200..300).contains(&status)),
            Err(CarrierError::AlreadyEnded) => {
                let document: Value = serde_json::from_slice(&body).unwrap();
                prop_assert_eq!(document["code"].as_u64(), Some(21_220));
            }
            Err(error) => prop_assert!(!error.to_string().contains(TOKEN)),
        }
        Ok(())
    });
}

/// A list proves that calls are absent: it is whole, or it is an error.
#[test]
fn lists_of_calls() {
    let line = Line::new();
    let (to, from) = (sample::phone(123), sample::phone(9_999));
    cases(800, answer(page), |(status, body)| {
        line.set(http(status, "application/json", &body));
        match line.runtime.block_on(line.twilio.find(&to, &from)) {
            Ok(records) => {
                let document: Value = serde_json::from_slice(&body).unwrap();
                prop_assert_eq!(status, 200);
                prop_assert_eq!(
                    document["calls"].as_array().map(Vec::len),
                    Some(records.len())
                );
                let next = &document["next_page_uri"];
                prop_assert!(
                    document.get("next_page_uri").is_some()
                        && matches!(next.as_str(), None | Some(""))
                );
            }
            Err(CarrierError::NotFound) => prop_assert!(false, "a list cannot be absent"),
            Err(error) => {
                let said = error.to_string();
                prop_assert!(
                    !said.contains(TOKEN) && said.chars().count() < 400,
                    "{}",
                    said
                );
            }
        }
        let _ = line.runtime.block_on(line.twilio.live());
        Ok(())
    });
}
