use dialfleet_domain::call::Detected;
use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dialfleet_domain::call::Ending;
use dialfleet_domain::id::AttemptId;
use dialfleet_domain::phone::E164;
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
const CONNECTION: &str = "1293384261075731461";
/// The attempt is `a:b:1`, the leg 0.
const URL: &str = "https://d.example/webhooks/telnyx/t1/YTpiOjE/0/m-c_";

static PAIR: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap());

fn key() -> PublicKey {
    PublicKey::parse(&STANDARD.encode(PAIR.public_key())).unwrap()
}

fn state(step: Option<u32>) -> State {
    State {
        attempt: AttemptId::parse("a:b:1").unwrap(),
        leg: 0,
        to: E164::parse("+15550100123", None).unwrap(),
        from: E164::parse("+15550109999", None).unwrap(),
        step,
        of: None,
    }
}

fn signed(body: &str, url: &str) -> RawCallback {
    let at = (NOW.millis() / 1_000).to_string();
    let signature = PAIR.sign(format!("{at}|{body}").as_bytes());
    let headers = [
        ("telnyx-signature-ed25519", STANDARD.encode(signature)),
        ("telnyx-timestamp", at),
        ("content-type", "application/json".to_owned()),
    ];
    RawCallback {
        url: url.to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        peer: None,
        body: body.to_owned().into(),
    }
}

/// An event as Telnyx sends it, with these fields more in its payload, or instead.
fn event(kind: &str, step: Option<u32>, more: &Value) -> Value {
    let mut payload = json!({
        "call_control_id": "v3:MdI91X4lWFEs7IgbBEOT9M4AigoY08M0WWZFISt1Yw2axZ_IiE4pqg",
        "call_leg_id": "428c31b6-7af4-4bcb-b7f5-5013ef9657c1",
        "call_session_id": "428c31b6-abf3-3bc1-b7f4-5013ef9657c1",
        "client_state": state(step).encode(),
        "connection_id": CONNECTION,
        "from": "+15550109999",
        "to": "+15550100123",
        "start_time": "2026-09-21T14:26:40.931675Z",
        "tags": [],
    });
    for (name, value) in more.as_object().unwrap() {
        payload[name] = value.clone();
    }
    json!({
        "data": {
            "record_type": "event",
            "event_type": kind,
            "id": "0ccc7b54-4df3-4bca-a65a-3da1ecc777f0",
            "occurred_at": "2026-09-21T14:26:41.123456Z",
            "payload": payload,
        },
        "meta": {"attempt": 1, "delivered_to": URL},
    })
}

fn read_it(event: &Value) -> Result<CallbackNews, CallbackRefused> {
    read(CONNECTION, &key(), &signed(&event.to_string(), URL), NOW)
}

fn said(kind: &str, step: Option<u32>, more: &Value) -> Vec<CallStatus> {
    read_it(&event(kind, step, more)).unwrap().statuses
}

fn over(ending: Ending, sip: Option<u16>) -> Vec<CallStatus> {
    vec![CallStatus::Ended {
        ending,
        duration_s: None,
        sip,
    }]
}

#[test]
fn every_event_of_a_call_says_its_own() {
    let hangup = |cause: &str, sip: &str| {
        json!({
            "hangup_cause": cause, "sip_hangup_cause": sip, "hangup_source": "callee", "state": "hangup",
            "call_quality_stats": {"inbound": {"mos": "4.50"}, "outbound": null},
        })
    };
    let initiated = json!({"direction": "outgoing", "state": "bridging"});
    let answered = json!({"state": "answered"});
    let (busy, silent) = (
        hangup("user_busy", "486"),
        hangup("no_answer", "unspecified"),
    );
    let done = hangup("normal_clearing", "200");
    let table = [
        (
            "call.initiated",
            None,
            initiated,
            vec![CallStatus::Initiated],
        ),
        ("call.answered", None, answered, vec![CallStatus::Answered]),
        ("call.hangup", None, busy, over(Ending::Busy, Some(486))),
        (
            "call.hangup",
            Some(2),
            done,
            over(Ending::Completed, Some(200)),
        ),
        ("call.hangup", None, silent, over(Ending::NoAnswer, None)),
        (
            "call.hangup",
            None,
            json!({}),
            over(Ending::Unreachable, None),
        ),
        ("call.bridged", None, json!({}), vec![]),
        ("call.cost", None, json!({"status": 200}), vec![]),
        ("call.something.new", None, json!({}), vec![]),
    ];
    for (kind, step, more, expected) in table {
        assert_eq!(said(kind, step, &more), expected, "{kind} {more}");
    }
}

#[test]
fn every_detection_says_its_own() {
    let detected = |detected| vec![CallStatus::detected(detected)];
    let standard = "call.machine.detection.ended";
    let premium = "call.machine.premium.detection.ended";
    let beep = "call.machine.premium.greeting.ended";
    let table = [
        (standard, "human", detected(Detected::Human)),
        (standard, "machine", detected(Detected::MachineStart)),
        (standard, "not_sure", detected(Detected::NotSure)),
        (
            premium,
            "human_residence",
            detected(Detected::HumanResidence),
        ),
        (premium, "human_business", detected(Detected::HumanBusiness)),
        (premium, "machine", detected(Detected::MachineStart)),
        (premium, "fax_detected", detected(Detected::Fax)),
        (premium, "silence", detected(Detected::Silence)),
        (beep, "beep_detected", detected(Detected::MachineEndBeep)),
        (
            "call.machine.greeting.ended",
            "ended",
            detected(Detected::MachineEndSilence),
        ),
    ];
    for (kind, result, expected) in table {
        let said = said(kind, None, &json!({ "result": result }));
        assert_eq!(said, expected, "{kind} {result}");
    }
}

#[test]
fn what_a_call_cost_is_the_sum_of_its_parts() {
    let part = |cost: Value, currency: &str| json!({ "call_part": "sip-trunking", "cost": cost, "currency": currency });
    let cost = |amount: &str| {
        let money = Money::parse(amount, "USD").unwrap();
        vec![CallStatus::Cost { money }]
    };
    let (one, two) = (json!("0.0025"), json!(0.004));
    let table = [
        (json!([part(one.clone(), "USD")]), cost("0.0025")),
        (
            json!([part(one.clone(), "USD"), part(two.clone(), "USD")]),
            cost("0.0065"),
        ),
        // A part must not be taken for the whole.
        (json!([part(one.clone(), "USD"), part(two, "EUR")]), vec![]),
        (json!([part(one, "USD"), part(json!(null), "USD")]), vec![]),
        (json!([]), vec![]),
        (json!("0.0025"), vec![]),
        (json!(null), vec![]),
    ];
    for (parts, expected) in table {
        let told = said("call.cost", None, &json!({ "cost_parts": parts }));
        assert_eq!(told, expected, "{parts}");
    }
}

#[test]
fn the_end_of_a_command_is_told_with_its_number() {
    let ended = |step, input| vec![CallStatus::StepEnded { step, input }];
    let done = |step| ended(step, Input::Done);
    let keys = |text: &str| {
        let keys = Keys::parse(text).unwrap();
        ended(1, Input::Keys { keys })
    };
    let status = |word: &str| json!({ "status": word });
    let gathered = |digits: &str, word: &str| json!({"digits": digits, "status": word});
    let (speak, play) = ("call.speak.ended", "call.playback.ended");
    let (gather, left) = ("call.gather.ended", "call.dequeued");
    let failed = ended(7, Input::Failed);
    let nobody = ended(1, Input::Transferred { connected: false });
    let table = [
        ("call.speak.started", Some(0), status(""), vec![]),
        (speak, Some(0), status("completed"), done(0)),
        (speak, Some(0), status("cancelled"), done(0)),
        (speak, Some(0), status("cancelled_amd"), done(0)),
        (speak, Some(0), status("unknown"), done(0)),
        (speak, Some(7), status("failed"), failed.clone()),
        (speak, Some(0), status("call_hangup"), vec![]),
        (speak, None, status("completed"), vec![]),
        ("call.playback.started", Some(0), status(""), vec![]),
        (play, Some(0), status("completed"), done(0)),
        (play, Some(7), status("file_not_found"), failed.clone()),
        (play, Some(0), status("call_hangup"), vec![]),
        (gather, Some(1), gathered("12", "valid"), keys("12")),
        (gather, Some(1), gathered("7", "invalid"), keys("7")),
        (gather, Some(1), gathered("", "timeout"), keys("")),
        (gather, Some(1), gathered("x", "valid"), keys("")),
        (gather, Some(1), status("cancelled"), keys("")),
        (gather, Some(1), gathered("1", "call_hangup"), vec![]),
        ("call.dtmf.received", Some(1), json!({"digit": "1"}), vec![]),
        ("streaming.started", Some(1), json!({}), vec![]),
        ("streaming.stopped", Some(1), json!({}), done(1)),
        ("streaming.failed", Some(7), json!({}), failed),
        ("call.enqueued", Some(1), json!({}), vec![]),
        (left, Some(1), json!({"reason": "timeout"}), nobody.clone()),
        (left, Some(1), json!({}), nobody),
        (left, Some(1), json!({"reason": "bridged"}), vec![]),
        (left, Some(1), json!({"reason": "hangup"}), vec![]),
    ];
    for (kind, step, more, expected) in table {
        assert_eq!(said(kind, step, &more), expected, "{kind} {more}");
    }
}

#[test]
fn the_other_leg_of_a_transfer_speaks_for_the_persons_call() {
    let mut state = state(Some(4));
    state.of = Some(CarrierCallId::parse("v3:ours").unwrap());
    let of = |kind: &str, cause: &str| {
        let more = json!({
            "call_control_id": "v3:theirs", "client_state": state.encode(), "hangup_cause": cause,
        });
        let news = read_it(&event(kind, None, &more)).unwrap();
        assert_eq!(news.call_id.as_str(), "v3:ours");
        news.statuses
    };
    let over = |connected| {
        let input = Input::Transferred { connected };
        vec![CallStatus::StepEnded { step: 4, input }]
    };
    for (kind, cause, expected) in [
        ("call.initiated", "", vec![]),
        ("call.answered", "", vec![]),
        ("call.bridged", "", vec![]),
        ("call.hangup", "normal_clearing", over(true)),
        ("call.hangup", "time_limit", over(true)),
        ("call.hangup", "user_busy", over(false)),
        ("call.hangup", "timeout", over(false)),
        ("call.hangup", "call_rejected", over(false)),
        ("call.hangup", "originator_cancel", over(false)),
        ("call.hangup", "unspecified", over(false)),
    ] {
        assert_eq!(of(kind, cause), expected, "{kind} {cause}");
    }
}

#[test]
fn the_event_has_its_own_key_whatever_try_it_is() {
    let mut event = event("call.answered", None, &json!({}));
    let first = read_it(&event).unwrap();
    assert_eq!(first.event_key, "0ccc7b54-4df3-4bca-a65a-3da1ecc777f0");
    assert_eq!(
        first.call_id.as_str(),
        "v3:MdI91X4lWFEs7IgbBEOT9M4AigoY08M0WWZFISt1Yw2axZ_IiE4pqg"
    );
    event["meta"]["attempt"] = json!(3);
    assert_eq!(read_it(&event), Ok(first));
}

#[test]
fn a_genuine_event_is_good_for_its_own_address_only() {
    let body = event("call.hangup", None, &json!({})).to_string();
    let read_at = |url: &str| read(CONNECTION, &key(), &signed(&body, url), NOW);
    assert!(read_at(URL).is_ok());
    for url in [
        "https://d.example/webhooks/telnyx/t1/YTpiOjE/1/m-c_",
        // a:c:1
        "https://d.example/webhooks/telnyx/t1/YTpjOjE/0/m-c_",
        "https://d.example/",
    ] {
        assert_eq!(read_at(url), Err(CallbackRefused::Forged), "{url}");
    }
    let other = event("call.hangup", None, &json!({"connection_id": "2"}));
    assert_eq!(read_it(&other), Err(CallbackRefused::Forged));
}

#[test]
fn without_a_valid_signature_nothing_is_believed() {
    let raw = signed(&event("call.answered", None, &json!({})).to_string(), URL);
    let refused = |raw: &RawCallback, now| read(CONNECTION, &key(), raw, now);
    let forged = Err(CallbackRefused::Forged);
    for name in ["telnyx-signature-ed25519", "telnyx-timestamp"] {
        let mut raw = raw.clone();
        raw.headers.remove(name);
        assert_eq!(refused(&raw, NOW), forged, "{name}");
        raw.headers.insert(name.to_owned(), "1".to_owned());
        assert_eq!(refused(&raw, NOW), forged, "{name}");
    }
    let mut changed = raw.clone();
    changed.body = [raw.body.as_ref(), b" "].concat().into();
    assert_eq!(refused(&changed, NOW), forged);
    let later = |seconds: i64| Timestamp::from_millis(NOW.millis() + seconds * 1_000);
    for seconds in [301, -301] {
        assert_eq!(refused(&raw, later(seconds)), forged, "{seconds}");
    }
    for seconds in [300, -300] {
        assert!(refused(&raw, later(seconds)).is_ok(), "{seconds}");
    }
    let stranger = PublicKey::parse(&STANDARD.encode([5; 32])).unwrap();
    assert_eq!(read(CONNECTION, &stranger, &raw, NOW), forged);
}

#[test]
fn what_is_genuine_and_not_understood_is_unreadable() {
    let no_state = event("call.answered", None, &json!({"client_state": null}));
    let other_state = event("call.answered", None, &json!({"client_state": "aGV5"}));
    let no_call = event("call.answered", None, &json!({"call_control_id": null}));
    let mut no_id = event("call.answered", None, &json!({}));
    no_id["data"]["id"] = json!("");
    let mut long_id = no_id.clone();
    long_id["data"]["id"] = json!("x".repeat(101));
    let version_1 = json!({"event_type": "call.answered", "id": "x", "payload": {}});
    for event in [
        no_state,
        other_state,
        no_call,
        no_id,
        long_id,
        version_1,
        json!([]),
    ] {
        assert!(
            matches!(read_it(&event), Err(CallbackRefused::Unreadable(_))),
            "{event}"
        );
    }
}

#[test]
fn a_saved_recording_is_news() {
    let saved = json!({
        "recording_id": "7c0cd2b8-4a1a-4a47-8b0b-2d4b2f0f0001",
        "channels": "dual",
        "recording_started_at": "2026-09-21T14:26:40.500000Z",
        "recording_ended_at": "2026-09-21T14:26:44.750000Z",
        "recording_urls": { "wav": "https://s3.example/r.wav?signature=x" },
        "public_recording_urls": {},
    });
    let read = |saved: &Value| {
        let body = event("call.recording.saved", Some(2), saved).to_string();
        super::read(CONNECTION, &key(), &signed(&body, URL), NOW).unwrap()
    };
    let told = read(&saved);
    assert_eq!(told.statuses, []);
    let recording = told.recording.unwrap();
    assert_eq!(recording.id, "7c0cd2b8-4a1a-4a47-8b0b-2d4b2f0f0001");
    assert_eq!(
        (recording.channels, recording.duration_ms),
        (Some(2), Some(4_250))
    );
    assert_eq!(
        recording.url.unwrap().expose(),
        "https://s3.example/r.wav?signature=x"
    );
    // It may name neither itself nor the call but by its leg.
    let mut less = saved;
    less["recording_id"] = Value::Null;
    less["call_control_id"] = Value::Null;
    let told = read(&less);
    assert_eq!(
        told.call_id.as_str(),
        "428c31b6-7af4-4bcb-b7f5-5013ef9657c1"
    );
    let began = Timestamp::parse_rfc3339("2026-09-21T14:26:40.500Z")
        .unwrap()
        .millis();
    let made = format!("leg:428c31b6-7af4-4bcb-b7f5-5013ef9657c1:{began}");
    assert_eq!(told.recording.unwrap().id, made);
}
