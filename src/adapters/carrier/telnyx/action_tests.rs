use std::collections::BTreeMap;

use dialfleet_domain::flow::Then;
use dialfleet_domain::id::CarrierCallId;
use dialfleet_domain::phone::E164;
use dialfleet_engine::port::carrier::Page;

use super::super::tests::dial_request;
use super::*;

fn step() -> StepRequest {
    let dial = dial_request();
    StepRequest {
        attempt: dial.attempt,
        leg: dial.leg,
        call_id: CarrierCallId::parse("v3:one").unwrap(),
        to: dial.to,
        from: dial.from,
        step: 4,
        page: Page {
            actions: vec![],
            then: Then::Ask,
            next_url: String::new(),
        },
        interrupts: false,
        again_url: String::new(),
        callback_url: dial.callback_url,
    }
}

fn say(text: &str, ssml: bool) -> Action {
    Action::Say(Saying {
        text: text.to_owned(),
        language: Some("en-GB".to_owned()),
        voice: None,
        ssml,
    })
}

fn gather(prompt: Vec<Action>, max_digits: u8, finish_on: Option<char>) -> Action {
    Action::Gather {
        prompt,
        max_digits,
        finish_on,
        timeout_s: 5,
        opt_out: vec!['9'],
    }
}

fn play(url: &str) -> Action {
    Action::Play {
        url: url.to_owned(),
    }
}

fn check(table: Vec<(Action, &str, Value)>) {
    for (action, name, body) in table {
        assert_eq!(
            command_of(&action, &step()),
            Some((name, body)),
            "{action:?}"
        );
    }
    assert_eq!(command_of(&Action::Hangup, &step()), None);
}

#[test]
fn what_is_heard_has_its_command() {
    let female = ("female", "en-GB");
    let url = "https://files.example/a.mp3";
    let keys = |more: Value| {
        let mut body = json!({
            "minimum_digits": 1, "maximum_digits": 1, "timeout_millis": 5_000,
            "inter_digit_timeout_millis": 5_000, "terminating_digit": "",
            "valid_digits": "0123456789#*",
        });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    check(vec![
        (
            say("Hello", false),
            "speak",
            json!({"payload": "Hello", "payload_type": "text", "voice": female.0, "language": female.1}),
        ),
        (
            say("A <break time=\"1s\"/> b", true),
            "speak",
            json!({
                "payload": "<speak>A <break time=\"1s\"/> b</speak>", "payload_type": "ssml",
                "voice": female.0, "language": female.1,
            }),
        ),
        (play(url), "playback_start", json!({ "audio_url": url })),
        (
            Action::Pause { seconds: 3 },
            "gather",
            json!({"timeout_millis": 3_000, "initial_timeout_millis": 3_000}),
        ),
        (
            gather(vec![say("Press", false)], 1, None),
            "gather_using_speak",
            keys(json!({
                "payload": "Press", "payload_type": "text", "voice": female.0, "language": female.1,
                "maximum_tries": 1,
            })),
        ),
        (
            gather(vec![play(url)], 4, Some('#')),
            "gather_using_audio",
            keys(json!({
                "audio_url": url, "maximum_tries": 1, "maximum_digits": 4, "terminating_digit": "#",
            })),
        ),
        (
            gather(vec![], 1, None),
            "gather",
            keys(json!({"initial_timeout_millis": 5_000})),
        ),
        (
            gather(vec![Action::Pause { seconds: 2 }], 1, None),
            "gather",
            keys(json!({"initial_timeout_millis": 7_000, "timeout_millis": 7_000})),
        ),
    ]);
}

#[test]
fn what_connects_the_call_has_its_command() {
    let stream = |codec| Action::Stream {
        url: "wss://agent.example/calls".to_owned(),
        codec,
        params: BTreeMap::from([("name".to_owned(), "Ada".to_owned())]),
    };
    let streamed = |codec: &str, rate: u32| {
        json!({
            "stream_url": "wss://agent.example/calls", "stream_track": "inbound_track",
            "stream_codec": codec, "stream_bidirectional_mode": "rtp",
            "stream_bidirectional_codec": codec, "stream_bidirectional_sampling_rate": rate,
            "custom_parameters": [{"name": "name", "value": "Ada"}],
        })
    };
    let transfer = |to, caller_id: Option<&str>, timeout_s| Action::Transfer {
        to,
        caller_id: caller_id.map(|id| E164::parse(id, None).unwrap()),
        timeout_s,
    };
    let transferred = |to: &str, from: &str, timeout: u32| {
        json!({
            "to": to, "from": from, "timeout_secs": timeout,
            "target_leg_client_state": state(&step(), true).encode(),
            "webhook_url": "https://d.example/webhooks/telnyx/t1/YTpiOjE/0/m-c_",
            "webhook_url_method": "POST", "park_after_unbridge": "self",
        })
    };
    let desk = "+15550107777";
    check(vec![
        (
            Action::Record { on: true },
            "record_start",
            json!({"format": "wav", "channels": "dual"}),
        ),
        (Action::Record { on: false }, "record_stop", json!({})),
        (
            stream(Codec::Pcmu),
            "streaming_start",
            streamed("PCMU", 8_000),
        ),
        (
            stream(Codec::Pcma),
            "streaming_start",
            streamed("PCMA", 8_000),
        ),
        (
            stream(Codec::L16),
            "streaming_start",
            streamed("L16", 16_000),
        ),
        (
            transfer(Target::Number(desk.to_owned()), None, 30),
            "transfer",
            transferred(desk, "+15550109999", 30),
        ),
        (
            transfer(Target::Sip("sip:a@b.example".to_owned()), Some(desk), 1),
            "transfer",
            transferred("sip:a@b.example", desk, 5),
        ),
        (
            transfer(Target::Queue("sales".to_owned()), None, 60),
            "enqueue",
            json!({"queue_name": "sales", "max_wait_time_secs": 60}),
        ),
    ]);
    let other = state(&step(), true);
    assert_eq!(other.of, Some(step().call_id));
    assert_eq!((other.step, state(&step(), false).of), (Some(4), None));
}

#[test]
fn voices_and_languages_are_ones_that_telnyx_has() {
    let table = [
        (Some("en-GB"), None, json!("female"), json!("en-GB")),
        (Some("EN-gb"), None, json!("female"), json!("en-GB")),
        (Some("fr"), None, json!("female"), json!("fr-FR")),
        (Some("fr-BE"), None, json!("female"), json!("fr-FR")),
        (Some("ar-EG"), None, json!("female"), json!("arb")),
        (Some("zh-TW"), None, json!("female"), json!("cmn-CN")),
        (Some("no"), None, json!("female"), json!("nb-NO")),
        (Some("sw-KE"), None, json!("female"), json!("en-US")),
        (
            Some("en-GB"),
            Some("alice"),
            json!("female"),
            json!("en-GB"),
        ),
        (None, Some("Polly.Amy"), json!("AWS.Polly.Amy"), Value::Null),
        (
            None,
            Some("AWS.Polly.Amy"),
            json!("AWS.Polly.Amy"),
            Value::Null,
        ),
        (
            Some("en-GB"),
            Some("Azure.en-GB-X"),
            json!("Azure.en-GB-X"),
            Value::Null,
        ),
    ];
    for (language, voice, said, spoken) in table {
        let body = words(&Saying {
            text: "Good morning".to_owned(),
            language: language.map(str::to_owned),
            voice: voice.map(str::to_owned),
            ssml: false,
        });
        assert_eq!(
            (&body["voice"], &body["language"]),
            (&said, &spoken),
            "{language:?} {voice:?}"
        );
    }
}
