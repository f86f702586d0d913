//! A campaign, its counts and its slots.

use std::collections::BTreeMap;

use dialfleet_domain::budget::Budget;
use dialfleet_domain::call::Attempt;
use dialfleet_domain::caller_id::{Caps, Presence};
use dialfleet_domain::campaign::{Amd, Campaign, is_default};
use dialfleet_domain::flow::Flow;
use dialfleet_domain::id::{AttemptId, CampaignId, CarrierId, LeadId};
use dialfleet_domain::phone::{E164, Region};
use dialfleet_domain::recording::RecordingPolicy;
use dialfleet_domain::retry::RetryPolicy;
use dialfleet_domain::routing::Policy;
use dialfleet_domain::schedule::Schedule;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::LeadCounts;
use serde::Serialize;

use super::{Costs, Time};
use crate::status::Status;

/// A campaign as lists show it.
#[derive(Debug, Serialize)]
pub(crate) struct CampaignView {
    pub(crate) id: CampaignId,
    name: String,
    /// A stored state, or `pausing`.
    pub(crate) state: &'static str,
    r#gen: u64,
    concurrency: u32,
    /// Its flow's programs take no more calls at once than this, whatever the concurrency.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_capacity: Option<u32>,
    weight: u32,
    carriers: Vec<CarrierId>,
    caller_ids: Vec<E164>,
    #[serde(skip_serializing_if = "is_default")]
    routing: Policy,
    #[serde(skip_serializing_if = "is_default")]
    caps: Caps,
    #[serde(skip_serializing_if = "is_default")]
    presence: Presence,
    region: Option<Region>,
    schedule: Option<Schedule>,
    retry: RetryPolicy,
    flow: Flow,
    amd: Amd,
    recording: RecordingPolicy,
    ring_timeout_s: u32,
    max_duration_s: u32,
    /// What it may cost.
    budget: Option<Budget>,
    /// Why it paused by itself.
    paused_by: Option<String>,
    created_at: Time,
    changed_at: Time,
}

impl From<Campaign> for CampaignView {
    fn from(c: Campaign) -> Self {
        Self {
            id: c.id,
            name: c.name,
            state: c.state.name(),
            r#gen: c.generation,
            concurrency: c.limit,
            stream_capacity: c.flow.capacity(),
            weight: c.weight,
            carriers: c.carriers,
            caller_ids: c.caller_ids,
            routing: c.routing,
            caps: c.caps,
            presence: c.presence,
            region: c.region,
            schedule: c.schedule,
            retry: c.retry,
            flow: c.flow,
            amd: c.amd,
            recording: c.recording,
            ring_timeout_s: c.ring_timeout_s,
            max_duration_s: c.max_duration_s,
            budget: c.budget,
            paused_by: c.paused_by.map(|why| why.to_string()),
            created_at: c.created_at.into(),
            changed_at: c.changed_at.into(),
        }
    }
}

/// A campaign by itself, with how it stands.
#[derive(Debug, Serialize)]
pub(crate) struct CampaignDetail {
    #[serde(flatten)]
    pub(crate) campaign: CampaignView,
    pub(crate) status: Status,
    pub(crate) counts: Counts,
    /// What its calls cost.
    pub(crate) cost: Costs,
    pub(crate) slots: Vec<SlotView>,
}

/// Where a campaign's leads are. `leads = pending + live + done + suppressed`, up to what changes
/// while it is being counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// All of them.
    leads: u64,
    /// Neither finished nor on a call: waiting for their time, a slot, or the end of a cool-off.
    pub(crate) pending: u64,
    /// On a call now: attempts that hold a slot, from the intent to the end. Never more than the
    /// highest limit in force.
    pub(crate) live: u64,
    /// No more attempts.
    done: u64,
    /// Not to be called.
    suppressed: u64,
    /// The finished ones by last outcome.
    outcomes: BTreeMap<String, u64>,
}

impl Counts {
    /// `live` was read after `leads`.
    pub(crate) fn new(leads: LeadCounts, live: u64) -> Self {
        Self {
            leads: leads.total(),
            pending: (leads.ready + leads.claimed).saturating_sub(live),
            live,
            done: leads.done,
            suppressed: leads.suppressed,
            outcomes: leads.outcomes,
        }
    }

    /// There are no leads.
    pub(crate) const fn is_empty(&self) -> bool {
        self.leads == 0
    }
}

/// One slot of a campaign.
#[derive(Debug, Serialize)]
pub(crate) struct SlotView {
    slot: u32,
    /// `free`, or the call's state.
    state: &'static str,
    call: Option<AttemptId>,
    lead: Option<LeadId>,
    carrier: Option<CarrierId>,
    /// Since when it is in this state; `null` when free.
    since: Option<Time>,
}

impl SlotView {
    /// The slots below `limit`, and those above it whose calls began before it was lowered.
    pub(crate) fn all(limit: u32, live: &[Attempt]) -> Vec<Self> {
        let mut busy: BTreeMap<u32, &Attempt> = BTreeMap::new();
        for attempt in live {
            if let Some(slot) = attempt.slot {
                busy.insert(slot, attempt);
            }
        }
        let mut numbers: Vec<u32> = (0..limit).chain(busy.keys().copied()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
            .into_iter()
            .map(|slot| match busy.get(&slot) {
                Some(attempt) => Self {
                    slot,
                    state: attempt.state.name(),
                    call: Some(attempt.id.clone()),
                    lead: Some(attempt.lead.clone()),
                    carrier: attempt.current_leg().map(|(_, leg)| leg.carrier.clone()),
                    since: Some(since(attempt).into()),
                },
                None => Self {
                    slot,
                    state: "free",
                    call: None,
                    lead: None,
                    carrier: None,
                    since: None,
                },
            })
            .collect()
    }
}

fn since(attempt: &Attempt) -> Timestamp {
    let leg = attempt.current_leg().map(|(_, leg)| leg.intent_at);
    attempt
        .answered_at
        .or(attempt.ringing_at)
        .or(leg)
        .unwrap_or(attempt.intent_at)
}
