//! Makes a campaign of what its manager wrote.

use dialfleet_domain::budget::Budget;
use dialfleet_domain::caller_id::{Caps, Presence};
use dialfleet_domain::campaign::{
    Amd, Campaign, CampaignState, DEFAULT_CONCURRENCY, MAX_CONCURRENCY,
};
use dialfleet_domain::flow::Flow;
use dialfleet_domain::id::{CampaignId, CarrierId, TenantId};
use dialfleet_domain::phone::{E164, Region};
use dialfleet_domain::recording::{RecordingPolicy, When};
use dialfleet_domain::retry::RetryPolicy;
use dialfleet_domain::routing::Policy;
use dialfleet_domain::schedule::Schedule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fleet::Fleet;
use crate::order::OrderError;

/// A campaign as its manager describes it. Also the form of a campaign file (TOML).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCampaign {
    /// What people call it: 1 to 200 characters.
    pub name: String,
    /// Concurrent calls at most: 1 to 1,000, 5 by default.
    #[serde(default = "default_concurrency")]
    pub concurrency: u32,
    /// Its share when campaigns compete for a carrier: 1 to 100.
    #[serde(default = "one")]
    pub weight: u32,
    /// Carriers in fallback order; empty or absent means every configured one.
    #[serde(default)]
    pub carriers: Vec<CarrierId>,
    /// Caller ids to show; empty or absent means the carrier's own.
    #[serde(default)]
    pub caller_ids: Vec<E164>,
    /// How its carriers are chosen.
    #[serde(default)]
    pub routing: Policy,
    /// How often one caller id may call; absent means as often as it takes.
    #[serde(default)]
    pub caps: Caps,
    /// Whether a caller id from next door is preferred; `local` by default.
    #[serde(default)]
    pub presence: Presence,
    /// The country of numbers written without one, such as `GB`.
    #[serde(default)]
    pub region: Option<Region>,
    /// When it may call, in each person's own time; absent means at any time.
    #[serde(default)]
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
    /// What is recorded; absent means nothing.
    #[serde(default)]
    pub recording: RecordingPolicy,
    /// Seconds a telephone may ring: 5 to 120, 30 by default.
    #[serde(default = "default_ring")]
    pub ring_timeout_s: u32,
    /// Seconds a call may last: 10 to 14,400, 600 by default.
    #[serde(default = "default_talk")]
    pub max_duration_s: u32,
    /// What it may cost, such as `{"total": {"amount": "100.00", "currency": "USD"}}`; absent means as
    /// much as it takes. When it is used up the campaign pauses.
    #[serde(default)]
    pub budget: Option<Budget>,
}

const fn default_concurrency() -> u32 {
    DEFAULT_CONCURRENCY
}
const fn one() -> u32 {
    1
}
const fn default_ring() -> u32 {
    30
}
const fn default_talk() -> u32 {
    600
}

/// Makes a campaign, in state draft.
///
/// # Errors
/// A field is out of bounds, or the store failed.
pub async fn create(
    fleet: &Fleet,
    tenant: &TenantId,
    new: NewCampaign,
) -> Result<Campaign, OrderError> {
    check(fleet, &new)?;
    let now = fleet.clock.now();
    let campaign = Campaign {
        id: CampaignId::mint(now, fleet.entropy.id_bits()),
        tenant: tenant.clone(),
        name: new.name.trim().to_owned(),
        state: CampaignState::Draft,
        generation: 1,
        limit: new.concurrency,
        former_limit: None,
        weight: new.weight,
        carriers: new.carriers,
        caller_ids: new.caller_ids,
        routing: new.routing,
        caps: new.caps,
        presence: new.presence,
        region: new.region,
        schedule: new.schedule,
        retry: new.retry,
        flow: new.flow,
        amd: new.amd,
        recording: new.recording,
        ring_timeout_s: new.ring_timeout_s,
        max_duration_s: new.max_duration_s,
        budget: new.budget,
        paused_by: None,
        wake_at: None,
        wake_seq: 0,
        created_at: now,
        changed_at: now,
    };
    fleet.store.insert_campaign(&campaign).await?;
    tracing::info!(campaign = %campaign.id, "created");
    Ok(campaign)
}

fn check(fleet: &Fleet, new: &NewCampaign) -> Result<(), OrderError> {
    let invalid = |field, why: String| Err(OrderError::Invalid { field, why });
    let within = |field, value: u32, min: u32, max: u32| {
        if (min..=max).contains(&value) {
            Ok(())
        } else {
            invalid(field, format!("must be {min} to {max}, not {value}"))
        }
    };
    let length = new.name.trim().chars().count();
    if !(1..=200).contains(&length) {
        return invalid("name", "needs 1 to 200 characters".to_owned());
    }
    within("concurrency", new.concurrency, 1, MAX_CONCURRENCY)?;
    within("weight", new.weight, 1, 100)?;
    within("ring_timeout_s", new.ring_timeout_s, 5, 120)?;
    within("max_duration_s", new.max_duration_s, 10, 14_400)?;
    new.flow.check().map_err(OrderError::Flow)?;
    let amd = new.amd.check(&new.flow);
    amd.or_else(|why| invalid("amd", why))?;
    new.recording
        .check()
        .or_else(|why| invalid("recording", why))?;
    if new.recording.when != When::None && !fleet.media.is_open() {
        let why = "there is no place to keep recordings: set MEDIA_URL";
        return invalid("recording", why.to_owned());
    }
    let routing = new.routing.check();
    routing.or_else(|why| invalid("routing", why.to_string()))?;
    let caps = new.caps.check();
    caps.or_else(|why| invalid("caps", why.to_string()))?;
    check_budget(fleet, new.budget.as_ref(), &new.carriers)?;
    let named = new.carriers.iter().map(|carrier| ("carriers", carrier));
    let assigned = new.routing.carrier.iter();
    for (field, carrier) in named.chain(assigned.map(|carrier| ("routing", carrier))) {
        if !fleet.carriers.contains_key(carrier) {
            let known: Vec<&str> = fleet.carriers.keys().map(CarrierId::as_str).collect();
            return invalid(
                field,
                format!(
                    "{carrier} is not configured; there are: {}",
                    known.join(", ")
                ),
            );
        }
    }
    for id in &new.caller_ids {
        if !fleet
            .carriers
            .values()
            .any(|c| c.profile().caller_ids.contains(id))
        {
            return invalid(
                "caller_ids",
                "one of them belongs to no configured carrier".to_owned(),
            );
        }
    }
    Ok(())
}

/// A budget counts what calls cost, so somebody's price must be known, in its currency.
pub(crate) fn check_budget(
    fleet: &Fleet,
    budget: Option<&Budget>,
    carriers: &[CarrierId],
) -> Result<(), OrderError> {
    let Some(budget) = budget else { return Ok(()) };
    let invalid = |why: String| {
        let field = "budget";
        Err(OrderError::Invalid { field, why })
    };
    let currency = budget.total.currency();
    if !budget.total.is_positive() {
        return invalid("must be more than nothing".to_owned());
    }
    let of_campaign = |id: &&CarrierId| carriers.is_empty() || carriers.contains(id);
    let mut ids = fleet.carriers.keys().filter(of_campaign);
    if ids.any(|id| fleet.routes.bills_in(id) == Some(currency)) {
        return Ok(());
    }
    invalid(format!(
        "none of the campaign's carriers has a rate deck in {currency}: nobody would know what its calls cost"
    ))
}
