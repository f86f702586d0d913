//! Attempt documents after the intent: saving and finding them.

use dialfleet_domain::call::event::Withdrawal;
use dialfleet_domain::call::{Attempt, CallEvent, Refusal, RefusalClass};
use dialfleet_domain::id::{CampaignId, CarrierCallId, CarrierId, TenantId};
use dialfleet_domain::lead::Lead;
use dialfleet_engine::port::Store;
use dialfleet_engine::port::store::{AttemptFilter, Cas, IntentAnswer, SaveAttempt};
use dialfleet_tests::sample::{at, attempt, campaign_id, carrier, lead, leg, phone, tenant};
use futures_util::future::join_all;

use super::all_pages;

fn camp() -> CampaignId {
    campaign_id("a")
}

fn person(i: u32) -> Lead {
    lead(&camp(), i)
}

fn call(name: &str) -> CarrierCallId {
    CarrierCallId::parse(name).unwrap()
}

async fn insert(store: &dyn Store, attempts: &[Attempt]) {
    let answers = store.insert_attempts(attempts).await;
    assert!(
        answers
            .iter()
            .all(|answer| *answer == IntentAnswer::Acknowledged),
        "{answers:?}"
    );
}

async fn save(store: &dyn Store, attempt: &Attempt, expected: u64) -> Cas {
    store
        .save_attempts(&[SaveAttempt {
            attempt: attempt.clone(),
            expected,
        }])
        .await
        .unwrap()
        .remove(0)
}

async fn happen(store: &dyn Store, attempt: &mut Attempt, event: CallEvent, seconds: u64) {
    let expected = attempt.version;
    attempt.apply(&event, at(seconds));
    assert_eq!(save(store, attempt, expected).await, Cas::Won);
}

fn names(attempts: &[Attempt]) -> Vec<&str> {
    attempts.iter().map(|a| a.id.as_str()).collect()
}

/// The `i`th person's first attempt, in slot `i`, to be checked at `check` seconds.
fn checked(i: u32, check: u64) -> Attempt {
    let mut a = attempt(&person(i), 1, i);
    a.check_at = at(check);
    a
}

pub(crate) async fn saved_only_over_the_version_that_was_read(store: &dyn Store) {
    let original = attempt(&person(1), 1, 0);
    insert(store, std::slice::from_ref(&original)).await;
    let mut ringing = original.clone();
    ringing.apply(
        &CallEvent::Ringing {
            call_id: call("CA1"),
        },
        at(1),
    );
    let mut withdrawn = original.clone();
    withdrawn.apply(&CallEvent::Withdrawn(Withdrawal::Shutdown), at(1));
    let nobody = attempt(&person(9), 1, 5);
    let saves = [
        SaveAttempt {
            attempt: nobody,
            expected: 0,
        },
        SaveAttempt {
            attempt: ringing.clone(),
            expected: 7,
        },
        SaveAttempt {
            attempt: ringing.clone(),
            expected: 0,
        },
    ];
    assert_eq!(
        store.save_attempts(&saves).await.unwrap(),
        [Cas::Lost, Cas::Lost, Cas::Won]
    );
    assert_eq!(
        save(store, &withdrawn, 0).await,
        Cas::Lost,
        "it was overtaken"
    );
    assert_eq!(
        store.attempts(&[original.id]).await.unwrap(),
        [Some(ringing)],
        "whole, and only the winner's"
    );
    assert_eq!(store.save_attempts(&[]).await.unwrap(), []);
}

pub(crate) async fn concurrent_saves_have_one_winner(store: &dyn Store) {
    let original = attempt(&person(1), 1, 0);
    insert(store, std::slice::from_ref(&original)).await;
    for round in 0..4 {
        let rivals: Vec<_> = (0..32)
            .map(|i| {
                let mut rival = store_view(&original, round);
                rival.check_at = at(1_000 + i);
                rival.version += 1;
                rival
            })
            .collect();
        let answers = join_all(rivals.iter().map(|rival| save(store, rival, round))).await;
        let won: Vec<_> = rivals
            .iter()
            .zip(&answers)
            .filter(|(_, cas)| **cas == Cas::Won)
            .collect();
        assert_eq!(won.len(), 1);
        assert_eq!(
            store
                .attempts(std::slice::from_ref(&original.id))
                .await
                .unwrap(),
            [Some(won[0].0.clone())]
        );
    }
}

/// The attempt at a version.
fn store_view(original: &Attempt, version: u64) -> Attempt {
    Attempt {
        version,
        ..original.clone()
    }
}

pub(crate) async fn the_newest_is_by_number_not_by_text(store: &dyn Store) {
    let person = person(1);
    assert_eq!(store.newest_attempt(&person.id).await.unwrap(), None);
    for n in [1, 2, 9, 10, 8] {
        let mut one = attempt(&person, n, 0);
        one.slot = None;
        one.live = None;
        insert(store, &[one]).await;
    }
    assert_eq!(
        store.newest_attempt(&person.id).await.unwrap().map(|a| a.n),
        Some(10)
    );
}

pub(crate) async fn found_by_any_call_of_any_leg(store: &dyn Store) {
    let mut a = attempt(&person(1), 1, 0);
    let mut b = attempt(&person(2), 1, 1);
    insert(store, &[a.clone(), b.clone()]).await;
    let at_sample = async |calls: &[&str]| {
        let calls: Vec<_> = calls.iter().map(|name| call(name)).collect();
        let found = store.attempts_by_call(&carrier(), &calls).await.unwrap();
        found
            .into_iter()
            .map(|a| a.map(|a| a.id))
            .collect::<Vec<_>>()
    };
    assert_eq!(at_sample(&["CA1"]).await, [None]);
    happen(
        store,
        &mut a,
        CallEvent::Accepted {
            leg: 0,
            call_id: call("CA1"),
        },
        1,
    )
    .await;

    // The second attempt's first leg had a call (the carrier said so late), and its second has one.
    b.legs[0].call_id = Some(call("CA2"));
    let other = CarrierId::parse("other").unwrap();
    let why = Refusal {
        class: RefusalClass::Failover,
        code: "503".to_owned(),
        message: String::new(),
    };
    let next = Some(Box::new(leg(&other, "second")));
    happen(store, &mut b, CallEvent::Refused { leg: 0, why, next }, 2).await;
    happen(
        store,
        &mut b,
        CallEvent::Ringing {
            call_id: call("CA1"),
        },
        3,
    )
    .await;
    assert_eq!(
        at_sample(&["CA2", "nobody", "CA1"]).await,
        [Some(b.id.clone()), None, Some(a.id)],
        "a call id belongs to its carrier"
    );
    assert_eq!(
        store
            .attempts_by_call(&other, &[call("CA1")])
            .await
            .unwrap(),
        [Some(b)]
    );
    assert_eq!(at_sample(&[]).await, []);
}

pub(crate) async fn a_slot_is_taken_back_only_if_it_is_free(store: &dyn Store) {
    let mut cooling = attempt(&person(1), 1, 0);
    insert(store, std::slice::from_ref(&cooling)).await;
    happen(store, &mut cooling, CallEvent::Unclear { leg: 0 }, 1).await;
    happen(store, &mut cooling, CallEvent::ProvenAbsent, 100).await;
    insert(store, &[attempt(&person(2), 1, 0)]).await;
    let rings = CallEvent::Ringing {
        call_id: call("CA"),
    };
    happen(store, &mut cooling, rings, 101).await;
    let expected = cooling.version;
    let mut busy = cooling.clone();
    busy.take_slot(0, None, at(102));
    assert_eq!(save(store, &busy, expected).await, Cas::Lost);
    // Also as one of many.
    let other = attempt(&person(3), 1, 2);
    insert(store, std::slice::from_ref(&other)).await;
    let mut changed = other.clone();
    changed.check_again(at(200));
    let saves = [(busy, expected), (changed, other.version)]
        .map(|(attempt, expected)| SaveAttempt { attempt, expected });
    let answers = store.save_attempts(&saves).await.unwrap();
    assert_eq!(answers, [Cas::Lost, Cas::Won]);
    cooling.take_slot(1, None, at(102));
    assert_eq!(save(store, &cooling, expected).await, Cas::Won);
    assert_eq!(store.taken_slots(&camp()).await.unwrap(), [0, 1, 2]);
}

pub(crate) async fn due_checks_come_earliest_first(store: &dyn Store) {
    let mut ended = checked(9, 1);
    insert(
        store,
        &[
            checked(1, 30),
            checked(2, 10),
            checked(3, 20),
            checked(4, 31),
            ended.clone(),
        ],
    )
    .await;
    happen(
        store,
        &mut ended,
        CallEvent::Withdrawn(Withdrawal::Shutdown),
        1,
    )
    .await;
    let due = async |now, limit| {
        let found = store.due_checks(at(now), limit).await.unwrap();
        found
            .into_iter()
            .map(|a| a.check_at.since(at(0)).as_secs())
            .collect::<Vec<_>>()
    };
    assert_eq!(due(30, 9).await, [10, 20, 30]);
    assert_eq!(due(30, 2).await, [10, 20]);
    assert_eq!(due(9, 2).await, [0; 0]);

    // A check that was moved is where it was moved to.
    let mut moved = checked(2, 10);
    let expected = moved.version;
    moved.check_again(at(99));
    assert_eq!(save(store, &moved, expected).await, Cas::Won);
    assert_eq!(due(30, 9).await, [20, 30]);
}

pub(crate) async fn due_commands_come_oldest_first(store: &dyn Store) {
    for (i, seconds) in [(1, 30), (2, 10), (3, 20)] {
        let mut a = attempt(&person(i), 1, i);
        insert(store, std::slice::from_ref(&a)).await;
        happen(
            store,
            &mut a,
            CallEvent::Withdrawn(Withdrawal::NoCarrier),
            seconds,
        )
        .await;
        assert_eq!(a.todo_at, Some(at(seconds)));
    }
    insert(store, &[attempt(&person(4), 1, 4)]).await;
    let due = async |before, limit| {
        let found = store.due_todos(at(before), limit).await.unwrap();
        found
            .into_iter()
            .map(|a| a.todo_at.unwrap().since(at(0)).as_secs())
            .collect::<Vec<_>>()
    };
    assert_eq!(due(40, 9).await, [10, 20, 30]);
    assert_eq!(due(40, 1).await, [10]);
    assert_eq!(due(20, 9).await, [10]);

    let mut done = store.due_todos(at(40), 1).await.unwrap().remove(0);
    let (expected, commands) = (done.version, done.todo.clone());
    done.finish(&commands, at(41));
    assert_eq!(save(store, &done, expected).await, Cas::Won);
    assert_eq!(due(40, 9).await, [20, 30], "what was executed is not due");
}

pub(crate) async fn slots_are_listed_and_counted(store: &dyn Store) {
    assert_eq!(store.slots_in_use().await.unwrap(), []);
    let mut freed = attempt(&person(4), 1, 3);
    insert(
        store,
        &[
            attempt(&person(1), 1, 11),
            attempt(&person(2), 1, 2),
            attempt(&person(3), 1, 0),
            freed.clone(),
        ],
    )
    .await;
    insert(store, &[attempt(&lead(&campaign_id("b"), 7), 1, 1)]).await;
    happen(
        store,
        &mut freed,
        CallEvent::Withdrawn(Withdrawal::Shutdown),
        1,
    )
    .await;
    assert_eq!(store.taken_slots(&camp()).await.unwrap(), [0, 2, 11]);
    assert_eq!(
        store.taken_slots(&campaign_id("nobody")).await.unwrap(),
        [0_u32; 0]
    );
    assert_eq!(
        store.slots_in_use().await.unwrap(),
        [(camp(), 3), (campaign_id("b"), 1)]
    );
}

pub(crate) async fn live_ones_are_listed_by_slot(store: &dyn Store) {
    let mut ended = attempt(&person(1), 1, 0);
    let mut cooling = attempt(&person(2), 1, 1);
    let holders = [attempt(&person(3), 1, 12), attempt(&person(4), 1, 3)];
    insert(
        store,
        &[
            ended.clone(),
            cooling.clone(),
            holders[0].clone(),
            holders[1].clone(),
        ],
    )
    .await;
    insert(store, &[attempt(&lead(&campaign_id("b"), 7), 1, 1)]).await;
    happen(
        store,
        &mut ended,
        CallEvent::Withdrawn(Withdrawal::Shutdown),
        1,
    )
    .await;
    happen(store, &mut cooling, CallEvent::Unclear { leg: 0 }, 1).await;
    happen(store, &mut cooling, CallEvent::ProvenAbsent, 200).await;
    let [twelve, three] = holders;
    let live = store.live_attempts(&camp()).await.unwrap();
    assert_eq!(
        live,
        [three, twelve, cooling],
        "those that hold a slot first"
    );
}

pub(crate) async fn live_ones_are_found_by_phone(store: &dyn Store) {
    let mut a = attempt(&person(1), 1, 0);
    insert(store, std::slice::from_ref(&a)).await;
    assert_eq!(
        store.live_by_phone(&tenant(), &phone(1)).await.unwrap(),
        [a.clone()]
    );
    assert_eq!(store.live_by_phone(&tenant(), &phone(2)).await.unwrap(), []);
    let other = TenantId::parse("ten_other").unwrap();
    assert_eq!(store.live_by_phone(&other, &phone(1)).await.unwrap(), []);
    happen(store, &mut a, CallEvent::Withdrawn(Withdrawal::Shutdown), 1).await;
    assert_eq!(store.live_by_phone(&tenant(), &phone(1)).await.unwrap(), []);
}

pub(crate) async fn live_ones_are_found_by_current_carrier(store: &dyn Store) {
    let mut attempts: Vec<_> = (0..7).map(|i| attempt(&person(i), 1, i)).collect();
    insert(store, &attempts).await;
    happen(
        store,
        &mut attempts[6],
        CallEvent::Withdrawn(Withdrawal::Shutdown),
        1,
    )
    .await;
    let other = CarrierId::parse("other").unwrap();
    let why = Refusal {
        class: RefusalClass::Failover,
        code: "503".to_owned(),
        message: String::new(),
    };
    let next = Some(Box::new(leg(&other, "second")));
    happen(
        store,
        &mut attempts[5],
        CallEvent::Refused { leg: 0, why, next },
        1,
    )
    .await;

    let first = store.live_by_carrier(&carrier(), None, 3).await.unwrap();
    assert_eq!(first, attempts[..3]);
    let second = store
        .live_by_carrier(&carrier(), first.last().map(|a| &a.id), 3)
        .await
        .unwrap();
    assert_eq!(second, attempts[3..5]);
    assert_eq!(
        store.live_by_carrier(&other, None, 9).await.unwrap(),
        attempts[5..6]
    );
}

pub(crate) async fn listed_newest_first_in_pages(store: &dyn Store) {
    let mut attempts = Vec::new();
    for (i, seconds) in [(1, 10), (2, 20), (3, 20), (4, 5), (5, 30)] {
        let mut a = attempt(&person(i), 1, i);
        a.intent_at = at(seconds);
        attempts.push(a);
    }
    insert(store, &attempts).await;
    let tenant = tenant();
    let filter = AttemptFilter::default();
    let list = async |cursor: Option<String>, size| {
        store
            .list_attempts(&tenant, &filter, cursor.as_deref(), size)
            .await
    };
    let order = [4, 2, 1, 0, 3].map(|i: usize| attempts[i].clone());
    for size in [1, 2, 3, 5, 50] {
        assert_eq!(
            all_pages(size, |cursor| list(cursor, size)).await,
            order,
            "pages of {size}"
        );
    }
    let first = list(None, 2).await.unwrap();
    let mut newer = attempt(&person(6), 1, 6);
    newer.intent_at = at(99);
    insert(store, &[newer]).await;
    assert_eq!(list(first.cursor, 2).await.unwrap().items, order[2..4]);
}

pub(crate) async fn listed_by_filter(store: &dyn Store) {
    let mut ended = attempt(&person(1), 1, 0);
    ended.intent_at = at(1);
    let mut again = attempt(&person(1), 2, 0);
    again.intent_at = at(2);
    let mut second = attempt(&person(2), 1, 1);
    second.intent_at = at(3);
    let mut elsewhere = attempt(&lead(&campaign_id("b"), 3), 1, 0);
    elsewhere.intent_at = at(4);
    let mut stranger = attempt(&lead(&campaign_id("c"), 4), 1, 0);
    stranger.tenant = TenantId::parse("ten_other").unwrap();
    insert(store, std::slice::from_ref(&ended)).await;
    happen(
        store,
        &mut ended,
        CallEvent::Withdrawn(Withdrawal::Shutdown),
        1,
    )
    .await;
    insert(store, &[again, second, elsewhere, stranger]).await;

    let list = async |campaign: Option<&str>, person: Option<Lead>, live| {
        let filter = AttemptFilter {
            campaign: campaign.map(campaign_id),
            lead: person.map(|l| l.id),
            live,
        };
        names(
            &store
                .list_attempts(&tenant(), &filter, None, 9)
                .await
                .unwrap()
                .items,
        )
        .join(" ")
    };
    assert_eq!(
        list(None, None, false).await,
        "cmp_b:r00003:1 cmp_a:r00002:1 cmp_a:r00001:2 cmp_a:r00001:1"
    );
    assert_eq!(
        list(None, None, true).await,
        "cmp_b:r00003:1 cmp_a:r00002:1 cmp_a:r00001:2"
    );
    assert_eq!(
        list(Some("a"), None, false).await,
        "cmp_a:r00002:1 cmp_a:r00001:2 cmp_a:r00001:1"
    );
    assert_eq!(
        list(Some("a"), None, true).await,
        "cmp_a:r00002:1 cmp_a:r00001:2"
    );
    assert_eq!(
        list(None, Some(person(1)), false).await,
        "cmp_a:r00001:2 cmp_a:r00001:1"
    );
    assert_eq!(
        list(Some("a"), Some(person(1)), true).await,
        "cmp_a:r00001:2"
    );
    assert_eq!(list(Some("b"), Some(person(1)), false).await, "");
    assert_eq!(list(Some("c"), None, false).await, "", "another tenant's");
}
