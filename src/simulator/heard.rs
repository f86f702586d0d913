//! What was heard and done on each call, as the network witnessed it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use dialfleet_domain::time::Timestamp;
use serde::Serialize;

use crate::dice::Dice;
use crate::network::{Network, Search};
use crate::person::Person;
use crate::timetable::{CallStatus, Limits, NetEvent, Party, timetable};

/// Things kept of one call; more are dropped.
const KEPT: usize = 500;

/// One thing heard or done on a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// When it began: network milliseconds after the answer.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub sound: Sound,
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The person or machine that was called.
    Callee,
    /// Us: by a command, or because the document was over.
    Caller,
    /// The longest call that we allowed.
    TimeLimit,
}

/// What was heard or done. `whole`: it was heard to its end. `after_beep`: whether a machine that
/// answered was recording when it began, after the beep or, without one, after the greeting;
/// nothing when no machine answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are named by what they are")]
pub enum Sound {
    /// Somebody picked up.
    Answered { party: Party },
    /// A text was spoken.
    Said {
        text: String,
        whole: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        after_beep: Option<bool>,
    },
    /// A file was played.
    Played {
        url: String,
        whole: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        after_beep: Option<bool>,
    },
    /// Nothing was to be heard, for so long by the plan.
    Paused { ms: u64 },
    /// The machine beeped.
    Beep,
    /// The callee pressed keys that somebody was waiting for.
    Pressed { digits: String },
    /// The call was passed on, and how that ended.
    Transferred {
        to: String,
        answered: bool,
        status: CallStatus,
    },
    /// A recording began.
    RecordingStarted { id: String },
    /// It was halted.
    RecordingPaused { id: String },
    /// It went on.
    RecordingResumed { id: String },
    /// It is complete.
    RecordingStopped { id: String },
    /// The audio went to a WebSocket.
    Streamed {
        url: String,
        params: BTreeMap<String, String>,
    },
    /// The instructions could not be followed; `code` as the carrier's list of errors has it.
    Broken { code: u32, why: String },
    /// The call ended.
    HungUp { by: By },
}

/// One line, without what differs from run to run: times and the ids of recordings.
impl fmt::Display for Sound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heard = |whole: &bool, after_beep: &Option<bool>| {
            let when = match after_beep {
                None => "",
                Some(false) => " before the beep",
                Some(true) => " after the beep",
            };
            format!("{when}{}", if *whole { "" } else { ", cut short" })
        };
        match self {
            Self::Answered { party } => write!(f, "answered by {}", party.as_str()),
            Self::Said {
                text,
                whole,
                after_beep,
            } => write!(f, "said {text:?}{}", heard(whole, after_beep)),
            Self::Played {
                url,
                whole,
                after_beep,
            } => write!(f, "played {url}{}", heard(whole, after_beep)),
            Self::Paused { ms } => write!(f, "paused {ms} ms"),
            Self::Beep => write!(f, "beep"),
            Self::Pressed { digits } => write!(f, "pressed {digits:?}"),
            Self::Transferred { to, status, .. } => {
                write!(f, "passed on to {to}: {}", status.as_str())
            }
            Self::RecordingStarted { .. } => write!(f, "recording started"),
            Self::RecordingPaused { .. } => write!(f, "recording paused"),
            Self::RecordingResumed { .. } => write!(f, "recording resumed"),
            Self::RecordingStopped { .. } => write!(f, "recording stopped"),
            Self::Streamed { url, .. } => write!(f, "streamed to {url}"),
            Self::Broken { code, .. } => write!(f, "broken: {code}"),
            Self::HungUp { by } => match by {
                By::Callee => write!(f, "hung up by the callee"),
                By::Caller => write!(f, "hung up by us"),
                By::TimeLimit => write!(f, "hung up by the time limit"),
            },
        }
    }
}

impl Sound {
    pub(crate) fn said(text: &str) -> Self {
        Self::Said {
            text: text.to_owned(),
            whole: false,
            after_beep: None,
        }
    }

    pub(crate) fn played(url: &str) -> Self {
        Self::Played {
            url: url.to_owned(),
            whole: false,
            after_beep: None,
        }
    }
}

/// What becomes of a call that is passed on.
pub(crate) struct Extension {
    /// 32 hexadecimal digits.
    pub(crate) id: String,
    /// Until it is answered, or not; network time.
    pub(crate) after: Duration,
    /// How long the other one talks, or why there is no talk.
    pub(crate) answer: Result<Duration, CallStatus>,
    /// SIP response code.
    pub(crate) sip: u16,
}

impl Network {
    /// Passes a call on to `to`, a number or a SIP address; with the script that is fixed for it or,
    /// without one, that of its first call. The ledger does not count it: nobody is dialed.
    pub(crate) fn extension(&self, to: &str, ring: Duration) -> Extension {
        let people = self.population();
        let fixed = self.lock().script(to);
        let script = fixed.unwrap_or_else(|| people.script(to, 0));
        let set_up = Duration::from_millis(people.set_up_ms.0.into());
        let person = people.person(&script, to, 0);
        let limits = Limits {
            queued_for: Duration::ZERO,
            set_up,
            ring,
            talk: Duration::from_secs(86_400),
        };
        let mut extension = Extension {
            id: {
                let dice = Dice::new(people.seed);
                let (high, low) = (dice.roll("leg-high", to, 0), dice.roll("leg-low", to, 0));
                format!("{high:016x}{low:016x}")
            },
            after: Duration::ZERO,
            answer: Err(CallStatus::Failed),
            sip: 200,
        };
        for (after, event) in timetable(&script, person.as_ref(), limits, 1.0) {
            match event {
                NetEvent::Initiated | NetEvent::Ringing => {}
                NetEvent::Answered { .. } => {
                    extension.after = after;
                    extension.answer = Ok(Duration::ZERO);
                }
                NetEvent::Ended { duration, .. } if extension.answer.is_ok() => {
                    extension.answer = Ok(duration);
                }
                NetEvent::Ended { status, sip, .. } => {
                    extension.after = after;
                    extension.sip = sip;
                    extension.answer = Err(status);
                }
            }
        }
        extension
    }

    /// Who answered a call, or will.
    #[must_use]
    pub fn person(&self, call_id: &str) -> Option<Person> {
        self.lock().call(call_id)?.person.clone()
    }

    /// Notes what is heard on an answered call from now on; what is said or played is taken to be
    /// cut short until [`Self::heard_out`]. The number is for that.
    pub(crate) fn hear(&self, call_id: &str, mut sound: Sound, now: Timestamp) -> Option<usize> {
        let speed = self.speed();
        let mut state = self.lock();
        let call = state.call_mut(call_id)?;
        let at_ms = call.since_answer(now, speed)?;
        let records_from = call.person.as_ref().and_then(|p| p.who.records_from());
        if let Sound::Said { after_beep, .. } | Sound::Played { after_beep, .. } = &mut sound {
            *after_beep = records_from.map(|from| u128::from(at_ms) >= from.as_millis());
        }
        if call.heard.len() >= KEPT {
            return None;
        }
        call.heard.push(Heard { at_ms, sound });
        Some(call.heard.len() - 1)
    }

    /// What was said or played under that number was heard to its end.
    pub(crate) fn heard_out(&self, call_id: &str, number: Option<usize>) {
        let mut state = self.lock();
        let heard = state
            .call_mut(call_id)
            .and_then(|call| call.heard.get_mut(number?));
        if let Some(Heard {
            sound: Sound::Said { whole, .. } | Sound::Played { whole, .. },
            ..
        }) = heard
        {
            *whole = true;
        }
    }

    /// Everything heard on a call so far, in order.
    #[must_use]
    pub fn heard(&self, call_id: &str) -> Vec<Heard> {
        let state = self.lock();
        let Some(call) = state.call(call_id) else {
            return Vec::new();
        };
        let mut all = call.heard.clone();
        // The beep needs nobody to wait for it: where it belongs is known beforehand.
        let beep = call.person.as_ref().and_then(|p| p.who.beeps_at());
        if let Some(at_ms) = beep.and_then(|at| u64::try_from(at.as_millis()).ok()) {
            let place = all.partition_point(|heard| heard.at_ms < at_ms);
            let lasted = place < all.len();
            if lasted {
                let sound = Sound::Beep;
                all.insert(place, Heard { at_ms, sound });
            }
        }
        all
    }

    /// The same of every call to a number, oldest first.
    #[must_use]
    pub fn heard_by(&self, phone: &str) -> Vec<Vec<Heard>> {
        let search = Search {
            to: Some(phone),
            ..Search::default()
        };
        let mut calls = self.calls(&search, |_| true);
        calls.reverse();
        calls.iter().map(|call| self.heard(&call.call_id)).collect()
    }
}
