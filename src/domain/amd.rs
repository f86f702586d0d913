//! Answering-machine detection of a campaign: whether, how carefully, and what follows a machine.
//!
//! A person comes first: whoever is not clearly a machine is treated as a person, because hanging up
//! on one of those costs more than talking to a machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::Party;
use crate::campaign::is_default;
use crate::flow::Flow;

/// Answering-machine detection at the carrier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AmdMode {
    /// No detection.
    #[default]
    Off,
    /// The call goes on while the carrier listens.
    Async,
    /// The call waits in silence for the verdict.
    Sync,
}

/// What follows when a machine answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMachine {
    /// The call ends.
    HangUp,
    /// The flow's voicemail is left after the greeting.
    LeaveMessage,
    /// Nothing: the flow goes on.
    TreatAsHuman,
}

/// How the carrier detects; what is absent is as the carrier has it. Not every carrier knows every
/// setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// Seconds until it gives up: 3 to 59.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u32>,
    /// Milliseconds of speech from which it is a machine: 1,000 to 6,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech_ms: Option<u32>,
    /// Milliseconds of silence after speech that make it a person: 500 to 5,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speech_end_ms: Option<u32>,
    /// Milliseconds of silence at the beginning after which it gives up: 2,000 to 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence_ms: Option<u32>,
}

/// Answering-machine detection of a campaign.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amd {
    /// Whether and how.
    #[serde(default)]
    pub mode: AmdMode,
    /// What follows a machine. Absent: the voicemail is left if the flow has one, else the call ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_machine: Option<OnMachine>,
    /// How it detects.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tuning: Tuning,
}

/// What to do with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentence {
    /// Go on.
    GoOn,
    /// End it.
    HangUp,
    /// Leave the voicemail.
    LeaveMessage,
}

impl Amd {
    /// What follows a machine.
    #[must_use]
    pub const fn on_machine(&self, flow: &Flow) -> OnMachine {
        match (self.on_machine, &flow.voicemail) {
            (Some(chosen), _) => chosen,
            (None, Some(_)) => OnMachine::LeaveMessage,
            (None, None) => OnMachine::HangUp,
        }
    }

    /// Whether a message is left, so that the carrier must say when a greeting is over.
    #[must_use]
    pub fn leaves_message(&self, flow: &Flow) -> bool {
        self.mode != AmdMode::Off
            && flow.voicemail.is_some()
            && self.on_machine(flow) == OnMachine::LeaveMessage
    }

    /// What to do with a call that this party answered.
    #[must_use]
    pub const fn judge(&self, flow: &Flow, party: Party) -> Sentence {
        match party {
            Party::Human | Party::Unknown | Party::Screening => Sentence::GoOn,
            Party::Machine => match self.on_machine(flow) {
                OnMachine::HangUp => Sentence::HangUp,
                OnMachine::LeaveMessage if flow.voicemail.is_some() => Sentence::LeaveMessage,
                OnMachine::LeaveMessage => Sentence::HangUp,
                OnMachine::TreatAsHuman => Sentence::GoOn,
            },
            // There is nobody to talk to, whatever is done with voicemail.
            Party::Fax | Party::Announcement => match self.on_machine {
                Some(OnMachine::TreatAsHuman) => Sentence::GoOn,
                Some(OnMachine::HangUp | OnMachine::LeaveMessage) | None => Sentence::HangUp,
            },
        }
    }

    /// Checks limits that the types cannot hold.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn check(&self, flow: &Flow) -> Result<(), String> {
        let within = |name: &str, value: Option<u32>, min: u32, max: u32| match value {
            Some(value) if !(min..=max).contains(&value) => {
                Err(format!("tuning.{name} must be {min} to {max}, not {value}"))
            }
            Some(_) | None => Ok(()),
        };
        within("timeout_s", self.tuning.timeout_s, 3, 59)?;
        within("speech_ms", self.tuning.speech_ms, 1_000, 6_000)?;
        within("speech_end_ms", self.tuning.speech_end_ms, 500, 5_000)?;
        within("silence_ms", self.tuning.silence_ms, 2_000, 10_000)?;
        if self.mode == AmdMode::Off && (self.on_machine.is_some() || !is_default(&self.tuning)) {
            return Err(
                "nothing is detected with mode \"off\": choose \"async\" or \"sync\"".to_owned(),
            );
        }
        if self.on_machine == Some(OnMachine::LeaveMessage) && flow.voicemail.is_none() {
            return Err("on_machine \"leave_message\" needs flow.voicemail".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_voicemail() -> Flow {
        let json =
            r#"{"steps":[{"do":"hangup"}],"voicemail":{"steps":[{"do":"say","text":"Hi"}]}}"#;
        serde_json::from_str(json).expect("a flow")
    }

    #[test]
    fn only_a_clear_machine_is_treated_as_one() {
        let amd = Amd {
            mode: AmdMode::Async,
            ..Amd::default()
        };
        let (plain, voicemail) = (Flow::default(), with_voicemail());
        for party in [Party::Human, Party::Unknown, Party::Screening] {
            assert_eq!(amd.judge(&plain, party), Sentence::GoOn, "{party:?}");
        }
        assert_eq!(amd.judge(&plain, Party::Machine), Sentence::HangUp);
        assert_eq!(
            amd.judge(&voicemail, Party::Machine),
            Sentence::LeaveMessage
        );
        for party in [Party::Fax, Party::Announcement] {
            assert_eq!(amd.judge(&voicemail, party), Sentence::HangUp, "{party:?}");
        }
        let brave = Amd {
            on_machine: Some(OnMachine::TreatAsHuman),
            ..amd
        };
        for party in [Party::Machine, Party::Fax, Party::Announcement] {
            assert_eq!(brave.judge(&voicemail, party), Sentence::GoOn, "{party:?}");
        }
        let hangs_up = Amd {
            on_machine: Some(OnMachine::HangUp),
            ..amd
        };
        assert_eq!(hangs_up.judge(&voicemail, Party::Machine), Sentence::HangUp);
        assert!(amd.leaves_message(&voicemail) && !hangs_up.leaves_message(&voicemail));
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        let read = |json: &str| serde_json::from_str::<Amd>(json).expect("settings");
        for good in [
            "{}",
            r#"{"mode":"async"}"#,
            r#"{"mode":"sync","on_machine":"hang_up","tuning":{"timeout_s":20}}"#,
        ] {
            assert_eq!(read(good).check(&Flow::default()), Ok(()), "{good}");
        }
        for (bad, why) in [
            (r#"{"on_machine":"hang_up"}"#, "mode"),
            (r#"{"tuning":{"speech_ms":2000}}"#, "mode"),
            (
                r#"{"mode":"async","on_machine":"leave_message"}"#,
                "voicemail",
            ),
            (r#"{"mode":"async","tuning":{"timeout_s":60}}"#, "timeout_s"),
            (
                r#"{"mode":"async","tuning":{"silence_ms":1}}"#,
                "silence_ms",
            ),
        ] {
            let said = read(bad).check(&Flow::default()).expect_err(bad);
            assert!(said.contains(why), "{said}");
        }
        let leave = read(r#"{"mode":"async","on_machine":"leave_message"}"#);
        assert_eq!(leave.check(&with_voicemail()), Ok(()));
    }
}
