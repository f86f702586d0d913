//! One document that cannot be read keeps nobody waiting.

use std::time::Duration;

use dialfleet_domain::call::{CallEvent, CallState, Ending};
use dialfleet_engine::message::{BatchOf, LeadBatch, LeadRow, Payload};
use dialfleet_engine::port::carrier::CallStatus;
use dialfleet_engine::port::store::{CampaignStore, LeadStore, RecordStore};
use dialfleet_engine::{Role, audit};
use dialfleet_tests::sample::{self, at};

use super::Rig;

const SOON: Duration = Duration::from_secs(10);

async fn parked(rig: &Rig) -> u64 {
    let depths = rig.fleet.queue.depths().await.unwrap();
    let parked = depths.iter().find(|(name, _)| *name == "parked");
    parked.map_or(0, |(_, n)| *n)
}

const ENDED: CallStatus = CallStatus::Ended {
    ending: Ending::Completed,
    duration_s: None,
    sip: None,
};

#[tokio::test(start_paused = true)]
async fn an_event_for_it_is_parked_and_the_others_of_its_batch_are_applied() {
    let rig = Rig::new().await;
    let attempts = rig.intents("a", 4).await;
    let bad = attempts[1].id.as_str();
    rig.store
        .spoil_for_tests("attempts", bad, "timeline")
        .await
        .unwrap();
    for (i, attempt) in attempts.iter().enumerate() {
        rig.report(attempt, &format!("CA{i}"), &[ENDED]).await;
    }
    rig.run(Role::Events, "the others end", SOON, async || {
        for good in [0, 2, 3] {
            rig.in_state(&attempts[good], CallState::Ended).await?;
        }
        let parked = parked(&rig).await;
        if parked == 1 {
            Ok(())
        } else {
            Err(format!("{parked} parked"))
        }
    })
    .await;
    assert_eq!(rig.alarms("corrupt"), 0, "nobody looked around yet");
    audit::look_around(&rig.fleet).await.unwrap();
    assert_eq!(rig.alarms("corrupt"), 1);
    assert_eq!(rig.alarms("orphan_callback"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_sweeper_goes_on_behind_it() {
    let rig = Rig::new().await;
    let attempts = rig.intents("a", 3).await;
    for attempt in &attempts {
        rig.happen(attempt, &[CallEvent::Unclear { leg: 0 }]).await;
    }
    // The first of every list; and a lead whose claim is stale, and whose attempt is the bad one.
    let bad = attempts[0].id.as_str();
    rig.store
        .spoil_for_tests("attempts", bad, "timeline")
        .await
        .unwrap();
    for (i, attempt) in attempts.iter().enumerate().skip(1) {
        rig.network.has(&format!("CA{i}"), attempt, ENDED);
    }
    rig.run(Role::Reconcile, "the others are found", SOON, async || {
        rig.in_state(&attempts[1], CallState::Ended).await?;
        rig.in_state(&attempts[2], CallState::Ended).await
    })
    .await;
    assert_eq!(rig.network.says().looks, 0, "the list told");
}

#[tokio::test(start_paused = true)]
async fn the_planner_goes_on_behind_it() {
    let rig = Rig::new().await;
    for name in ["a", "b"] {
        let mut campaign = sample::campaign(name);
        campaign.wake_at = Some(at(0));
        rig.store.insert_campaign(&campaign).await.unwrap();
        let lead = sample::lead(&campaign.id, 1);
        rig.store.insert_leads(&[lead]).await.unwrap();
    }
    rig.store
        .spoil_for_tests("campaigns", "cmp_a", "retry")
        .await
        .unwrap();
    rig.run(Role::Plan, "the other is offered", SOON, async || {
        let depths = rig.fleet.queue.depths().await.unwrap();
        let dial = depths.iter().find(|(name, _)| *name == "dial");
        match dial {
            Some((_, n)) if *n >= 5 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_for_an_import_that_cannot_be_read_is_parked() {
    let rig = Rig::new().await;
    let campaign = sample::campaign("a");
    rig.store.insert_campaign(&campaign).await.unwrap();
    for name in ["x", "y"] {
        let import = sample::import(&campaign.id, name);
        rig.store.insert_import(&import).await.unwrap();
    }
    rig.store
        .spoil_for_tests("imports", "imp_x", "tallies")
        .await
        .unwrap();
    for (name, phone) in [("x", "+442079460101"), ("y", "+442079460102")] {
        let batch = LeadBatch {
            campaign: campaign.id.clone(),
            import: Some(BatchOf {
                id: sample::import_id(name),
                batch: 0,
            }),
            leads: vec![LeadRow {
                phone: phone.to_owned(),
                ..LeadRow::default()
            }],
        };
        let message = batch.message(format!("imp_{name}/0"));
        rig.fleet.queue.publish(vec![message]).await;
    }
    rig.run(Role::Ingest, "the other is taken", SOON, async || {
        let taken = rig.store.lead_counts(&campaign.id).await.unwrap().total();
        match (taken, parked(&rig).await) {
            (1, 1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_cannot_be_read_keeps_its_lead_and_is_never_dialed_again() {
    let rig = Rig::new().await;
    let attempts = rig.intents("a", 1).await;
    let request = dialfleet_engine::port::store::ClaimRequest {
        campaign: attempts[0].campaign.clone(),
        claim: attempts[0].claim.clone(),
        now: at(0),
        draw: 0,
    };
    rig.store.claim_leads(&[request]).await.unwrap();
    let bad = attempts[0].id.as_str();
    rig.store
        .spoil_for_tests("attempts", bad, "timeline")
        .await
        .unwrap();
    let lead = std::slice::from_ref(&attempts[0].lead);
    rig.run(
        Role::Reconcile,
        "the claim is renewed",
        Duration::from_secs(60),
        async || {
            let lead = rig.store.leads(lead).await.unwrap().remove(0).unwrap();
            match lead.claimed_at {
                Some(at) if at > sample::T0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
}
