//! The guards of callbacks that nobody signs: the address is secret and is used up, the sender's
//! network is known, the attempt is open, the call is its own.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dialfleet_adapters::carrier::sanspbx::SansPbx;
use dialfleet_domain::call::{CallState, Outcome};
use dialfleet_engine::port::Carrier;
use dialfleet_engine::port::carrier::DialAnswer;

use super::rig::{HUMAN, Rig, TALKS_FOR_AN_HOUR};
use super::subjects::{Subject, sanspbx, sanspbx_config};

const JSON: &str = "application/json";

/// The report of a call by the exchange's own name for it.
fn report(callid: &str, disposition: &str) -> String {
    format!(r#"{{"Linkedid":"{callid}","disposition":"{disposition}"}}"#)
}

/// An accepted call that goes on, and the exchange's name for it.
async fn placed(rig: &Rig, phone: u32) -> (dialfleet_domain::call::Attempt, String, String) {
    let attempt = rig.intend(phone).await;
    let request = rig.request(&attempt);
    let DialAnswer::Accepted { call_id, .. } = rig.carrier.dial(&request).await else {
        panic!("not accepted")
    };
    let event = dialfleet_domain::call::CallEvent::Accepted {
        leg: 0,
        call_id: call_id.clone(),
    };
    let now = rig.fleet.clock.now();
    rig.fleet
        .amend(attempt.clone(), |a| a.apply(&event, now))
        .await
        .unwrap();
    let theirs = URL_SAFE_NO_PAD.decode(call_id.as_str()).unwrap();
    (
        attempt,
        request.callback_url,
        String::from_utf8(theirs).unwrap(),
    )
}

#[tokio::test]
async fn an_address_is_used_up_by_the_end_of_its_call() {
    let rig = Rig::new(&sanspbx()).await;
    let (attempt, url, callid) = placed(&rig, TALKS_FOR_AN_HOUR).await;
    // A word that ends nothing, and the same again, leave it open.
    for _ in 0..2 {
        assert_eq!(rig.post(&url, JSON, report(&callid, "on hold")).await, 204);
        assert_eq!(rig.attempt(&attempt).await.state, CallState::Placed);
    }
    assert_eq!(rig.post(&url, JSON, report(&callid, "busy")).await, 204);
    let ended = rig.attempt(&attempt).await;
    assert_eq!(
        (ended.state, ended.outcome),
        (CallState::Ended, Some(Outcome::Busy))
    );
    let before = rig.attempt(&attempt).await;
    for disposition in ["busy", "answer", "failed"] {
        assert_eq!(
            rig.post(&url, JSON, report(&callid, disposition)).await,
            409
        );
        assert_eq!(rig.attempt(&attempt).await, before, "{disposition}");
    }
}

#[tokio::test]
async fn a_report_must_name_the_call_that_was_accepted() {
    let rig = Rig::new(&sanspbx()).await;
    let (attempt, url, callid) = placed(&rig, TALKS_FOR_AN_HOUR).await;
    let (_, _, other) = placed(&rig, TALKS_FOR_AN_HOUR + 1).await;
    for wrong in [other.as_str(), "api-2-1-1", &callid.to_uppercase()] {
        assert_eq!(
            rig.post(&url, JSON, report(wrong, "answer")).await,
            409,
            "{wrong}"
        );
    }
    assert_eq!(rig.attempt(&attempt).await.state, CallState::Placed);
    assert_eq!(rig.post(&url, JSON, report(&callid, "answer")).await, 204);
    assert_eq!(rig.attempt(&attempt).await.state, CallState::Ended);
}

#[tokio::test]
async fn a_report_that_beats_the_answer_names_the_call() {
    let rig = Rig::new(&sanspbx()).await;
    let attempt = rig.intend(HUMAN).await;
    let url = rig.request(&attempt).callback_url;
    assert_eq!(
        rig.post(&url, JSON, report("api-2-1-1", "noanswer")).await,
        204
    );
    let ended = rig.attempt(&attempt).await;
    assert_eq!(ended.outcome, Some(Outcome::NoAnswer));
    assert_eq!(
        rig.post(&url, JSON, report("api-2-1-2", "answer")).await,
        409
    );
}

#[tokio::test]
async fn an_address_that_was_never_written_down_expects_nothing() {
    let rig = Rig::new(&sanspbx()).await;
    let mut attempt = rig.intend(HUMAN).await;
    let mut request = rig.request(&attempt);
    attempt.id = dialfleet_domain::id::AttemptId::new(&attempt.lead, 2);
    request.callback_url = rig.request(&attempt).callback_url;
    let status = rig
        .post(&request.callback_url, JSON, report("api-2-1-1", "answer"))
        .await;
    assert_eq!(status, 409);
}

#[tokio::test]
async fn a_report_must_come_from_a_known_network() {
    let strict = Subject {
        carrier: |base_url| {
            let mut config = sanspbx_config(base_url);
            config.callback_sources = vec!["203.0.113.0/24".to_owned()];
            Arc::new(SansPbx::new(config).unwrap()) as Arc<dyn Carrier>
        },
        ..sanspbx()
    };
    let rig = Rig::new(&strict).await;
    let attempt = rig.intend(HUMAN).await;
    let url = rig.request(&attempt).callback_url;
    let send = async |forwarded: &str| {
        let request = reqwest::Client::new()
            .post(&url)
            .body(report("api-2-1-1", "answer"));
        let request = request.header("x-forwarded-for", forwarded.to_owned());
        request.send().await.unwrap().status().as_u16()
    };
    // We are not behind a proxy, and anybody can write this header.
    assert_eq!(send("203.0.113.7").await, 403);
    assert_eq!(rig.attempt(&attempt).await, attempt);

    let behind_a_proxy = Subject {
        carrier: |base_url| {
            let mut config = sanspbx_config(base_url);
            config.callback_sources = vec!["203.0.113.0/24".to_owned()];
            config.trusted_proxies = vec!["127.0.0.1".to_owned()];
            Arc::new(SansPbx::new(config).unwrap()) as Arc<dyn Carrier>
        },
        ..sanspbx()
    };
    let rig = Rig::new(&behind_a_proxy).await;
    let attempt = rig.intend(HUMAN).await;
    let url = rig.request(&attempt).callback_url;
    let send = async |forwarded: &str| {
        let request = reqwest::Client::new()
            .post(&url)
            .body(report("api-2-1-1", "answer"));
        let request = request.header("x-forwarded-for", forwarded.to_owned());
        request.send().await.unwrap().status().as_u16()
    };
    for forged in ["198.51.100.1", "203.0.113.7, 198.51.100.1", "", "nobody"] {
        assert_eq!(send(forged).await, 403, "{forged}");
    }
    assert_eq!(rig.attempt(&attempt).await, attempt);
    assert_eq!(send("198.51.100.1, 203.0.113.7").await, 204);
    assert_eq!(rig.attempt(&attempt).await.state, CallState::Ended);
}

#[tokio::test]
async fn a_report_sent_twice_counts_once() {
    let rig = Rig::new(&sanspbx()).await;
    rig.break_things(|f| f.callback_duplicated = 1.0);
    let attempt = rig.intend(HUMAN).await;
    rig.dial(&attempt).await;
    let ended = rig.ended(&attempt).await;
    assert_eq!(ended.outcome, Some(Outcome::Answered));
    let ends = ended
        .timeline
        .iter()
        .filter(|moment| moment.event == "ended")
        .count();
    assert_eq!(ends, 1, "{:?}", ended.timeline);
}
