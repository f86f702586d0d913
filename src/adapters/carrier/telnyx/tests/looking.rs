use dialfleet_domain::call::Ending;
use dialfleet_engine::port::carrier::CallStatus;
use serde_json::{Value, json};

use super::server::{Reply, Server, http, whole};
use super::state::State;
use super::*;

fn state(to: &str) -> String {
    let dial = dial_request();
    let state = State {
        attempt: dial.attempt,
        leg: 0,
        to: E164::parse(to, None).unwrap(),
        from: dial.from,
        step: None,
        of: None,
    };
    state.encode()
}

/// A call's status; [`NOW`] is 2026-09-21T14:13:20Z.
fn status(alive: bool, end: Option<&str>) -> Reply {
    let call = json!({"data": {
        "record_type": "call", "call_control_id": "v3:one", "call_leg_id": "leg-1",
        "call_session_id": "s-1", "client_state": state("+15550100123"), "is_alive": alive,
        "call_duration": 5, "start_time": "2026-09-21T14:10:00.123456Z", "end_time": end,
    }});
    whole(200, &call.to_string())
}

fn numbered(data: &[Value], page: u64, of: u64) -> Reply {
    let meta =
        json!({"page_number": page, "total_pages": of, "page_size": 250, "total_results": 1});
    whole(200, &json!({"data": data, "meta": meta}).to_string())
}

fn cursors(data: &[Value], after: Option<&str>) -> Reply {
    let meta = json!({"cursors": {"after": after, "before": null}, "next": null});
    whole(200, &json!({"data": data, "meta": meta}).to_string())
}

fn hangup(call: &str, cause: &str, sip: &str) -> Value {
    let payload = json!({
        "call_control_id": call, "call_leg_id": "leg-1",
        "hangup_cause": cause, "sip_hangup_cause": sip,
    });
    json!({"record_type": "webhook_delivery", "status": "failed",
        "webhook": {"record_type": "event", "event_type": "call.hangup", "payload": payload}})
}

fn event(leg: &str, name: &str, second: u32, metadata: &Value) -> Value {
    json!({"record_type": "call_event", "call_leg_id": leg, "call_session_id": "s", "type": "webhook",
        "name": name, "event_timestamp": format!("2026-09-21T14:12:{second:02}.5Z"), "metadata": metadata})
}

fn active(call: &str, leg: &str, to: &str) -> Value {
    json!({"record_type": "call", "call_control_id": call, "call_leg_id": leg, "call_session_id": "s",
        "client_state": state(to), "call_duration": 50})
}

fn ended(ending: Ending, sip: Option<u16>) -> CallStatus {
    CallStatus::Ended {
        ending,
        duration_s: None,
        sip,
    }
}

async fn look(replies: Vec<Reply>) -> (Result<CallRecord, CarrierError>, Vec<String>) {
    let server = Server::start(replies).await;
    let looked = telnyx(&server.base_url, PATIENT)
        .look(&call_id("v3:one"))
        .await;
    (looked, first_lines(&server))
}

const STATUS: &str = "GET /v2/calls/v3:one HTTP/1.1";
const DELIVERIES: &str = "GET /v2/webhook_deliveries?filter%5Bevent_type%5D=call.hangup&filter%5Bwebhook%5D%5Bcontains%5D=v3%3Aone&page%5Bsize%5D=250 HTTP/1.1";
const EVENTS: &str = "GET /v2/call_events?filter%5Bleg_id%5D=leg-1&page%5Bsize%5D=250 HTTP/1.1";

#[tokio::test]
async fn a_call_that_lives_is_answered_if_its_events_say_so() {
    let began = Timestamp::parse_rfc3339("2026-09-21T14:10:00.123Z").unwrap();
    let answer = |leg| vec![event(leg, "call.answered", 1, &json!({}))];
    let table = [
        (answer("leg-1"), CallStatus::Answered),
        (answer("leg-2"), CallStatus::Initiated),
        (vec![], CallStatus::Initiated),
    ];
    for (events, expected) in table {
        for end in [None, Some("2026-09-21T14:12:00Z")] {
            let replies = vec![status(true, end), numbered(&events, 1, 1)];
            let (looked, asked) = look(replies).await;
            let record = looked.unwrap();
            assert_eq!(record.status, expected);
            assert_eq!(
                (record.to.as_str(), record.from.as_str()),
                ("+15550100123", "+15550109999")
            );
            assert_eq!(record.created_at, Some(began));
            assert_eq!(asked, [STATUS, EVENTS]);
        }
    }
    // Just dialed: there is nothing to ask for yet.
    let (looked, asked) = look(vec![status(false, None)]).await;
    assert_eq!(looked.unwrap().status, CallStatus::Initiated);
    assert_eq!(asked, [STATUS]);
    let (looked, _) = look(vec![status(true, None), whole(500, "")]).await;
    assert!(
        matches!(looked, Err(CarrierError::Unavailable(_))),
        "{looked:?}"
    );
}

#[tokio::test]
async fn how_it_ended_is_in_the_record_of_its_webhook() {
    let other = hangup("v3:other", "user_busy", "486");
    let own = hangup("v3:one", "call_rejected", "603");
    let over = || status(false, Some("2026-09-21T14:13:00Z"));
    let (looked, asked) = look(vec![over(), numbered(&[other, own], 1, 1)]).await;
    assert_eq!(looked.unwrap().status, ended(Ending::Declined, Some(603)));
    assert_eq!(asked, [STATUS, DELIVERIES]);

    // Or among its events.
    let raw = json!({"attempt": 1, "event": {"data": {"payload": {"hangup_cause": "user_busy", "sip_hangup_cause": "486"}}}});
    let events = [
        event("leg-1", "call.answered", 1, &json!({})),
        event("leg-1", "call.hangup", 2, &raw),
    ];
    let (looked, asked) = look(vec![over(), numbered(&[], 1, 1), numbered(&events, 1, 1)]).await;
    assert_eq!(looked.unwrap().status, ended(Ending::Busy, Some(486)));
    assert_eq!(asked, [STATUS, DELIVERIES, EVENTS]);
}

#[tokio::test]
async fn an_end_without_a_cause_waits_for_one_and_not_for_ever() {
    let nothing = |end| {
        vec![
            status(false, Some(end)),
            numbered(&[], 1, 1),
            numbered(&[], 1, 1),
        ]
    };
    let (looked, _) = look(nothing("2026-09-21T14:11:21Z")).await;
    assert!(
        matches!(looked, Err(CarrierError::Unavailable(_))),
        "{looked:?}"
    );
    let (looked, _) = look(nothing("2026-09-21T14:11:20Z")).await;
    assert_eq!(looked.unwrap().status, ended(Ending::Unreachable, None));
}

#[tokio::test]
async fn a_forgotten_call_is_remembered_by_its_webhook() {
    for (code, body) in [(404, "10005"), (422, "90015")] {
        let own = hangup("v3:one", "normal_clearing", "200");
        let (looked, asked) = look(vec![whole(code, &error(body)), numbered(&[own], 1, 1)]).await;
        assert_eq!(looked.unwrap().status, ended(Ending::Completed, Some(200)));
        assert_eq!(asked, [STATUS, DELIVERIES]);
        let (looked, _) = look(vec![whole(code, &error(body)), numbered(&[], 1, 1)]).await;
        assert!(matches!(looked, Err(CarrierError::NotFound)), "{looked:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error() {
    let another = r#"{"data":{"call_control_id":"v3:two","is_alive":true}}"#;
    let no_time =
        r#"{"data":{"call_control_id":"v3:one","is_alive":true,"start_time":"yesterday"}}"#;
    for reply in [
        whole(404, "<html>"),
        whole(500, &error("10005")),
        whole(429, ""),
        whole(200, "{}"),
        whole(200, r#"{"data":{"call_control_id":"v3:one"}}"#),
        whole(200, another),
        whole(200, no_time),
        Reply::Cut(vec![]),
    ] {
        let (looked, _) = look(vec![reply]).await;
        assert!(
            matches!(looked, Err(CarrierError::Unavailable(_))),
            "{looked:?}"
        );
    }
    let (looked, _) = look(vec![whole(401, &error("10009"))]).await;
    assert!(
        matches!(looked, Err(CarrierError::Unauthorized(_))),
        "{looked:?}"
    );
}

async fn find(replies: Vec<Reply>) -> (Result<Vec<CallRecord>, CarrierError>, Vec<String>) {
    let server = Server::start(replies).await;
    let dial = dial_request();
    let found = telnyx(&server.base_url, PATIENT)
        .find(&dial.to, &dial.from)
        .await;
    (found, first_lines(&server))
}

#[tokio::test]
async fn find_reads_events_and_active_calls_to_their_end() {
    let payload = |call: &str| json!({"payload": {"call_control_id": call, "to": "+15550100123"}});
    let over = json!({"payload": {"call_control_id": "v3:1", "hangup_cause": "user_busy", "sip_hangup_cause": "486"}});
    let first = [
        event("leg-1", "call.hangup", 9, &over),
        event("leg-2", "call.answered", 20, &payload("v3:2")),
    ];
    let second = [
        event("leg-2", "call.initiated", 18, &payload("v3:2")),
        event("leg-1", "dial", 3, &json!({})),
        event("leg-3", "dial", 30, &json!({})),
    ];
    let mine = active("v3:4", "leg-4", "+15550100123");
    let lives = [
        active("v3:3", "leg-3", "+15550100123"),
        active("v3:9", "leg-9", "+15550100999"),
    ];
    let (found, asked) = find(vec![
        numbered(&first, 1, 2),
        numbered(&second, 2, 2),
        cursors(&lives, Some("v1:next")),
        cursors(&[mine], None),
    ])
    .await;
    let found = found.unwrap();
    let second = |s: u32| Timestamp::parse_rfc3339(&format!("2026-09-21T14:12:{s:02}.5Z")).unwrap();
    let rows: Vec<_> = found
        .iter()
        .map(|r| (r.call_id.as_str(), r.status, r.created_at))
        .collect();
    let began = NOW - Duration::from_secs(50);
    assert_eq!(
        rows,
        [
            ("v3:3", CallStatus::Initiated, Some(second(30))),
            ("v3:4", CallStatus::Initiated, Some(began)),
            ("v3:2", CallStatus::Answered, Some(second(18))),
            ("v3:1", ended(Ending::Busy, Some(486)), Some(second(3))),
        ]
    );
    assert!(
        found
            .iter()
            .all(|r| r.to == "+15550100123" && r.from == "+15550109999")
    );
    let events =
        "GET /v2/call_events?filter%5Bto%5D=%2B15550100123&filter%5Bfrom%5D=%2B15550109999";
    let calls = format!("GET /v2/connections/{CONNECTION}/active_calls?page%5Bsize%5D=250");
    assert_eq!(
        asked,
        [
            format!("{events}&page%5Bsize%5D=250 HTTP/1.1"),
            format!("{events}&page%5Bsize%5D=250&page%5Bnumber%5D=2 HTTP/1.1"),
            format!("{calls} HTTP/1.1"),
            format!("{calls}&page%5Blimit%5D=250&page%5Bafter%5D=v1%3Anext HTTP/1.1"),
        ]
    );
}

#[tokio::test]
async fn a_call_without_a_name_is_named_or_makes_the_list_incomplete() {
    let nameless = [event("leg-1", "dial", 3, &json!({"command_id": "x"}))];
    let lists = || vec![numbered(&nameless, 1, 1), cursors(&[], None)];
    let mut replies = lists();
    replies.push(numbered(&[hangup("v3:one", "user_busy", "486")], 1, 1));
    let (found, asked) = find(replies).await;
    assert_eq!(found.unwrap()[0].call_id, call_id("v3:one"));
    assert!(
        asked[2].starts_with("GET /v2/webhook_deliveries?filter%5Bwebhook%5D%5Bcontains%5D=leg-1&")
    );
    let mut replies = lists();
    replies.push(numbered(&[], 1, 1));
    let (found, _) = find(replies).await;
    assert!(
        matches!(found, Err(CarrierError::Unavailable(_))),
        "{found:?}"
    );
}

#[tokio::test]
async fn two_empty_lists_are_empty_and_a_partial_one_is_an_error() {
    let (found, _) = find(vec![numbered(&[], 1, 1), cursors(&[], None)]).await;
    assert!(found.unwrap().is_empty());
    let (found, _) = find(vec![numbered(&[], 1, 0), cursors(&[], None)]).await;
    assert!(found.unwrap().is_empty());

    let complete = http(
        200,
        r#"{"data":[],"meta":{"page_number":2,"total_pages":2}}"#,
    );
    let half = Reply::Cut(complete.as_bytes()[..complete.len() - 3].to_vec());
    let bad_time = event("leg-9", "dial", 99, &json!({}));
    let no_leg = json!({"name": "dial", "event_timestamp": "2026-09-21T14:12:00Z"});
    let seconds = [
        whole(500, &error("10007")),
        whole(404, &error("10005")),
        whole(429, ""),
        whole(204, ""),
        whole(200, "{}"),
        whole(200, r#"{"data":[]}"#),
        whole(200, r#"{"data":[],"meta":{}}"#),
        whole(200, r#"{"data":[],"meta":{"total_items":7}}"#),
        numbered(&[bad_time], 2, 2),
        numbered(&[no_leg], 2, 2),
        Reply::Cut(Vec::new()),
        half,
    ];
    for (n, second) in seconds.into_iter().enumerate() {
        let replies = vec![numbered(&[], 1, 2), second, cursors(&[], None)];
        let (found, _) = find(replies).await;
        assert!(
            matches!(found, Err(CarrierError::Unavailable(_))),
            "{n}: {found:?}"
        );
    }
    // And the second list, too.
    for second in [whole(500, ""), whole(200, r#"{"data":[],"meta":{}}"#)] {
        let (found, _) = find(vec![numbered(&[], 1, 1), second]).await;
        assert!(
            matches!(found, Err(CarrierError::Unavailable(_))),
            "{found:?}"
        );
    }
    let (found, _) = find(vec![whole(401, &error("10009"))]).await;
    assert!(
        matches!(found, Err(CarrierError::Unauthorized(_))),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_list_without_end_is_an_error() {
    let again = (0..60).map(|_| cursors(&[], Some("v1:again")));
    let server = Server::start(again).await;
    let live = telnyx(&server.base_url, PATIENT).live().await;
    assert!(
        matches!(live, Err(CarrierError::Unavailable(_))),
        "{live:?}"
    );
    assert_eq!(server.seen().len(), 40);
}

#[tokio::test]
async fn live_calls_are_those_of_the_application() {
    let strangers = json!({"call_control_id": "v3:s", "client_state": "", "call_duration": 90});
    let calls = [active("v3:1", "leg-1", "+15550100123"), strangers];
    // Documented with cursors, generated into clients with numbers: both are read.
    for page in [cursors(&calls, None), numbered(&calls, 1, 1)] {
        let server = Server::start([page]).await;
        let live = telnyx(&server.base_url, PATIENT).live().await.unwrap();
        let rows: Vec<_> = live
            .iter()
            .map(|r| (r.call_id.as_str(), r.to.as_str(), r.created_at))
            .collect();
        let ago = |s| Some(NOW - Duration::from_secs(s));
        assert_eq!(
            rows,
            [("v3:1", "+15550100123", ago(50)), ("v3:s", "", ago(90))]
        );
    }
}
