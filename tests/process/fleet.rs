//! Several processes on the real broker and the real store.

use std::time::Duration;

use dialfleet_tests::fleet::{CARRIER, TestFleet, leads};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

/// Retries within seconds, so that a test sees them.
pub(crate) fn quick_campaign(name: &str) -> Value {
    let soon = |max: u32| json!({ "delays_s": [1], "max": max });
    json!({
        "name": name,
        "concurrency": 5,
        "ring_timeout_s": 25,
        "max_duration_s": 300,
        "retry": {
            "max_attempts": 2,
            "unknown_cooloff_s": 30,
            "rules": {
                "busy": soon(1), "no_answer": soon(1), "machine_hangup": soon(1), "unreachable": soon(1),
                "rejected": soon(1), "congestion": soon(5), "carrier_error": soon(5), "invalid_number": soon(1),
                "canceled": soon(1), "expired": soon(1),
            },
        },
    })
}

/// What the network must have seen, whatever happened.
pub(crate) fn judge(fleet: &TestFleet, limit: u32) {
    let ledger = fleet.simulator.network().ledger();
    assert_eq!(ledger.violations, [], "\n{}", fleet.log());
    assert_eq!(ledger.duplicates, 0);
    for (campaign, most) in &ledger.max_live {
        assert!(
            *most <= limit,
            "campaign {campaign} had {most} live calls at once, its limit is {limit}"
        );
    }
    assert_eq!(ledger.total_live, 0, "no call is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn up_completes_a_campaign_on_signed_callbacks() {
    let mut fleet = TestFleet::new(|s| s.speed = 300.0).await.unwrap();
    fleet.start_api("up").await.unwrap();
    let id = fleet.launch(quick_campaign("up"), leads(60)).await.unwrap();
    let done = fleet.done(&id, Duration::from_secs(90)).await;
    assert_eq!(done["counts"]["leads"], 60);
    assert_eq!(done["counts"]["done"], 60, "{done}");
    judge(&fleet, 5);

    // A forged callback, to the address of a real call, changes nothing.
    let calls = fleet
        .call(Method::GET, &format!("/calls?campaign={id}&limit=1"), None)
        .await
        .unwrap();
    let call = calls["data"][0]["id"].as_str().unwrap().to_owned();
    let path = |id: &str| format!("/calls/{}", id.replace(':', "%3A").replace('+', "%2B"));
    let before = fleet.call(Method::GET, &path(&call), None).await.unwrap();
    let attempt = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &call);
    let forged = reqwest::Client::new()
        .post(format!(
            "{}/webhooks/twilio/{CARRIER}/{attempt}/0/k000000.AAAAAAAAAAAAAAAAAAAAAA",
            fleet.url()
        ))
        .header("x-twilio-signature", "bm90IGl0")
        .form(&[
            ("CallSid", "CA1"),
            ("AccountSid", "ACtest"),
            ("CallStatus", "completed"),
        ])
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), 403);
    assert_eq!(
        fleet.call(Method::GET, &path(&call), None).await.unwrap(),
        before
    );
    let metrics = reqwest::get(format!("{}/metrics", fleet.url()))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("dialfleet_refill_seconds_count"),
        "{metrics}"
    );
    assert!(
        metrics.contains("dialfleet_invariant_violations_total"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_workers_ring_nobody_twice_and_lose_nobody() {
    const LEADS: u32 = 1_200;
    let mut fleet = TestFleet::new(|s| s.speed = 600.0).await.unwrap();
    fleet.command_to_end(&["migrate"]).await.unwrap();
    fleet.start_api("api").await.unwrap();
    for _ in 0..4 {
        fleet.start_worker().unwrap();
    }
    let id = fleet
        .launch(quick_campaign("killed"), leads(LEADS))
        .await
        .unwrap();
    // The seed decides who dies; when it dies is the machine's own chance, and that is the point.
    let mut rng = StdRng::seed_from_u64(7);
    let mut dealt = 0;
    for victims in 1..=6u64 {
        let next = u64::from(LEADS) * victims / 8;
        dialfleet_tests::wait::until("more calls", Duration::from_secs(120), async || {
            let placed = fleet.simulator.network().ledger().placed;
            if placed >= next {
                Ok(())
            } else {
                Err(format!("{placed} of {next}\n{}", fleet.log()))
            }
        })
        .await;
        let victim = rng.random_range(0..fleet.workers());
        fleet.kill_worker(victim).await.unwrap();
        fleet.start_worker().unwrap();
        dealt += 1;
    }
    assert_eq!(dealt, 6);
    let done = fleet.done(&id, Duration::from_secs(400)).await;
    assert_eq!(done["counts"]["leads"], LEADS);
    assert_eq!(done["counts"]["done"], LEADS, "{done}");
    judge(&fleet, 5);
}
