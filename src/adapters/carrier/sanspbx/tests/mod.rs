//! The client against an exchange that misbehaves on purpose.

mod configuring;
mod dialing;
mod hanging_up;
mod tokens;

use std::time::Duration;

use dialfleet_domain::amd::Amd;
use dialfleet_domain::flow::Action;
use dialfleet_domain::flow::action::Saying;
use dialfleet_domain::id::{AttemptId, CarrierId};
use dialfleet_domain::phone::E164;

use super::*;
use crate::carrier::test_server::{Reply, Server, http, whole};

const PATIENT: Duration = Duration::from_secs(20);
const GRANTED: &str =
    r#"{"status":"success","Apitoken":"s3ssion-1","expiry_time":"2026-01-01 00:00:00"}"#;
const GRANTED_ANEW: &str = r#"{"status":"success","data":{"Apitoken":"s3ssion-2"}}"#;
const PLACED: &str =
    r#"{"status":"success","data":{"msg":{"callid":"api-2-09876543210-1700000000000"}}}"#;

fn dial_request() -> DialRequest {
    DialRequest {
        attempt: AttemptId::parse("a:b:1").unwrap(),
        leg: 0,
        to: E164::parse("+919876543210", None).unwrap(),
        from: E164::parse("+911140001234", None).unwrap(),
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
        flow_url: "https://d.example/webhooks/sanspbx/s1/YTpiOjE/0/m-c_/flow?t=0".to_owned(),
        amd: Amd::default(),
        leaves_message: false,
        callback_url: "https://d.example/webhooks/sanspbx/s1/YTpiOjE/0/m-c_".to_owned(),
    }
}

fn config(base_url: &str) -> SansPbxConfig {
    SansPbxConfig {
        id: CarrierId::parse("s1").unwrap(),
        cps: 1.0,
        channels: None,
        caller_ids: vec![E164::parse("+911140001234", None).unwrap()],
        weight: 1,
        base_url: base_url.to_owned(),
        access_token: Secret::new("st4tic-of-mine"),
        access_key: Secret::new("k3y-of-mine"),
        basic: None,
        app_id: 2,
        to_format: TO_FORMAT.to_owned(),
        from_format: FROM_FORMAT.to_owned(),
        country_code: COUNTRY_CODE.to_owned(),
        longest_call: LONGEST_CALL,
        callback_sources: vec!["203.0.113.0/24".to_owned()],
        trusted_proxies: Vec::new(),
        refusals: BTreeMap::new(),
        dispositions: BTreeMap::new(),
    }
}

/// With times to wait for, and long enough for a loopback connection on a busy machine.
fn tuning() -> Tuning {
    Tuning {
        connect: Duration::from_secs(1),
        token: PATIENT,
        dial: PATIENT,
        other: PATIENT,
        ages: Ages::default(),
        system_roots: Some(false),
    }
}

fn sans(base_url: &str) -> SansPbx {
    SansPbx::tuned(config(base_url), tuning()).unwrap()
}

/// The requests that came, each as its path and its body, and `Apitoken` in between.
fn seen(server: &Server) -> Vec<(String, Option<String>, String)> {
    let split = |request: String| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let token = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("apitoken")
                .then(|| value.to_owned())
        });
        (path, token, body.to_owned())
    };
    server.seen().into_iter().map(split).collect()
}

fn paths(server: &Server) -> Vec<String> {
    seen(server).into_iter().map(|(path, _, _)| path).collect()
}
