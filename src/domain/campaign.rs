//! A campaign: how a list of leads is dialed, and whether it is.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use crate::amd::{Amd, AmdMode};
use crate::budget::{Budget, Pause};
use crate::caller_id::{Caps, Presence};
use crate::flow::Flow;
use crate::id::{CampaignId, CarrierId, TenantId};
use crate::phone::{E164, Region};
use crate::recording::RecordingPolicy;
use crate::retry::RetryPolicy;
use crate::routing::Policy;
use crate::schedule::Schedule;
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

/// Concurrent calls a campaign may have unless it says otherwise.
pub const DEFAULT_CONCURRENCY: u32 = 5;
/// The most concurrent calls a campaign may ask for.
pub const MAX_CONCURRENCY: u32 = 1_000;
/// How long a lowered limit is still forgiven: calls that were live when it was lowered.
pub const LIMIT_GRACE: Duration = Duration::from_secs(10);

/// Whether a campaign dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CampaignState {
    /// Made, not started.
    Draft,
    /// Dialing.
    Running,
    /// No new calls; live calls finish.
    Paused,
    /// No new leads; live calls finish, then it pauses.
    Draining,
    /// Ended for good; live calls were hung up.
    Stopped,
    /// Every lead has reached a final state.
    Done,
}

impl CampaignState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Draft,
        Self::Running,
        Self::Paused,
        Self::Draining,
        Self::Stopped,
        Self::Done,
    ];

    /// The name used in documents, the API and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Done => "done",
        }
    }

    /// Whether a new call may be started.
    #[must_use]
    pub const fn may_dial(self) -> bool {
        matches!(self, Self::Running)
    }
}

/// What a campaign manager can order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Begin, or begin again after new leads came to a finished campaign.
    Start,
    /// No new calls from now on.
    Pause,
    /// Go on after a pause.
    Resume,
    /// Take no new leads; pause when the live calls have ended.
    Drain,
    /// End for good and hang up.
    Stop,
}

impl Order {
    /// The state it leads to from `state`.
    ///
    /// # Errors
    /// The order makes no sense in that state.
    pub const fn apply(self, state: CampaignState) -> Result<CampaignState, BadOrder> {
        use CampaignState as S;
        let next = match (self, state) {
            (Self::Start, S::Draft | S::Paused | S::Running | S::Done)
            | (Self::Resume, S::Paused | S::Running | S::Draining) => S::Running,
            (Self::Pause, S::Running | S::Draining | S::Paused) => S::Paused,
            (Self::Drain, S::Running | S::Draining) => S::Draining,
            (
                Self::Stop,
                S::Draft | S::Running | S::Paused | S::Draining | S::Stopped | S::Done,
            ) => S::Stopped,
            (Self::Start, S::Draining | S::Stopped)
            | (Self::Resume, S::Draft | S::Stopped | S::Done)
            | (Self::Pause, S::Draft | S::Stopped | S::Done)
            | (Self::Drain, S::Draft | S::Paused | S::Stopped | S::Done) => {
                return Err(BadOrder { order: self, state });
            }
        };
        Ok(next)
    }

    /// The verb.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Drain => "drain",
            Self::Stop => "stop",
        }
    }
}

/// The order makes no sense in the campaign's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a campaign that is {} cannot be told to {}", .state.name(), .order.name())]
pub struct BadOrder {
    /// What was ordered.
    pub order: Order,
    /// Where the campaign stood.
    pub state: CampaignState,
}

/// A lowered limit that is still forgiven for a moment (see [`LIMIT_GRACE`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FormerLimit {
    /// The higher limit that was in force.
    pub limit: u32,
    /// Until when it counts.
    pub until: Timestamp,
}

/// The campaign document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Campaign {
    /// Its id.
    #[serde(rename = "_id")]
    pub id: CampaignId,
    /// Whose.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// Whether it dials.
    pub state: CampaignState,
    /// +1 with every control change: invalidates caches.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// Concurrent calls at most, over the whole fleet.
    pub limit: u32,
    /// A higher limit that was in force a moment ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_limit: Option<FormerLimit>,
    /// Its share when campaigns compete for a carrier: 1 to 100.
    pub weight: u32,
    /// Carriers in fallback order; empty means every configured one.
    #[serde(default)]
    pub carriers: Vec<CarrierId>,
    /// Caller ids to show; empty means the carrier's own.
    #[serde(default)]
    pub caller_ids: Vec<E164>,
    /// How its carriers are chosen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub routing: Policy,
    /// How often one caller id may call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub caps: Caps,
    /// Whether a caller id from next door is preferred.
    #[serde(default, skip_serializing_if = "is_default")]
    pub presence: Presence,
    /// The country of numbers written without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// When it may call; absent means at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// When a lead is dialed again.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// What is said.
    #[serde(default)]
    pub flow: Flow,
    /// Answering-machine detection.
    #[serde(default)]
    pub amd: Amd,
    /// What is recorded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub recording: RecordingPolicy,
    /// Seconds a telephone may ring: 5 to 120.
    pub ring_timeout_s: u32,
    /// Seconds a call may last: 10 to 14,400.
    pub max_duration_s: u32,
    /// What it may cost; absent means as much as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Why it paused by itself, until somebody gives an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_by: Option<Pause>,
    /// When the planner looks at it next; absent while nothing is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Timestamp>,
    /// +1 by everything that makes a lead due sooner.
    pub wake_seq: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its state changed last.
    pub changed_at: Timestamp,
}

/// Whether a setting is as if nobody had said anything, and need not be written.
#[must_use]
pub fn is_default<T: Default + PartialEq>(setting: &T) -> bool {
    *setting == T::default()
}

impl Campaign {
    /// How long a telephone may ring.
    #[must_use]
    pub fn ring(&self) -> Duration {
        Duration::from_secs(u64::from(self.ring_timeout_s))
    }

    /// How long a call may last.
    #[must_use]
    pub fn talk(&self) -> Duration {
        Duration::from_secs(u64::from(self.max_duration_s))
    }

    /// The slots it has: calls that may be under way at once. As many as its limit says, or fewer if the
    /// programs that people are connected to take fewer: their capacity is reserved before anybody is
    /// called.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.within_capacity(self.limit)
    }

    /// The most slots it had since its limit was lowered.
    #[must_use]
    pub fn most_slots(&self) -> u32 {
        let former = self.former_limit.map_or(0, |former| former.limit);
        self.within_capacity(former.max(self.limit))
    }

    fn within_capacity(&self, limit: u32) -> u32 {
        self.flow.capacity().map_or(limit, |most| most.min(limit))
    }
}
