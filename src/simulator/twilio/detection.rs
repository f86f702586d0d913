//! Answering machine detection: what it says of whoever answered, and after how long.

use std::time::Duration;

use super::request::Form;
use super::wire::ApiError;
use crate::person::{After, Who};
use crate::timetable::Amd;

/// From the beep to the word of it.
const NOTICE: Duration = Duration::from_millis(200);
/// Silence after a greeting that means its end.
const SILENT_END: Duration = Duration::from_millis(2_000);

/// The thresholds of a request, with Twilio's defaults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detection {
    pub(super) amd: Amd,
    /// The document waits for the result.
    pub(super) holds: bool,
    longest: Duration,
    speech: Duration,
    speech_end: Duration,
    silence: Duration,
}

/// What detection said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    pub(super) answered_by: &'static str,
    /// Network time since the answer.
    pub(super) after: Duration,
}

impl Detection {
    pub(super) fn parse(form: &Form) -> Result<Option<Self>, ApiError> {
        let bad = |what: &str| ApiError::new(400, 21234, format!("Invalid {what} value."));
        let amd = match form.get("MachineDetection") {
            None => return Ok(None),
            Some("Enable") => Amd::Detect,
            Some("DetectMessageEnd") => Amd::GreetingEnd,
            Some(_) => return Err(bad("MachineDetection")),
        };
        let holds = match form.get("AsyncAmd") {
            Some("true") => false,
            None | Some("false") => true,
            Some(_) => return Err(bad("AsyncAmd")),
        };
        let within = |name: &str, default: u64, low: u64, high: u64| match form.get(name) {
            None => Ok(default),
            Some(text) => {
                let number = text.parse().ok().filter(|n| (low..=high).contains(n));
                number.ok_or_else(|| bad(name))
            }
        };
        let ms =
            |name, default, low, high| within(name, default, low, high).map(Duration::from_millis);
        let longest = within("MachineDetectionTimeout", 30, 3, 59)?;
        Ok(Some(Self {
            amd,
            holds,
            longest: Duration::from_secs(longest),
            speech: ms("MachineDetectionSpeechThreshold", 2_400, 1_000, 6_000)?,
            speech_end: ms("MachineDetectionSpeechEndThreshold", 1_200, 500, 5_000)?,
            silence: ms("MachineDetectionSilenceTimeout", 5_000, 2_000, 10_000)?,
        }))
    }

    /// A person says a short word; a machine speaks for longer than that.
    pub(super) fn verdict(&self, who: Who) -> Verdict {
        let (answered_by, after) = match who {
            Who::Human => ("human", Duration::from_millis(1_200) + self.speech_end),
            Who::Fax => ("fax", Duration::from_millis(2_000)),
            Who::Silence => ("unknown", self.silence),
            Who::Machine { greeting_ms, then } => match self.amd {
                Amd::Detect => ("machine_start", self.speech + self.speech_end),
                Amd::GreetingEnd => {
                    let greeting = Duration::from_millis(greeting_ms.into());
                    match then {
                        After::Beep => {
                            let beep = who.beeps_at().unwrap_or(greeting);
                            ("machine_end_beep", beep + NOTICE)
                        }
                        After::Silence => ("machine_end_silence", greeting + SILENT_END),
                        After::Other => ("machine_end_other", greeting + SILENT_END),
                    }
                }
            },
        };
        if after > self.longest {
            Verdict {
                answered_by: "unknown",
                after: self.longest,
            }
        } else {
            Verdict { answered_by, after }
        }
    }
}
