//! Carriers: how they stand, and why one is asked before another.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use dialfleet_domain::id::{CampaignId, CarrierId};
use dialfleet_domain::phone::E164;
use dialfleet_engine::routes;
use serde::Deserialize;

use crate::error::ApiError;
use crate::extract::{NoParams, Params};
use crate::state::ApiState;
use crate::view::{CarrierView, DecisionView, List, add_up};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// `GET /v1/carriers`: every configured one, with its breaker as the fleet shares it.
pub(crate) async fn list(
    State(app): State<ApiState>,
    _: Params<NoParams>,
) -> Result<Json<List<CarrierView>>, ApiError> {
    let fleet = &app.fleet;
    routes::refresh(fleet).await?;
    let now = fleet.clock.now();
    let mut data = Vec::new();
    for (id, carrier) in &fleet.carriers {
        let sums = fleet.store.carrier_spend(id, now - DAY).await?;
        let taken = fleet.routes.channels(id).map(|(_, taken)| taken);
        let breaker = fleet.routes.breaker(id, now);
        let cost = add_up(sums.iter());
        data.push(CarrierView::new(carrier.profile(), breaker, taken, cost));
    }
    let next_cursor = None;
    Ok(Json(List { data, next_cursor }))
}

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// The number to be called.
    to: String,
    /// As this campaign would.
    campaign: Option<String>,
    /// As if these had been asked already, separated by commas.
    without: Option<String>,
}

/// `GET /v1/carriers/explain`: whom a call would be given now, and why.
pub(crate) async fn explain(
    State(app): State<ApiState>,
    Params(asked): Params<Asked>,
) -> Result<Json<DecisionView>, ApiError> {
    let bad = |error: &dyn std::fmt::Display| ApiError::bad_request("bad_query", error.to_string());
    let to = E164::parse(&asked.to, None).map_err(|e| bad(&format!("to: {e}")))?;
    let mut without = Vec::new();
    for id in asked.without.iter().flat_map(|list| list.split(',')) {
        let id = CarrierId::parse(id.trim()).map_err(|e| bad(&format!("without: {e}")))?;
        if !app.fleet.carriers.contains_key(&id) {
            return Err(bad(&format!("without: there is no carrier {id}")));
        }
        without.push(id);
    }
    let campaign = match asked.campaign {
        None => None,
        Some(id) => {
            let missing = || ApiError::NotFound("campaign");
            let id = CampaignId::parse(id).map_err(|_| missing())?;
            let found = app.fleet.campaign(&id).await?;
            Some(
                found
                    .filter(|c| c.tenant == *app.tenant())
                    .ok_or_else(missing)?,
            )
        }
    };
    let decision = routes::explain(&app.fleet, &to, campaign.as_ref(), &without).await?;
    Ok(Json(decision.into()))
}
