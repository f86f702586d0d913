//! Calls whose callbacks were lost, came late, or were never to be.

use std::time::Duration;

use dialfleet_domain::call::{Attempt, CallEvent, CallState, Ending, Outcome};
use dialfleet_domain::lead::LeadState;
use dialfleet_engine::Role;
use dialfleet_engine::port::carrier::CallStatus;
use dialfleet_engine::port::store::{AttemptStore, LeadStore};
use dialfleet_tests::sample;

use super::{Rig, call_id};

const MINUTE: Duration = Duration::from_secs(60);

fn ended(ending: Ending) -> CallStatus {
    CallStatus::Ended {
        ending,
        duration_s: None,
        sip: None,
    }
}

fn accepted(call: &str) -> CallEvent {
    CallEvent::Accepted {
        leg: 0,
        call_id: call_id(call),
    }
}

fn ringing(call: &str) -> CallEvent {
    let call_id = call_id(call);
    CallEvent::Ringing { call_id }
}

fn answered(call: &str) -> CallEvent {
    let call_id = call_id(call);
    CallEvent::Answered { call_id }
}

/// Waits until an attempt has ended; returns after how long, and the attempt.
async fn until_ended(rig: &Rig, attempt: &Attempt, bound: Duration) -> (Duration, Attempt) {
    let what = "the call's end is found";
    let over = rig
        .run(Role::Reconcile, what, bound, async || {
            rig.in_state(attempt, CallState::Ended).await
        })
        .await;
    (rig.elapsed(), over)
}

#[tokio::test(start_paused = true)]
async fn the_lost_end_of_an_answered_call_is_found_within_a_minute() {
    for no_lists in [false, true] {
        let rig = Rig::new().await;
        let attempts = rig.intents("a", 1).await;
        rig.happen(&attempts[0], &[accepted("CA1"), answered("CA1")])
            .await;
        rig.network
            .has("CA1", &attempts[0], ended(Ending::Completed));
        rig.network.says().no_lists = no_lists;
        let (took, over) = until_ended(&rig, &attempts[0], MINUTE).await;
        assert!(took < MINUTE, "lists fail: {no_lists}: {took:?}");
        assert_eq!(over.outcome, Some(Outcome::Answered));
        assert_eq!(rig.network.hung_up(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_lost_end_of_an_unanswered_call_is_found_soon_after_its_ring_timeout() {
    // Also without any list, and without any callback but the request's own answer.
    for (heard, no_lists) in [(true, false), (true, true), (false, false), (false, true)] {
        let rig = Rig::new().await;
        let attempts = rig.intents("a", 1).await;
        let mut events = vec![accepted("CA1")];
        events.extend(heard.then(|| ringing("CA1")));
        rig.happen(&attempts[0], &events).await;
        rig.network.has("CA1", &attempts[0], CallStatus::Ringing);
        rig.network.says().no_lists = no_lists;
        let rings = Duration::from_secs(30);
        let network = &rig.network;
        let (over, ()) = tokio::join!(until_ended(&rig, &attempts[0], MINUTE * 2), async {
            tokio::time::sleep(rings).await;
            network.has("CA1", &attempts[0], ended(Ending::NoAnswer));
        });
        let (took, over) = over;
        assert_eq!(over.outcome, Some(Outcome::NoAnswer));
        assert!(
            took <= rings + Duration::from_secs(15),
            "ringing heard: {heard}, lists fail: {no_lists}: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn many_lost_ends_are_found_as_fast_as_one() {
    let rig = Rig::new().await;
    let attempts = rig.intents("a", 300).await;
    for (i, attempt) in attempts.iter().enumerate() {
        let call = format!("CA{i}");
        rig.happen(attempt, &[accepted(&call), answered(&call)])
            .await;
        rig.network.has(&call, attempt, ended(Ending::Completed));
    }
    let what = "all ends are found";
    rig.run(Role::Reconcile, what, MINUTE, async || {
        match rig.store.slots_in_use().await.unwrap().first() {
            None => Ok(()),
            Some(left) => Err(format!("{left:?}")),
        }
    })
    .await;
    assert!(rig.elapsed() < MINUTE, "{:?}", rig.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_unclear_call_that_nobody_can_be_asked_about_counts_and_is_not_repeated() {
    let rig = Rig::with(|can| can.pollable = false).await;
    let attempts = rig.intents("a", 1).await;
    rig.happen(&attempts[0], &[CallEvent::Unclear { leg: 0 }])
        .await;
    let (took, over) = until_ended(&rig, &attempts[0], MINUTE * 15).await;
    assert_eq!(over.outcome, Some(Outcome::Unresolved));
    assert!(rig.fleet.clock.now() >= over.hard_end, "{took:?}");
    let lead = rig
        .run(Role::Reconcile, "the lead is done", MINUTE, async || {
            let id = std::slice::from_ref(&attempts[0].lead);
            let lead = rig.store.leads(id).await.unwrap().remove(0).unwrap();
            if lead.state == LeadState::Done {
                Ok(lead)
            } else {
                Err(lead.state.name().to_owned())
            }
        })
        .await;
    assert_eq!(
        (lead.budget_used, lead.last_outcome),
        (1, Some(Outcome::Unresolved))
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_past_its_hard_end_is_hung_up_and_its_word_is_taken_where_there_is_no_record() {
    let rig = Rig::with(|can| can.pollable = false).await;
    let attempts = rig.intents("a", 1).await;
    rig.happen(&attempts[0], &[accepted("CA1"), answered("CA1")])
        .await;
    let (_, over) = until_ended(&rig, &attempts[0], MINUTE * 15).await;
    assert_eq!(over.outcome, Some(Outcome::Answered), "they have talked");
    assert_eq!(rig.network.hung_up(), ["CA1"]);
    assert_eq!(rig.alarms("hard_end_unconfirmed"), 0);
}

/// A call that was proven absent, in a campaign whose slots are all taken but `free`.
async fn proven_absent(rig: &Rig, free: usize) -> Attempt {
    let slots = sample::campaign("a").limit as usize;
    let attempts = rig.intents("a", 1).await;
    let events = [CallEvent::Unclear { leg: 0 }, CallEvent::ProvenAbsent];
    rig.happen(&attempts[0], &events).await;
    let mut others = Vec::new();
    for slot in 0..u32::try_from(slots - free).unwrap() {
        let lead = sample::lead(&attempts[0].campaign, 100 + slot);
        others.push(sample::attempt(&lead, 1, slot));
        rig.store.insert_leads(&[lead]).await.unwrap();
    }
    let answers = rig.store.insert_attempts(&others).await;
    assert_eq!(answers.len(), slots - free);
    attempts[0].clone()
}

async fn events_until(
    rig: &Rig,
    attempt: &Attempt,
    status: CallStatus,
    good: impl Fn(&Attempt) -> bool,
) {
    rig.report(attempt, "CA1", &[status]).await;
    rig.run(Role::Events, "it is dealt with", MINUTE, async || {
        let now = rig.read(attempt).await;
        if good(&now) && now.todo.is_empty() {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_proven_absent_takes_a_free_slot_back() {
    let rig = Rig::new().await;
    let attempt = proven_absent(&rig, 1).await;
    events_until(&rig, &attempt, CallStatus::Ringing, |a| a.slot == Some(4)).await;
    assert_eq!(rig.alarms("absence_disproved"), 1);
    assert_eq!(rig.alarms("over_limit"), 0);
    assert_eq!(rig.network.hung_up(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_proven_absent_is_ended_above_the_limit_unless_it_is_answered() {
    let rig = Rig::new().await;
    let attempt = proven_absent(&rig, 0).await;
    let rings = |a: &Attempt| a.state == CallState::Ringing;
    events_until(&rig, &attempt, CallStatus::Ringing, rings).await;
    assert_eq!(rig.network.hung_up(), ["CA1"]);
    assert_eq!(rig.alarms("over_limit"), 1);

    let rig = Rig::new().await;
    let attempt = proven_absent(&rig, 0).await;
    let talks = |a: &Attempt| a.state == CallState::Answered;
    events_until(&rig, &attempt, CallStatus::Answered, talks).await;
    assert_eq!(rig.network.hung_up(), [""; 0], "a person is on the line");
    assert_eq!(rig.alarms("over_limit"), 1);
    assert_eq!(rig.alarms("absence_disproved"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_call_for_one_request_is_hung_up() {
    let rig = Rig::new().await;
    let attempts = rig.intents("a", 1).await;
    rig.happen(&attempts[0], &[accepted("CA1"), answered("CA1")])
        .await;
    rig.report(&attempts[0], "CA2", &[CallStatus::Ringing])
        .await;
    rig.run(Role::Events, "it is hung up", MINUTE, async || {
        let hung_up = rig.network.hung_up();
        if hung_up == ["CA2"] {
            Ok(())
        } else {
            Err(format!("{hung_up:?}"))
        }
    })
    .await;
    let first = rig.read(&attempts[0]).await;
    assert_eq!(
        first.state,
        CallState::Answered,
        "and the first one goes on"
    );
    assert_eq!(rig.alarms("double_dial"), 1);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_ours_and_ended_is_hung_up() {
    let rig = Rig::new().await;
    let attempts = rig.intents("a", 3).await;
    let [over, unclear, talking] = [0, 1, 2].map(|i: usize| attempts[i].clone());
    rig.happen(&talking, &[accepted("CA2"), answered("CA2")])
        .await;
    rig.network.has("CA2", &talking, CallStatus::Answered);
    let end = CallEvent::Ended {
        call_id: call_id("CA0"),
        ending: Ending::Completed,
        duration_s: None,
        sip: None,
    };
    rig.happen(&over, &[accepted("CA0"), end]).await;
    rig.network.has("CA0", &over, CallStatus::Answered);
    // Its look-ups fail, so only the list of live calls can tell.
    rig.happen(&unclear, &[CallEvent::Unclear { leg: 0 }]).await;
    let mut hidden = unclear.clone();
    hidden.phone = sample::phone(77);
    rig.network.has("CAx", &hidden, CallStatus::Ringing);
    rig.run(Role::Reconcile, "it is hung up", MINUTE, async || {
        let hung_up = rig.network.hung_up();
        if hung_up.is_empty() {
            Err("nothing yet".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    rig.run_for(Role::Reconcile, MINUTE * 2).await;
    assert!(rig.network.hung_up().iter().all(|call| call == "CA0"));
    let counted = rig.fleet.metrics.render();
    let strangers = counted
        .lines()
        .find(|l| l.starts_with("dialfleet_sweeps_total{action=\"stranger\"}"));
    assert!(strangers.is_some(), "the stranger is reported");
    assert_eq!(
        rig.read(&talking).await.state,
        CallState::Answered,
        "nobody's business"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stranger_that_fits_an_unclear_attempt_is_its_call() {
    let rig = Rig::new().await;
    let attempts = rig.intents("a", 1).await;
    rig.happen(&attempts[0], &[CallEvent::Unclear { leg: 0 }])
        .await;
    rig.happen(&attempts[0], &[CallEvent::ProvenAbsent]).await;
    rig.network.has("CA1", &attempts[0], CallStatus::Answered);
    let what = "it is matched";
    rig.run(Role::Reconcile, what, MINUTE * 3, async || {
        let now = rig.in_state(&attempts[0], CallState::Answered).await?;
        if now.slot.is_some() {
            Ok(())
        } else {
            Err("it has no slot".to_owned())
        }
    })
    .await;
    assert_eq!(rig.alarms("absence_disproved"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_does_not_answer_keeps_no_other_call_waiting() {
    let rig = Rig::new().await;
    let attempts = rig.intents("a", 3).await;
    rig.network.says().hangs = true;
    for (attempt, call) in attempts.iter().zip(["CA0", "CA1", "CA2"]) {
        rig.happen(attempt, &[accepted(call), answered(call)]).await;
    }
    // Each has to be hung up, which takes for ever.
    rig.report(&attempts[0], "CA8", &[CallStatus::Ringing])
        .await;
    rig.report(&attempts[1], "CA9", &[CallStatus::Ringing])
        .await;
    let over = async {
        rig.fleet.clock.sleep(Duration::from_secs(5)).await;
        let end = ended(Ending::Completed);
        rig.report(&attempts[2], "CA2", &[end]).await;
    };
    let look = async || rig.in_state(&attempts[2], CallState::Ended).await;
    let what = "the other call's end is written";
    let bound = Duration::from_secs(10);
    let (after, ()) = tokio::join!(rig.run(Role::Events, what, bound, look), over);
    assert_eq!(after.slot, None);
}
