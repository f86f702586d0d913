//! What the store takes and what it answers.

use dialfleet_domain::budget::{Budget, Pause};
use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::{CampaignState, FormerLimit};
use dialfleet_domain::id::{
    AttemptId, CallbackId, CampaignId, CarrierId, ClaimToken, LeadId, TenantId, WorkerId,
};
use dialfleet_domain::lead::LeadState;
use dialfleet_domain::money::Currency;
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why the store did not answer.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It could not be reached, and nothing was written.
    #[error("the store cannot be reached")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke or time ran out: the write may have happened.
    #[error("the store did not say whether the write happened")]
    Unclear(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stored document does not have its shape.
    #[error("the stored {what} {id} cannot be read")]
    Corrupt {
        /// What kind of document.
        what: &'static str,
        /// Its id, safe to log.
        id: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no room for it, and nothing was written: a sentence that may be shown to anybody.
    #[error("{0}")]
    NoRoom(String),
    /// The store refuses writes.
    #[error("the store refuses writes: {0}")]
    Refused(String),
    /// The cursor is not one that this list gave out.
    #[error("the cursor is not one that this list gave out")]
    BadCursor,
}

impl StoreError {
    /// Whether one document is to blame, and not the store: trying again is of no use.
    #[must_use]
    pub const fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }
}

/// A stored document that does not have its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// What kind of document.
    pub what: &'static str,
    /// Its id, safe to log.
    pub id: String,
    /// What is wrong with it, safe to log.
    pub why: String,
}

/// The answer of a store method.
pub type Answer<T> = Result<T, StoreError>;

/// The answer to a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cas {
    /// Written.
    Won,
    /// Somebody else wrote first (or the document is gone): read again.
    Lost,
}

/// The answer to an insert that may find the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// New.
    Fresh,
    /// The id was there already.
    Present,
}

/// The answer to the insert of a lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeadInserted {
    /// New.
    Fresh,
    /// The campaign has this reference; `same_source` when it came from the same import and line,
    /// which makes this a redelivery.
    SameRef {
        /// It is the very row that was inserted before.
        same_source: bool,
    },
    /// The campaign has this phone under another reference; `same_source` as above.
    SamePhone {
        /// It is the very row that was inserted before.
        same_source: bool,
    },
}

/// The answer to the insert of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentAnswer {
    /// Ours, durable: the only answer after which a request may be sent.
    Acknowledged,
    /// U1: this attempt exists.
    AttemptExists,
    /// U2: the slot is taken.
    SlotBusy,
    /// U3: a call to this phone is live, unresolved or cooling.
    PhoneBusy,
    /// U4: the carrier's channel is taken.
    ChannelBusy,
    /// Nobody knows; the sweeper will find out.
    Unclear,
}

/// A page of a list: `cursor` is the opaque position after the last item, absent at the end.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins.
    pub cursor: Option<String>,
}

/// A control change of a campaign. Absent fields stay as they are. Always `gen + 1`, and
/// `wake_seq + 1` with `wake_at = min(wake_at, wake)` when `wake` is given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CampaignChange {
    /// The new state. Why it was paused is `paused_by`, and nothing that was said before.
    pub state: Option<CampaignState>,
    /// Why it pauses by itself.
    pub paused_by: Option<Pause>,
    /// The new budget; `Some(None)` takes it away.
    pub budget: Option<Option<Budget>>,
    /// The new limit, and the former one if it was higher.
    pub limit: Option<(u32, Option<FormerLimit>)>,
    /// Wake the planner at this time.
    pub wake: Option<Timestamp>,
    /// When this happens.
    pub at: Timestamp,
}

/// A request to claim one due lead.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Of which campaign.
    pub campaign: CampaignId,
    /// The token that marks the claim as ours.
    pub claim: ClaimToken,
    /// Due at this time.
    pub now: Timestamp,
    /// A random draw: which of the first 16 candidates of the highest priority is tried first.
    pub draw: u64,
}

/// How a claim ends without an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which lead.
    pub lead: LeadId,
    /// The lead's `n` when it was claimed.
    pub n: u32,
    /// Our claim.
    pub claim: ClaimToken,
    /// Ready again, or suppressed.
    pub state: LeadState,
    /// When it is due, if ready; `None` leaves the time as it is.
    pub due_at: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
}

/// A whole-document write of an attempt, if its stored version is still `expected`.
#[derive(Debug, Clone)]
pub struct SaveAttempt {
    /// The new document.
    pub attempt: Attempt,
    /// The version it was read with.
    pub expected: u64,
}

/// What some attempts cost together, at one carrier, in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendSum {
    /// Who bills it.
    pub carrier: CarrierId,
    /// In what.
    pub currency: Currency,
    /// It is expected of calls that have not ended.
    pub open: bool,
    /// How much, as in [`Spend::units`](dialfleet_domain::call::cost::Spend::units).
    pub units: i64,
    /// Of how many attempts.
    pub attempts: u64,
}

/// How many leads of a campaign are in each state, and how the finished ones ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeadCounts {
    /// Waiting.
    pub ready: u64,
    /// Taken, or being called.
    pub claimed: u64,
    /// Finished.
    pub done: u64,
    /// Not to be called.
    pub suppressed: u64,
    /// Finished ones by last outcome.
    pub outcomes: std::collections::BTreeMap<String, u64>,
}

impl LeadCounts {
    /// All leads.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ready + self.claimed + self.done + self.suppressed
    }
}

/// A status callback as it was received. Evidence, and the dedupe key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// `carrier:event key`.
    #[serde(rename = "_id")]
    pub id: CallbackId,
    /// From which carrier account.
    pub carrier: CarrierId,
    /// About which attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptId>,
    /// The raw body.
    pub raw: String,
    /// The headers worth keeping.
    pub headers: std::collections::BTreeMap<String, String>,
    /// When it came.
    pub received_at: Timestamp,
}

/// An entry of a do-not-call list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoNotCall {
    /// Whose list.
    pub tenant: TenantId,
    /// Who must not be called.
    pub phone: E164,
    /// Where the entry came from.
    pub source: String,
    /// Since when.
    pub at: Timestamp,
}

/// A process that is alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Which process.
    #[serde(rename = "_id")]
    pub worker: WorkerId,
    /// What it does.
    pub roles: Vec<String>,
    /// The program's version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it was last heard of.
    pub beat_at: Timestamp,
}

/// A key that signs callback URLs: `(id, secret)`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacKey {
    /// Names the key in the URL.
    #[serde(rename = "_id")]
    pub id: String,
    /// 32 bytes, hex.
    pub secret: String,
}

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MacKey({})", self.id)
    }
}

/// Which attempts a list shows.
#[derive(Debug, Clone, Default)]
pub struct AttemptFilter {
    /// Only of this campaign.
    pub campaign: Option<CampaignId>,
    /// Only at this lead.
    pub lead: Option<LeadId>,
    /// Only live ones.
    pub live: bool,
}
