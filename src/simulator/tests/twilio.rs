//! Twilio's interface without faults.

use std::sync::atomic::Ordering;

use serde_json::json;
use tokio::time::timeout;

use super::{CALLER, PATIENCE, SID, SPEED, TOKEN, World, statuses};
use crate::{Faults, SimulatorConfig};

#[tokio::test]
async fn every_script_from_end_to_end() {
    let mut world = World::new(Faults::default()).await;
    let answered = vec!["initiated", "ringing", "in-progress", "completed"];
    let table = [
        ("+15550100000", answered.clone(), "200"),
        ("+15550100100", answered.clone(), "200"),
        ("+15550100200", vec!["initiated", "busy"], "486"),
        (
            "+15550100300",
            vec!["initiated", "ringing", "no-answer"],
            "487",
        ),
        ("+15550100401", vec!["initiated", "failed"], "404"),
        ("+15550100500", vec!["initiated", "failed"], "503"),
        (
            "+15550100600",
            vec!["initiated", "ringing", "failed"],
            "603",
        ),
        (
            "+15550100700",
            vec!["initiated", "ringing", "canceled"],
            "487",
        ),
        ("+15550100800", answered.clone(), "200"),
        ("+15550100900", answered.clone(), "200"),
    ];
    for (n, (to, expected, sip)) in table.into_iter().enumerate() {
        let mut form = world.form(to, &format!("camp:lead{n}:1"));
        form.push(("TimeLimit", "120".to_owned()));
        let (status, call) = world.post(&world.calls_url(), &form).await.unwrap();
        assert_eq!((status, &call["status"]), (201, &json!("queued")), "{to}");
        let got = world.until_end().await;
        assert_eq!(statuses(&got), expected, "{to}");
        for (seq, callback) in got.iter().enumerate() {
            assert_eq!(callback.get("SequenceNumber"), seq.to_string());
            assert_eq!(callback.get("CallSid"), call["sid"]);
            assert_eq!((callback.get("AccountSid"), callback.get("To")), (SID, to));
            assert_eq!(callback.get("From"), CALLER);
            assert_eq!(callback.get("Direction"), "outbound-api");
            assert!(callback.get("Timestamp").ends_with(" +0000"));
        }
        let last = got.last().unwrap();
        assert_eq!(last.get("SipResponseCode"), sip, "{to}");
        if to == "+15550100900" {
            assert_eq!(
                (last.get("CallDuration"), last.get("Duration")),
                ("120", "2")
            );
        }
        let (_, end) = world.get(call["uri"].as_str().unwrap()).await;
        assert_eq!(end["status"], *expected.last().unwrap());
        assert_eq!(end["duration"], last.get("CallDuration"));
    }
    let (status, refusal) = world.create("+15550100400", "camp:lead:1").await.unwrap();
    assert_eq!((status, &refusal["code"]), (400, &json!(21211)));
    let ledger = world.sim.network().ledger();
    assert_eq!(
        (ledger.max_live["camp"], ledger.placed, ledger.creates),
        (1, 10, 11)
    );
    assert_eq!((ledger.rings.len(), ledger.violations_total), (7, 0));
}

#[tokio::test]
async fn only_the_events_asked_for_and_the_end_by_default() {
    let mut world = World::new(Faults::default()).await;
    let mut form = world.form("+15550100800", "camp:a:1");
    form.retain(|(key, _)| *key != "StatusCallbackEvent");
    world.post(&world.calls_url(), &form).await.unwrap();
    let first = world.next().await;
    assert_eq!(
        (first.status(), first.get("SequenceNumber")),
        ("completed", "0")
    );
    form.push(("StatusCallbackEvent", "answered".to_owned()));
    world.post(&world.calls_url(), &form).await.unwrap();
    assert_eq!(world.next().await.status(), "in-progress");
}

#[tokio::test]
async fn machine_detection_is_reported_aside_or_at_the_end() {
    let mut world = World::new(Faults::default()).await;
    let mut form = world.form("+15550100100", "camp:a:1");
    form.retain(|(key, _)| *key != "StatusCallbackEvent");
    form.push(("MachineDetection", "Enable".to_owned()));
    form.push(("AsyncAmd", "true".to_owned()));
    form.push(("AsyncAmdStatusCallback", format!("{}/amd", world.origin)));
    let (_, call) = world.post(&world.calls_url(), &form).await.unwrap();
    let two = world.next_n(2).await;
    let amd = two.iter().find(|callback| callback.path == "/amd").unwrap();
    assert_eq!(
        (amd.get("AnsweredBy"), amd.get("CallSid")),
        ("machine_start", call["sid"].as_str().unwrap())
    );
    let end = two.iter().find(|callback| callback.path != "/amd").unwrap();
    assert_eq!(
        (end.status(), end.get("AnsweredBy")),
        ("completed", "machine_start")
    );

    let mut form = world.form("+15550100800", "camp:b:1");
    form.push(("MachineDetection", "DetectMessageEnd".to_owned()));
    world.post(&world.calls_url(), &form).await.unwrap();
    assert_eq!(
        world.until_end().await.last().unwrap().get("AnsweredBy"),
        "human"
    );
}

#[tokio::test]
async fn requests_are_checked_as_twilio_checks_them() {
    let world = World::new(Faults::default()).await;
    let cases = [
        ("To", None, 21201),
        ("From", None, 21213),
        ("Twiml", None, 21205),
        ("Url", Some("ftp://example.com/"), 21205),
        ("Method", Some("PUT"), 21206),
        ("MachineDetection", Some("yes"), 21234),
        ("RecordingTrack", Some("none"), 20001),
        ("To", Some("5550100"), 21211),
        ("From", Some("nobody"), 21212),
        ("StatusCallback", Some("ftp://example.com/"), 21609),
        ("StatusCallback", Some("http://bad_host/"), 21609),
    ];
    for (key, value, code) in cases {
        let mut form = world.form("+15550100000", "camp:a:1");
        form.retain(|(k, _)| *k != key);
        form.push(("Record", "true".to_owned()));
        form.extend(value.map(|v| (key, v.to_owned())));
        let (status, body) = world.post(&world.calls_url(), &form).await.unwrap();
        assert_eq!(
            (status, &body["code"]),
            (400, &json!(code)),
            "{key} {value:?}"
        );
    }
    for (sid, token) in [(SID, "wrong"), ("ACother", TOKEN)] {
        let request = world
            .http
            .get(world.calls_url())
            .basic_auth(sid, Some(token));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 401);
        let expected = json!({
            "code": 20003,
            "message": "Authenticate",
            "more_info": "https://www.twilio.com/docs/errors/20003",
            "status": 401,
        });
        assert_eq!(
            response.json::<serde_json::Value>().await.unwrap(),
            expected
        );
    }
    let (status, body) = world
        .get(&format!("/2010-04-01/Accounts/{SID}/Calls/CA1.json"))
        .await;
    assert_eq!((status, &body["code"]), (404, &json!(20404)));
    assert_eq!(world.sim.network().ledger().placed, 0);
}

#[tokio::test]
async fn calls_are_listed_newest_first_in_pages() {
    let world = World::new(Faults::default()).await;
    let mut sids = Vec::new();
    for n in 0..5 {
        let (_, call) = world
            .create("+15550100900", &format!("camp:{n}:1"))
            .await
            .unwrap();
        sids.insert(0, call["sid"].clone());
    }
    world.create("+15550100901", "camp:x:1").await.unwrap();
    let query = "To=%2B15550100900&From=%2B15557770000&PageSize=2";
    let mut uri = format!("/2010-04-01/Accounts/{SID}/Calls.json?{query}");
    let mut seen = Vec::new();
    for (page, length) in [2, 2, 1].into_iter().enumerate() {
        let (status, body) = world.get(&uri).await;
        let calls = body["calls"].as_array().unwrap();
        assert_eq!(
            (status, calls.len(), &body["page"]),
            (200, length, &json!(page))
        );
        seen.extend(calls.iter().map(|call| call["sid"].clone()));
        // A call created between two pages must not shift them.
        world
            .create("+15550100900", &format!("camp:{page}:2"))
            .await
            .unwrap();
        match body["next_page_uri"].as_str() {
            Some(next) => uri = next.to_owned(),
            None => assert_eq!(page, 2),
        }
    }
    assert_eq!(seen, sids);
    let none = format!("/2010-04-01/Accounts/{SID}/Calls.json?Status=busy");
    assert_eq!(world.get(&none).await.1["calls"], json!([]));
}

#[tokio::test]
async fn calls_are_hung_up_once() {
    let config = SimulatorConfig {
        speed: 100.0,
        ..SimulatorConfig::new(SID, TOKEN)
    };
    let mut world = World::with(config).await;
    let (_, call) = world.create("+15550100900", "camp:a:1").await.unwrap();
    let url = format!("{}{}", world.sim.base_url(), call["uri"].as_str().unwrap());
    while world.next().await.status() != "in-progress" {}
    let cancel = [("Status", "canceled".to_owned())];
    let (status, same) = world.post(&url, &cancel).await.unwrap();
    assert_eq!((status, &same["status"]), (200, &json!("in-progress")));
    let complete = [("Status", "completed".to_owned())];
    assert_eq!(world.post(&url, &complete).await.unwrap().0, 200);
    assert_eq!(world.next().await.status(), "completed");
    let (status, body) = world.post(&url, &complete).await.unwrap();
    assert_eq!((status, &body["code"]), (400, &json!(21220)));

    let (_, call) = world.create("+15550100300", "camp:b:1").await.unwrap();
    let url = format!("{}{}", world.sim.base_url(), call["uri"].as_str().unwrap());
    while world.next().await.status() != "ringing" {}
    assert_eq!(world.post(&url, &cancel).await.unwrap().0, 200);
    assert_eq!(world.next().await.status(), "canceled");
}

#[tokio::test]
async fn refused_callbacks_are_retried_as_the_fragment_says() {
    let mut world = World::new(Faults::default()).await;
    let mut form = world.form("+15550100200", "camp:a:1");
    form.retain(|(key, _)| *key != "StatusCallbackEvent");
    for (_, value) in form.iter_mut().filter(|(key, _)| *key == "StatusCallback") {
        value.push_str("#rc=3&rp=all");
    }
    world.refuse.store(2, Ordering::SeqCst);
    world.post(&world.calls_url(), &form).await.unwrap();
    let three = world.next_n(3).await;
    let paths: Vec<_> = three.iter().map(|c| c.path == "refused").collect();
    assert_eq!(paths, [true, true, false]);
    assert!(
        three
            .iter()
            .all(|c| c.token == three[0].token && !c.token.is_empty())
    );
}

#[tokio::test]
async fn it_can_be_controlled_and_shut_down_with_calls_in_progress() {
    let mut world = World::new(Faults::default()).await;
    let sim = |path: &str| format!("{}/_sim/{path}", world.sim.base_url());
    let post = |path: &str, body: serde_json::Value| world.http.post(sim(path)).json(&body).send();
    let scripts = json!({"+15550100000": {"kind": "busy"}});
    assert_eq!(post("scripts", scripts).await.unwrap().status(), 204);
    let faults = json!({"callback_duplicated": 1.0, "only_events": ["busy"]});
    assert_eq!(post("faults", faults).await.unwrap().status(), 204);
    world.create("+15550100000", "camp:a:1").await.unwrap();
    assert_eq!(
        statuses(&world.next_n(3).await),
        ["initiated", "busy", "busy"]
    );
    assert_eq!(
        world.get("/_sim/ledger").await.1["ended"],
        json!({"busy": 1})
    );
    assert_eq!(world.get("/_sim/calls").await.1[0]["attempt"], "camp:a:1");
    let reset = format!("{}/_sim/reset", world.sim.base_url());
    assert_eq!(world.http.post(reset).send().await.unwrap().status(), 204);
    assert_eq!(world.get("/_sim/ledger").await.1["placed"], 0);
    assert_eq!(
        world.get("/_sim/faults").await.1["callback_duplicated"],
        0.0
    );

    world.create("+15550100900", "camp:b:1").await.unwrap();
    assert_eq!(world.next().await.status(), "initiated");
    timeout(PATIENCE, world.sim.shutdown())
        .await
        .expect("every task ends");
}

#[tokio::test]
async fn people_are_scripted_and_what_they_heard_is_read_over_http() {
    let mut world = World::at_speed(SPEED).await;
    let scripts = serde_json::json!({"+15550137001": {
        "kind": "person",
        "ring_ms": 500,
        "person": {"who": {"machine": {"greeting_ms": 2000, "then": "beep"}}, "stays_ms": 9000},
    }});
    let url = format!("{}/_sim/scripts", world.sim.base_url());
    let set = world.http.post(url).json(&scripts).send().await.unwrap();
    assert_eq!(set.status(), 204);
    world.call("+15550137001", &[]).await;
    world.until_end().await;
    let (_, calls) = world.get("/_sim/heard?phone=%2B15550137001").await;
    let [answered, paused, beep, end] = calls[0].as_array().unwrap().as_slice() else {
        panic!("{calls}");
    };
    assert_eq!(
        (&answered["what"], &answered["party"]),
        (&"answered".into(), &"machine".into())
    );
    assert_eq!(
        (&paused["what"], &paused["ms"]),
        (&"paused".into(), &3_600_000.into())
    );
    assert_eq!(
        (&beep["what"], &beep["at_ms"]),
        (&"beep".into(), &2_300.into())
    );
    assert_eq!(
        (&end["what"], &end["by"]),
        (&"hung_up".into(), &"callee".into())
    );
}
