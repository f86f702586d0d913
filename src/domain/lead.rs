//! A lead: one person to reach in one campaign, and how an ended attempt changes it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::{Attempt, Outcome};
use crate::id::{CampaignId, ClaimToken, ImportId, LeadId, TenantId};
use crate::phone::E164;
use crate::retry::{Next, RetryPolicy};
use crate::schedule::Zone;
use crate::time::Timestamp;

/// Variables a lead may carry.
pub const MAX_VARS: usize = 64;
/// Characters one variable may have.
pub const MAX_VAR_LEN: usize = 2_000;
/// Bytes the name of a variable may have.
pub const MAX_VAR_NAME: usize = 200;
/// The highest priority; 0 is the lowest and the default is 50.
pub const MAX_PRIORITY: u8 = 99;
/// The priority of a lead that names none.
pub const DEFAULT_PRIORITY: u8 = 50;

/// Whether a variable can have that name: not longer than [`MAX_VAR_NAME`], and without the
/// character that no document can have in a name.
#[must_use]
pub fn is_var_name(name: &str) -> bool {
    name.len() <= MAX_VAR_NAME && !name.contains('\0')
}

/// Where a lead stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeadState {
    /// Waiting for its time and a slot.
    Ready,
    /// Taken by a worker, or being called.
    Claimed,
    /// No more attempts. `last_outcome` says why.
    Done,
    /// Must not be called. `reason` says why.
    Suppressed,
}

impl LeadState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Ready, Self::Claimed, Self::Done, Self::Suppressed];

    /// The name used in documents, the API and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Claimed => "claimed",
            Self::Done => "done",
            Self::Suppressed => "suppressed",
        }
    }

    /// Whether nothing more will happen to it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Done | Self::Suppressed => true,
            Self::Ready | Self::Claimed => false,
        }
    }
}

/// The lead document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lead {
    /// `<campaign>:<ref>`.
    #[serde(rename = "_id")]
    pub id: LeadId,
    /// Of which campaign.
    pub campaign: CampaignId,
    /// Whose.
    pub tenant: TenantId,
    /// Whom to ring. Unique within the campaign.
    pub phone: E164,
    /// The zones the person may be in; a schedule must be open in all of them.
    pub zones: Vec<Zone>,
    /// The customer's own columns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
    /// 0 to 99, higher first.
    pub priority: u8,
    /// Where it stands.
    pub state: LeadState,
    /// Not before this.
    pub due_at: Timestamp,
    /// The number of its last projected attempt; the next one is n + 1.
    pub n: u32,
    /// Attempts that may have rung.
    pub budget_used: u32,
    /// How often each outcome was seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outcomes: BTreeMap<Outcome, u32>,
    /// The latest outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_outcome: Option<Outcome>,
    /// Why it is deferred or suppressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimToken>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
    /// The delivery that brought it, and its line there: a redelivery recognises its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// When it came.
    pub created_at: Timestamp,
}

/// Where a lead came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The delivery.
    pub import: ImportId,
    /// The line in its file, or the position in its message, from 1.
    pub line: u64,
}

/// How an ended attempt changes its lead. Written with a compare-and-set on `n == attempt.n - 1`,
/// so that a late projection cannot bring an old state back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// Which lead.
    pub lead: LeadId,
    /// The attempt's number: the lead's new `n`.
    pub n: u32,
    /// Ready again, or done.
    pub state: LeadState,
    /// When it is due, if ready.
    pub due_at: Timestamp,
    /// The new count of attempts that may have rung.
    pub budget_used: u32,
    /// The new counts per outcome.
    pub outcomes: BTreeMap<Outcome, u32>,
    /// The attempt's outcome.
    pub outcome: Outcome,
}

impl Lead {
    /// What `attempt`, which has ended, makes of this lead. `None` when the attempt has not ended
    /// or is not the next one to project.
    #[must_use]
    pub fn project(
        &self,
        attempt: &Attempt,
        retry: &RetryPolicy,
        now: Timestamp,
        speed: f64,
    ) -> Option<Projection> {
        let outcome = attempt.outcome?;
        if attempt.n != self.n + 1 {
            return None;
        }
        let mut outcomes = self.outcomes.clone();
        let seen = outcomes.entry(outcome).or_insert(0);
        *seen = seen.saturating_add(1);
        let seen = *seen;
        let budget_used = self.budget_used + u32::from(outcome.consumes_budget());
        let (state, due_at) = match retry.next(outcome, seen, budget_used, now, speed) {
            Next::At(at) => (LeadState::Ready, at),
            Next::Never => (LeadState::Done, self.due_at),
        };
        Some(Projection {
            lead: self.id.clone(),
            n: attempt.n,
            state,
            due_at,
            budget_used,
            outcomes,
            outcome,
        })
    }
}
