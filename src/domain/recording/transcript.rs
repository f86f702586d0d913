//! What was said, as text.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::redact::redact;
use crate::id::{AttemptId, CampaignId, RecordingId, TenantId};
use crate::time::Timestamp;

/// Turns a transcript may have; what comes after is left out.
pub const MAX_TURNS: usize = 5_000;
/// Characters of all turns together; what comes after is left out.
pub const MAX_TEXT: usize = 500_000;
/// Different words that one can be found by.
pub const MAX_WORDS: usize = 4_000;
/// Characters of a word in the index.
const MAX_WORD: usize = 40;
/// Words of a question.
pub const MAX_ASKED: usize = 8;

/// Where the transcript of a recording stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum TranscriptState {
    /// None is wanted, or it is not its turn yet.
    #[default]
    None,
    /// To be asked for.
    Waiting,
    /// The transcriber has it.
    Asked {
        /// Under this name.
        operation: String,
    },
    /// It is stored.
    Done,
    /// It could not be had; a person may order another try.
    Parked,
}

impl TranscriptState {
    /// Whether there is something to do.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Waiting | Self::Asked { .. })
    }

    /// The name used in the API.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Waiting => "waiting",
            Self::Asked { .. } => "asked",
            Self::Done => "done",
            Self::Parked => "parked",
        }
    }
}

/// What one party said without a pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Turn {
    /// The track it is on, from 1; always 1 if there is only one.
    pub channel: u8,
    /// When it begins, ms from the beginning of the recording.
    pub start_ms: u64,
    /// When it ends.
    pub end_ms: u64,
    /// The words, without long numbers.
    pub text: String,
}

/// The transcript of a recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Transcript {
    /// Of which recording.
    #[serde(rename = "_id")]
    pub id: RecordingId,
    /// Whose.
    pub tenant: TenantId,
    /// Of which campaign.
    pub campaign: CampaignId,
    /// Of which call.
    pub attempt: AttemptId,
    /// The language it is in.
    pub language: String,
    /// What was said, by time.
    pub turns: Vec<Turn>,
    /// The words it can be found by.
    pub words: Vec<String>,
    /// When it was made.
    pub at: Timestamp,
}

/// Whose transcript it is.
#[derive(Debug, Clone)]
pub struct About {
    /// Of which recording.
    pub id: RecordingId,
    /// Whose.
    pub tenant: TenantId,
    /// Of which campaign.
    pub campaign: CampaignId,
    /// Of which call.
    pub attempt: AttemptId,
    /// The language.
    pub language: String,
}

impl Transcript {
    /// Puts what a transcriber heard in order, within limits and without long numbers.
    #[must_use]
    pub fn new(about: About, mut heard: Vec<Turn>, at: Timestamp) -> Self {
        heard.sort_by_key(|turn| (turn.start_ms, turn.channel, turn.end_ms));
        let (mut turns, mut total) = (Vec::new(), 0);
        for turn in heard.into_iter().take(MAX_TURNS) {
            let text = redact(turn.text.trim());
            total += text.chars().count();
            if total > MAX_TEXT {
                break;
            }
            if !text.is_empty() {
                turns.push(Turn {
                    text,
                    channel: turn.channel.max(1),
                    end_ms: turn.end_ms.max(turn.start_ms),
                    ..turn
                });
            }
        }
        let said = turns.iter().flat_map(|turn| words(&turn.text));
        let words: BTreeSet<String> = said.collect();
        Self {
            id: about.id,
            tenant: about.tenant,
            campaign: about.campaign,
            attempt: about.attempt,
            language: about.language,
            words: words.into_iter().take(MAX_WORDS).collect(),
            turns,
            at,
        }
    }
}

/// The words of a text as they are looked for: lower case, letters and digits.
pub fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .map(|word| {
            let word = word.trim_matches('\'').to_lowercase();
            word.chars().take(MAX_WORD).collect::<String>()
        })
        .filter(|word| !word.is_empty())
}

/// The words of a question, each once; `None` if there is none, or too many.
#[must_use]
pub fn asked(question: &str) -> Option<Vec<String>> {
    let words: BTreeSet<String> = words(question).collect();
    (1..=MAX_ASKED)
        .contains(&words.len())
        .then(|| words.into_iter().collect())
}
