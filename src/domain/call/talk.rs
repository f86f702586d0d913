//! What is heard on an answered call: inputs of its flow, and who seems to have answered.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Todo};
use super::machine::Verdict;
use super::outcome::Party;
use super::state::CallState;
use crate::flow::{Input, Script, Session, Then, Turn};
use crate::id::CarrierCallId;
use crate::time::Timestamp;

/// An answer sooner after the first ringing (or the request, if it never rang) is suspicious.
pub const SUSPICIOUSLY_SOON: Duration = Duration::from_secs(1);
/// Given to a message beyond its limit: what the carrier takes to begin.
const MESSAGE_SLACK: Duration = Duration::from_secs(5);

/// What detection heard, as closely as the carrier says: one word for the words of all carriers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detected {
    /// A person.
    Human,
    /// A person at home.
    HumanResidence,
    /// A person at work.
    HumanBusiness,
    /// A machine, whose greeting may go on.
    MachineStart,
    /// The beep at the end of a machine's greeting.
    MachineEndBeep,
    /// The silence after a machine's greeting.
    MachineEndSilence,
    /// The end of a machine's greeting, by another sign.
    MachineEndOther,
    /// A fax or modem.
    Fax,
    /// Nothing but silence.
    Silence,
    /// It could not tell.
    NotSure,
    /// A screening assistant.
    Screening,
    /// The network's special information tones, or an announcement.
    Announcement,
}

impl Detected {
    /// Who that is. Silence and doubt are people's.
    #[must_use]
    pub const fn party(self) -> Party {
        match self {
            Self::Human | Self::HumanResidence | Self::HumanBusiness => Party::Human,
            Self::MachineStart
            | Self::MachineEndBeep
            | Self::MachineEndSilence
            | Self::MachineEndOther => Party::Machine,
            Self::Fax => Party::Fax,
            Self::Silence | Self::NotSure => Party::Unknown,
            Self::Screening => Party::Screening,
            Self::Announcement => Party::Announcement,
        }
    }

    /// A machine's greeting is over: a message may begin.
    #[must_use]
    pub const fn greeting_is_over(self) -> bool {
        matches!(
            self,
            Self::MachineEndBeep | Self::MachineEndSilence | Self::MachineEndOther
        )
    }

    /// The name used in documents and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::HumanResidence => "human_residence",
            Self::HumanBusiness => "human_business",
            Self::MachineStart => "machine_start",
            Self::MachineEndBeep => "machine_end_beep",
            Self::MachineEndSilence => "machine_end_silence",
            Self::MachineEndOther => "machine_end_other",
            Self::Fax => "fax",
            Self::Silence => "silence",
            Self::NotSure => "not_sure",
            Self::Screening => "screening",
            Self::Announcement => "announcement",
        }
    }
}

/// Why an answer may be none: a carrier that answers for a telephone that never did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Suspicion {
    /// Within a second of ringing.
    AnsweredAtOnce,
    /// The carrier reports ringing, and there was none.
    NeverRang,
}

impl Attempt {
    /// Adds the command to give the flow its input number `turn`, if it is the answered call's and
    /// news.
    pub fn will_hear(
        &mut self,
        call_id: &CarrierCallId,
        turn: u32,
        input: Input,
        now: Timestamp,
    ) -> Verdict {
        if !self.is_talking_on(call_id) || turn < self.turn() {
            return Verdict::Ignore;
        }
        let call_id = call_id.clone();
        let hear = Todo::Hear {
            call_id,
            turn,
            input,
        };
        if self.todo.contains(&hear) {
            return Verdict::Ignore;
        }
        self.command(now, hear);
        self.version += 1;
        Verdict::Note
    }

    /// Gives the flow its input number `turn`. `by_command`: the carrier does not wait for the answer
    /// to a question of its own, so it must be told; the command is added. Returns what follows: of a
    /// question that was answered before, the same.
    pub fn hear(
        &mut self,
        script: &Script,
        turn: u32,
        input: Input,
        by_command: bool,
        now: Timestamp,
    ) -> (Verdict, Option<Turn>) {
        let talking = self.state == CallState::Answered && !self.hang_up;
        let session = self.session.get_or_insert_default();
        if !talking || turn > session.turn {
            if *session == Box::default() {
                self.session = None;
            }
            return (Verdict::Ignore, None);
        }
        if turn < session.turn {
            let again = session.again(script);
            let latest = session.turn - 1;
            let told = |todo: &Todo| matches!(todo, Todo::Perform { step, .. } if *step == latest);
            if by_command || !self.todo.iter().any(told) {
                return (Verdict::Ignore, again);
            }
            // The carrier has it by asking: told as well, it would begin anew.
            self.todo.retain(|todo| !told(todo));
            if self.todo.is_empty() {
                self.todo_at = None;
            }
            self.version += 1;
            return (Verdict::Note, again);
        }
        let next = session.take(script, input, self.party);
        let leaves = session.leaves_message(&script.program) && !session.message_left;
        if leaves && self.message_by.is_none() {
            let most = script.program.longest_message_s();
            let by = now + Duration::from_secs(u64::from(most)) + MESSAGE_SLACK;
            self.message_by = Some(by);
            self.check_at = self.check_at.min(by);
        } else if !leaves {
            self.message_by = None;
        }
        if next.then == Then::OptOut {
            self.command(now, Todo::OptOut);
        }
        if by_command && !(next.then == Then::OptOut && next.actions.is_empty()) {
            self.perform(turn, now);
        }
        let what = match input {
            Input::Done => "done",
            Input::Failed => "failed",
            Input::Keys { .. } => "keys",
            Input::Transferred { connected: true } => "transferred",
            Input::Transferred { connected: false } => "not transferred",
            Input::Machine { .. } => "machine",
            Input::Human => "human after all",
            Input::OptedOut { written: true } => "opted out",
            Input::OptedOut { written: false } => "opt-out not written",
        };
        let note = match &next.failed {
            Some(why) => format!("{turn} {what}: {why}"),
            None => format!("{turn} {what}"),
        };
        self.note(now, "flow", Some(note));
        self.version += 1;
        (Verdict::Note, Some(next))
    }

    fn perform(&mut self, step: u32, now: Timestamp) {
        let Some(leg) = self.legs.last() else { return };
        let (carrier, Some(call_id)) = (leg.carrier.clone(), leg.call_id.clone()) else {
            return;
        };
        self.command(
            now,
            Todo::Perform {
                carrier,
                call_id,
                step,
            },
        );
    }

    /// Adds the command to keep the person from being called again, whatever became of the call.
    pub fn wish_no_more(&mut self, now: Timestamp) -> Verdict {
        if self.todo.contains(&Todo::OptOut) {
            return Verdict::Ignore;
        }
        self.command(now, Todo::OptOut);
        self.note(now, "opted_out", None);
        self.version += 1;
        Verdict::Note
    }

    /// Whether `call_id` is the current leg's call.
    #[must_use]
    pub fn is_of(&self, call_id: &CarrierCallId) -> bool {
        let current = self.legs.last().and_then(|leg| leg.call_id.as_ref());
        current == Some(call_id)
    }

    /// The number of the flow's next input.
    #[must_use]
    pub fn turn(&self) -> u32 {
        self.session.as_ref().map_or(0, |session| session.turn)
    }

    /// Whether `call_id` is the current call, answered, and not being ended.
    #[must_use]
    pub fn is_talking_on(&self, call_id: &CarrierCallId) -> bool {
        self.state == CallState::Answered && !self.hang_up && self.is_of(call_id)
    }

    /// Whether the voicemail was played to its end.
    #[must_use]
    pub fn left_message(&self) -> bool {
        let session = self.session.as_deref();
        session.is_some_and(|session: &Session| session.message_left)
    }

    /// Keeps what detection heard, and adds the command to act on it. The party is an event of the
    /// state machine, and comes first; `corrected`: it was news.
    pub fn detect(
        &mut self,
        detected: Option<Detected>,
        corrected: bool,
        now: Timestamp,
    ) -> Verdict {
        let news = detected.is_some() && self.detected != detected;
        if news {
            self.detected = detected;
            let name = detected.map(|d| d.name().to_owned());
            self.note(now, "detected", name);
        }
        // After the end it is an annotation. A person's call simply goes on, unless it was taken for
        // a machine's.
        let goes_on = match self.party {
            None | Some(Party::Human | Party::Unknown | Party::Screening) => {
                self.message_by.is_none()
            }
            Some(Party::Machine | Party::Fax | Party::Announcement) => false,
        };
        let judged = (news || corrected)
            && !goes_on
            && self.state == CallState::Answered
            && !self.todo.contains(&Todo::Judge);
        if judged {
            self.command(now, Todo::Judge);
        }
        if news || judged {
            self.version += 1;
            Verdict::Note
        } else {
            Verdict::Ignore
        }
    }

    /// Flags an answer that came too soon to be one. `rings`: its carrier says when a telephone
    /// rings; `speed`: how much faster than life the network is.
    pub fn suspect(&mut self, rings: bool, speed: f64) {
        let Some(answered) = self.answered_at else {
            return;
        };
        self.suspicion = match self.ringing_at {
            None if rings => Some(Suspicion::NeverRang),
            None => None,
            Some(rang) => {
                let soon = SUSPICIOUSLY_SOON.div_f64(speed.max(1.0));
                // What one batch of callbacks brought has one time, and says nothing.
                let apart = answered.since(rang);
                (!apart.is_zero() && apart < soon).then_some(Suspicion::AnsweredAtOnce)
            }
        };
    }
}
