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

mod shape;

use async_trait::async_trait;
use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::{
    AttemptId, CampaignId, CarrierCallId, CarrierId, ClaimToken, ImportId, LeadId, TenantId,
    WorkerId,
};
use dialfleet_domain::import::{Import, ImportState, RowError, Tally};
use dialfleet_domain::lead::{Lead, LeadState, Projection};
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;

pub use self::shape::{
    Answer, AttemptFilter, Callback, CampaignChange, Cas, ClaimRequest, DoNotCall, Heartbeat,
    Inserted, IntentAnswer, LeadCounts, LeadInserted, MacKey, Page, Release, SaveAttempt, SpendSum,
    StoreError, Unreadable,
};
use super::board::BoardStore;
use super::recording::RecordingStore;

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
