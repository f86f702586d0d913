//! What the API shows. These types are the contract: a change of a stored document does not change
//! them. Every field is always present, `null` when there is nothing to say; new ones may be added.
//!
//! The settings of a campaign (schedule, retry, flow, amd) have the form in which they were given.
//! Phone numbers are complete: the only key there is today is the administrator's.

use std::collections::BTreeMap;

use dialfleet_domain::call::Outcome;
use dialfleet_domain::id::{CampaignId, ImportId, LeadId, WorkerId};
use dialfleet_domain::import::{Import, ImportState, RowError};
use dialfleet_domain::lead::Lead;
use dialfleet_domain::money::Money;
use dialfleet_domain::phone::E164;
use dialfleet_domain::schedule::Zone;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{Heartbeat, Page};
use serde::{Serialize, Serializer};

mod call;
mod campaign;
mod cost;
mod decision;
mod recording;

pub(crate) use call::{CallDetail, CallView};
pub(crate) use campaign::{CampaignDetail, CampaignView, Counts, SlotView};
pub(crate) use cost::{CostView, Costs, add_up};
pub(crate) use decision::{CarrierView, DecisionView};
pub(crate) use recording::{RecordingView, TranscriptView};

/// A time, as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_rfc3339())
    }
}

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct List<T> {
    pub(crate) data: Vec<T>,
    pub(crate) next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A store's page, each item as its view.
    pub(crate) fn of<U: Into<T>>(page: Page<U>) -> Self {
        Self {
            data: page.items.into_iter().map(Into::into).collect(),
            next_cursor: page.cursor,
        }
    }
}

/// A delivery of leads. The counts grow while it is `open`.
#[derive(Debug, Serialize)]
pub(crate) struct ImportView {
    pub(crate) id: ImportId,
    campaign: CampaignId,
    state: ImportState,
    /// Rows accounted for so far.
    rows: u64,
    accepted: u64,
    duplicate: u64,
    rejected: u64,
    /// Put aside with their message; they count again when that is delivered again.
    parked: u64,
    /// Why it was refused, or what is missing.
    error: Option<String>,
    errors_url: String,
    created_at: Time,
    done_at: Option<Time>,
}

impl From<Import> for ImportView {
    fn from(import: Import) -> Self {
        let total = import.total();
        Self {
            errors_url: format!("/v1/imports/{}/errors", import.id),
            id: import.id,
            campaign: import.campaign,
            state: import.state,
            rows: total.accepted + total.duplicate + total.rejected + total.parked,
            accepted: total.accepted,
            duplicate: total.duplicate,
            rejected: total.rejected,
            parked: total.parked,
            error: import.refused,
            created_at: import.created_at.into(),
            done_at: import.done_at.map(Time),
        }
    }
}

/// A row that was not taken.
#[derive(Debug, Serialize)]
pub(crate) struct RowErrorView {
    line: u64,
    code: String,
    message: String,
}

impl From<RowError> for RowErrorView {
    fn from(error: RowError) -> Self {
        Self {
            line: error.line,
            code: error.code,
            message: error.message,
        }
    }
}

/// A lead.
#[derive(Debug, Serialize)]
pub(crate) struct LeadView {
    id: LeadId,
    r#ref: String,
    campaign: CampaignId,
    phone: E164,
    timezones: Vec<Zone>,
    vars: BTreeMap<String, String>,
    priority: u8,
    state: &'static str,
    due_at: Time,
    /// Attempts so far.
    attempts: u32,
    /// Those of them that may have rung.
    budget_used: u32,
    outcomes: BTreeMap<Outcome, u32>,
    last_outcome: Option<Outcome>,
    /// Why it is deferred or suppressed.
    reason: Option<String>,
    /// What its calls cost so far, expected costs of live ones included, by currency.
    pub(crate) cost: Vec<Money>,
    created_at: Time,
}

impl From<Lead> for LeadView {
    fn from(lead: Lead) -> Self {
        Self {
            r#ref: lead.id.reference().to_owned(),
            id: lead.id,
            campaign: lead.campaign,
            phone: lead.phone,
            timezones: lead.zones,
            vars: lead.vars,
            priority: lead.priority,
            state: lead.state.name(),
            due_at: lead.due_at.into(),
            attempts: lead.n,
            budget_used: lead.budget_used,
            outcomes: lead.outcomes,
            last_outcome: lead.last_outcome,
            reason: lead.reason,
            cost: Vec::new(),
            created_at: lead.created_at.into(),
        }
    }
}

/// A process that was heard of in the last 15 seconds.
#[derive(Debug, Serialize)]
pub(crate) struct WorkerView {
    id: WorkerId,
    roles: Vec<String>,
    version: String,
    started_at: Time,
    beat_at: Time,
}

impl From<Heartbeat> for WorkerView {
    fn from(beat: Heartbeat) -> Self {
        Self {
            id: beat.worker,
            roles: beat.roles,
            version: beat.version,
            started_at: beat.started_at.into(),
            beat_at: beat.beat_at.into(),
        }
    }
}
