//! What is sent to Telnyx is what Telnyx publishes.

use std::collections::BTreeMap;

use dialfleet_domain::amd::AmdMode;
use dialfleet_domain::flow::action::MAX_SAID;
use dialfleet_domain::flow::{Codec, Target};
use dialfleet_domain::recording::{Act, Channels};
use serde_json::json;

use super::server::{Server, whole};
use super::*;
use crate::carrier::published;

const DESCRIPTION: &str = include_str!("openapi.json");
const CALL: &str =
    r#"{"data":{"call_control_id":"v3:one","call_leg_id":"leg-1","is_alive":false}}"#;

/// Calls of every kind, each with all that can be asked for.
fn dials() -> Vec<DialRequest> {
    let mut least = dial_request();
    (least.ring_timeout_s, least.max_duration_s) = (1, 1);
    let mut most = dial_request();
    (most.ring_timeout_s, most.max_duration_s) = (u32::MAX, u32::MAX);
    most.record = Some(Channels::Dual);
    most.leaves_message = true;
    most.amd.mode = AmdMode::Async;
    most.amd.tuning.timeout_s = Some(59);
    most.amd.tuning.speech_ms = Some(6_000);
    most.amd.tuning.speech_end_ms = Some(500);
    most.amd.tuning.silence_ms = Some(10_000);
    let mut mono = most.clone();
    (mono.amd.mode, mono.record) = (AmdMode::Sync, Some(Channels::Mono));
    vec![dial_request(), least, most, mono]
}

fn say(ssml: bool, voice: Option<&str>) -> Action {
    Action::Say(Saying {
        text: "a".repeat(MAX_SAID),
        language: Some("en-GB".to_owned()),
        voice: voice.map(str::to_owned),
        ssml,
    })
}

fn gather(prompt: Vec<Action>, finish_on: Option<char>) -> Action {
    Action::Gather {
        prompt,
        max_digits: 32,
        finish_on,
        timeout_s: 5,
        opt_out: vec!['9'],
    }
}

fn stream(codec: Codec) -> Action {
    Action::Stream {
        url: "wss://agent.example/calls".to_owned(),
        codec,
        params: BTreeMap::from([("name".to_owned(), "Ada".to_owned())]),
    }
}

fn transfer(to: Target, timeout_s: u32) -> Action {
    Action::Transfer {
        to,
        caller_id: None,
        timeout_s,
    }
}

/// Everything that a call can be told.
fn actions() -> Vec<Action> {
    let play = || Action::Play {
        url: "https://files.example/a.mp3".to_owned(),
    };
    vec![
        say(false, None),
        say(true, Some("Polly.Amy")),
        play(),
        Action::Pause { seconds: 1 },
        gather(vec![say(true, None)], None),
        gather(vec![play()], Some('#')),
        gather(vec![Action::Pause { seconds: 2 }], Some('*')),
        gather(vec![], None),
        Action::Record { on: true },
        Action::Record { on: false },
        stream(Codec::Pcmu),
        stream(Codec::Pcma),
        stream(Codec::L16),
        transfer(Target::Number("+15550107777".to_owned()), 1),
        transfer(Target::Sip("sip:a@b.example".to_owned()), 9_999),
        transfer(Target::Queue("sales".to_owned()), 60),
        Action::Hangup,
    ]
}

fn step(actions: Vec<Action>) -> StepRequest {
    StepRequest {
        interrupts: true,
        ..step_request(1, actions)
    }
}

fn record(act: Act) -> RecordRequest {
    let dial = dial_request();
    RecordRequest {
        attempt: dial.attempt,
        leg: dial.leg,
        call_id: call_id("v3:one"),
        to: dial.to,
        from: dial.from,
        act,
        channels: Channels::Dual,
        callback_url: dial.callback_url,
    }
}

fn recording(their_id: &str) -> Recording {
    let recording = json!({
        "_id": "rec_1", "tenant": "t", "campaign": "a", "lead": "a:b", "attempt": "a:b:1",
        "carrier": "t1", "call_id": "v3:one", "their_id": their_id, "state": "announced",
        "transcript": {"is": "none"}, "tries": 0, "since": 0, "announced_at": 0, "version": 1,
    });
    serde_json::from_value(recording).unwrap()
}

async fn commanded(server: &Server) {
    let telnyx = telnyx(&server.base_url, PATIENT);
    for request in dials() {
        let answer = telnyx.dial(&request).await;
        assert!(matches!(answer, DialAnswer::Accepted { .. }), "{answer:?}");
    }
    telnyx.perform(&step(actions())).await.unwrap();
    for act in [Act::Begin, Act::Pause, Act::Resume, Act::Stop] {
        telnyx.record(&record(act)).await.unwrap();
    }
    telnyx.hang_up(&call_id("v3:one")).await.unwrap();
}

async fn asked(server: &Server) {
    let telnyx = telnyx(&server.base_url, PATIENT);
    telnyx.look(&call_id("v3:one")).await.unwrap();
    let dial = dial_request();
    telnyx.find(&dial.to, &dial.from).await.unwrap();
    telnyx.live().await.unwrap();
    for their_id in ["8dc12d3f", "leg:leg-1:0"] {
        assert!(telnyx.fetch(&recording(their_id)).await.is_err());
    }
}

#[tokio::test]
async fn every_request_is_as_published() {
    // Two stop what is heard.
    let commands = actions().len() + 2 + 4 + 1;
    let dialed = std::iter::repeat_with(|| whole(200, CALL)).take(dials().len());
    let done = std::iter::repeat_with(|| whole(200, DONE)).take(commands);
    let server = Server::start(dialed.chain(done)).await;
    commanded(&server).await;
    let mut sent = server.seen();

    let status = json!({"data": {
        "call_control_id": "v3:one", "call_leg_id": "leg-1", "is_alive": false,
        "start_time": "2026-09-21T14:10:00Z", "end_time": "2026-09-21T14:11:00Z",
    }});
    let nobody_knows = json!({"data": [], "meta": {"page_number": 1, "total_pages": 1}});
    let nameless = json!({
        "data": [{"call_leg_id": "leg-2", "name": "dial", "event_timestamp": "2026-09-21T14:12:00Z"}],
        "meta": {"page_number": 1, "total_pages": 2},
    });
    let some = json!({"data": [], "meta": {"cursors": {"after": "v1:next"}}});
    let last = json!({"data": [], "meta": {"cursors": {"after": null}}});
    let payload = json!({"call_control_id": "v3:two", "call_leg_id": "leg-2"});
    let named = json!({
        "data": [{"webhook": {"event_type": "call.initiated", "payload": payload}}],
        "meta": {"page_number": 1, "total_pages": 1},
    });
    let replies = [
        // How a call ended.
        &status,
        &nobody_knows,
        &nobody_knows,
        // Calls to a number: two pages, two pages of those that live, and a name.
        &nameless,
        &nobody_knows,
        &some,
        &last,
        &named,
        &last,
        // Two recordings that are not there.
        &json!({"data": {}}),
        &nobody_knows,
    ];
    let replies = replies.map(|body| whole(200, &body.to_string()));
    let server = Server::start(replies).await;
    asked(&server).await;
    sent.extend(server.seen());
    published::check(DESCRIPTION, &sent);
}
