//! Intents: the three unique indexes that are the whole safety argument.

use dialfleet_domain::call::event::Withdrawal;
use dialfleet_domain::call::{Attempt, CallEvent, Channel, Ending, Refusal, RefusalClass};
use dialfleet_domain::id::{AttemptId, CarrierCallId, CarrierId, Nonce, TenantId};
use dialfleet_domain::lead::Lead;
use dialfleet_engine::port::Store;
use dialfleet_engine::port::store::{Cas, IntentAnswer, SaveAttempt};
use dialfleet_tests::sample::{at, attempt, campaign_id, carrier, lead, leg, phone};
use futures_util::future::join_all;

fn person(i: u32) -> Lead {
    lead(&campaign_id("a"), i)
}

async fn insert(store: &dyn Store, attempt: &Attempt) -> IntentAnswer {
    store
        .insert_attempts(std::slice::from_ref(attempt))
        .await
        .remove(0)
}

async fn stored(store: &dyn Store, id: &AttemptId) -> Attempt {
    store
        .attempts(std::slice::from_ref(id))
        .await
        .unwrap()
        .remove(0)
        .unwrap()
}

/// Applies an event and saves what it made.
async fn happen(store: &dyn Store, attempt: &mut Attempt, event: CallEvent) {
    let expected = attempt.version;
    attempt.apply(&event, at(60));
    let save = SaveAttempt {
        attempt: attempt.clone(),
        expected,
    };
    assert_eq!(store.save_attempts(&[save]).await.unwrap(), [Cas::Won]);
}

fn hung_up(call: &str) -> CallEvent {
    let call_id = CarrierCallId::parse(call).unwrap();
    CallEvent::Ended {
        call_id,
        ending: Ending::Completed,
        duration_s: Some(3),
        sip: None,
    }
}

pub(crate) async fn stored_as_it_was_written(store: &dyn Store) {
    let mut first = attempt(&person(1), 1, 0);
    first.decision.as_mut().unwrap().why = "\"best\" of {a, $b} \u{2192} c".to_owned();
    let second = attempt(&person(2), 4, 3);
    let answers = store
        .insert_attempts(&[first.clone(), second.clone()])
        .await;
    assert_eq!(answers, [IntentAnswer::Acknowledged; 2]);
    let nobody = attempt(&person(3), 1, 0).id;
    let found = store
        .attempts(&[second.id.clone(), nobody, first.id.clone()])
        .await
        .unwrap();
    assert_eq!(found, [Some(second), None, Some(first)]);
    assert_eq!(store.attempts(&[]).await.unwrap(), []);
    assert_eq!(store.insert_attempts(&[]).await, []);
}

pub(crate) async fn an_attempt_exists_once(store: &dyn Store) {
    let mine = attempt(&person(1), 1, 0);
    assert_eq!(insert(store, &mine).await, IntentAnswer::Acknowledged);
    // Another worker's: a slot and a nonce of its own.
    let mut theirs = attempt(&person(1), 1, 1);
    theirs.legs[0].nonce = Nonce::parse("nce_theirs").unwrap();
    assert_eq!(insert(store, &theirs).await, IntentAnswer::AttemptExists);
    // In the same slot it breaks all three rules, and the first is the one to hear of.
    theirs.slot = Some(0);
    assert_eq!(insert(store, &theirs).await, IntentAnswer::AttemptExists);
    assert_eq!(stored(store, &mine.id).await, mine);
    // One's own again (after an answer that was lost) may be recognised, and is nobody else's.
    let again = insert(store, &mine).await;
    assert!(
        matches!(
            again,
            IntentAnswer::Acknowledged | IntentAnswer::AttemptExists
        ),
        "{again:?}"
    );
    // Even an ended attempt keeps its number.
    let mut ended = mine;
    happen(
        store,
        &mut ended,
        CallEvent::Withdrawn(Withdrawal::Shutdown),
    )
    .await;
    assert_eq!(insert(store, &theirs).await, IntentAnswer::AttemptExists);
    assert_eq!(
        insert(store, &attempt(&person(1), 2, 0)).await,
        IntentAnswer::Acknowledged
    );
}

pub(crate) async fn a_slot_holds_one_call_until_it_is_freed(store: &dyn Store) {
    let mut first = attempt(&person(1), 1, 0);
    assert_eq!(insert(store, &first).await, IntentAnswer::Acknowledged);
    let second = attempt(&person(2), 1, 0);
    assert_eq!(insert(store, &second).await, IntentAnswer::SlotBusy);
    assert_eq!(
        insert(store, &attempt(&person(2), 2, 1)).await,
        IntentAnswer::Acknowledged,
        "the next slot is free"
    );
    let elsewhere = attempt(&lead(&campaign_id("b"), 3), 1, 0);
    assert_eq!(
        insert(store, &elsewhere).await,
        IntentAnswer::Acknowledged,
        "slots are by campaign"
    );

    happen(store, &mut first, CallEvent::Unclear { leg: 0 }).await;
    assert_eq!(
        insert(store, &attempt(&person(4), 1, 0)).await,
        IntentAnswer::SlotBusy,
        "unknown holds it"
    );
    happen(store, &mut first, hung_up("CA1")).await;
    assert_eq!(first.slot, None);
    assert_eq!(
        insert(store, &attempt(&person(4), 1, 0)).await,
        IntentAnswer::Acknowledged
    );
    assert_eq!(
        insert(store, &attempt(&person(5), 1, 0)).await,
        IntentAnswer::SlotBusy,
        "taken again"
    );
}

pub(crate) async fn a_phone_is_rung_once_until_its_cool_off_ends(store: &dyn Store) {
    let mut first = attempt(&person(1), 1, 0);
    assert_eq!(insert(store, &first).await, IntentAnswer::Acknowledged);
    // The same person in another campaign of the same tenant.
    let mut elsewhere = attempt(&lead(&campaign_id("b"), 1), 1, 0);
    assert_eq!(insert(store, &elsewhere).await, IntentAnswer::PhoneBusy);
    let mut stranger = attempt(&lead(&campaign_id("c"), 1), 1, 0);
    stranger.tenant = TenantId::parse("ten_other").unwrap();
    assert_eq!(
        insert(store, &stranger).await,
        IntentAnswer::Acknowledged,
        "tenants know nothing of each other"
    );

    happen(store, &mut first, CallEvent::Unclear { leg: 0 }).await;
    happen(store, &mut first, CallEvent::ProvenAbsent).await;
    assert_eq!(
        (first.slot, first.live),
        (None, Some(true)),
        "cooling: the slot is free, the phone is not"
    );
    assert_eq!(insert(store, &elsewhere).await, IntentAnswer::PhoneBusy);
    assert_eq!(
        insert(store, &attempt(&person(2), 1, 0)).await,
        IntentAnswer::Acknowledged
    );
    happen(store, &mut first, CallEvent::CooledOff).await;
    assert_eq!(insert(store, &elsewhere).await, IntentAnswer::Acknowledged);
    elsewhere = attempt(&person(1), 2, 4);
    assert_eq!(
        insert(store, &elsewhere).await,
        IntentAnswer::PhoneBusy,
        "locked again"
    );
}

pub(crate) async fn ended_attempts_hold_nothing(store: &dyn Store) {
    for n in 1..=4 {
        let mut one = attempt(&person(1), n, 0);
        assert_eq!(
            insert(store, &one).await,
            IntentAnswer::Acknowledged,
            "attempt {n}"
        );
        happen(store, &mut one, CallEvent::Withdrawn(Withdrawal::FenceLate)).await;
        assert_eq!((one.slot, one.live), (None, None));
        assert_eq!(stored(store, &one.id).await, one);
    }
}

pub(crate) async fn a_batch_is_answered_item_by_item(store: &dyn Store) {
    assert_eq!(
        insert(store, &attempt(&person(1), 1, 0)).await,
        IntentAnswer::Acknowledged
    );
    let mut same_phone = attempt(&person(5), 1, 3);
    same_phone.phone = phone(1);
    let mut same_attempt = attempt(&person(1), 1, 4);
    same_attempt.legs[0].nonce = Nonce::parse("nce_theirs").unwrap();
    let batch = [
        attempt(&person(2), 1, 1),
        attempt(&person(3), 1, 0),
        same_phone,
        same_attempt,
        // As an earlier one of the same batch.
        attempt(&person(4), 1, 1),
        attempt(&person(6), 1, 2),
    ];
    use IntentAnswer::{Acknowledged, AttemptExists, PhoneBusy, SlotBusy};
    let answers = store.insert_attempts(&batch).await;
    assert_eq!(
        answers,
        [
            Acknowledged,
            SlotBusy,
            PhoneBusy,
            AttemptExists,
            SlotBusy,
            Acknowledged
        ]
    );
    let ids: Vec<_> = batch.iter().map(|a| a.id.clone()).collect();
    let there: Vec<_> = store
        .attempts(&ids)
        .await
        .unwrap()
        .iter()
        .map(Option::is_some)
        .collect();
    assert_eq!(
        there,
        [true, false, false, true, false, true],
        "refused ones leave nothing behind"
    );
}

pub(crate) async fn concurrent_intents_for_a_slot_have_one_winner(store: &dyn Store) {
    let intents: Vec<_> = (0..32).map(|i| attempt(&person(i), 1, 2)).collect();
    let answers = join_all(intents.iter().map(|intent| insert(store, intent))).await;
    assert_eq!(
        answers
            .iter()
            .filter(|a| **a == IntentAnswer::Acknowledged)
            .count(),
        1,
        "{answers:?}"
    );
    assert_eq!(
        answers
            .iter()
            .filter(|a| **a == IntentAnswer::SlotBusy)
            .count(),
        31,
        "{answers:?}"
    );
    assert_eq!(store.taken_slots(&campaign_id("a")).await.unwrap(), [2]);
}

pub(crate) async fn concurrent_intents_for_a_phone_have_one_winner(store: &dyn Store) {
    let intents: Vec<_> = (0..32)
        .map(|i| attempt(&lead(&campaign_id(&format!("c{i}")), 7), 1, 0))
        .collect();
    let answers = join_all(intents.iter().map(|intent| insert(store, intent))).await;
    assert_eq!(
        answers
            .iter()
            .filter(|a| **a == IntentAnswer::Acknowledged)
            .count(),
        1,
        "{answers:?}"
    );
    assert_eq!(
        answers
            .iter()
            .filter(|a| **a == IntentAnswer::PhoneBusy)
            .count(),
        31,
        "{answers:?}"
    );
    let live = store
        .live_by_phone(&intents[0].tenant, &phone(7))
        .await
        .unwrap();
    let winner = answers
        .iter()
        .position(|a| *a == IntentAnswer::Acknowledged)
        .unwrap();
    assert_eq!(live, [intents[winner].clone()]);
}

/// An intent in a slot of its own that takes `channel` at `carrier`.
fn on_channel(i: u32, carrier: &CarrierId, channel: u32) -> Attempt {
    let mut attempt = attempt(&person(i), 1, i);
    attempt.legs[0].carrier = carrier.clone();
    attempt.legs[0].channel = Some(channel);
    attempt.channel = Some(Channel {
        carrier: carrier.clone(),
        number: channel,
    });
    attempt
}

async fn taken(store: &dyn Store, carrier: &CarrierId) -> Vec<u32> {
    store.taken_channels(carrier).await.unwrap()
}

pub(crate) async fn a_channel_holds_one_call_until_its_slot_is_freed(store: &dyn Store) {
    let (here, there) = (carrier(), CarrierId::parse("there").unwrap());
    let mut first = on_channel(1, &here, 0);
    assert_eq!(insert(store, &first).await, IntentAnswer::Acknowledged);
    let second = on_channel(2, &here, 0);
    assert_eq!(insert(store, &second).await, IntentAnswer::ChannelBusy);
    for (i, carrier, channel) in [(3, &here, 1), (4, &there, 0)] {
        let other = on_channel(i, carrier, channel);
        assert_eq!(insert(store, &other).await, IntentAnswer::Acknowledged);
    }
    // A carrier whose channels are not counted.
    for i in 5..7 {
        let other = attempt(&person(i), 1, i);
        assert_eq!(insert(store, &other).await, IntentAnswer::Acknowledged);
    }
    assert_eq!(taken(store, &here).await, [0, 1]);
    assert_eq!(taken(store, &there).await, [0]);

    happen(store, &mut first, CallEvent::Unclear { leg: 0 }).await;
    assert_eq!(insert(store, &second).await, IntentAnswer::ChannelBusy);
    happen(store, &mut first, CallEvent::ProvenAbsent).await;
    assert_eq!(first.channel, None, "it goes with the slot");
    assert_eq!(taken(store, &here).await, [1]);
    assert_eq!(insert(store, &second).await, IntentAnswer::Acknowledged);
    let mut second = second;
    happen(store, &mut second, hung_up("CA2")).await;
    assert_eq!(taken(store, &here).await, [1]);
    // Found after all, the first takes it back.
    happen(
        store,
        &mut first,
        CallEvent::Ringing {
            call_id: CarrierCallId::parse("CA1").unwrap(),
        },
    )
    .await;
    let expected = first.version;
    let mut back = first.clone();
    back.take_slot(20, Some(1), at(61));
    let save = |attempt: &Attempt| SaveAttempt {
        attempt: attempt.clone(),
        expected,
    };
    assert_eq!(
        store.save_attempts(&[save(&back)]).await.unwrap(),
        [Cas::Lost]
    );
    back = first.clone();
    back.take_slot(20, Some(0), at(61));
    assert_eq!(
        store.save_attempts(&[save(&back)]).await.unwrap(),
        [Cas::Won]
    );
    assert_eq!(stored(store, &back.id).await, back);
    assert_eq!(taken(store, &here).await, [0, 1]);
}

pub(crate) async fn concurrent_intents_for_a_channel_have_one_winner(store: &dyn Store) {
    let intents: Vec<_> = (0..32).map(|i| on_channel(i, &carrier(), 3)).collect();
    let answers = join_all(intents.iter().map(|intent| insert(store, intent))).await;
    let said = |what| answers.iter().filter(|answer| **answer == what).count();
    assert_eq!(said(IntentAnswer::Acknowledged), 1, "{answers:?}");
    assert_eq!(said(IntentAnswer::ChannelBusy), 31, "{answers:?}");
    assert_eq!(taken(store, &carrier()).await, [3]);
}

pub(crate) async fn the_next_leg_takes_its_channel_or_is_not_written(store: &dyn Store) {
    let there = CarrierId::parse("there").unwrap();
    let first = on_channel(1, &carrier(), 0);
    let busy = on_channel(2, &there, 0);
    let answers = store.insert_attempts(&[first.clone(), busy]).await;
    assert_eq!(answers, [IntentAnswer::Acknowledged; 2]);
    let refused = |channel| {
        let mut next = leg(&there, "next");
        next.channel = Some(channel);
        CallEvent::Refused {
            leg: 0,
            why: Refusal {
                class: RefusalClass::Failover,
                code: "503".to_owned(),
                message: String::new(),
            },
            next: Some(Box::new(next)),
        }
    };
    for (channel, want) in [(0, Cas::Lost), (1, Cas::Won)] {
        let mut after = first.clone();
        after.apply(&refused(channel), at(60));
        let save = SaveAttempt {
            attempt: after.clone(),
            expected: first.version,
        };
        assert_eq!(store.save_attempts(&[save]).await.unwrap(), [want]);
        let now = if want == Cas::Won { &after } else { &first };
        assert_eq!(stored(store, &first.id).await, *now);
    }
    assert_eq!(taken(store, &carrier()).await, [] as [u32; 0]);
    assert_eq!(taken(store, &there).await, [0, 1]);
}
