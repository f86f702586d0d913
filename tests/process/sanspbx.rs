//! The carrier that signs nothing, cannot be asked, and reports once.

use std::time::Duration;

use dialfleet_simulator::{Account, Faults, SansPbxAccount};
use dialfleet_tests::fleet::{TestFleet, leads};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_lives_on_one_report_for_each_call() {
    const LEADS: u32 = 60;
    let mut fleet = TestFleet::embedded(|s| {
        let mut account = SansPbxAccount::new("sanspbx", "static", "key");
        account.country_code = "44".to_owned();
        // Renewed while the campaign runs.
        account.token_lifetime = Duration::from_secs(2);
        s.accounts = vec![Account::SansPbx(account)];
        s.speed = 300.0;
        s.faults = Faults {
            create_500_after: 0.1,
            create_reset_after: 0.1,
            callback_duplicated: 0.2,
            callback_late: 0.2,
            callback_late_max_ms: 500,
            ..Faults::default()
        };
    })
    .await
    .unwrap();
    let toml = format!(
        r#"
[[carrier]]
id = "sans"
kind = "sanspbx"
base_url = "{}/pbxadmin/sanpbxapi"
access_token = "static"
access_key = "key"
app_id = 2
cps = 1000
caller_ids = ["+442079460000"]
country_code = "44"
callback_sources = ["127.0.0.0/8"]
"#,
        fleet.simulator.base_url()
    );
    fleet.carriers(&toml).unwrap();
    fleet.start_api("up").await.unwrap();
    let retry = json!({"max_attempts": 1});
    let campaign = json!({"name": "sans", "concurrency": 5, "retry": retry});
    let id = fleet.launch(campaign, leads(LEADS)).await.unwrap();
    let done = fleet.done(&id, Duration::from_secs(90)).await;
    assert_eq!(done["counts"]["done"], LEADS, "{done}\n{}", fleet.log());
    let ledger = fleet.simulator.network().ledger();
    assert_eq!(ledger.violations, [], "\n{}", fleet.log());
    assert_eq!((ledger.duplicates, ledger.total_live), (0, 0));
    assert!(
        ledger.max_live.values().all(|most| *most <= 5),
        "{:?}",
        ledger.max_live
    );
    assert_eq!(
        ledger.carriers["sanspbx"].creates,
        u64::from(LEADS),
        "each was asked for once"
    );
    assert_eq!(fleet.said("is experimental"), 1);
}
