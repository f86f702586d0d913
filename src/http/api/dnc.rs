//! The do-not-call list.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use dialfleet_domain::phone::{E164, Region};
use dialfleet_engine::do_not_call;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, FieldError};
use crate::extract::{JsonBody, NoParams, Params};
use crate::state::ApiState;

/// Phones in one request.
const MAX_PHONES: usize = 1_000;

/// Phones to put on the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Add {
    phones: Vec<String>,
    /// The country of numbers written without one.
    #[serde(default)]
    region: Option<Region>,
}

/// How many phones are on the list now that were named.
#[derive(Debug, Serialize)]
pub(crate) struct Added {
    listed: usize,
}

/// `POST /v1/dnc`: all of them or, if one cannot be read, none. Once it answers, none of them is
/// called any more, and calls to them have been told to end.
pub(crate) async fn add(
    State(app): State<ApiState>,
    _: Params<NoParams>,
    JsonBody(add): JsonBody<Add>,
) -> Result<Json<Added>, ApiError> {
    if add.phones.is_empty() || add.phones.len() > MAX_PHONES {
        let detail = format!("give 1 to {MAX_PHONES} phones, not {}", add.phones.len());
        return Err(ApiError::invalid("/phones", "bad_value", detail));
    }
    let mut phones = Vec::with_capacity(add.phones.len());
    let mut errors = Vec::new();
    for (i, text) in add.phones.iter().enumerate() {
        match E164::parse(text, add.region) {
            Ok(phone) => phones.push(phone),
            Err(why) => errors.push(FieldError {
                pointer: format!("/phones/{i}"),
                code: "bad_phone",
                detail: why.to_string(),
            }),
        }
    }
    if !errors.is_empty() {
        return Err(ApiError::Invalid(errors));
    }
    phones.sort_unstable();
    phones.dedup();
    do_not_call::add(&app.fleet, app.tenant(), &phones, "api").await?;
    tracing::info!(n = phones.len(), "phones were put on the do-not-call list");
    Ok(Json(Added {
        listed: phones.len(),
    }))
}

/// Whether a phone is on the list.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    phone: E164,
    listed: bool,
}

/// `GET /v1/dnc/{phone}`
pub(crate) async fn show(
    State(app): State<ApiState>,
    Path(phone): Path<String>,
) -> Result<Json<Listed>, ApiError> {
    let phone = phone_of(&phone)?;
    let asked = std::slice::from_ref(&phone);
    let answer = app.fleet.store.do_not_call(app.tenant(), asked).await?;
    let listed = answer.first().is_some_and(|listed| *listed);
    Ok(Json(Listed { phone, listed }))
}

/// `DELETE /v1/dnc/{phone}`: 404 when it was not on the list.
pub(crate) async fn remove(
    State(app): State<ApiState>,
    Path(phone): Path<String>,
    _: Params<NoParams>,
) -> Result<StatusCode, ApiError> {
    let phone = phone_of(&phone)?;
    let store = &app.fleet.store;
    if store.remove_do_not_call(app.tenant(), &phone).await? {
        tracing::info!("a phone was taken off the do-not-call list");
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NotFound("entry on the do-not-call list"))
    }
}

fn phone_of(text: &str) -> Result<E164, ApiError> {
    E164::parse(text, None).map_err(|why| ApiError::bad_request("bad_phone", why.to_string()))
}
