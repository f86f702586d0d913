//! The client against a server that misbehaves on purpose.

mod dialing;
mod looking;
mod published;

use std::time::Duration;

use dialfleet_domain::amd::Amd;
use dialfleet_domain::flow::Action;
use dialfleet_domain::flow::action::Saying;
use dialfleet_domain::id::{AttemptId, CarrierId};
use dialfleet_domain::phone::E164;

use super::*;
use crate::carrier::test_server as server;

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
        flow_url: "https://d.example/webhooks/twilio/t1/YTpiOjE/0/m-c_/flow?t=0".to_owned(),
        amd: Amd::default(),
        leaves_message: false,
        record: None,
        callback_url: "https://d.example/webhooks/twilio/t1/YTpiOjE/0/m-c_".to_owned(),
    }
}

fn config(base_url: &str) -> TwilioConfig {
    TwilioConfig {
        id: CarrierId::parse("t1").unwrap(),
        cps: 1.0,
        channels: None,
        caller_ids: vec![E164::parse("+15550109999", None).unwrap()],
        weight: 1,
        account_sid: "AC1".to_owned(),
        auth_token: Secret::new("t0ken-of-mine"),
        api_key: None,
        base_url: base_url.to_owned(),
    }
}

/// Short enough to wait for, long enough for a loopback connection on a busy machine.
fn twilio(base_url: &str, total: Duration) -> Twilio {
    let tuning = Tuning {
        connect: Duration::from_secs(1),
        dial: total,
        lookup: total,
        system_roots: Some(false),
    };
    Twilio::tuned(config(base_url), tuning).unwrap()
}

const PATIENT: Duration = Duration::from_secs(20);

#[test]
fn a_faulty_configuration_is_refused_with_the_name_of_the_fault() {
    let build = |change: &dyn Fn(&mut TwilioConfig)| {
        let mut config = config("http://127.0.0.1:9");
        change(&mut config);
        Twilio::new(config).err().map(|error| error.to_string())
    };
    assert_eq!(build(&|_| ()), None);
    for base in [
        "",
        "twilio.com",
        "ftp://h",
        "https://h?x=1",
        "https://u:p@h",
        "https://h#f",
        "file:///x",
    ] {
        let error = build(&|config| config.base_url = base.to_owned());
        assert!(
            error.is_some_and(|text| text.contains("base_url")),
            "{base}"
        );
    }
    for sid in ["", "AC 1", "AC/1", "AC1:"] {
        let error = build(&|config| config.account_sid = sid.to_owned());
        assert!(
            error.is_some_and(|text| text.contains("account_sid")),
            "{sid}"
        );
    }
    for cps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(
            build(&|config| config.cps = cps).is_some_and(|text| text.contains("cps")),
            "{cps}"
        );
    }
    let credentials: [&dyn Fn(&mut TwilioConfig); 3] = [
        &|config| config.auth_token = Secret::new(" "),
        &|config| config.api_key = Some((String::new(), Secret::new("s"))),
        &|config| config.api_key = Some(("SK1".to_owned(), Secret::new(""))),
    ];
    for change in credentials {
        assert!(build(change).is_some_and(|text| text.contains("auth_token")));
    }
}

#[test]
fn nothing_prints_the_token() {
    let mut config = config("http://127.0.0.1:9");
    config.api_key = Some(("SK1".to_owned(), Secret::new("k3y-of-mine")));
    let text = format!("{config:?}");
    assert!(
        !text.contains("t0ken") && !text.contains("k3y") && !text.contains("5550109999"),
        "{text}"
    );
}
