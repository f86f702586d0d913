//! What campaign managers order: start, pause, resume, drain, stop, change the limit or the budget.

use dialfleet_domain::budget::Budget;
use dialfleet_domain::call::CallState;
use dialfleet_domain::campaign::{
    BadOrder, Campaign, CampaignState, FormerLimit, LIMIT_GRACE, MAX_CONCURRENCY, Order,
};
use dialfleet_domain::flow::Fault;
use dialfleet_domain::id::{CampaignId, TenantId};
use thiserror::Error;

use crate::create::check_budget;
use crate::fleet::Fleet;
use crate::message::Control;
use crate::port::store::{CampaignChange, StoreError};
use crate::preflight::preflight;
use crate::todo;

/// Turns of a compare-and-set against other managers.
const TRIES: usize = 20;

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
