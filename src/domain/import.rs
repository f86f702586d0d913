//! A delivery of leads: how far it is and what was wrong with it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{CampaignId, ImportId, TenantId};
use crate::time::Timestamp;

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportState {
    /// Batches are still on their way.
    Open,
    /// Every row is accounted for.
    Done,
    /// The file was unusable; nothing was taken from it.
    Refused,
}

/// What became of the rows of one batch. Stored under the batch's number, so that a redelivered
/// batch replaces its own count instead of adding to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// Rows that became leads.
    pub accepted: u64,
    /// Rows whose reference or phone the campaign already had.
    pub duplicate: u64,
    /// Rows that cannot be dialed.
    pub rejected: u64,
}

/// The import document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Import {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: ImportId,
    /// Whose.
    pub tenant: TenantId,
    /// Into which campaign.
    pub campaign: CampaignId,
    /// Where it stands.
    pub state: ImportState,
    /// How many batches there are; absent until the whole file was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<u32>,
    /// What became of each batch.
    #[serde(default)]
    pub tallies: BTreeMap<u32, Tally>,
    /// Rows that could not even be read (they are in no batch).
    #[serde(default)]
    pub unreadable: u64,
    /// Why the file was refused whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// When it came.
    pub created_at: Timestamp,
    /// When every row was accounted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
}

impl Import {
    /// The sum over all batches.
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut sum = Tally {
            rejected: self.unreadable,
            ..Tally::default()
        };
        for tally in self.tallies.values() {
            sum.accepted += tally.accepted;
            sum.duplicate += tally.duplicate;
            sum.rejected += tally.rejected;
        }
        sum
    }

    /// Whether every batch has reported.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.batches.is_some_and(|n| {
            u64::try_from(self.tallies.len()).is_ok_and(|have| have >= u64::from(n))
        })
    }
}

/// One row that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RowError {
    /// Of which delivery.
    pub import: ImportId,
    /// The line in its file (the header is line 1), or the position in its message.
    pub line: u64,
    /// A stable code, such as `bad_phone` or `duplicate`.
    pub code: String,
    /// A sentence for the person who made the file.
    pub message: String,
}
