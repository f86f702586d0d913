//! The JSON that creates a call.

use dialfleet_domain::amd::AmdMode;
use dialfleet_domain::id::CarrierId;
use dialfleet_engine::port::carrier::DialRequest;
use serde_json::{Value, json};

use super::recording;
use super::state::{State, command_id};

/// Pauses between the tries of a webhook: five, 38 s in all (60 s is the most). What our own outage
/// outlasts is found by looking.
const RETRIES_MS: [u32; 5] = [1_000, 2_000, 5_000, 10_000, 20_000];
/// The events we act on.
const EVENTS: [&str; 14] = [
    "call.initiated",
    "call.answered",
    "call.hangup",
    "call.speak.ended",
    "call.playback.ended",
    "call.gather.ended",
    "call.dequeued",
    "streaming.stopped",
    "streaming.failed",
    "call.machine.detection.ended",
    "call.machine.greeting.ended",
    "call.machine.premium.detection.ended",
    "call.machine.premium.greeting.ended",
    "call.recording.saved",
];

/// The body of a Dial command.
///
/// `retry_on_timeout` is true unless told: Telnyx would go on ringing by other routes after
/// `timeout_secs`. Detection is always asynchronous there.
pub(super) fn dial(request: &DialRequest, carrier: &CarrierId, connection_id: &str) -> String {
    let state = State {
        attempt: request.attempt.clone(),
        leg: request.leg,
        to: request.to.clone(),
        from: request.from.clone(),
        step: None,
        of: None,
    };
    let policy = json!({ "retries_ms": RETRIES_MS });
    let policies: serde_json::Map<String, Value> = EVENTS
        .iter()
        .map(|event| ((*event).to_owned(), policy.clone()))
        .collect();
    let mut body = json!({
        "connection_id": connection_id,
        "to": request.to.as_str(),
        "from": request.from.as_str(),
        "timeout_secs": request.ring_timeout_s.clamp(5, 600),
        "retry_on_timeout": false,
        "time_limit_secs": request.max_duration_s.clamp(30, 14_400),
        "client_state": state.encode(),
        "command_id": command_id(carrier, &leg(request), "dial"),
        "webhook_url": request.callback_url,
        "webhook_url_method": "POST",
        "webhook_retries_policies": policies,
    });
    if let Some(channels) = request.record {
        recording::ask(&mut body, channels);
    }
    match request.amd.mode {
        AmdMode::Off => {}
        // It reports the end of a greeting too.
        AmdMode::Async | AmdMode::Sync => body["answering_machine_detection"] = json!("premium"),
    }
    // These two are all that the mode knows.
    let tuning = &request.amd.tuning;
    let settings = [
        (
            "total_analysis_time_millis",
            tuning.timeout_s.map(|s| s * 1_000),
        ),
        ("greeting_duration_millis", tuning.speech_ms),
    ];
    for (name, value) in settings {
        if let (Some(value), true) = (value, request.amd.mode != AmdMode::Off) {
            body["answering_machine_detection_config"][name] = json!(value);
        }
    }
    body.to_string()
}

fn leg(request: &DialRequest) -> String {
    format!("{}/{}", request.attempt.as_str(), request.leg)
}

#[cfg(test)]
mod tests {
    use dialfleet_domain::recording::Channels;

    use super::super::tests::dial_request;
    use super::*;

    fn body(request: &DialRequest) -> Value {
        let carrier = CarrierId::parse("t1").unwrap();
        serde_json::from_str(&dial(request, &carrier, "1293384261075731461")).unwrap()
    }

    #[test]
    fn the_body_is_the_golden_one() {
        let mut request = dial_request();
        let policy = json!({"retries_ms": [1_000, 2_000, 5_000, 10_000, 20_000]});
        let mut golden = json!({
            "connection_id": "1293384261075731461",
            "to": "+15550100123",
            "from": "+15550109999",
            "timeout_secs": 30,
            "retry_on_timeout": false,
            "time_limit_secs": 600,
            // {"a":"a:b:1","l":0,"t":"+15550100123","f":"+15550109999"}
            "client_state": "eyJhIjoiYTpiOjEiLCJsIjowLCJ0IjoiKzE1NTUwMTAwMTIzIiwiZiI6IisxNTU1MDEwOTk5OSJ9",
            "command_id": "22981dc4-84f5-fe19-06a3-1058bd3e55de",
            "webhook_url": "https://d.example/webhooks/telnyx/t1/YTpiOjE/0/m-c_",
            "webhook_url_method": "POST",
            "webhook_retries_policies": {
                "call.initiated": policy, "call.answered": policy, "call.hangup": policy,
                "call.speak.ended": policy, "call.playback.ended": policy,
                "call.gather.ended": policy, "call.dequeued": policy,
                "streaming.stopped": policy, "streaming.failed": policy,
                "call.machine.detection.ended": policy, "call.machine.greeting.ended": policy,
                "call.machine.premium.detection.ended": policy,
                "call.machine.premium.greeting.ended": policy,
                "call.recording.saved": policy,
            },
        });
        assert_eq!(body(&request), golden);
        for amd in [AmdMode::Async, AmdMode::Sync] {
            request.amd.mode = amd;
            golden["answering_machine_detection"] = json!("premium");
            assert_eq!(body(&request), golden);
        }
        request.amd.tuning.timeout_s = Some(20);
        request.amd.tuning.speech_ms = Some(2_000);
        // It has no such setting.
        request.amd.tuning.silence_ms = Some(3_000);
        golden["answering_machine_detection_config"] =
            json!({"total_analysis_time_millis": 20_000, "greeting_duration_millis": 2_000});
        assert_eq!(body(&request), golden);
    }

    #[test]
    fn a_recording_is_asked_for_in_its_published_words() {
        let mut request = dial_request();
        assert_eq!(body(&request).get("record"), None);
        for (channels, word) in [(Channels::Mono, "single"), (Channels::Dual, "dual")] {
            request.record = Some(channels);
            let body = body(&request);
            assert_eq!(body["record"], "record-from-answer");
            assert_eq!(
                (&body["record_channels"], &body["record_format"]),
                (&json!(word), &json!("wav"))
            );
        }
    }

    #[test]
    fn what_telnyx_would_refuse_is_not_asked_for() {
        let mut request = dial_request();
        (request.ring_timeout_s, request.max_duration_s) = (1, 10);
        assert_eq!(body(&request)["timeout_secs"], 5);
        assert_eq!(body(&request)["time_limit_secs"], 30);
        (request.ring_timeout_s, request.max_duration_s) = (9_999, 99_999);
        assert_eq!(body(&request)["timeout_secs"], 600);
        assert_eq!(body(&request)["time_limit_secs"], 14_400);
        assert!(RETRIES_MS.len() <= 5 && RETRIES_MS.iter().sum::<u32>() <= 60_000);
    }

    #[test]
    fn another_leg_is_another_command() {
        let mut request = dial_request();
        let first = body(&request)["command_id"].clone();
        assert_eq!(body(&request)["command_id"], first);
        request.leg = 1;
        assert_ne!(body(&request)["command_id"], first);
    }
}
