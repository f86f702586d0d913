//! What campaign managers order: make, start, pause, resume, drain, stop, change the limit, and the
//! do-not-call list.

use dialfleet_domain::budget::Budget;
use dialfleet_domain::call::{Attempt, CallState};
use dialfleet_domain::caller_id::{Caps, Presence};
use dialfleet_domain::campaign::{
    Amd, BadOrder, Campaign, CampaignState, DEFAULT_CONCURRENCY, FormerLimit, LIMIT_GRACE,
    MAX_CONCURRENCY, Order,
};
use dialfleet_domain::flow::{Fault, Flow};
use dialfleet_domain::id::{AttemptId, CampaignId, CarrierId, TenantId};
use dialfleet_domain::phone::{E164, Region};
use dialfleet_domain::recording::{RecordingPolicy, When};
use dialfleet_domain::retry::RetryPolicy;
use dialfleet_domain::routing::Policy;
use dialfleet_domain::schedule::Schedule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fleet::Fleet;
use crate::message::Control;
use crate::port::store::{CampaignChange, DoNotCall, StoreError};
use crate::preflight::preflight;
use crate::todo;

/// Turns of a compare-and-set against other managers.
const TRIES: usize = 20;

/// The source of an entry that a person made by a key.
pub(crate) const BY_KEY: &str = "key";

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

/// Why an order was not carried out.
#[derive(Debug, Error)]
pub enum OrderError {
    /// There is no such campaign.
    #[error("there is no such campaign")]
    NotFound,
    /// A field has a value that cannot be.
    #[error("{field}: {why}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The flow is not one that can be played.
    #[error("flow: {}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("; "))]
    Flow(Vec<Fault>),
    /// It cannot be started as it is.
    #[error("{why}")]
    Unready {
        /// A stable code.
        code: &'static str,
        /// What stands in the way, and what to do about it.
        why: String,
    },
    /// The order makes no sense now.
    #[error(transparent)]
    State(#[from] BadOrder),
    /// Others changed the campaign again and again.
    #[error("the campaign is being changed by others; try again")]
    Contended,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
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

/// Carries out an order. Once it returns, no worker begins a call that the new state forbids; calls
/// whose request is already under way may still appear for up to the fence (3 s) and the request
/// time-out (6 s), and show as `intent` until they do.
///
/// # Errors
/// See [`OrderError`].
pub async fn order(
    fleet: &Fleet,
    tenant: &TenantId,
    id: &CampaignId,
    order: Order,
) -> Result<Campaign, OrderError> {
    give(fleet, tenant, id, order, false).await
}

/// Starts a campaign although leads of it lack what its flow says: they are left out.
///
/// # Errors
/// See [`OrderError`].
pub async fn start_incomplete(
    fleet: &Fleet,
    tenant: &TenantId,
    id: &CampaignId,
) -> Result<Campaign, OrderError> {
    give(fleet, tenant, id, Order::Start, true).await
}

async fn give(
    fleet: &Fleet,
    tenant: &TenantId,
    id: &CampaignId,
    order: Order,
    incomplete: bool,
) -> Result<Campaign, OrderError> {
    for _ in 0..TRIES {
        let campaign = read(fleet, tenant, id).await?;
        let next = order.apply(campaign.state)?;
        if order == Order::Start {
            preflight(fleet, &campaign, incomplete).await?;
        }
        let now = fleet.clock.now();
        let wake = matches!(next, CampaignState::Running | CampaignState::Draining).then_some(now);
        let change = CampaignChange {
            state: Some(next),
            wake,
            at: now,
            ..CampaignChange::default()
        };
        let Some(changed) = fleet
            .store
            .change_campaign(id, campaign.generation, change)
            .await?
        else {
            continue;
        };
        tracing::info!(campaign = %id, order = order.name(), state = next.name(), "ordered");
        announce(fleet, id).await;
        if next == CampaignState::Stopped {
            for attempt in fleet.store.live_attempts(id).await? {
                todo::hang_up(fleet, attempt).await?;
            }
        }
        return Ok(changed);
    }
    Err(OrderError::Contended)
}

/// Changes how many concurrent calls a campaign may have. A lower limit lets live calls finish.
///
/// # Errors
/// See [`OrderError`].
pub async fn set_limit(
    fleet: &Fleet,
    tenant: &TenantId,
    id: &CampaignId,
    limit: u32,
) -> Result<Campaign, OrderError> {
    if !(1..=MAX_CONCURRENCY).contains(&limit) {
        return Err(OrderError::Invalid {
            field: "concurrency",
            why: format!("must be 1 to {MAX_CONCURRENCY}, not {limit}"),
        });
    }
    for _ in 0..TRIES {
        let campaign = read(fleet, tenant, id).await?;
        let now = fleet.clock.now();
        // Calls from under an older, higher limit may outlive several changes.
        let older = campaign.former_limit;
        let highest = older.map_or(0, |f| f.limit).max(campaign.limit);
        let until = match older {
            Some(older) if limit >= campaign.limit => older.until,
            Some(_) | None => now + LIMIT_GRACE,
        };
        let former = (highest > limit).then_some(FormerLimit {
            limit: highest,
            until,
        });
        let wake = campaign.state.may_dial().then_some(now);
        let change = CampaignChange {
            limit: Some((limit, former)),
            wake,
            at: now,
            ..CampaignChange::default()
        };
        if let Some(changed) = fleet
            .store
            .change_campaign(id, campaign.generation, change)
            .await?
        {
            announce(fleet, id).await;
            return Ok(changed);
        }
    }
    Err(OrderError::Contended)
}

/// Changes what a campaign may cost; `None`: as much as it takes. One that paused because its budget was
/// used up goes on when it is told to.
///
/// # Errors
/// See [`OrderError`].
pub async fn set_budget(
    fleet: &Fleet,
    tenant: &TenantId,
    id: &CampaignId,
    budget: Option<Budget>,
) -> Result<Campaign, OrderError> {
    for _ in 0..TRIES {
        let campaign = read(fleet, tenant, id).await?;
        check_budget(fleet, budget.as_ref(), &campaign.carriers)?;
        let now = fleet.clock.now();
        let change = CampaignChange {
            budget: Some(budget),
            wake: campaign.state.may_dial().then_some(now),
            at: now,
            ..CampaignChange::default()
        };
        let store = &fleet.store;
        let changed = store
            .change_campaign(id, campaign.generation, change)
            .await?;
        if let Some(changed) = changed {
            announce(fleet, id).await;
            return Ok(changed);
        }
    }
    Err(OrderError::Contended)
}

/// A budget counts what calls cost, so somebody's price must be known, in its currency.
fn check_budget(
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

/// Whether calls of a campaign that no longer dials may still appear.
///
/// # Errors
/// The store failed.
pub async fn is_settling(fleet: &Fleet, campaign: &Campaign) -> Result<bool, StoreError> {
    if matches!(
        campaign.state,
        CampaignState::Paused | CampaignState::Stopped
    ) {
        let live = fleet.store.live_attempts(&campaign.id).await?;
        return Ok(live.iter().any(|a| a.state == CallState::Intent));
    }
    Ok(false)
}

/// Puts a phone on the tenant's do-not-call list: durable first, then everybody is told, then calls
/// to it are ended.
///
/// # Errors
/// The store failed; the phone may or may not be on the list.
pub async fn add_do_not_call(
    fleet: &Fleet,
    tenant: &TenantId,
    phones: &[E164],
    source: &str,
) -> Result<(), StoreError> {
    list(fleet, tenant, phones, source, None).await
}

/// The same for the person on this call, which goes on: it says so.
pub(crate) async fn opt_out(fleet: &Fleet, attempt: &Attempt) -> Result<(), StoreError> {
    let phones = std::slice::from_ref(&attempt.phone);
    list(fleet, &attempt.tenant, phones, BY_KEY, Some(&attempt.id)).await
}

async fn list(
    fleet: &Fleet,
    tenant: &TenantId,
    phones: &[E164],
    source: &str,
    spared: Option<&AttemptId>,
) -> Result<(), StoreError> {
    let at = fleet.clock.now();
    let entries: Vec<DoNotCall> = phones
        .iter()
        .map(|phone| DoNotCall {
            tenant: tenant.clone(),
            phone: phone.clone(),
            source: source.to_owned(),
            at,
        })
        .collect();
    fleet.store.add_do_not_call(&entries).await?;
    for phone in phones {
        let control = Control::DoNotCall {
            tenant: tenant.clone(),
            phone: phone.clone(),
        };
        if let Err(error) = fleet.queue.broadcast(control.encode()).await {
            tracing::warn!(%error, "an opt-out was not broadcast; every worker reads the list before each call");
        }
        let live = fleet.store.live_by_phone(tenant, phone).await?;
        for attempt in live.into_iter().filter(|a| Some(&a.id) != spared) {
            todo::hang_up(fleet, attempt).await?;
        }
    }
    Ok(())
}

async fn read(fleet: &Fleet, tenant: &TenantId, id: &CampaignId) -> Result<Campaign, OrderError> {
    fleet
        .campaign(id)
        .await?
        .filter(|c| c.tenant == *tenant)
        .ok_or(OrderError::NotFound)
}

/// Tells every process that a campaign changed. A hint: nobody's safety depends on it.
pub(crate) async fn announce(fleet: &Fleet, id: &CampaignId) {
    let control = Control::Campaign {
        campaign: id.clone(),
    };
    if let Err(error) = fleet.queue.broadcast(control.encode()).await {
        tracing::debug!(%error, "a control message was not sent");
    }
}
