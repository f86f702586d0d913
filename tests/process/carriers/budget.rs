//! Money through the carriers' own doors: what they bill is what is spent, and a budget ends it.

use std::time::Duration;

use dialfleet_tests::fleet::{TestFleet, leads};
use dialfleet_tests::wait::until;
use reqwest::Method;
use serde_json::{Value, json};

use super::trio::{
    PLAN, TELNYX, at, campaign, each_rung_once, everybody_done, ledger, start, three_carriers,
};

const PEOPLE: u32 = 60;
const CONCURRENCY: u32 = 4;
/// Thousandths of a dollar. Telnyx bills two more than its rate deck says for a minute: commands.
const BUDGET: f64 = 140.0;
const MINUTE: f64 = 9.0;

async fn show(fleet: &TestFleet, id: &str) -> Value {
    let path = format!("/campaigns/{id}");
    fleet.call(Method::GET, &path, None).await.unwrap()
}

/// What ended calls cost, in thousandths of a dollar.
fn spent(campaign: &Value) -> f64 {
    let amounts = campaign["cost"]["spent"].as_array().unwrap();
    let dollars = amounts.iter().map(|sum| {
        assert_eq!(sum["currency"], "USD", "{campaign}");
        sum["amount"].as_str().unwrap().parse::<f64>().unwrap()
    });
    dollars.sum::<f64>() * 1_000.0
}

/// Waits until all that the carrier billed is known.
async fn billed(fleet: &TestFleet, id: &str) -> (Value, f64) {
    let bound = Duration::from_secs(30);
    until("the last bill", bound, async || {
        let seen = ledger(fleet);
        let minutes = u32::try_from(at(&seen, TELNYX).minutes).unwrap();
        let (shown, bill) = (show(fleet, id).await, f64::from(minutes) * MINUTE);
        let known = seen.total_live == 0 && (spent(&shown) - bill).abs() < 1e-6;
        if known {
            Ok((shown, bill))
        } else {
            Err((seen.total_live, spent(&shown), bill))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_pauses_its_campaign_and_more_money_finishes_it() {
    let mut fleet = three_carriers(300.0).await;
    start(&mut fleet, &PLAN).await;
    let mut order = campaign(&[TELNYX]);
    order["concurrency"] = json!(CONCURRENCY);
    order["budget"] = json!({"total": {"amount": "0.14", "currency": "USD"}});
    let id = fleet.launch(order, leads(PEOPLE)).await.unwrap();
    let paused = until("it pauses", Duration::from_secs(30), async || {
        let now = show(&fleet, &id).await;
        if now["state"] == "paused" {
            Ok(now)
        } else {
            Err(now.to_string())
        }
    });
    let paused = paused.await;
    let why = paused["paused_by"].as_str().unwrap_or_default();
    assert!(why.contains("budget is used up"), "{paused}");

    let (paused, bill) = billed(&fleet, &id).await;
    assert!(
        paused["counts"]["done"].as_u64() < Some(PEOPLE.into()),
        "{paused}"
    );
    // The bound that is promised: two minutes are the longest call.
    let most = BUDGET + f64::from(2 * CONCURRENCY) * 2.0 * MINUTE;
    assert!(
        bill > BUDGET / 2.0 && bill <= most,
        "{bill} of {BUDGET}, at most {most}"
    );

    for args in [
        &["campaign", "budget", &id, "9.00"][..],
        &["campaign", "resume", &id],
    ] {
        let done = fleet.client(args).await.unwrap();
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    everybody_done(&fleet, &id, PEOPLE, 60).await;
    each_rung_once(&fleet, PEOPLE);
    billed(&fleet, &id).await;
}
