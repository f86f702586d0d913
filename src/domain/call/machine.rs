//! The call state machine: a table of state × event, and the fields each change fills in.
//!
//! | | accepted | refused | unclear | initiated | ringing | answered | party | ended | intent_stale | proven_absent | cooled_off | hard_end | unresolved | withdrawn |
//! |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
//! | intent   | placed | next leg, or ended | unknown | placed | ringing | answered | note | ended | unknown | - | - | - | - | ended |
//! | unknown  | placed! | ended | - | placed! | ringing! | answered! | note | ended! | - | cooling | ended | - | ended | ended? |
//! | placed   | note | - | - | - | ringing | answered | note | ended | - | - | - | ended | - | - |
//! | ringing  | note | - | - | - | - | answered | note | ended | - | - | - | ended | - | - |
//! | answered | note | - | - | - | note | - | note | ended | - | - | - | ended | - | - |
//! | ended    | zombie? | - | - | zombie? | zombie? | zombie? | note | note | - | - | - | - | - | - |
//!
//! `-` is an explicit no-op: late, repeated or overtaken. `zombie?`: after an end by our own
//! reasoning (absence, refusal, withdrawal, expiry) a sign of life means that a telephone rings for
//! nobody: hang up and raise the alarm; after the carrier's own terminal event it is only late.
//!
//! `intent_stale` only counts once the current leg's time is over.
//!
//! `ended?`: whoever wrote the intent knows that nothing was sent, also after others have declared
//! it unknown; but not once the leg was answered ([`LegState`] other than intent).
//!
//! `!`: while cooling off, the event disproves the proof of absence. The slot was given away, and
//! the person is still locked, so this is the only call there is: it goes on as if it had never been
//! doubted, and [`Todo::TakeBack`] raises the alarm and finds it a slot, or ends it if there is none
//! and nobody has answered. An answered call is never cut off for a limit.
//!
//! A leg has one call. Another call's event does not move the attempt: see [`Attempt::apply_stray`].

use super::attempt::{Attempt, CHECK_SLACK, INTENT_STALE, LegState, PLACED_CHECK, Todo};
use super::event::CallEvent;
use super::outcome::{Ending, Outcome};
use super::state::CallState;
use crate::id::CarrierCallId;
use crate::time::Timestamp;

/// What the table says about an event in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The attempt moves on to this state (which may be the same one: next leg, cooling).
    Go(CallState),
    /// Nothing moves, but a fact is recorded.
    Note,
    /// Nothing to do: late, repeated or overtaken.
    Ignore,
    /// A sign of life after an end by our own reasoning: hang up, raise the alarm.
    Zombie,
}

/// The table. `ended_by_carrier` only matters in [`CallState::Ended`]; `has_next_leg` only for a
/// refusal.
#[must_use]
pub const fn step(state: CallState, event: &CallEvent, ended_by_carrier: bool) -> Verdict {
    use CallEvent as E;
    use CallState::{Answered, Ended, Intent, Placed, Ringing, Unknown};
    use Verdict::{Go, Ignore, Note, Zombie};
    match state {
        Intent => match event {
            E::Accepted { .. } | E::Initiated { .. } => Go(Placed),
            E::Refused { next: Some(_), .. } => Go(Intent),
            E::Refused { next: None, .. } | E::Ended { .. } | E::Withdrawn(_) => Go(Ended),
            E::Unclear { .. } | E::IntentStale => Go(Unknown),
            E::Ringing { .. } => Go(Ringing),
            E::Answered { .. } => Go(Answered),
            E::PartyDetected(_) => Note,
            E::ProvenAbsent | E::CooledOff | E::HardEndConfirmed | E::Unresolved => Ignore,
        },
        Unknown => match event {
            E::Accepted { .. } | E::Initiated { .. } => Go(Placed),
            E::Refused { .. }
            | E::Ended { .. }
            | E::CooledOff
            | E::Unresolved
            | E::Withdrawn(_) => Go(Ended),
            E::Ringing { .. } => Go(Ringing),
            E::Answered { .. } => Go(Answered),
            E::ProvenAbsent => Go(Unknown),
            E::PartyDetected(_) => Note,
            E::Unclear { .. } | E::IntentStale | E::HardEndConfirmed => Ignore,
        },
        Placed => match event {
            E::Accepted { .. } | E::PartyDetected(_) => Note,
            E::Ringing { .. } => Go(Ringing),
            E::Answered { .. } => Go(Answered),
            E::Ended { .. } | E::HardEndConfirmed => Go(Ended),
            E::Refused { .. }
            | E::Unclear { .. }
            | E::Initiated { .. }
            | E::IntentStale
            | E::ProvenAbsent
            | E::CooledOff
            | E::Unresolved
            | E::Withdrawn(_) => Ignore,
        },
        Ringing => match event {
            E::Accepted { .. } | E::PartyDetected(_) => Note,
            E::Answered { .. } => Go(Answered),
            E::Ended { .. } | E::HardEndConfirmed => Go(Ended),
            E::Refused { .. }
            | E::Unclear { .. }
            | E::Initiated { .. }
            | E::Ringing { .. }
            | E::IntentStale
            | E::ProvenAbsent
            | E::CooledOff
            | E::Unresolved
            | E::Withdrawn(_) => Ignore,
        },
        Answered => match event {
            E::Accepted { .. } | E::PartyDetected(_) | E::Ringing { .. } => Note,
            E::Ended { .. } | E::HardEndConfirmed => Go(Ended),
            E::Refused { .. }
            | E::Unclear { .. }
            | E::Initiated { .. }
            | E::Answered { .. }
            | E::IntentStale
            | E::ProvenAbsent
            | E::CooledOff
            | E::Unresolved
            | E::Withdrawn(_) => Ignore,
        },
        Ended => match event {
            E::Accepted { .. } | E::Initiated { .. } | E::Ringing { .. } | E::Answered { .. } => {
                if ended_by_carrier {
                    Note
                } else {
                    Zombie
                }
            }
            E::PartyDetected(_) | E::Ended { .. } => Note,
            E::Refused { .. }
            | E::Unclear { .. }
            | E::IntentStale
            | E::ProvenAbsent
            | E::CooledOff
            | E::HardEndConfirmed
            | E::Unresolved
            | E::Withdrawn(_) => Ignore,
        },
    }
}

impl Attempt {
    /// Applies an event: moves the state by the table, fills in the fields and adds the commands
    /// that must follow. The caller writes the result with a compare-and-set on `version` unless
    /// the verdict is [`Verdict::Ignore`].
    pub fn apply(&mut self, event: &CallEvent, now: Timestamp) -> Verdict {
        let mut verdict = step(self.state, event, self.ended_by_carrier());
        // Whoever took it for stale may have read an earlier leg.
        let fresh = matches!(event, CallEvent::IntentStale) && now < self.check_at;
        // Written before, by a write of which nobody knew whether it had happened.
        let overtaken = if let CallEvent::Refused { leg, .. } | CallEvent::Unclear { leg } = event {
            self.current_leg()
                .is_some_and(|(current, _)| current != *leg)
        } else {
            false
        };
        let withdrawn = matches!(event, CallEvent::Withdrawn(_)) && !self.is_unsent();
        if fresh || overtaken || withdrawn {
            verdict = Verdict::Ignore;
        }
        match verdict {
            Verdict::Ignore => return verdict,
            Verdict::Note => {
                if !self.record(event, now) {
                    return Verdict::Ignore;
                }
            }
            Verdict::Zombie => {
                self.record(event, now);
                if let (Some(call_id), Some(leg)) = (call_id_of(event), self.legs.last()) {
                    let carrier = leg.carrier.clone();
                    self.command(
                        now,
                        Todo::HangUp {
                            carrier,
                            call_id: call_id.clone(),
                        },
                    );
                }
            }
            Verdict::Go(next) => {
                self.record(event, now);
                self.go(next, event, now);
            }
        }
        self.record_person(now);
        self.settle_late_cost(event, now);
        self.note(now, event.name(), note_of(event));
        self.version += 1;
        verdict
    }

    /// Applies an event of a call that is not the attempt's: of an earlier leg, which was refused
    /// before the attempt went on, or of a second call for one request. A sign of life means that a
    /// second telephone call is under way: hang it up and raise the alarm.
    pub fn apply_stray(&mut self, leg: u8, event: &CallEvent, now: Timestamp) -> Verdict {
        let (Some(call_id), Some(stray)) = (call_id_of(event), self.legs.get_mut(usize::from(leg)))
        else {
            return Verdict::Ignore;
        };
        // So that the call is known as ours when the carrier is asked what is live.
        stray.call_id.get_or_insert_with(|| call_id.clone());
        let carrier = stray.carrier.clone();
        let call_id = call_id.clone();
        let over = matches!(event, CallEvent::Ended { .. });
        if !over {
            self.command(now, Todo::HangUp { carrier, call_id });
        }
        self.note(
            now,
            event.name(),
            Some(format!("of a stray call, leg {leg}")),
        );
        self.version += 1;
        if over { Verdict::Note } else { Verdict::Zombie }
    }

    /// Adds the command to end the call; a call that has no name yet is ended when it gets one.
    pub fn ask_hang_up(&mut self, now: Timestamp) -> Verdict {
        let Some(leg) = self.legs.last() else {
            return Verdict::Ignore;
        };
        if self.state == CallState::Ended || (self.hang_up && leg.call_id.is_none()) {
            return Verdict::Ignore;
        }
        self.hang_up = true;
        if let Some(call_id) = leg.call_id.clone() {
            let carrier = leg.carrier.clone();
            self.command(now, Todo::HangUp { carrier, call_id });
        }
        self.note(now, "hang_up_asked", None);
        self.version += 1;
        Verdict::Note
    }

    /// Gives a slot, and a channel where they are counted, back to a call that lost them to a wrong proof
    /// of absence. U2 and U4 have the last word.
    pub fn take_slot(&mut self, slot: u32, channel: Option<u32>, now: Timestamp) -> Verdict {
        if self.slot.is_some() || !self.is_live() || self.is_cooling() {
            return Verdict::Ignore;
        }
        self.slot = Some(slot);
        if let Some(leg) = self.legs.last_mut() {
            leg.channel = channel;
        }
        self.hold_channel();
        self.note(now, "slot_taken_back", None);
        self.version += 1;
        Verdict::Note
    }

    /// Removes executed commands; those that are left are due again at `again`.
    pub fn finish(&mut self, done: &[Todo], again: Timestamp) -> Verdict {
        if self.todo.is_empty() {
            return Verdict::Ignore;
        }
        self.todo.retain(|todo| !done.contains(todo));
        self.todo_at = (!self.todo.is_empty()).then_some(again);
        if self.state == CallState::Ended {
            self.unlock();
        }
        self.version += 1;
        Verdict::Note
    }

    /// Notes that the carrier's list was complete and without this call, and when to look next.
    pub fn looked(&mut self, empty: bool, next: Timestamp, now: Timestamp) -> Verdict {
        self.looks += 1;
        if empty {
            // The first and the latest are the proof; those between add nothing.
            self.empty_looks.truncate(1);
            self.empty_looks.push(now);
        }
        self.check_at = next;
        self.version += 1;
        Verdict::Note
    }

    /// Moves the sweeper's next look.
    pub fn check_again(&mut self, at: Timestamp) -> Verdict {
        self.check_at = at;
        self.version += 1;
        Verdict::Note
    }

    /// Keeps the facts an event brings, whatever the state. Returns whether anything was new.
    fn record(&mut self, event: &CallEvent, now: Timestamp) -> bool {
        let mut new = false;
        if let (Some(call_id), Some(leg)) = (call_id_of(event), self.legs.last_mut())
            && leg.call_id.is_none()
        {
            leg.call_id = Some(call_id.clone());
            leg.state = LegState::Placed;
            new = true;
            if self.hang_up && !matches!(event, CallEvent::Ended { .. }) {
                let (carrier, call_id) = (leg.carrier.clone(), call_id.clone());
                self.command(now, Todo::HangUp { carrier, call_id });
            }
        }
        match event {
            CallEvent::Ringing { .. } => new |= first(&mut self.ringing_at, now),
            CallEvent::Answered { .. } => new |= first(&mut self.answered_at, now),
            CallEvent::PartyDetected(party) => {
                // The first verdict stands, except that a person found later corrects a machine.
                let correct = self.party.is_none() || *party == super::Party::Human;
                if correct && self.party != Some(*party) {
                    self.party = Some(*party);
                    new = true;
                }
            }
            CallEvent::Ended {
                ending,
                duration_s,
                sip,
                ..
            } => {
                new |= first(&mut self.ending, *ending);
                new |= duration_s.is_some_and(|d| first(&mut self.duration_s, d));
                new |= sip.is_some_and(|code| first(&mut self.sip, code));
            }
            CallEvent::Refused { leg, why, .. } => {
                if let Some(leg) = self.legs.get_mut(usize::from(*leg)) {
                    leg.state = LegState::Refused;
                    leg.refusal = Some(why.clone());
                    new = true;
                }
            }
            CallEvent::Unclear { leg } => {
                if let Some(leg) = self.legs.get_mut(usize::from(*leg)) {
                    leg.state = LegState::Unclear;
                    new = true;
                }
            }
            CallEvent::Accepted { .. }
            | CallEvent::Initiated { .. }
            | CallEvent::IntentStale
            | CallEvent::ProvenAbsent
            | CallEvent::CooledOff
            | CallEvent::HardEndConfirmed
            | CallEvent::Unresolved
            | CallEvent::Withdrawn(_) => {}
        }
        new
    }

    fn go(&mut self, next: CallState, event: &CallEvent, now: Timestamp) {
        self.state = next;
        if self.is_cooling() && call_id_of(event).is_some() {
            self.cooloff_until = None;
            self.empty_looks.clear();
            self.command(now, Todo::TakeBack);
        }
        match next {
            CallState::Intent => {
                if let CallEvent::Refused {
                    next: Some(leg), ..
                } = event
                {
                    self.check_at = leg.intent_at + INTENT_STALE;
                    self.hard_end = self.hard_end_of(leg);
                    self.legs.push((**leg).clone());
                    self.hold_channel();
                    self.reckon();
                }
            }
            CallState::Unknown => {
                if matches!(event, CallEvent::ProvenAbsent) {
                    // The slot is free again: nothing rings. The person stays locked for a while
                    // longer, in case the proof is wrong.
                    let until = now + std::time::Duration::from_millis(self.cooloff_ms);
                    self.cooloff_until = Some(until);
                    self.check_at = until;
                    self.free_slot(now);
                } else {
                    self.check_at = self.next_look(now);
                }
            }
            CallState::Placed => {
                self.check_at = now + PLACED_CHECK.min(self.ring() + CHECK_SLACK);
            }
            CallState::Ringing => self.check_at = now + self.ring() + CHECK_SLACK,
            CallState::Answered => self.check_at = now + self.talk() + CHECK_SLACK,
            CallState::Ended => self.settle(event, now),
        }
    }

    /// The end, in one place: the slot becomes free, the phone too, and the outcome is fixed.
    fn settle(&mut self, event: &CallEvent, now: Timestamp) {
        self.outcome = Some(match event {
            CallEvent::Ended { ending, .. } => self.outcome_of(*ending),
            // Who has talked is not called again as if nobody had answered.
            CallEvent::HardEndConfirmed if self.answered_at.is_some() => {
                self.outcome_of(Ending::Completed)
            }
            CallEvent::Refused { why, .. } => why.class.outcome(),
            CallEvent::Withdrawn(_) => Outcome::Withdrawn,
            CallEvent::CooledOff => Outcome::NotPlaced,
            CallEvent::Unresolved => Outcome::Unresolved,
            CallEvent::HardEndConfirmed
            | CallEvent::Accepted { .. }
            | CallEvent::Unclear { .. }
            | CallEvent::Initiated { .. }
            | CallEvent::Ringing { .. }
            | CallEvent::Answered { .. }
            | CallEvent::PartyDetected(_)
            | CallEvent::IntentStale
            | CallEvent::ProvenAbsent => Outcome::Expired,
        });
        self.ended_at = Some(now);
        self.unlock();
        self.settle_cost(now);
        // The slot first: somebody else is waiting for it.
        self.free_slot(now);
        self.command(now, Todo::ProjectLead);
    }

    /// What an ending came to. Who has answered has answered, however the call was lost then, or whatever
    /// the carrier makes of it when it has no record of the end.
    fn outcome_of(&self, ending: Ending) -> Outcome {
        let answered = self.answered_at.is_some() && ending != Ending::Unwanted;
        let ending = if answered { Ending::Completed } else { ending };
        let outcome = Outcome::of(ending, self.party);
        // A person found late was not left a message, whatever was played.
        let machine = matches!(outcome, Outcome::MachineHangup | Outcome::Answered);
        if machine && self.left_message() {
            Outcome::VoicemailLeft
        } else {
            outcome
        }
    }

    /// The phone is free, unless the person has just said that nobody shall call again: then not before
    /// that is on the list which everybody reads.
    fn unlock(&mut self) {
        if !self.may_wish_no_more() {
            self.live = None;
        }
    }

    /// The channel goes with the slot.
    fn free_slot(&mut self, now: Timestamp) {
        self.channel = None;
        if let Some(slot) = self.slot.take() {
            self.command(now, Todo::HandOff { slot });
        }
    }
}

fn first<T>(field: &mut Option<T>, value: T) -> bool {
    let new = field.is_none();
    field.get_or_insert(value);
    new
}

const fn call_id_of(event: &CallEvent) -> Option<&CarrierCallId> {
    match event {
        CallEvent::Accepted { call_id, .. }
        | CallEvent::Initiated { call_id }
        | CallEvent::Ringing { call_id }
        | CallEvent::Answered { call_id }
        | CallEvent::Ended { call_id, .. } => Some(call_id),
        CallEvent::Refused { .. }
        | CallEvent::Unclear { .. }
        | CallEvent::PartyDetected(_)
        | CallEvent::IntentStale
        | CallEvent::ProvenAbsent
        | CallEvent::CooledOff
        | CallEvent::HardEndConfirmed
        | CallEvent::Unresolved
        | CallEvent::Withdrawn(_) => None,
    }
}

fn note_of(event: &CallEvent) -> Option<String> {
    match event {
        CallEvent::Refused { why, .. } => Some(format!("{}: {}", why.code, why.message)),
        CallEvent::Ended { ending, sip, .. } => Some(sip.map_or_else(
            || format!("{ending:?}"),
            |code| format!("{ending:?}, SIP {code}"),
        )),
        CallEvent::PartyDetected(party) => Some(format!("{party:?}")),
        CallEvent::Withdrawn(why) => Some(format!("{why:?}")),
        CallEvent::Accepted { .. }
        | CallEvent::Unclear { .. }
        | CallEvent::Initiated { .. }
        | CallEvent::Ringing { .. }
        | CallEvent::Answered { .. }
        | CallEvent::IntentStale
        | CallEvent::ProvenAbsent
        | CallEvent::CooledOff
        | CallEvent::HardEndConfirmed
        | CallEvent::Unresolved => None,
    }
}
