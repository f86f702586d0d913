//! One process and a network with an account of each kind.

use std::time::Duration;

use dialfleet_simulator::{
    Account, CarrierCount, Ledger, Population, SansPbxAccount, TelnyxAccount, TwilioAccount,
    Weights,
};
use dialfleet_tests::fleet::{ACCOUNT, TOKEN, TestFleet};
use dialfleet_tests::proxy::Closed;
use dialfleet_tests::wait::until;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fleet::judge;

pub(super) const TELNYX: &str = "telnyx";
pub(super) const TWILIO: &str = "twilio";
pub(super) const SANSPBX: &str = "sanspbx";
/// The ids in carriers.toml, and the names in the ledger.
pub(super) const ALL: [&str; 3] = [TELNYX, TWILIO, SANSPBX];
pub(super) const API_KEY: &str = "KEYtest";
pub(super) const LIMIT: u32 = 20;

pub(super) fn telnyx() -> TelnyxAccount {
    TelnyxAccount {
        says_cost: true,
        ..TelnyxAccount::new(API_KEY, "7267")
    }
}

/// One process, and a network with an account of each kind where everybody answers.
pub(super) async fn three_carriers(speed: f64) -> TestFleet {
    TestFleet::embedded(|s| {
        let mut sans = SansPbxAccount::new(SANSPBX, "static", "key");
        sans.country_code = "44".to_owned();
        let twilio = TwilioAccount {
            name: TWILIO.to_owned(),
            account_sid: ACCOUNT.to_owned(),
            auth_token: TOKEN.to_owned(),
            cps: None,
        };
        s.accounts = vec![
            Account::Telnyx(telnyx()),
            Account::Twilio(twilio),
            Account::SansPbx(sans),
        ];
        s.population = Population {
            weights: Weights {
                human: 1,
                machine: 0,
                busy: 0,
                no_answer: 0,
                invalid: 0,
                congestion: 0,
                declined: 0,
                rings_then_cancels: 0,
            },
            ..Population::default()
        };
        s.speed = speed;
    })
    .await
    .unwrap()
}

/// What differs from three carriers that work.
pub(super) struct Plan<'a> {
    pub(super) api_key: &'a str,
    /// In the order of [`ALL`].
    pub(super) cps: [u32; 3],
    /// Where a carrier is, if not at the network.
    pub(super) elsewhere: &'a [(&'a str, &'a Closed)],
}

pub(super) const PLAN: Plan<'_> = Plan {
    api_key: API_KEY,
    cps: [50; 3],
    elsewhere: &[],
};

/// Writes carriers.toml and starts the one process.
pub(super) async fn start(fleet: &mut TestFleet, plan: &Plan<'_>) {
    let base = fleet.simulator.base_url();
    let url = |id: &str| {
        let closed = plan.elsewhere.iter().find(|(other, _)| *other == id);
        closed.map_or_else(|| base.clone(), |(_, closed)| closed.url(&base))
    };
    let [telnyx_cps, twilio_cps, sanspbx_cps] = plan.cps;
    let toml = format!(
        r#"
[[carrier]]
id = "{TELNYX}"
kind = "telnyx"
base_url = "{}"
api_key = "{}"
connection_id = "7267"
public_key = "{}"
cps = {telnyx_cps}
caller_ids = ["+442079460998"]
rates = [{{ prefix = "44", price_per_min = "0.007", currency = "USD" }}]

[[carrier]]
id = "{TWILIO}"
kind = "twilio"
base_url = "{}"
account_sid = "{ACCOUNT}"
auth_token = {{ env = "SIM_TOKEN" }}
cps = {twilio_cps}
caller_ids = ["+442079460999"]
rates = [{{ prefix = "44", price_per_min = "0.0158", currency = "USD" }}]

[[carrier]]
id = "{SANSPBX}"
kind = "sanspbx"
base_url = "{}/pbxadmin/sanpbxapi"
access_token = "static"
access_key = "key"
app_id = 2
cps = {sanspbx_cps}
caller_ids = ["+441134960999"]
country_code = "44"
callback_sources = ["127.0.0.0/8"]
"#,
        url(TELNYX),
        plan.api_key,
        telnyx().public_key(),
        url(TWILIO),
        url(SANSPBX),
    );
    fleet.carriers(&toml).unwrap();
    fleet.start_api("up").await.unwrap();
}

/// One attempt for each person; while no carrier can be asked, soon again.
pub(super) fn campaign(carriers: &[&str]) -> Value {
    let soon = json!({ "delays_s": [1], "max": 1_000 });
    let never = json!({ "delays_s": [1], "max": 0 });
    json!({
        "name": "three carriers",
        "concurrency": LIMIT,
        "carriers": carriers,
        "retry": { "max_attempts": 1, "rules": { "no_carrier": soon, "congestion": never } },
    })
}

pub(super) fn ledger(fleet: &TestFleet) -> Ledger {
    fleet.simulator.network().ledger()
}

/// What reached a carrier, perhaps nothing.
pub(super) fn at(ledger: &Ledger, carrier: &str) -> CarrierCount {
    ledger.carriers.get(carrier).copied().unwrap_or_default()
}

pub(super) async fn everybody_done(fleet: &TestFleet, id: &str, people: u32, bound: u64) {
    let done = fleet.done(id, Duration::from_secs(bound)).await;
    assert_eq!(done["counts"]["leads"], people, "{done}");
    assert_eq!(done["counts"]["done"], people, "{done}\n{}", fleet.log());
}

/// `people` were rung, each once.
pub(super) fn each_rung_once(fleet: &TestFleet, people: u32) {
    judge(fleet, LIMIT);
    let rings = ledger(fleet).rings;
    assert_eq!(rings.len(), usize::try_from(people).unwrap());
    assert!(rings.values().all(|times| *times == 1), "{rings:?}");
}

/// How `/v1/carriers` shows one of them.
pub(super) async fn carrier(fleet: &TestFleet, id: &str) -> Value {
    let carriers = fleet.call(Method::GET, "/carriers", None).await.unwrap();
    let mut found = carriers["data"].as_array().unwrap().iter();
    found.find(|one| one["id"] == id).cloned().unwrap()
}

/// Waits until a carrier's breaker is open; returns why it is.
pub(super) async fn opens(fleet: &TestFleet, id: &str, bound: u64) -> String {
    let open = until(id, Duration::from_secs(bound), async || {
        let now = carrier(fleet, id).await;
        if now["breaker"] == "open" {
            Ok(now)
        } else {
            Err((now, ledger(fleet).carriers))
        }
    });
    let open = open.await;
    assert!(open["until"].is_string(), "{open}");
    open["why"].as_str().unwrap().to_owned()
}

/// Every call of a campaign with its legs and its history, newest first; without those that were
/// withdrawn, of which nothing was sent.
pub(super) async fn calls(fleet: &TestFleet, campaign: &str) -> Vec<Value> {
    let path = format!("/calls?campaign={campaign}&limit=200");
    let page = fleet.call(Method::GET, &path, None).await.unwrap();
    let mut calls = Vec::new();
    for call in page["data"].as_array().unwrap() {
        if call["outcome"] == "withdrawn" {
            continue;
        }
        let id = call["id"].as_str().unwrap();
        let path = format!("/calls/{}", id.replace(':', "%3A").replace('+', "%2B"));
        calls.push(fleet.call(Method::GET, &path, None).await.unwrap());
    }
    calls
}

/// Who was asked for a call, and what became of it.
pub(super) fn legs(call: &Value) -> Vec<(&str, &str)> {
    let legs = call["legs"].as_array().unwrap().iter();
    legs.map(|leg| {
        (
            leg["carrier"].as_str().unwrap(),
            leg["state"].as_str().unwrap(),
        )
    })
    .collect()
}
