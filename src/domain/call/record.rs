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
