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
    /// Nothing more is expected, but rows are missing: their messages were put aside, or never came.
    /// Should they come after all, they are taken.
    Incomplete,
    /// The file was unusable; nothing was taken from it.
    Refused,
}

impl ImportState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Done, Self::Incomplete, Self::Refused];

    /// The name used in documents and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Incomplete => "incomplete",
            Self::Refused => "refused",
        }
    }

    /// The states from which it is reached.
    #[must_use]
    pub const fn from(self) -> &'static [Self] {
        match self {
            Self::Open => &[],
            Self::Done => &[Self::Open, Self::Incomplete],
            Self::Incomplete | Self::Refused => &[Self::Open],
        }
    }
}

/// What became of the rows of one batch. Stored under the batch's number, so that a redelivered
/// batch replaces its own count instead of adding to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// Rows that became leads.
    pub accepted: u64,
    /// Rows whose reference or phone the campaign already had.
    pub duplicate: u64,
    /// Rows that cannot be dialed.
    pub rejected: u64,
    /// Rows put aside with their message, neither taken nor lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parked: u64,
    /// Why they were put aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
const fn is_zero(n: &u64) -> bool {
    *n == 0
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
    /// Why the file was refused whole, or what of it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// When it came.
    pub created_at: Timestamp,
    /// When a batch was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Timestamp>,
    /// When nothing more was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
}

impl Import {
    /// One of which nothing has arrived yet.
    #[must_use]
    pub fn open(id: ImportId, tenant: TenantId, campaign: CampaignId, at: Timestamp) -> Self {
        Self {
            id,
            tenant,
            campaign,
            state: ImportState::Open,
            batches: None,
            tallies: BTreeMap::new(),
            unreadable: 0,
            refused: None,
            created_at: at,
            heard_at: None,
            done_at: None,
        }
    }

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
            sum.parked += tally.parked;
            if sum.why.is_none() {
                sum.why.clone_from(&tally.why);
            }
        }
        sum
    }

    /// How it ends once every batch has reported, and what is missing of it.
    #[must_use]
    pub fn end(&self) -> (ImportState, Option<String>) {
        let Tally { parked, why, .. } = self.total();
        if parked == 0 {
            return (ImportState::Done, None);
        }
        let why = why.unwrap_or_default();
        let missing = format!("{parked} rows were put aside with their message: {why}");
        (ImportState::Incomplete, Some(missing))
    }

    /// When anything of it was last heard of.
    #[must_use]
    pub fn last_heard(&self) -> Timestamp {
        self.heard_at.unwrap_or(self.created_at)
    }

    /// Whether every batch has reported. Numbers that no batch of it has do not count.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.batches
            .is_some_and(|n| u32::try_from(self.tallies.range(..n).count()) == Ok(n))
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
