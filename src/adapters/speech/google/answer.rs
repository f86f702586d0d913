//! What Google answers.

use std::collections::BTreeMap;

use dialfleet_domain::recording::Turn;
use dialfleet_engine::port::media::TranscribeError;
use serde::Deserialize;

/// What was heard.
#[derive(Deserialize, Default)]
pub(super) struct Recognized {
    #[serde(default)]
    results: Vec<Piece>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Piece {
    #[serde(default)]
    alternatives: Vec<Alternative>,
    #[serde(default)]
    channel_tag: u8,
    #[serde(default)]
    result_end_offset: Option<String>,
}

#[derive(Deserialize)]
struct Alternative {
    #[serde(default)]
    transcript: String,
    #[serde(default)]
    words: Vec<Word>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Word {
    #[serde(default)]
    start_offset: Option<String>,
    #[serde(default)]
    end_offset: Option<String>,
}

impl Recognized {
    /// As turns: one for each piece, which is what was said without a pause. The first alternative is
    /// the likeliest.
    pub(super) fn turns(self) -> Vec<Turn> {
        // Where a piece has no words with times, it begins where the one before it on its track ended.
        let mut ends: BTreeMap<u8, u64> = BTreeMap::new();
        let mut turns = Vec::new();
        for piece in self.results {
            let end = piece.result_end_offset.as_deref().and_then(millis);
            let Some(best) = piece.alternatives.into_iter().next() else {
                continue;
            };
            let before = ends.entry(piece.channel_tag).or_default();
            let first = best
                .words
                .iter()
                .find_map(|w| millis(w.start_offset.as_deref()?));
            let last = best
                .words
                .iter()
                .rev()
                .find_map(|w| millis(w.end_offset.as_deref()?));
            let start_ms = first.unwrap_or(*before);
            let end_ms = last.or(end).unwrap_or(start_ms);
            *before = end.unwrap_or(end_ms);
            turns.push(Turn {
                channel: piece.channel_tag.max(1),
                start_ms,
                end_ms,
                text: best.transcript,
            });
        }
        turns
    }
}

/// `12.340s` in milliseconds.
fn millis(text: &str) -> Option<u64> {
    let text = text.strip_suffix('s')?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let mut part: String = part.chars().take(3).collect();
    while part.len() < 3 {
        part.push('0');
    }
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1_000)?.checked_add(part.parse().ok()?)
}

/// Something that takes a while.
#[derive(Deserialize)]
pub(super) struct Operation {
    pub(super) name: String,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    error: Option<Wrong>,
    #[serde(default)]
    response: Option<Batch>,
}

#[derive(Deserialize)]
struct Batch {
    #[serde(default)]
    results: BTreeMap<String, OfFile>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfFile {
    #[serde(default)]
    error: Option<Wrong>,
    #[serde(default)]
    inline_result: Option<Inline>,
    /// Its older place.
    #[serde(default)]
    transcript: Option<Recognized>,
}

#[derive(Deserialize)]
struct Inline {
    #[serde(default)]
    transcript: Option<Recognized>,
}

#[derive(Deserialize)]
struct Wrong {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

impl Wrong {
    /// This operation will never be anything else; another may be.
    fn refused(&self) -> Option<TranscribeError> {
        let message: String = self.message.chars().take(super::MAX_SAID).collect();
        let why = format!("Google did not write it down: {message} ({})", self.code);
        (self.code != 0).then_some(TranscribeError::Refused(why))
    }
}

impl Operation {
    /// What was heard; `None` while it goes on.
    pub(super) fn result(self) -> Result<Option<Vec<Turn>>, TranscribeError> {
        if !self.done {
            return Ok(None);
        }
        if let Some(error) = self.error.as_ref().and_then(Wrong::refused) {
            return Err(error);
        }
        let mut turns = Vec::new();
        for file in self
            .response
            .into_iter()
            .flat_map(|r| r.results.into_values())
        {
            if let Some(error) = file.error.as_ref().and_then(Wrong::refused) {
                return Err(error);
            }
            let heard = file.inline_result.and_then(|r| r.transcript);
            turns.extend(heard.or(file.transcript).unwrap_or_default().turns());
        }
        Ok(Some(turns))
    }
}

/// Google's own sentence about what went wrong.
pub(super) fn sentence(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Failed {
        error: Wrong,
    }
    serde_json::from_slice::<Failed>(body).map_or_else(|_| String::new(), |f| f.error.message)
}
