//! Campaigns: make, list, show, order, change the limit or the budget.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use dialfleet_domain::budget::Budget;
use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::{Campaign, CampaignState, Order};
use dialfleet_engine::audit::GONE;
use dialfleet_engine::create::{self, NewCampaign};
use dialfleet_engine::order;
use dialfleet_engine::port::store::{Answer, LeadCounts};
use serde::{Deserialize, Deserializer};

use super::{Paging, campaign_id, campaign_of, page_limit};
use crate::error::ApiError;
use crate::extract::{JsonBody, NoParams, OptionalJson, Params};
use crate::state::ApiState;
use crate::status::{Facts, status};
use crate::view::{CampaignDetail, CampaignView, Costs, Counts, List, SlotView};

/// The state shown while calls of a paused campaign may still appear.
const PAUSING: &str = "pausing";
/// Characters a reason may have.
const MAX_REASON: usize = 500;

/// `POST /v1/campaigns`
pub(crate) async fn create(
    State(app): State<ApiState>,
    _: Params<NoParams>,
    JsonBody(new): JsonBody<NewCampaign>,
) -> Result<Response, ApiError> {
    let campaign = create::create(&app.fleet, app.tenant(), new).await?;
    let location = format!("/v1/campaigns/{}", campaign.id);
    let shown = Json(detail(&app, campaign).await?);
    Ok((StatusCode::CREATED, [(LOCATION, location)], shown).into_response())
}

/// `GET /v1/campaigns`
pub(crate) async fn list(
    State(app): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<List<CampaignView>>, ApiError> {
    let limit = page_limit(paging.limit)?;
    let cursor = paging.cursor.as_deref();
    let store = &app.fleet.store;
    let page = store.list_campaigns(app.tenant(), cursor, limit).await;
    Ok(Json(List::of(page?)))
}

/// `GET /v1/campaigns/{id}`
pub(crate) async fn show(
    State(app): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<CampaignDetail>, ApiError> {
    let campaign = campaign_of(&app, id).await?;
    Ok(Json(detail(&app, campaign).await?))
}

/// What may be changed after a campaign was made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    #[serde(default)]
    concurrency: Option<u32>,
    /// `null` takes it away.
    #[serde(default, deserialize_with = "said")]
    budget: Option<Option<Budget>>,
}

/// What is there, `null` included, is said.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Budget>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `PATCH /v1/campaigns/{id}`
pub(crate) async fn change(
    State(app): State<ApiState>,
    Path(id): Path<String>,
    _: Params<NoParams>,
    JsonBody(change): JsonBody<Change>,
) -> Result<Json<CampaignDetail>, ApiError> {
    let id = campaign_id(id)?;
    if change.concurrency.is_none() && change.budget.is_none() {
        let detail = "say concurrency, budget or both".to_owned();
        return Err(ApiError::invalid("/concurrency", "required", detail));
    }
    let (fleet, tenant) = (&app.fleet, app.tenant());
    if let Some(budget) = change.budget {
        order::set_budget(fleet, tenant, &id, budget).await?;
    }
    if let Some(limit) = change.concurrency {
        order::set_limit(fleet, tenant, &id, limit).await?;
    }
    let campaign = campaign_of(&app, id.to_string()).await?;
    Ok(Json(detail(&app, campaign).await?))
}

/// The body of an order, which may also be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderBody {
    /// Why, in the manager's words. Not kept yet.
    #[serde(default)]
    reason: Option<String>,
    /// Start although leads lack what the flow says; they are left out.
    #[serde(default)]
    skip_incomplete: bool,
}

/// `POST /v1/campaigns/{id}/{start|pause|resume|drain|stop}`: 202 while calls of a paused campaign
/// may still appear, otherwise 200.
pub(crate) async fn give(
    app: ApiState,
    id: String,
    body: OptionalJson<OrderBody>,
    order: Order,
) -> Result<Response, ApiError> {
    let body = body.0.unwrap_or_default();
    if body.skip_incomplete && order != Order::Start {
        let detail = "only a start can leave leads out";
        return Err(ApiError::invalid("/skip_incomplete", "bad_value", detail));
    }
    if body
        .reason
        .is_some_and(|text| text.chars().count() > MAX_REASON)
    {
        let detail = format!("at most {MAX_REASON} characters");
        return Err(ApiError::invalid("/reason", "too_long", detail));
    }
    let id = campaign_id(id)?;
    let campaign = if body.skip_incomplete {
        order::start_incomplete(&app.fleet, app.tenant(), &id).await?
    } else {
        order::order(&app.fleet, app.tenant(), &id, order).await?
    };
    let shown = detail(&app, campaign).await?;
    let code = if shown.campaign.state == PAUSING {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((code, Json(shown)).into_response())
}

/// A campaign with how it stands. Leads are counted before the calls are read: a lead that goes on
/// a call in between was pending when it was counted, so `pending` never lacks it.
async fn detail(app: &ApiState, campaign: Campaign) -> Result<CampaignDetail, ApiError> {
    let fleet = &app.fleet;
    let leads = fleet.store.lead_counts(&campaign.id).await?;
    let live = fleet.store.live_attempts(&campaign.id).await?;
    let cost = Costs::new(&fleet.store.campaign_spend(&campaign.id).await?);
    let slots = SlotView::all(campaign.slots(), &live);
    let busy = live.iter().filter(|a| a.slot.is_some()).count();
    let busy = u64::try_from(busy).unwrap_or(u64::MAX);
    let facts = facts(app, &campaign, &leads, &live, busy).await?;
    let counts = Counts::new(leads, busy);
    let status = status(&campaign, &counts, &facts, fleet.clock.now());
    let pausing = facts.settling && campaign.state == CampaignState::Paused;
    let mut shown = CampaignView::from(campaign);
    if pausing {
        shown.state = PAUSING;
    }
    Ok(CampaignDetail {
        campaign: shown,
        status,
        counts,
        cost,
        slots,
    })
}

/// Asks only what the sentence needs.
async fn facts(
    app: &ApiState,
    campaign: &Campaign,
    leads: &LeadCounts,
    live: &[Attempt],
    busy: u64,
) -> Answer<Facts> {
    let fleet = &app.fleet;
    let store = &fleet.store;
    let cooling: Vec<&Attempt> = live.iter().filter(|a| a.slot.is_none()).collect();
    let mut facts = Facts {
        settling: order::is_settling(fleet, campaign).await?,
        cooling: u64::try_from(cooling.len()).unwrap_or(u64::MAX),
        cooled_at: cooling.iter().filter_map(|a| a.cooloff_until).min(),
        ..Facts::default()
    };
    if campaign.state != CampaignState::Running || busy > 0 {
        return Ok(facts);
    }
    if leads.ready + leads.claimed == 0 {
        facts.importing = !store.open_imports(&campaign.id, 1).await?.is_empty();
    } else {
        facts.next_due = store.next_due(&campaign.id).await?;
        let heard_of = store.clock().await? - GONE;
        let workers = store.workers(heard_of).await?;
        facts.dialers = workers.iter().any(|w| w.roles.iter().any(|r| r == "dial"));
    }
    Ok(facts)
}
