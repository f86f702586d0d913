//! Processes that want the same at the same time: a store and connections of its own for each, on one
//! MongoDB. (Within a process intents are gathered into one command, so they cannot race there.)

use std::collections::BTreeSet;

use dialfleet_adapters::mongo::MongoStore;
use dialfleet_domain::call::Attempt;
use dialfleet_domain::call::attempt::Channel;
use dialfleet_domain::id::WorkerId;
use dialfleet_engine::port::store::{
    AttemptStore, Cas, ClaimRequest, IntentAnswer, LeadStore, RecordStore, SaveAttempt,
};
use dialfleet_tests::mongo::Database;
use dialfleet_tests::sample::{T0, at, attempt, campaign_id, carrier, claim, lead};
use futures_util::future::join_all;

const RIVALS: u32 = 8;
const ROUNDS: u32 = 12;

/// A store for each process.
async fn rivals(database: &Database) -> Vec<MongoStore> {
    let mut stores = vec![database.store().await];
    for _ in 1..RIVALS {
        stores.push(database.connect().await);
    }
    stores
}

/// Every process inserts its own intent; how many got what they wanted, and whether the others heard why.
async fn one_wins(stores: &[MongoStore], intents: &[Attempt], others: IntentAnswer) {
    let answers = join_all(stores.iter().zip(intents).map(async |(store, intent)| {
        let mut answers = store.insert_attempts(std::slice::from_ref(intent)).await;
        answers.remove(0)
    }))
    .await;
    let count = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
    assert_eq!(
        (count(IntentAnswer::Acknowledged), count(others)),
        (1, stores.len() - 1),
        "{answers:?}"
    );
}

/// A lead that nobody else has.
fn person(round: u32, i: u32) -> dialfleet_domain::lead::Lead {
    lead(&campaign_id("a"), round * RIVALS + i)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_taken_by_one_process() {
    let database = Database::new();
    let stores = rivals(&database).await;
    for slot in 0..ROUNDS {
        let intents: Vec<_> = (0..RIVALS)
            .map(|i| attempt(&person(slot, i), 1, slot))
            .collect();
        one_wins(&stores, &intents, IntentAnswer::SlotBusy).await;
    }
    let taken = stores[0].taken_slots(&campaign_id("a")).await.unwrap();
    assert_eq!(taken, Vec::from_iter(0..ROUNDS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_rung_by_one_process() {
    let database = Database::new();
    let stores = rivals(&database).await;
    for round in 0..ROUNDS {
        let campaign = |i| campaign_id(&format!("c{i}"));
        let intents: Vec<_> = (0..RIVALS)
            .map(|i| attempt(&lead(&campaign(i), round), 1, round))
            .collect();
        one_wins(&stores, &intents, IntentAnswer::PhoneBusy).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_used_by_one_process() {
    let database = Database::new();
    let stores = rivals(&database).await;
    for round in 0..ROUNDS {
        let on_channel = |i| {
            let mut intent = attempt(&person(round, i), 1, round * RIVALS + i);
            intent.legs[0].channel = Some(round);
            intent.channel = Some(Channel {
                carrier: intent.legs[0].carrier.clone(),
                number: round,
            });
            intent
        };
        let intents: Vec<_> = (0..RIVALS).map(on_channel).collect();
        one_wins(&stores, &intents, IntentAnswer::ChannelBusy).await;
    }
    let taken = stores[0].taken_channels(&carrier()).await.unwrap();
    assert_eq!(taken, Vec::from_iter(0..ROUNDS));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_changed_by_one_process_at_a_time() {
    let database = Database::new();
    let stores = rivals(&database).await;
    let mut current = attempt(&person(0, 0), 1, 0);
    stores[0]
        .insert_attempts(std::slice::from_ref(&current))
        .await;
    for round in 0..ROUNDS {
        let changes: Vec<_> = (0..RIVALS)
            .map(|i| {
                let mut mine = current.clone();
                mine.check_again(at(u64::from(round * RIVALS + i)));
                mine
            })
            .collect();
        let answers = join_all(stores.iter().zip(&changes).map(async |(store, mine)| {
            let save = SaveAttempt {
                attempt: mine.clone(),
                expected: current.version,
            };
            store.save_attempts(&[save]).await.unwrap()[0]
        }))
        .await;
        let won: Vec<usize> = (0..answers.len())
            .filter(|i| answers[*i] == Cas::Won)
            .collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        let stored = stores[0].attempts(std::slice::from_ref(&current.id)).await;
        current = stored.unwrap().remove(0).unwrap();
        assert_eq!(current, changes[won[0]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_is_claimed_by_one_process() {
    let database = Database::new();
    let stores = rivals(&database).await;
    let leads: Vec<_> = (0..RIVALS * ROUNDS).map(|i| person(0, i)).collect();
    stores[0].insert_leads(&leads).await.unwrap();
    let mut claimed = BTreeSet::new();
    for round in 0..ROUNDS {
        let got = join_all(stores.iter().zip(0_u32..).map(async |(store, i)| {
            let request = ClaimRequest {
                campaign: campaign_id("a"),
                claim: claim(&format!("c{round}-{i}")),
                now: T0,
                // All try the same one first.
                draw: 0,
            };
            store.claim_leads(&[request]).await.unwrap().remove(0)
        }))
        .await;
        for lead in got {
            let lead = lead.expect("there are enough for everybody");
            assert!(claimed.insert(lead.id.clone()), "{} twice", lead.id);
        }
    }
    assert_eq!(claimed.len(), leads.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duty_is_done_by_one_process() {
    let database = Database::new();
    let stores = rivals(&database).await;
    for round in 0..ROUNDS {
        let task = format!("task-{round}");
        let answers = join_all(stores.iter().zip(0..).map(async |(store, i)| {
            let me = WorkerId::parse(format!("wrk_{i}")).unwrap();
            store.hold_duty(&task, &me, T0, at(5)).await.unwrap()
        }))
        .await;
        let won = answers.iter().filter(|answer| **answer == Cas::Won).count();
        assert_eq!(won, 1, "{answers:?}");
    }
}
