//! For the programs that calls are streamed to.

use axum::Json;
use axum::extract::State;
use dialfleet_domain::id::{AttemptId, CampaignId, LeadId};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::extract::{JsonBody, NoParams, Params};
use crate::state::ApiState;

/// The parameter `token` of a stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    token: String,
}

/// Whose call it is.
#[derive(Debug, Serialize)]
pub(crate) struct Streamed {
    call: AttemptId,
    campaign: CampaignId,
    lead: LeadId,
}

/// `POST /v1/streams/verify`: whose call a stream's token is of; 404 if it is none of ours, or its
/// call must be over by now.
pub(crate) async fn verify(
    State(app): State<ApiState>,
    _: Params<NoParams>,
    JsonBody(token): JsonBody<Token>,
) -> Result<Json<Streamed>, ApiError> {
    let fleet = &app.fleet;
    let none = || ApiError::NotFound("stream");
    let id = fleet
        .keys
        .verify_stream(&token.token, fleet.clock.now())
        .map_err(|_| none())?;
    let attempt = fleet.attempt(&id).await?;
    let attempt = attempt.filter(|a| a.tenant == *app.tenant());
    let attempt = attempt.ok_or_else(none)?;
    Ok(Json(Streamed {
        call: attempt.id,
        campaign: attempt.campaign,
        lead: attempt.lead,
    }))
}
