//! What is sent to Twilio is what Twilio publishes.

use dialfleet_domain::amd::AmdMode;
use dialfleet_domain::flow::Then;
use dialfleet_domain::recording::{Act, Channels};

use super::server::{Server, whole};
use super::*;
use crate::carrier::published;

const CREATED: &str = r#"{"sid":"CA1","status":"queued"}"#;
const CALL: &str = r#"{"sid":"CA1","to":"+15550100123","from":"+15550109999","status":"completed",
    "duration":"4","date_created":"Sat, 21 Nov 2026 04:15:00 +0000"}"#;
const CALLS: &str = r#"{"calls":[],"next_page_uri":null}"#;

fn call() -> CarrierCallId {
    CarrierCallId::parse("CA1").unwrap()
}

/// Calls of every kind, each with all that can be asked for.
fn dials() -> Vec<DialRequest> {
    let plain = dial_request();
    let fetched = DialRequest {
        opening: None,
        record: Some(Channels::Mono),
        ..dial_request()
    };
    let mut detected = DialRequest {
        record: Some(Channels::Dual),
        leaves_message: true,
        ..dial_request()
    };
    detected.amd.mode = AmdMode::Sync;
    detected.amd.tuning.timeout_s = Some(59);
    detected.amd.tuning.speech_ms = Some(6_000);
    detected.amd.tuning.speech_end_ms = Some(500);
    detected.amd.tuning.silence_ms = Some(10_000);
    let mut meanwhile = detected.clone();
    (meanwhile.amd.mode, meanwhile.leaves_message) = (AmdMode::Async, false);
    vec![plain, fetched, detected, meanwhile]
}

fn step(actions: Vec<Action>) -> StepRequest {
    let dial = dial_request();
    StepRequest {
        attempt: dial.attempt,
        leg: dial.leg,
        call_id: call(),
        to: dial.to,
        from: dial.from,
        step: 1,
        page: Page {
            actions,
            then: Then::Ask,
            next_url: "https://d.example/webhooks/twilio/t1/YTpiOjE/0/m-c_/flow?t=2".to_owned(),
        },
        interrupts: true,
        again_url: "https://d.example/webhooks/twilio/t1/YTpiOjE/0/m-c_/flow?t=1".to_owned(),
        callback_url: dial.callback_url,
    }
}

fn record(act: Act) -> RecordRequest {
    let dial = dial_request();
    RecordRequest {
        attempt: dial.attempt,
        leg: dial.leg,
        call_id: call(),
        to: dial.to,
        from: dial.from,
        act,
        channels: Channels::Dual,
        callback_url: dial.callback_url,
    }
}

/// A recording itself is not in the description: it is fetched as its own page says.
#[tokio::test]
async fn every_request_is_as_published() {
    let next = r#"{"calls":[],"next_page_uri":"/2010-04-01/Accounts/AC1/Calls.json?PageSize=1000&Page=1&PageToken=PACA2"}"#;
    let none = r#"{"recordings":[]}"#;
    let created = std::iter::repeat_n((201, CREATED), dials().len());
    let commands = std::iter::repeat_n((200, "{}"), 3);
    let recording = [
        (200, none),
        (201, "{}"),
        (200, "{}"),
        (200, "{}"),
        (200, "{}"),
    ];
    let looks = [(200, CALL), (200, CALL), (200, next)];
    let lists = std::iter::repeat_n((200, CALLS), 4);
    let replies = created
        .chain(commands)
        .chain(recording)
        .chain(looks)
        .chain(lists);
    let server = Server::start(replies.map(|(status, body)| whole(status, body))).await;
    let twilio = twilio(&server.base_url, PATIENT);
    for request in dials() {
        let answer = twilio.dial(&request).await;
        assert!(matches!(answer, DialAnswer::Accepted { .. }), "{answer:?}");
    }
    let long = vec![Action::Pause { seconds: 1 }; 250];
    for actions in [
        vec![Action::Pause { seconds: 1 }],
        long,
        vec![Action::Hangup],
    ] {
        twilio.perform(&step(actions)).await.unwrap();
    }
    for act in [Act::Begin, Act::Pause, Act::Resume, Act::Stop] {
        twilio.record(&record(act)).await.unwrap();
    }
    twilio.look(&call()).await.unwrap();
    twilio.cost(&call()).await.unwrap();
    let dial = dial_request();
    twilio.find(&dial.to, &dial.from).await.unwrap();
    twilio.live().await.unwrap();
    published::check(include_str!("openapi.json"), &server.seen());
}
