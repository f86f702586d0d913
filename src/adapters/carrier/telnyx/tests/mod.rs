//! The client against a server that misbehaves on purpose.

mod dialing;
mod looking;
mod performing;
mod published;

use async_trait::async_trait;
use dialfleet_domain::amd::Amd;
use dialfleet_domain::flow::action::Saying;
use dialfleet_domain::flow::{Action, Then};
use dialfleet_domain::id::AttemptId;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::carrier::Page;

use super::*;
use crate::carrier::test_server as server;

/// When the tests are.
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);
/// What Telnyx says to a command that it carries out.
const DONE: &str = r#"{"data":{"result":"ok"}}"#;
const CONNECTION: &str = "1293384261075731461";
const PATIENT: Duration = Duration::from_secs(20);

/// It is always [`NOW`].
struct Stopped;

#[async_trait]
impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn uptime(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _time: Duration) {}
}

/// One call from test number to test number.
pub(super) fn dial_request() -> DialRequest {
    DialRequest {
        attempt: AttemptId::parse("a:b:1").unwrap(),
        leg: 0,
        to: E164::parse("+15550100123", None).unwrap(),
        from: E164::parse("+15550109999", None).unwrap(),
        ring_timeout_s: 30,
        max_duration_s: 600,
        opening: Some(vec![
            Action::Say(Saying {
                text: "Hello. This call was placed by Dialfleet. Goodbye.".to_owned(),
                language: None,
                voice: None,
                ssml: false,
            }),
            Action::Hangup,
        ]),
        flow_url: "https://d.example/webhooks/telnyx/t1/YTpiOjE/0/m-c_/flow?t=0".to_owned(),
        amd: Amd::default(),
        leaves_message: false,
        record: None,
        callback_url: "https://d.example/webhooks/telnyx/t1/YTpiOjE/0/m-c_".to_owned(),
    }
}

/// One step of its flow.
fn step_request(step: u32, actions: Vec<Action>) -> StepRequest {
    let dial = dial_request();
    StepRequest {
        attempt: dial.attempt,
        leg: dial.leg,
        call_id: call_id("v3:one"),
        to: dial.to,
        from: dial.from,
        step,
        page: Page {
            actions,
            then: Then::Ask,
            next_url: String::new(),
        },
        interrupts: false,
        again_url: String::new(),
        callback_url: dial.callback_url,
    }
}

fn config(base_url: &str) -> TelnyxConfig {
    TelnyxConfig {
        id: CarrierId::parse("t1").unwrap(),
        cps: 1.0,
        channels: None,
        caller_ids: vec![E164::parse("+15550109999", None).unwrap()],
        weight: 1,
        api_key: Secret::new("KEY-of-mine"),
        connection_id: CONNECTION.to_owned(),
        public_key: "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=".to_owned(),
        base_url: base_url.to_owned(),
    }
}

/// Short enough to wait for, long enough for a loopback connection on a busy machine.
fn telnyx(base_url: &str, total: Duration) -> Telnyx {
    let tuning = Tuning {
        connect: Duration::from_secs(1),
        dial: total,
        lookup: total,
        system_roots: Some(false),
    };
    Telnyx::tuned(config(base_url), Arc::new(Stopped), tuning).unwrap()
}

fn call_id(text: &str) -> CarrierCallId {
    CarrierCallId::parse(text).unwrap()
}

fn first_lines(server: &server::Server) -> Vec<String> {
    let lines = server.seen().into_iter();
    lines
        .map(|r| r.lines().next().unwrap().to_owned())
        .collect()
}

fn error(code: &str) -> String {
    serde_json::json!({"errors": [{"code": code, "title": "No", "detail": "no"}]}).to_string()
}

#[test]
fn a_faulty_configuration_is_refused_with_the_name_of_the_fault() {
    let build = |change: &dyn Fn(&mut TelnyxConfig)| {
        let mut config = config("http://127.0.0.1:9");
        change(&mut config);
        let built = Telnyx::new(config, Arc::new(Stopped));
        built.err().map(|error| error.to_string())
    };
    assert_eq!(build(&|_| ()), None);
    for base in [
        "",
        "telnyx.com",
        "ftp://h",
        "https://h?x=1",
        "https://u:p@h",
        "https://h#f",
    ] {
        let error = build(&|config| config.base_url = base.to_owned());
        assert!(
            error.is_some_and(|text| text.contains("base_url")),
            "{base}"
        );
    }
    for id in ["", "12 3", "1/2"] {
        let error = build(&|config| config.connection_id = id.to_owned());
        assert!(
            error.is_some_and(|text| text.contains("connection_id")),
            "{id}"
        );
    }
    for cps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = build(&|config| config.cps = cps);
        assert!(error.is_some_and(|text| text.contains("cps")), "{cps}");
    }
    for key in ["", "two words", "é\u{7f}"] {
        let error = build(&|config| config.api_key = Secret::new(key));
        assert!(error.is_some_and(|text| text.contains("api_key")), "{key}");
    }
    for key in ["", "A6EH", "not base64"] {
        let error = build(&|config| config.public_key = key.to_owned());
        assert!(
            error.is_some_and(|text| text.contains("public_key")),
            "{key}"
        );
    }
}

#[test]
fn nothing_prints_the_key() {
    let text = format!("{:?}", config("http://127.0.0.1:9"));
    assert!(
        !text.contains("KEY-of") && !text.contains("5550109999"),
        "{text}"
    );
}
