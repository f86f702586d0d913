//! What can be written, and what is said about what cannot.

use serde_json::json;

use super::*;

#[test]
fn old_flows_are_flows() {
    let old = json!({"steps": [{"do": "say", "text": "Hi", "language": "en-GB"}, {"do": "pause", "seconds": 3}, {"do": "hangup"}]});
    let read = Flow::read(&old).expect("a flow");
    assert_eq!(read.check(), Ok(()));
    assert_eq!(serde_json::to_value(&read).expect("JSON"), old);
    assert!(!read.is_templated() && Program::of(&read).is_straight());
}

#[test]
fn every_ready_flow_is_good_and_needs_nothing_of_a_lead() {
    for ready in ready::ALL {
        let flow: Flow = serde_json::from_str(ready.json).expect(ready.name);
        assert_eq!(flow.check(), Ok(()), "{}", ready.name);
        for grain in [Grain::Document, Grain::Command] {
            assert_eq!(
                script(&flow, grain, &[]).check(&flow),
                Ok(()),
                "{}",
                ready.name
            );
        }
        assert_eq!(ready::named(ready.name), Some(&ready));
    }
}

#[test]
fn a_flow_that_is_no_flow_is_told_where() {
    let table = [
        (json!([]), "", "object"),
        (json!({"steps": {}}), "/steps", "list"),
        (json!({"steps": [1]}), "/steps/0", "\"do\""),
        (json!({"steps": [], "stps": []}), "/stps", "unknown field"),
        (
            json!({"steps": [{"do": "hangup"}, {"do": "sing"}]}),
            "/steps/1",
            "unknown variant",
        ),
        (
            json!({"steps": [{"do": "say", "txt": "x"}]}),
            "/steps/0/txt",
            "unknown field",
        ),
        (
            json!({"steps": [{"do": "menu", "options": {"1": [{"do": "hangup"}, {"do": "pause"}]}}]}),
            "/steps/0/options/1/1",
            "missing field `seconds`",
        ),
        (
            json!({"steps": [{"do": "transfer", "to": {"number": "+442079460000"}, "failed": [{"do": "say"}]}]}),
            "/steps/0/failed/0",
            "missing field `text`",
        ),
        (
            json!({"steps": [], "voicemail": {"steps": [{"do": "x"}]}}),
            "/voicemail/steps/0",
            "unknown variant",
        ),
    ];
    for (value, pointer, why) in table {
        let fault = Flow::read(&value).expect_err(pointer);
        assert_eq!(fault.pointer, pointer, "{fault}");
        assert!(fault.reason.contains(why), "{fault}");
        let error = serde_json::from_value::<Flow>(value).expect_err("the same");
        assert!(error.to_string().starts_with("at /"), "{error}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn a_flow_that_cannot_be_meant_is_told_where() {
    let deep = (0..7).fold(
        json!([{"do": "hangup"}]),
        |inner, _| json!([{"do": "menu", "options": {"1": inner}}]),
    );
    let table = [
        (json!([]), "/steps"),
        (json!([{"do": "say", "text": " "}]), "/steps/0/text"),
        (
            json!([{"do": "say", "text": "x".repeat(1_501)}]),
            "/steps/0/text",
        ),
        (json!([{"do": "say", "text": "{{ a"}]), "/steps/0/text"),
        (
            json!([{"do": "say", "text": "{{ a | sha1 }}"}]),
            "/steps/0/text",
        ),
        (
            json!([{"do": "say", "text": "{% for a in b %}{% endfor %}"}]),
            "/steps/0/text",
        ),
        (
            json!([{"do": "say", "text": "{{ a * 10000000 }}"}]),
            "/steps/0/text",
        ),
        (
            json!([{"do": "say", "text": "{{ range(10) }}"}]),
            "/steps/0/text",
        ),
        (
            json!([{"do": "say", "text": "<b>x</b>", "ssml": true}]),
            "/steps/0/text",
        ),
        (
            json!([{"do": "say", "text": "<s>x", "ssml": true}]),
            "/steps/0/text",
        ),
        (
            json!([{"do": "say", "text": "x</speak><speak>", "ssml": true}]),
            "/steps/0/text",
        ),
        (
            json!([{"do": "say", "text": "<!DOCTYPE x>", "ssml": true}]),
            "/steps/0/text",
        ),
        (
            json!([{"do": "say", "text": "x", "language": "\"><"}]),
            "/steps/0/language",
        ),
        (
            json!([{"do": "play", "url": "http://x.example/a"}]),
            "/steps/0/url",
        ),
        (
            json!([{"do": "play", "url": "https://{{ host }}/a"}]),
            "/steps/0/url",
        ),
        (
            json!([{"do": "play", "url": "https://user@x.example/a"}]),
            "/steps/0/url",
        ),
        (json!([{"do": "pause", "seconds": 61}]), "/steps/0/seconds"),
        (json!([{"do": "hangup"}, {"do": "hangup"}]), "/steps/1"),
        (
            json!([{"do": "gather", "max_digits": 33}]),
            "/steps/0/max_digits",
        ),
        (
            json!([{"do": "gather", "finish_on": "1"}]),
            "/steps/0/finish_on",
        ),
        (json!([{"do": "gather", "set": "digits"}]), "/steps/0/set"),
        (json!([{"do": "gather", "tries": 6}]), "/steps/0/tries"),
        (
            json!([{"do": "gather", "prompt": [{"do": "hangup"}]}]),
            "/steps/0/prompt/0",
        ),
        (json!([{"do": "menu", "options": {}}]), "/steps/0/options"),
        (
            json!([{"do": "menu", "options": {"10": []}}]),
            "/steps/0/options/10",
        ),
        (
            json!([{"do": "set", "var": "1x", "value": ""}]),
            "/steps/0/var",
        ),
        (
            json!([{"do": "branch", "on": "digits", "cases": {"1": []}}]),
            "/steps/0/on",
        ),
        (
            json!([{"do": "branch", "on": "{{ digits }}", "cases": {"a": [], "A": []}}]),
            "/steps/0/cases",
        ),
        (
            json!([{"do": "stream", "url": "wss://a.example/x?y=1"}]),
            "/steps/0/url",
        ),
        (
            json!([{"do": "stream", "url": "ws://a.example/"}]),
            "/steps/0/url",
        ),
        (
            json!([{"do": "stream", "url": "wss://a.example/", "capacity": 0}]),
            "/steps/0/capacity",
        ),
        (
            json!([{"do": "transfer", "to": {"number": "123"}}]),
            "/steps/0/to",
        ),
        (
            json!([{"do": "transfer", "to": {"sip": "desk@x"}}]),
            "/steps/0/to",
        ),
        (
            json!([{"do": "transfer", "to": {"queue": "x"}, "caller_id": {"number": "1"}}]),
            "/steps/0/caller_id",
        ),
        (json!([{"do": "voicemail"}]), "/steps/0"),
        (
            json!(vec![json!({"do": "pause", "seconds": 1}); 101]),
            "/steps",
        ),
        (
            json!(vec![json!({"do": "pause", "seconds": 60}); 61]),
            "/steps",
        ),
        (
            deep,
            "/steps/0/options/1/0/options/1/0/options/1/0/options/1/0/options/1/0/options/1",
        ),
    ];
    for (steps, pointer) in table {
        let flow = Flow::read(&json!({ "steps": steps })).expect(pointer);
        let faults = flow.check().expect_err(pointer);
        assert_eq!(faults[0].pointer, pointer, "{}", faults[0]);
        assert!(
            faults
                .iter()
                .all(|f| !f.reason.is_empty() && !f.fix.is_empty())
        );
    }
}

#[test]
fn keys_are_what_a_telephone_has() {
    for good in ["", "0", "12*#", "ABCD", &"1".repeat(32)] {
        assert_eq!(Keys::parse(good).map(String::from).as_deref(), Some(good));
    }
    for bad in ["x", "E", " 1", "１", &"1".repeat(33)] {
        assert_eq!(Keys::parse(bad), None, "{bad}");
    }
    assert!(!format!("{:?}", keys("4242")).contains('4'.to_string().repeat(2).as_str()));
}
