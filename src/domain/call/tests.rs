//! Every state × every event, and what must hold for any sequence of events.

use std::time::Duration;

use proptest::prelude::*;

use super::attempt::{HARD_END_SLACK, INTENT_STALE, MAX_TIMELINE, NewAttempt};
use super::event::Withdrawal;
use super::machine::step;
use super::*;
use crate::flow::{Input, Keys};
use crate::id::{CampaignId, CarrierCallId, CarrierId, ClaimToken, LeadId, Nonce, TenantId};
use crate::phone::E164;
use crate::time::Timestamp;

const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn leg(nonce: &str) -> Leg {
    Leg {
        carrier: CarrierId::parse("t1").unwrap(),
        from: E164::parse("+442079460000", None).unwrap(),
        state: LegState::Intent,
        nonce: Nonce::parse(nonce).unwrap(),
        intent_at: T0,
        call_id: None,
        refusal: None,
        longest_ms: None,
        channel: None,
        bill: None,
    }
}

pub(super) fn attempt() -> Attempt {
    let campaign = CampaignId::parse("cmp_1").unwrap();
    Attempt::intend(NewAttempt {
        tenant: TenantId::parse("t").unwrap(),
        lead: LeadId::new(&campaign, "r").unwrap(),
        n: 1,
        phone: E164::parse("+442079460119", None).unwrap(),
        slot: 3,
        campaign_gen: 1,
        claim: ClaimToken::parse("clm_1").unwrap(),
        leg: leg("n1"),
        ring: Duration::from_secs(30),
        talk: Duration::from_secs(600),
        cooloff: Duration::from_secs(900),
        decision: None,
    })
}

pub(super) fn call_id() -> CarrierCallId {
    CarrierCallId::parse("CA1").unwrap()
}

fn refusal() -> Refusal {
    Refusal {
        class: RefusalClass::Failover,
        code: "503".to_owned(),
        message: "no".to_owned(),
    }
}

fn events() -> Vec<CallEvent> {
    let call_id = call_id();
    vec![
        CallEvent::Accepted {
            leg: 0,
            call_id: call_id.clone(),
        },
        CallEvent::Refused {
            leg: 0,
            why: refusal(),
            next: None,
        },
        CallEvent::Refused {
            leg: 0,
            why: refusal(),
            next: Some(Box::new(leg("n2"))),
        },
        CallEvent::Unclear { leg: 0 },
        CallEvent::Initiated {
            call_id: call_id.clone(),
        },
        CallEvent::Ringing {
            call_id: call_id.clone(),
        },
        CallEvent::Answered {
            call_id: call_id.clone(),
        },
        CallEvent::PartyDetected(Party::Human),
        CallEvent::Ended {
            call_id,
            ending: Ending::NoAnswer,
            duration_s: None,
            sip: Some(487),
        },
        CallEvent::IntentStale,
        CallEvent::ProvenAbsent,
        CallEvent::CooledOff,
        CallEvent::HardEndConfirmed,
        CallEvent::Unresolved,
        CallEvent::Withdrawn(Withdrawal::FenceLate),
    ]
}

#[test]
fn the_table_is_what_it_says() {
    use CallState as S;
    use Verdict::{Go, Ignore as No, Note};
    let i = Go(S::Intent);
    let u = Go(S::Unknown);
    let p = Go(S::Placed);
    let r = Go(S::Ringing);
    let a = Go(S::Answered);
    let e = Go(S::Ended);
    let z = Verdict::Zombie;
    // Columns: accepted, refused, refused + next leg, unclear, initiated, ringing, answered, party,
    // ended, intent_stale, proven_absent, cooled_off, hard_end_confirmed, unresolved, withdrawn.
    let table = [
        (
            S::Intent,
            [p, e, i, u, p, r, a, Note, e, u, No, No, No, No, e],
        ),
        (
            S::Unknown,
            [p, e, e, No, p, r, a, Note, e, No, u, e, No, e, e],
        ),
        (
            S::Placed,
            [Note, No, No, No, No, r, a, Note, e, No, No, No, e, No, No],
        ),
        (
            S::Ringing,
            [Note, No, No, No, No, No, a, Note, e, No, No, No, e, No, No],
        ),
        (
            S::Answered,
            [
                Note, No, No, No, No, Note, No, Note, e, No, No, No, e, No, No,
            ],
        ),
        (
            S::Ended,
            [z, No, No, No, z, z, z, Note, Note, No, No, No, No, No, No],
        ),
    ];
    assert_eq!(table.map(|(s, _)| s), S::ALL.map(|s| s));
    for (state, row) in table {
        for (event, expected) in events().iter().zip(row) {
            assert_eq!(
                step(state, event, false),
                expected,
                "{} while {}",
                event.name(),
                state.name()
            );
            let heard = if expected == z { Note } else { expected };
            assert_eq!(
                step(state, event, true),
                heard,
                "{} after the carrier's own end",
                event.name()
            );
        }
    }
}

#[test]
fn whoever_opts_out_is_not_called_before_that_is_on_the_list() {
    let at = |s| T0 + Duration::from_secs(s);
    let ended = CallEvent::Ended {
        call_id: call_id(),
        ending: Ending::Completed,
        duration_s: Some(3),
        sip: Some(200),
    };
    let mut a = attempt();
    a.apply(&CallEvent::Answered { call_id: call_id() }, at(1));
    assert_eq!(a.wish_no_more(at(2)), Verdict::Note);
    a.apply(&ended, at(3));
    assert_eq!(
        (a.state, a.slot, a.is_live()),
        (CallState::Ended, None, true),
        "the slot is free, the person is not"
    );
    let others = [Todo::HandOff { slot: 3 }, Todo::ProjectLead];
    a.finish(&others, at(6));
    assert!(a.is_live(), "the list could not be written");
    a.finish(&[Todo::OptOut], at(9));
    assert!(!a.is_live());
    // Nobody knows yet what the key meant.
    let mut b = attempt();
    b.apply(&CallEvent::Answered { call_id: call_id() }, at(1));
    let nine = Input::Keys {
        keys: Keys::parse("9").unwrap(),
    };
    assert_eq!(b.will_hear(&call_id(), 1, nine, at(2)), Verdict::Note);
    b.apply(&ended, at(3));
    assert!(b.is_live());
    b.finish(&b.todo.clone(), at(4));
    assert!(!b.is_live());
    // Told of it after the end, it has nothing left to lock.
    let mut late = attempt();
    late.apply(&ended, at(3));
    assert_eq!(late.wish_no_more(at(4)), Verdict::Note);
    assert!(!late.is_live());
    late.finish(&[Todo::OptOut], at(5));
    assert!(!late.is_live());
}

#[test]
fn a_call_from_intent_to_end() {
    let mut a = attempt();
    let at = |s| T0 + Duration::from_secs(s);
    assert_eq!(a.check_at, at(15));
    assert_eq!(a.hard_end, at(30 + 600 + 120));
    a.apply(
        &CallEvent::Accepted {
            leg: 0,
            call_id: call_id(),
        },
        at(1),
    );
    assert_eq!((a.state, a.check_at), (CallState::Placed, at(31)));
    a.apply(&CallEvent::Ringing { call_id: call_id() }, at(2));
    assert_eq!(a.check_at, at(2 + 30 + 10));
    a.apply(&CallEvent::Answered { call_id: call_id() }, at(9));
    assert_eq!(a.check_at, at(9 + 600 + 10));
    a.apply(&CallEvent::PartyDetected(Party::Machine), at(11));
    let ended = CallEvent::Ended {
        call_id: call_id(),
        ending: Ending::Completed,
        duration_s: Some(3),
        sip: Some(200),
    };
    a.apply(&ended, at(12));
    assert_eq!((a.state, a.slot, a.live), (CallState::Ended, None, None));
    assert_eq!(a.outcome, Some(Outcome::MachineHangup));
    assert_eq!(a.todo, [Todo::HandOff { slot: 3 }, Todo::ProjectLead]);
    assert_eq!(a.todo_at, Some(at(12)));
    assert_eq!(a.version, 5);
    assert_eq!(
        a.apply(&ended, at(13)),
        Verdict::Ignore,
        "a repeated callback changes nothing"
    );
    assert_eq!(
        a.finish(&[Todo::HandOff { slot: 3 }, Todo::ProjectLead], at(20)),
        Verdict::Note
    );
    assert_eq!(a.todo_at, None);
}

#[test]
fn proof_of_absence_frees_the_slot_and_keeps_the_person_locked() {
    let mut a = attempt();
    a.apply(&CallEvent::Unclear { leg: 0 }, T0);
    assert_eq!(
        (a.slot, a.is_live()),
        (Some(3), true),
        "an unclear call holds both"
    );
    a.apply(&CallEvent::ProvenAbsent, T0 + Duration::from_secs(95));
    assert_eq!(
        (a.state, a.slot, a.is_live()),
        (CallState::Unknown, None, true)
    );
    assert_eq!(a.todo, [Todo::HandOff { slot: 3 }]);
    assert_eq!(a.check_at, T0 + Duration::from_secs(95 + 900));
    a.apply(&CallEvent::CooledOff, a.check_at);
    assert_eq!((a.outcome, a.is_live()), (Some(Outcome::NotPlaced), false));
}

#[test]
fn a_call_that_was_proven_absent_and_lives_is_taken_back() {
    let events = [
        CallEvent::Accepted {
            leg: 0,
            call_id: call_id(),
        },
        CallEvent::Initiated { call_id: call_id() },
        CallEvent::Ringing { call_id: call_id() },
        CallEvent::Answered { call_id: call_id() },
    ];
    for event in &events {
        let mut a = attempt();
        a.apply(&CallEvent::Unclear { leg: 0 }, T0);
        a.apply(&CallEvent::ProvenAbsent, T0);
        a.finish(&[Todo::HandOff { slot: 3 }], T0);
        assert_eq!(
            a.take_slot(1, None, T0),
            Verdict::Ignore,
            "nothing lives yet"
        );
        assert!(matches!(a.apply(event, T0), Verdict::Go(_)));
        assert_eq!(
            (a.slot, a.is_live(), a.is_cooling()),
            (None, true, false),
            "{}",
            event.name()
        );
        assert_eq!(a.todo, [Todo::TakeBack]);
        assert_eq!(a.take_slot(1, None, T0), Verdict::Note);
        assert_eq!(a.take_slot(2, None, T0), Verdict::Ignore, "it has one");
        let ended = CallEvent::Ended {
            call_id: call_id(),
            ending: Ending::Completed,
            duration_s: None,
            sip: None,
        };
        a.apply(&ended, T0);
        assert!(a.todo.contains(&Todo::HandOff { slot: 1 }));
        assert_eq!((a.slot, a.is_live()), (None, false));
    }
    // Over before we heard of it: the alarm remains.
    let mut a = attempt();
    a.apply(&CallEvent::IntentStale, T0 + INTENT_STALE);
    a.apply(&CallEvent::ProvenAbsent, T0);
    let busy = CallEvent::Ended {
        call_id: call_id(),
        ending: Ending::Busy,
        duration_s: None,
        sip: None,
    };
    a.apply(&busy, T0);
    assert_eq!(a.outcome, Some(Outcome::Busy));
    assert!(a.todo.contains(&Todo::TakeBack));
    assert_eq!(a.take_slot(1, None, T0), Verdict::Ignore, "it is over");
}

#[test]
fn a_leg_is_not_stale_because_the_one_before_it_was() {
    let (mut a, later) = (attempt(), T0 + INTENT_STALE);
    let refused = CallEvent::Refused {
        leg: 0,
        why: refusal(),
        next: Some(Box::new(Leg {
            intent_at: later,
            ..leg("n2")
        })),
    };
    a.apply(&refused, later);
    assert_eq!(a.apply(&CallEvent::IntentStale, later), Verdict::Ignore);
    let stale = a.apply(&CallEvent::IntentStale, later + INTENT_STALE);
    assert_eq!(stale, Verdict::Go(CallState::Unknown));
}

#[test]
fn whoever_wrote_the_intent_may_withdraw_it_until_it_was_sent() {
    let withdraw = CallEvent::Withdrawn(Withdrawal::FenceLate);
    // Others declared it unknown, and perhaps absent, meanwhile.
    for proven in [false, true] {
        let mut a = attempt();
        a.apply(&CallEvent::IntentStale, T0 + INTENT_STALE);
        if proven {
            a.apply(&CallEvent::ProvenAbsent, T0);
        }
        assert_eq!(a.apply(&withdraw, T0), Verdict::Go(CallState::Ended));
        assert_eq!(
            (a.outcome, a.slot, a.is_live()),
            (Some(Outcome::Withdrawn), None, false)
        );
        assert!(!a.todo.contains(&Todo::TakeBack));
    }
    let mut sent = attempt();
    sent.apply(&CallEvent::Unclear { leg: 0 }, T0);
    assert_eq!(sent.apply(&withdraw, T0), Verdict::Ignore);
    let mut heard_of = attempt();
    heard_of.apply(&CallEvent::Ringing { call_id: call_id() }, T0);
    assert_eq!(heard_of.apply(&withdraw, T0), Verdict::Ignore);
}

#[test]
fn an_unclear_call_that_nobody_can_be_asked_about_is_never_dialed_again_by_itself() {
    let mut a = attempt();
    a.apply(&CallEvent::Unclear { leg: 0 }, T0);
    assert_eq!(
        a.apply(&CallEvent::Unresolved, a.hard_end),
        Verdict::Go(CallState::Ended)
    );
    assert_eq!(a.outcome, Some(Outcome::Unresolved));
    assert!(Outcome::Unresolved.consumes_budget() && Outcome::Unresolved.is_final());
    assert_eq!(
        a.apply(&CallEvent::Ringing { call_id: call_id() }, a.hard_end),
        Verdict::Zombie
    );
}

#[test]
fn who_has_answered_is_not_called_again_as_if_nobody_had() {
    let talking = || {
        let mut a = attempt();
        a.apply(&CallEvent::Answered { call_id: call_id() }, T0);
        a
    };
    let end = |ending| CallEvent::Ended {
        call_id: call_id(),
        ending,
        duration_s: None,
        sip: None,
    };
    // A carrier without a record of the end, one that lost the line, and one that says nothing more.
    let mut a = talking();
    a.apply(&CallEvent::HardEndConfirmed, a.hard_end);
    assert_eq!(a.outcome, Some(Outcome::Answered));
    for ending in [Ending::Unreachable, Ending::Canceled, Ending::CarrierError] {
        let mut a = talking();
        a.apply(&CallEvent::PartyDetected(Party::Human), T0);
        a.apply(&end(ending), T0);
        assert_eq!(a.outcome, Some(Outcome::HumanConnected), "{ending:?}");
    }
    let mut a = talking();
    a.apply(&end(Ending::Unwanted), T0);
    assert_eq!(a.outcome, Some(Outcome::Unwanted), "that is their word");
    let mut a = attempt();
    a.apply(&CallEvent::Ringing { call_id: call_id() }, T0);
    a.apply(&CallEvent::HardEndConfirmed, a.hard_end);
    assert_eq!(a.outcome, Some(Outcome::Expired));
}

#[test]
fn what_became_of_an_earlier_leg_is_old_news() {
    let refused = |next: Option<&str>| CallEvent::Refused {
        leg: 0,
        why: refusal(),
        next: next.map(|nonce| Box::new(leg(nonce))),
    };
    let mut a = attempt();
    assert_eq!(
        a.apply(&refused(Some("n2")), T0),
        Verdict::Go(CallState::Intent)
    );
    for event in [
        refused(Some("n2")),
        refused(None),
        CallEvent::Unclear { leg: 0 },
    ] {
        assert_eq!(a.apply(&event, T0), Verdict::Ignore, "{event:?}");
    }
    assert_eq!((a.legs.len(), a.state), (2, CallState::Intent));
}

#[test]
fn a_sign_of_life_after_our_own_end_is_hung_up() {
    let mut a = attempt();
    a.apply(&CallEvent::Withdrawn(Withdrawal::FenceLate), T0);
    assert_eq!(
        a.apply(&CallEvent::Ringing { call_id: call_id() }, T0),
        Verdict::Zombie
    );
    let carrier = CarrierId::parse("t1").unwrap();
    assert!(a.todo.contains(&Todo::HangUp {
        carrier,
        call_id: call_id()
    }));
    assert_eq!(a.state, CallState::Ended);
}

#[test]
fn a_refused_leg_that_lives_is_a_stray() {
    let mut a = attempt();
    a.apply(
        &CallEvent::Refused {
            leg: 0,
            why: refusal(),
            next: Some(Box::new(leg("n2"))),
        },
        T0,
    );
    assert_eq!((a.state, a.legs.len()), (CallState::Intent, 2));
    assert!(a.is_mine(&Nonce::parse("n2").unwrap()) && !a.is_mine(&Nonce::parse("n1").unwrap()));
    let ringing = CallEvent::Ringing { call_id: call_id() };
    assert_eq!(a.apply_stray(0, &ringing, T0), Verdict::Zombie);
    assert_eq!(a.state, CallState::Intent, "the current leg is not touched");
    assert_eq!(
        (a.legs[0].call_id.clone(), a.legs[1].call_id.clone()),
        (Some(call_id()), None),
        "the stray is known as ours"
    );
}

#[test]
fn unknown_attempts_are_looked_for_at_the_stated_times() {
    let a = attempt();
    let at = |s| T0 + Duration::from_secs(s);
    let looks: Vec<u64> = [0, 5, 20, 64, 65, 94, 95, 200]
        .into_iter()
        .map(|s| a.next_look(at(s)).since(T0).as_secs())
        .collect();
    assert_eq!(looks, [5, 15, 35, 65, 95, 95, 125, 230]);
}

proptest! {
    /// Whatever comes in whatever order: ranks never fall (except to the next leg), the end is
    /// sticky, and an ended attempt holds neither slot nor person.
    #[test]
    fn any_sequence(picks in proptest::collection::vec(0usize..15, 0..120)) {
        let mut a = attempt();
        let all = events();
        for (i, pick) in (0u64..).zip(picks) {
            let before = a.clone();
            let verdict = a.apply(&all[pick], T0 + Duration::from_millis(i));
            prop_assert_eq!(a.version, before.version + u64::from(verdict != Verdict::Ignore));
            if verdict == Verdict::Ignore {
                prop_assert_eq!(&a, &before);
            }
            prop_assert!(a.state.rank() >= before.state.rank());
            if before.state == CallState::Ended {
                prop_assert_eq!(a.state, CallState::Ended);
                prop_assert_eq!(a.outcome, before.outcome);
            }
            prop_assert_eq!(a.state == CallState::Ended, a.outcome.is_some());
            prop_assert_eq!(a.state == CallState::Ended, !a.is_live());
            if a.state == CallState::Ended {
                prop_assert_eq!(a.slot, None);
            }
            prop_assert_eq!(a.todo.is_empty(), a.todo_at.is_none());
            prop_assert!(a.timeline.len() <= MAX_TIMELINE);
        }
    }

    /// Applying every event twice is the same as applying it once.
    #[test]
    fn repeated_events_change_nothing(picks in proptest::collection::vec(3usize..15, 0..40)) {
        let all = events();
        let (mut once, mut twice) = (attempt(), attempt());
        for (i, pick) in (0u64..).zip(picks) {
            let now = T0 + Duration::from_millis(i);
            once.apply(&all[pick], now);
            twice.apply(&all[pick], now);
            let state = twice.state;
            twice.apply(&all[pick], now);
            if pick != 10 {
                prop_assert_eq!(twice.state, state);
            }
            prop_assert_eq!((once.state, once.slot, once.outcome, &once.todo), (twice.state, twice.slot, twice.outcome, &twice.todo));
        }
    }
}

#[test]
fn each_leg_ends_by_its_own_carriers_time() {
    let mut a = attempt();
    let after = |s| T0 + Duration::from_secs(s) + HARD_END_SLACK;
    assert_eq!(
        a.hard_end,
        after(30 + 600),
        "told how long to ring and talk"
    );
    let legs = [(Some(3_600_000), after(3_600)), (None, after(30 + 600))];
    for (n, (longest_ms, hard_end)) in (0..).zip(legs) {
        let mut next = leg("n2");
        next.longest_ms = longest_ms;
        let refused = CallEvent::Refused {
            leg: n,
            why: refusal(),
            next: Some(Box::new(next)),
        };
        a.apply(&refused, T0);
        assert_eq!(a.hard_end, hard_end);
    }
}
