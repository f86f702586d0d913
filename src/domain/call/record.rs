//! When a call's recording is commanded.

use super::attempt::{Attempt, Todo};
use super::machine::Verdict;
use super::outcome::Party;
use super::state::CallState;
use crate::recording::{Act, Start};
use crate::time::Timestamp;

impl Attempt {
    /// Adds the command to begin, once, if the recording is to begin with a person and one is there.
    pub(super) fn record_person(&mut self, now: Timestamp) {
        let waits = self
            .recording
            .is_some_and(|plan| plan.start == Start::Human && !plan.begun);
        let person = match self.party {
            // Behind a screening there is a person, and nothing else will say so.
            Some(Party::Human | Party::Unknown | Party::Screening) => true,
            Some(Party::Machine | Party::Fax | Party::Announcement) | None => false,
        };
        if !waits || !person || self.state != CallState::Answered || self.hang_up {
            return;
        }
        if self.command_recording(Act::Begin, now)
            && let Some(plan) = &mut self.recording
        {
            plan.begun = true;
        }
    }

    /// Adds a command about the recording of the answered call. The last word counts: what was
    /// commanded before and is not done yet need not be done any more.
    pub fn ask_record(&mut self, act: Act, now: Timestamp) -> Verdict {
        if self.state != CallState::Answered {
            return Verdict::Ignore;
        }
        self.todo.retain(|todo| {
            !matches!(todo, Todo::Record { act: before, .. } if *before != Act::Begin || act == Act::Stop)
        });
        if !self.command_recording(act, now) {
            return Verdict::Ignore;
        }
        self.note(now, "recording", Some(act.name().to_owned()));
        self.version += 1;
        Verdict::Note
    }

    fn command_recording(&mut self, act: Act, now: Timestamp) -> bool {
        let Some(leg) = self.legs.last() else {
            return false;
        };
        let Some(call_id) = leg.call_id.clone() else {
            return false;
        };
        let carrier = leg.carrier.clone();
        self.command(
            now,
            Todo::Record {
                carrier,
                call_id,
                act,
            },
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{attempt, call_id};
    use super::*;
    use crate::call::{CallEvent, Ending};
    use crate::recording::{Channels, Plan};

    fn at(s: u64) -> Timestamp {
        attempt().intent_at + std::time::Duration::from_secs(s)
    }

    fn planned(start: Start) -> Attempt {
        let mut a = attempt();
        a.recording = Some(Plan {
            channels: Channels::Dual,
            start,
            begun: false,
        });
        a
    }

    fn acts(a: &Attempt) -> Vec<Act> {
        let todo = a.todo.iter().filter_map(|todo| match todo {
            Todo::Record { act, .. } => Some(*act),
            Todo::ProjectLead
            | Todo::HandOff { .. }
            | Todo::HangUp { .. }
            | Todo::Perform { .. }
            | Todo::Hear { .. }
            | Todo::Judge
            | Todo::OptOut
            | Todo::TakeBack => None,
        });
        todo.collect()
    }

    fn answer(a: &mut Attempt) {
        a.apply(&CallEvent::Answered { call_id: call_id() }, at(1));
    }

    #[test]
    fn a_person_is_recorded_once_and_a_machine_never() {
        let answered_then = |parties: &[Party]| {
            let mut a = planned(Start::Human);
            answer(&mut a);
            assert_eq!(acts(&a), [], "nobody knows who it is");
            for party in parties {
                a.apply(&CallEvent::PartyDetected(*party), at(2));
            }
            acts(&a)
        };
        assert_eq!(answered_then(&[Party::Human]), [Act::Begin]);
        assert_eq!(answered_then(&[Party::Unknown, Party::Human]), [Act::Begin]);
        assert_eq!(answered_then(&[Party::Machine, Party::Human]), [Act::Begin]);
        assert_eq!(answered_then(&[Party::Machine]), []);
        assert_eq!(answered_then(&[Party::Fax]), []);
        let mut a = planned(Start::Human);
        a.apply(&CallEvent::Initiated { call_id: call_id() }, at(0));
        a.apply(&CallEvent::PartyDetected(Party::Human), at(1));
        assert_eq!(acts(&a), [], "there is no call to record yet");
        answer(&mut a);
        assert_eq!(acts(&a), [Act::Begin]);
        let mut a = planned(Start::Answer);
        answer(&mut a);
        a.apply(&CallEvent::PartyDetected(Party::Human), at(2));
        assert_eq!(acts(&a), [], "it was asked for with the call");
    }

    #[test]
    fn the_last_word_counts_while_the_call_lasts() {
        let mut a = planned(Start::Human);
        assert_eq!(a.ask_record(Act::Pause, at(0)), Verdict::Ignore);
        answer(&mut a);
        a.apply(&CallEvent::PartyDetected(Party::Human), at(2));
        assert_eq!(a.ask_record(Act::Pause, at(3)), Verdict::Note);
        assert_eq!(acts(&a), [Act::Begin, Act::Pause]);
        a.ask_record(Act::Resume, at(4));
        assert_eq!(acts(&a), [Act::Begin, Act::Resume]);
        a.ask_record(Act::Stop, at(5));
        assert_eq!(acts(&a), [Act::Stop]);
        let end = CallEvent::Ended {
            call_id: call_id(),
            ending: Ending::Completed,
            duration_s: None,
            sip: None,
        };
        a.apply(&end, at(6));
        assert_eq!(a.ask_record(Act::Begin, at(7)), Verdict::Ignore);
    }
}
