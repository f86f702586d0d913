//! Calls: every attempt at every lead.

use axum::Json;
use axum::extract::{Path, State};
use dialfleet_domain::id::{AttemptId, CampaignId, LeadId};
use dialfleet_engine::port::store::AttemptFilter;
use serde::Deserialize;

use super::page_limit;
use crate::error::ApiError;
use crate::extract::Params;
use crate::state::ApiState;
use crate::view::{CallDetail, CallView, List};

/// Which calls, and which page of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    campaign: Option<String>,
    lead: Option<String>,
    /// `true`: only live ones; `false` is the same as nothing.
    live: Option<bool>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/calls`: newest first.
pub(crate) async fn list(
    State(app): State<ApiState>,
    Params(filter): Params<Filter>,
) -> Result<Json<List<CallView>>, ApiError> {
    let limit = page_limit(filter.limit)?;
    let bad = |error: &dyn std::fmt::Display| ApiError::bad_request("bad_query", error.to_string());
    let which = AttemptFilter {
        campaign: filter
            .campaign
            .map(CampaignId::parse)
            .transpose()
            .map_err(|e| bad(&e))?,
        lead: filter
            .lead
            .map(LeadId::parse)
            .transpose()
            .map_err(|e| bad(&e))?,
        live: filter.live.unwrap_or(false),
    };
    let cursor = filter.cursor.as_deref();
    let store = &app.fleet.store;
    let page = store
        .list_attempts(app.tenant(), &which, cursor, limit)
        .await;
    Ok(Json(List::of(page?)))
}

/// `GET /v1/calls/{id}`: one call with its legs and its history. The id is percent-encoded.
pub(crate) async fn show(
    State(app): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<CallDetail>, ApiError> {
    let missing = || ApiError::NotFound("call");
    let id = AttemptId::parse(id).map_err(|_| missing())?;
    let attempt = app.fleet.attempt(&id).await?;
    attempt
        .filter(|attempt| attempt.tenant == *app.tenant())
        .map(|attempt| Json(attempt.into()))
        .ok_or_else(missing)
}
