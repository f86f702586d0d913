//! The source of truth. Two implementations (MongoDB, SQLite), one conformance suite.
//!
//! Rules every implementation keeps:
//! * A write that returned `Ok` is durable (MongoDB: majority; SQLite file: committed), and a read
//!   that begins after it sees it.
//! * A write that returned [`StoreError::Unclear`] may have happened. Everything else has a typed
//!   answer per item, in the order of the input.
//! * Lists are bounded by `limit` and ordered deterministically.
//! * A stored document that cannot be read is left out of every list, and the list goes on behind
//!   it: one bad document keeps nobody waiting. Asked for by its id it is [`StoreError::Corrupt`],
//!   also in a batch. Either way [`RecordStore::unreadable`] tells of it.
//! * The stored document is the domain type's serde form; absent options are absent, never null.

use async_trait::async_trait;
use dialfleet_domain::budget::{Budget, Pause};
use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::{Campaign, CampaignState, FormerLimit};
use dialfleet_domain::id::{
    AttemptId, CallbackId, CampaignId, CarrierCallId, CarrierId, ClaimToken, ImportId, LeadId,
    TenantId, WorkerId,
};
use dialfleet_domain::import::{Import, ImportState, RowError, Tally};
use dialfleet_domain::lead::{Lead, LeadState, Projection};
use dialfleet_domain::money::Currency;
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::board::BoardStore;
use super::recording::RecordingStore;

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

/// Campaign documents.
#[async_trait]
pub trait CampaignStore: Send + Sync {
    /// Inserts a campaign.
    async fn insert_campaign(&self, campaign: &Campaign) -> Answer<Inserted>;
    /// Reads campaigns; the answer has the order of `ids`, with gaps.
    async fn campaigns(&self, ids: &[CampaignId]) -> Answer<Vec<Option<Campaign>>>;
    /// A tenant's campaigns, newest first.
    async fn list_campaigns(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Campaign>>;
    /// Applies `change` if the generation is still `expected`. Returns the new document if it won.
    async fn change_campaign(
        &self,
        id: &CampaignId,
        expected: u64,
        change: CampaignChange,
    ) -> Answer<Option<Campaign>>;
    /// `{$min: wake_at, $inc: wake_seq}` for each.
    async fn wake(&self, wakes: &[(CampaignId, Timestamp)]) -> Answer<()>;
    /// Takes campaigns (running or draining) whose `wake_at` is due, by compare-and-set: each is
    /// returned to one caller, as it was read, with its `wake_at` moved to `lease`. A caller that
    /// dies is succeeded after that.
    async fn claim_wakes(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
    ) -> Answer<Vec<Campaign>>;
    /// Moves `wake_at` (`None` removes it) if `wake_seq` is still `seen_seq`.
    async fn settle_wake(
        &self,
        id: &CampaignId,
        seen_seq: u64,
        next: Option<Timestamp>,
    ) -> Answer<Cas>;
    /// Moves the state to `to` (and `gen + 1`) if `wake_seq` is still `seen_seq` and the state `from`.
    async fn finish_campaign(
        &self,
        id: &CampaignId,
        seen_seq: u64,
        from: CampaignState,
        to: CampaignState,
        at: Timestamp,
    ) -> Answer<Cas>;
    /// Campaigns in one of `states`, by id, after `after`.
    async fn campaigns_in(
        &self,
        states: &[CampaignState],
        after: Option<&CampaignId>,
        limit: usize,
    ) -> Answer<Vec<Campaign>>;
}

/// Lead documents.
#[async_trait]
pub trait LeadStore: Send + Sync {
    /// Inserts leads; order as given; at most 500.
    async fn insert_leads(&self, leads: &[Lead]) -> Answer<Vec<LeadInserted>>;
    /// Claims one due lead per request, highest priority first: state `ready`, `due_at <= now`;
    /// among the first 16 of the highest priority one is chosen by `draw` and taken with a
    /// compare-and-set on `{n, state}`, then the next. `None`: nothing is due (or all were taken).
    /// Sets state `claimed`, `claim`, `claimed_at = now`.
    async fn claim_leads(&self, requests: &[ClaimRequest]) -> Answer<Vec<Option<Lead>>>;
    /// Ends claims without an attempt: compare-and-set on `{n, claim, state: claimed}`; removes the
    /// claim.
    async fn release_claims(&self, releases: &[Release]) -> Answer<Vec<Cas>>;
    /// Carries outcomes over: compare-and-set on `n == projection.n - 1` and a state that is not
    /// final; removes the claim and the reason.
    async fn project_leads(&self, projections: &[Projection]) -> Answer<Vec<Cas>>;
    /// Claims taken before `before`, oldest first.
    async fn stale_claims(&self, before: Timestamp, limit: usize) -> Answer<Vec<Lead>>;
    /// Renews `claimed_at` of a claim whose attempt is live: compare-and-set on `{n, claim}`.
    async fn renew_claim(
        &self,
        lead: &LeadId,
        n: u32,
        claim: &ClaimToken,
        at: Timestamp,
    ) -> Answer<Cas>;
    /// Reads leads; the answer has the order of `ids`, with gaps.
    async fn leads(&self, ids: &[LeadId]) -> Answer<Vec<Option<Lead>>>;
    /// A campaign's leads by id, optionally in one state only.
    async fn list_leads(
        &self,
        campaign: &CampaignId,
        state: Option<LeadState>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Lead>>;
    /// How many leads are in each state.
    async fn lead_counts(&self, campaign: &CampaignId) -> Answer<LeadCounts>;
    /// The earliest `due_at` of the ready leads.
    async fn next_due(&self, campaign: &CampaignId) -> Answer<Option<Timestamp>>;
    /// Whether any lead is not final.
    async fn has_open_leads(&self, campaign: &CampaignId) -> Answer<bool>;
}

/// Attempt documents: the slots and the locks.
#[async_trait]
pub trait AttemptStore: Send + Sync {
    /// Inserts intents. Never fails as a whole: an item whose fate is unknown is
    /// [`IntentAnswer::Unclear`]. U1 to U4 decide the rest.
    async fn insert_attempts(&self, attempts: &[Attempt]) -> Vec<IntentAnswer>;
    /// Reads attempts with majority read concern; the answer has the order of `ids`, with gaps.
    async fn attempts(&self, ids: &[AttemptId]) -> Answer<Vec<Option<Attempt>>>;
    /// Whole-document compare-and-set on `version`. Lost also when it takes a slot or a channel that is
    /// held.
    async fn save_attempts(&self, saves: &[SaveAttempt]) -> Answer<Vec<Cas>>;
    /// The attempt of a lead with the highest `n`.
    async fn newest_attempt(&self, lead: &LeadId) -> Answer<Option<Attempt>>;
    /// The attempts that know these calls; the answer has the order of `calls`, with gaps.
    async fn attempts_by_call(
        &self,
        carrier: &CarrierId,
        calls: &[CarrierCallId],
    ) -> Answer<Vec<Option<Attempt>>>;
    /// Live attempts with `check_at <= now`, earliest first.
    async fn due_checks(&self, now: Timestamp, limit: usize) -> Answer<Vec<Attempt>>;
    /// Attempts with commands written before `before`, oldest first.
    async fn due_todos(&self, before: Timestamp, limit: usize) -> Answer<Vec<Attempt>>;
    /// Ended attempts whose carrier is to be asked what they cost, `cost_at <= now`, earliest first.
    async fn due_costs(&self, now: Timestamp, limit: usize) -> Answer<Vec<Attempt>>;
    /// The slots of a campaign that are taken.
    async fn taken_slots(&self, campaign: &CampaignId) -> Answer<Vec<u32>>;
    /// The channels of a carrier that are taken.
    async fn taken_channels(&self, carrier: &CarrierId) -> Answer<Vec<u32>>;
    /// What a campaign's attempts cost, by carrier, currency and whether they are open, in that order.
    async fn campaign_spend(&self, campaign: &CampaignId) -> Answer<Vec<SpendSum>>;
    /// The same of a carrier's attempts since `since`.
    async fn carrier_spend(&self, carrier: &CarrierId, since: Timestamp) -> Answer<Vec<SpendSum>>;
    /// The same of each lead; order as given.
    async fn lead_spend(&self, leads: &[LeadId]) -> Answer<Vec<Vec<SpendSum>>>;
    /// Live attempts of a campaign (holding a slot or cooling), by slot then id.
    async fn live_attempts(&self, campaign: &CampaignId) -> Answer<Vec<Attempt>>;
    /// Live attempts of a tenant to one phone.
    async fn live_by_phone(&self, tenant: &TenantId, phone: &E164) -> Answer<Vec<Attempt>>;
    /// Live attempts whose current leg is at `carrier`, by id, after `after`.
    async fn live_by_carrier(
        &self,
        carrier: &CarrierId,
        after: Option<&AttemptId>,
        limit: usize,
    ) -> Answer<Vec<Attempt>>;
    /// How many attempts hold a slot, by campaign (only those with any).
    async fn slots_in_use(&self) -> Answer<Vec<(CampaignId, u32)>>;
    /// A tenant's attempts, newest intent first.
    async fn list_attempts(
        &self,
        tenant: &TenantId,
        filter: &AttemptFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Attempt>>;
}

/// Everything else.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// Stores callbacks as evidence.
    async fn insert_callbacks(&self, callbacks: &[Callback]) -> Answer<Vec<Inserted>>;
    /// Deletes callbacks received before `before`; returns how many.
    async fn delete_callbacks(&self, before: Timestamp, limit: usize) -> Answer<u64>;
    /// Adds do-not-call entries; an entry that exists keeps its older date.
    async fn add_do_not_call(&self, entries: &[DoNotCall]) -> Answer<()>;
    /// Removes an entry; whether there was one.
    async fn remove_do_not_call(&self, tenant: &TenantId, phone: &E164) -> Answer<bool>;
    /// Whether each phone is on the tenant's list; order as given.
    async fn do_not_call(&self, tenant: &TenantId, phones: &[E164]) -> Answer<Vec<bool>>;
    /// Makes an import.
    async fn insert_import(&self, import: &Import) -> Answer<Inserted>;
    /// Reads an import.
    async fn import(&self, id: &ImportId) -> Answer<Option<Import>>;
    /// A campaign's imports, newest first.
    async fn list_imports(&self, campaign: &CampaignId, limit: usize) -> Answer<Vec<Import>>;
    /// A campaign's open imports, oldest first.
    async fn open_imports(&self, campaign: &CampaignId, limit: usize) -> Answer<Vec<Import>>;
    /// Sets the number of batches and of unreadable rows, once the whole file was read.
    async fn close_import(&self, id: &ImportId, batches: u32, unreadable: u64) -> Answer<()>;
    /// Sets one batch's tally, and `heard_at`; returns the new import, if it exists.
    async fn tally_import(
        &self,
        id: &ImportId,
        batch: u32,
        tally: Tally,
        at: Timestamp,
    ) -> Answer<Option<Import>>;
    /// Sets the final state and the reason (none removes it), if the import stands where
    /// [`ImportState::from`] says.
    async fn end_import(
        &self,
        id: &ImportId,
        state: ImportState,
        refused: Option<String>,
        at: Timestamp,
    ) -> Answer<Cas>;
    /// Stores row errors; one per import and line (a repeated one is the same).
    async fn insert_row_errors(&self, errors: &[RowError]) -> Answer<()>;
    /// An import's row errors by line, after `after`.
    async fn row_errors(&self, id: &ImportId, after: u64, limit: usize) -> Answer<Vec<RowError>>;
    /// Says that a process is alive.
    async fn beat(&self, heartbeat: &Heartbeat) -> Answer<()>;
    /// Removes a process that ended well.
    async fn leave(&self, worker: &WorkerId) -> Answer<()>;
    /// The processes heard of since `since`, by id.
    async fn workers(&self, since: Timestamp) -> Answer<Vec<Heartbeat>>;
    /// The keys that sign callback URLs: `candidate` is stored if there is none yet. Newest first.
    async fn mac_keys(&self, candidate: &MacKey) -> Answer<Vec<MacKey>>;
    /// A time-limited right to be the only one who does `task`: won if nobody holds it at `now`
    /// (or `holder` does already).
    async fn hold_duty(
        &self,
        task: &str,
        holder: &WorkerId,
        now: Timestamp,
        until: Timestamp,
    ) -> Answer<Cas>;
    /// The store's own clock: it judges `check_at`, `hard_end`, claims and the age of proof.
    async fn clock(&self) -> Answer<Timestamp>;
    /// The documents that could not be read since this was last asked in this process, at most 100.
    fn unreadable(&self) -> Vec<Unreadable>;
    /// A cheap question that fails when the store is out.
    async fn ping(&self) -> Answer<()>;
}

/// The whole store.
pub trait Store:
    CampaignStore + LeadStore + AttemptStore + RecordStore + BoardStore + RecordingStore
{
}

impl<T: CampaignStore + LeadStore + AttemptStore + RecordStore + BoardStore + RecordingStore> Store
    for T
{
}
