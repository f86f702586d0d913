//! Leads of a campaign.

use axum::Json;
use axum::extract::{Path, State};
use dialfleet_domain::id::LeadId;
use dialfleet_domain::lead::LeadState;
use serde::Deserialize;

use super::{campaign_of, page_limit};
use crate::error::ApiError;
use crate::extract::Params;
use crate::state::ApiState;
use crate::view::{LeadView, List, add_up};

/// Which leads, and which page of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    state: Option<LeadState>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/campaigns/{id}/leads`: by id.
pub(crate) async fn of_campaign(
    State(app): State<ApiState>,
    Path(id): Path<String>,
    Params(filter): Params<Filter>,
) -> Result<Json<List<LeadView>>, ApiError> {
    let limit = page_limit(filter.limit)?;
    let campaign = campaign_of(&app, id).await?;
    let cursor = filter.cursor.as_deref();
    let store = &app.fleet.store;
    let page = store
        .list_leads(&campaign.id, filter.state, cursor, limit)
        .await?;
    let ids: Vec<LeadId> = page.items.iter().map(|lead| lead.id.clone()).collect();
    let costs = store.lead_spend(&ids).await?;
    let mut shown = List::<LeadView>::of(page);
    for (lead, sums) in shown.data.iter_mut().zip(&costs) {
        lead.cost = add_up(sums.iter());
    }
    Ok(Json(shown))
}
