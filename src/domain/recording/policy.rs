//! Which calls are recorded, and how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Days a recording is kept unless the campaign says otherwise.
const KEEP_DAYS: u32 = 90;
/// The most days.
const MAX_KEEP_DAYS: u32 = 3_650;
/// The lead's column that says whether its calls are recorded.
const FLAG: &str = "record";

/// Which calls are recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// None.
    #[default]
    None,
    /// Every answered one.
    All,
    /// Those that a person answers.
    Human,
    /// Those of leads whose column `record` says `yes`, `true` or `1`.
    Lead,
}

/// How many tracks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// Both parties in one.
    #[default]
    Mono,
    /// A track for each party.
    Dual,
}

/// When in a call a recording begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With the answer.
    #[default]
    Answer,
    /// When detection says that it is not a machine; without detection, with the answer.
    Human,
}

/// Writing down what was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transcribe {
    /// BCP 47, such as `en-GB`.
    pub language: String,
}

/// A campaign's recording. Where the law wants a notice, the flow has to say it first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordingPolicy {
    /// Which calls.
    #[serde(default)]
    pub when: When,
    /// One track, or one for each party.
    #[serde(default)]
    pub channels: Channels,
    /// From which moment; `when = "human"` begins with the person in any case.
    #[serde(default)]
    pub start: Start,
    /// Days after which a recording and its transcript are deleted: 1 to 3,650, 90 by default.
    #[serde(default = "keep_days")]
    pub keep_days: u32,
    /// Whether it is written down; absent means no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcribe: Option<Transcribe>,
}

const fn keep_days() -> u32 {
    KEEP_DAYS
}

impl Default for RecordingPolicy {
    fn default() -> Self {
        Self {
            when: When::None,
            channels: Channels::Mono,
            start: Start::Answer,
            keep_days: KEEP_DAYS,
            transcribe: None,
        }
    }
}

/// What is done with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// One track, or one for each party.
    pub channels: Channels,
    /// From which moment.
    pub start: Start,
    /// The command to begin was given; what begins with the answer needs none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begun: bool,
}

/// What can be commanded about the recording of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Begin.
    Begin,
    /// Leave out what is said from now on.
    Pause,
    /// Go on.
    Resume,
    /// End.
    Stop,
}

impl Act {
    /// Reads a verb.
    #[must_use]
    pub fn parse(verb: &str) -> Option<Self> {
        [Self::Begin, Self::Pause, Self::Resume, Self::Stop]
            .into_iter()
            .find(|act| act.name() == verb)
    }

    /// The verb.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begin => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
        }
    }
}

impl RecordingPolicy {
    /// Checks limits that the types cannot hold.
    ///
    /// # Errors
    /// A sentence that names the field at fault.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=MAX_KEEP_DAYS).contains(&self.keep_days) {
            return Err(format!(
                "keep_days must be 1 to {MAX_KEEP_DAYS}, not {}",
                self.keep_days
            ));
        }
        let tag = |text: &str| {
            (2..=16).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        match &self.transcribe {
            Some(wanted) if !tag(&wanted.language) => {
                Err("transcribe.language must be a language tag such as en-GB".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What is done with a call to a lead with these columns; `detects`: whether anybody will say who
    /// answered.
    #[must_use]
    pub fn plan(&self, vars: &BTreeMap<String, String>, detects: bool) -> Option<Plan> {
        let start = match self.when {
            When::None => return None,
            When::Human => Start::Human,
            When::Lead if !vars.get(FLAG).is_some_and(|v| is_yes(v)) => return None,
            When::Lead | When::All => self.start,
        };
        Some(Plan {
            channels: self.channels,
            start: if detects { start } else { Start::Answer },
            begun: false,
        })
    }

    /// How long one is kept, ms.
    #[must_use]
    pub fn keep_ms(&self) -> u64 {
        u64::from(self.keep_days) * 24 * 3_600_000
    }
}

fn is_yes(text: &str) -> bool {
    let text = text.trim();
    ["yes", "true", "1", "y"]
        .iter()
        .any(|yes| text.eq_ignore_ascii_case(yes))
}
