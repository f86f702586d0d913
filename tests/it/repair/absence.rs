//! What a slot may be freed by when nobody heard of the call: proof that it was not placed, or the
//! carrier's word that it is over. Never time alone.

use std::time::Duration;

use dialfleet_domain::call::{Attempt, CallEvent, CallState, Ending, Outcome};
use dialfleet_engine::Role;
use dialfleet_engine::port::carrier::CallStatus;

use super::{Rig, call_id};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
/// The youngest an attempt can be proven absent, and the oldest it may be by then.
const PROVEN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(95));

/// An attempt of whose request nobody knows whether it arrived.
async fn unclear(rig: &Rig) -> Attempt {
    let attempt = rig.intents("a", 1).await.remove(0);
    rig.happen(&attempt, &[CallEvent::Unclear { leg: 0 }]).await;
    attempt
}

/// How long its slot is held.
async fn until_free(rig: &Rig, attempt: &Attempt, bound: Duration) -> (Duration, Attempt) {
    let what = "its slot is free";
    let look = async || {
        let now = rig.read(attempt).await;
        if now.slot.is_none() {
            Ok(now)
        } else {
            Err(format!("{} in slot {:?}", now.state.name(), now.slot))
        }
    };
    let freed = rig.run(Role::Reconcile, what, bound, look).await;
    (rig.elapsed(), freed)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_not_placed_is_proven_absent_in_time_and_its_person_stays_locked() {
    let rig = Rig::new().await;
    let attempt = unclear(&rig).await;
    let (took, freed) = until_free(&rig, &attempt, HOUR).await;
    assert!(PROVEN.0 <= took && took <= PROVEN.1, "{took:?}");
    assert_eq!(freed.state, CallState::Unknown);
    assert!(freed.is_live() && freed.is_cooling(), "{freed:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_list_nothing_is_proven() {
    let rig = Rig::new().await;
    let attempt = unclear(&rig).await;
    rig.network.says().no_lists = true;
    rig.run_for(Role::Reconcile, HOUR).await;
    let held = rig.read(&attempt).await;
    assert!(held.slot.is_some() && held.empty_looks.is_empty());
    assert!(rig.alarms("hard_end_unconfirmed") > 0, "and that is said");
    // It counts from the first list that can be read.
    let from = rig.elapsed();
    rig.network.says().no_lists = false;
    let (at, _) = until_free(&rig, &attempt, HOUR).await;
    assert!(at - from >= PROVEN.0 / 2, "one list is no proof");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_listed_late_is_found_and_keeps_its_slot() {
    let rig = Rig::new().await;
    let attempt = unclear(&rig).await;
    rig.run_for(Role::Reconcile, PROVEN.0 - 5 * SECOND).await;
    let looked = rig.read(&attempt).await;
    assert!(!looked.empty_looks.is_empty(), "it was looked for before");
    rig.network.has("CA1", &attempt, CallStatus::Answered);
    let look = async || rig.in_state(&attempt, CallState::Answered).await;
    let what = "the call is found";
    let found = rig.run(Role::Reconcile, what, PROVEN.1, look).await;
    assert_eq!(found.slot, attempt.slot);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_absent_because_a_clock_makes_it_look_old() {
    let rig = Rig::new().await;
    let attempt = unclear(&rig).await;
    rig.fleet.clock.sleep(5 * SECOND).await;
    rig.network.has("CA1", &attempt, CallStatus::Answered);
    rig.network
        .dates("CA1", attempt.legs[0].intent_at - 60 * SECOND);
    let look = async || rig.in_state(&attempt, CallState::Answered).await;
    let what = "the call is found";
    let found = rig.run(Role::Reconcile, what, PROVEN.1, look).await;
    assert_eq!(found.slot, attempt.slot);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_call_to_the_same_person_is_not_taken_for_this_one() {
    let rig = Rig::new().await;
    let earlier = rig.intents("a", 1).await.remove(0);
    let call = call_id("CA0");
    let placed = CallEvent::Accepted {
        leg: 0,
        call_id: call.clone(),
    };
    let over = CallEvent::Ended {
        call_id: call,
        ending: Ending::Busy,
        duration_s: None,
        sip: None,
    };
    rig.happen(&earlier, &[placed, over]).await;
    let busy = CallStatus::Ended {
        ending: Ending::Busy,
        duration_s: None,
        sip: None,
    };
    rig.network.has("CA0", &earlier, busy);
    let again = rig.again(&earlier).await;
    rig.happen(&again, &[CallEvent::Unclear { leg: 0 }]).await;
    let (took, _) = until_free(&rig, &again, HOUR).await;
    assert!(PROVEN.0 <= took && took <= PROVEN.1, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn past_its_hard_end_a_slot_is_held_until_the_carrier_says_that_the_call_is_over() {
    let rig = Rig::new().await;
    let attempt = rig.intents("a", 1).await.remove(0);
    let call = call_id("CA1");
    let placed = CallEvent::Accepted {
        leg: 0,
        call_id: call.clone(),
    };
    let talks = CallEvent::Answered { call_id: call };
    rig.happen(&attempt, &[placed, talks]).await;
    rig.network.has("CA1", &attempt, CallStatus::Answered);
    let out = |out: bool| {
        let mut says = rig.network.says();
        (says.no_lists, says.no_records, says.no_hang_ups) = (out, out, out);
    };
    out(true);
    rig.run_for(Role::Reconcile, HOUR).await;
    let held = rig.read(&attempt).await;
    assert!(rig.fleet.clock.now() > held.hard_end);
    assert_eq!(
        (held.state, held.slot),
        (CallState::Answered, attempt.slot),
        "nobody knows that it is over"
    );
    assert!(rig.alarms("hard_end_unconfirmed") > 0);

    // It can be asked again, and goes on.
    out(false);
    rig.run_for(Role::Reconcile, 90 * SECOND).await;
    assert!(rig.network.hung_up().iter().any(|call| call == "CA1"));
    assert_eq!(rig.read(&attempt).await.slot, attempt.slot);

    let over = CallStatus::Ended {
        ending: Ending::Completed,
        duration_s: None,
        sip: None,
    };
    rig.network.has("CA1", &attempt, over);
    let (_, freed) = until_free(&rig, &attempt, 60 * SECOND).await;
    assert_eq!(freed.outcome, Some(Outcome::Answered));
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_after_we_ended_it_is_hung_up_with_an_alarm() {
    let rig = Rig::with(|can| can.pollable = false).await;
    let attempt = unclear(&rig).await;
    let (_, over) = until_free(&rig, &attempt, HOUR).await;
    assert_eq!(over.outcome, Some(Outcome::Unresolved));
    rig.report(&attempt, "CA1", &[CallStatus::Answered]).await;
    let look = async || match rig.network.hung_up() {
        calls if calls == ["CA1"] => Ok(()),
        calls => Err(format!("{calls:?}")),
    };
    rig.run(Role::Events, "it is hung up", 60 * SECOND, look)
        .await;
    assert_eq!(rig.alarms("answered_after_end"), 1);
    assert_eq!(rig.read(&attempt).await.outcome, Some(Outcome::Unresolved));
}
