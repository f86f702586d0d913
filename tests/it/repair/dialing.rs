//! When this process dials, and when it does not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use dialfleet_domain::call::CallEvent;
use dialfleet_engine::audit::audit;
use dialfleet_engine::order::set_limit;
use dialfleet_engine::port::store::{AttemptStore, CampaignStore, LeadStore};
use dialfleet_engine::{Role, role};
use dialfleet_tests::sample;
use dialfleet_tests::wait::until;

use super::{Rig, call_id};

const MINUTE: Duration = Duration::from_secs(60);

/// Leads for a campaign that may make so many calls at once, at a carrier that takes them.
async fn leads(limit: u32) -> Rig {
    let rig = Rig::new().await;
    let mut campaign = sample::campaign("a");
    campaign.limit = limit;
    campaign.wake_at = Some(sample::T0);
    rig.store.insert_campaign(&campaign).await.unwrap();
    let leads: Vec<_> = (0..20).map(|i| sample::lead(&campaign.id, i)).collect();
    rig.store.insert_leads(&leads).await.unwrap();
    rig.network.says().takes_calls = true;
    rig
}

/// A whole worker.
async fn work(rig: &Rig) {
    let roles = [Role::Plan, Role::Dial];
    tokio::join!(
        role::heartbeat(&rig.fleet, &roles),
        role::run(&rig.fleet, Role::Plan),
        role::run(&rig.fleet, Role::Dial),
    );
}

/// Waits for so many calls.
async fn until_taken(rig: &Rig, n: u32, bound: Duration) {
    let what = format!("{n} calls");
    until(&what, bound, async || match rig.network.says().taken {
        taken if taken == n => Ok(()),
        taken => Err(taken),
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_is_used_at_once_and_no_further() {
    let rig = leads(2).await;
    let script = async {
        until_taken(&rig, 2, MINUTE).await;
        rig.fleet.clock.sleep(MINUTE).await;
        assert_eq!(rig.network.says().taken, 2);
        let id = sample::campaign_id("a");
        set_limit(&rig.fleet, &sample::tenant(), &id, 5)
            .await
            .unwrap();
        // The carrier takes one call a second.
        until_taken(&rig, 5, 6 * MINUTE / 60).await;
        rig.fleet.clock.sleep(MINUTE).await;
        assert_eq!(rig.network.says().taken, 5);
    };
    tokio::select! {
        () = work(&rig) => panic!("the work ended"),
        () = script => {}
    }
}

#[tokio::test(start_paused = true)]
async fn while_its_clock_is_wrong_a_process_does_not_dial() {
    let rig = leads(5).await;
    rig.clock.ahead_ms.store(3_000, Ordering::Relaxed);
    let script = async {
        rig.fleet.clock.sleep(3 * MINUTE).await;
        assert_eq!(rig.network.says().taken, 0);
        assert!(rig.alarms("clock_skew") > 0, "and that is said");
        rig.clock.ahead_ms.store(0, Ordering::Relaxed);
        until_taken(&rig, 5, MINUTE).await;
    };
    tokio::select! {
        () = work(&rig) => panic!("the work ended"),
        () = script => {}
    }
}

#[tokio::test(start_paused = true)]
async fn calls_above_a_lowered_limit_are_an_alarm_only_if_one_began_under_it() {
    let (before, after) = (Duration::ZERO, Duration::from_secs(20));
    let table = [
        ([before, before], true, 0),
        ([before, after], true, 1),
        // Only an intent: it is withdrawn when it is counted.
        ([before, after], false, 0),
    ];
    for (began, called, alarms) in table {
        let rig = Rig::new().await;
        let campaign = sample::campaign("a");
        rig.store.insert_campaign(&campaign).await.unwrap();
        set_limit(&rig.fleet, &campaign.tenant, &campaign.id, 1)
            .await
            .unwrap();
        let intents: Vec<_> = (0..)
            .zip(began)
            .map(|(i, began)| {
                let lead = sample::lead(&campaign.id, i);
                let mut intent = sample::attempt(&lead, 1, i);
                intent.legs[0].intent_at = sample::T0 + began;
                intent
            })
            .collect();
        rig.store.insert_attempts(&intents).await;
        let talking = if called { 2 } else { 1 };
        for (intent, call) in intents.iter().zip(["CA1", "CA2"]).take(talking) {
            let call_id = call_id(call);
            rig.happen(intent, &[CallEvent::Answered { call_id }]).await;
        }
        rig.fleet.clock.sleep(MINUTE).await;
        audit(&rig.fleet).await.unwrap();
        let what = format!("{began:?} {called}");
        assert_eq!(rig.alarms("over_limit"), alarms, "{what}");
    }
}
