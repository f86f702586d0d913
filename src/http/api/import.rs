//! Imports: take a file of leads, show how far it is and what was wrong with it.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use dialfleet_domain::id::ImportId;
use dialfleet_domain::import::Import;
use dialfleet_engine::import::import_file;
use dialfleet_engine::intake::{Format, MAX_FILE};

use super::{Paging, campaign_of, page_limit};
use crate::error::ApiError;
use crate::extract::{NoParams, Params, media_type, read_body};
use crate::state::ApiState;
use crate::view::{ImportView, List, RowErrorView};

/// How long an import waits for others to be read.
const TURN: Duration = Duration::from_secs(20);

/// `POST /v1/campaigns/{id}/imports`: a whole file. Once it answers, every row that could be read is
/// on its way, and the import says what became of them.
pub(crate) async fn upload(
    State(app): State<ApiState>,
    Path(id): Path<String>,
    _: Params<NoParams>,
    request: Request,
) -> Result<Response, ApiError> {
    let format = format_of(request.headers())?;
    let campaign = campaign_of(&app, id).await?;
    let turn = tokio::time::timeout(TURN, app.imports.acquire()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(ApiError::Busy("other files are being imported; try again"));
    };
    let (parts, body) = request.into_parts();
    let bytes = read_body(&parts.headers, body, MAX_FILE).await?;
    let import = import_file(&app.fleet, app.tenant(), &campaign.id, &bytes, format).await?;
    let shown = ImportView::from(import);
    let location = format!("/v1/imports/{}", shown.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(shown)).into_response())
}

fn format_of(headers: &HeaderMap) -> Result<Format, ApiError> {
    match media_type(headers).as_deref() {
        Some("text/csv") => Ok(Format::Csv),
        Some("application/x-ndjson" | "application/ndjson") => Ok(Format::Ndjson),
        Some(_) | None => Err(ApiError::WrongMediaType {
            expected: "text/csv or application/x-ndjson",
        }),
    }
}

/// `GET /v1/campaigns/{id}/imports`: the newest ones.
pub(crate) async fn of_campaign(
    State(app): State<ApiState>,
    Path(id): Path<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<List<ImportView>>, ApiError> {
    let limit = page_limit(paging.limit)?;
    if paging.cursor.is_some() {
        // There is one page only, so no cursor was ever given out.
        return Err(ApiError::bad_cursor());
    }
    let campaign = campaign_of(&app, id).await?;
    let imports = app.fleet.store.list_imports(&campaign.id, limit).await?;
    Ok(Json(List {
        data: imports.into_iter().map(ImportView::from).collect(),
        next_cursor: None,
    }))
}

/// `GET /v1/imports/{id}`
pub(crate) async fn show(
    State(app): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<ImportView>, ApiError> {
    Ok(Json(import_of(&app, id).await?.into()))
}

/// `GET /v1/imports/{id}/errors`: rows that were not taken, by line. The cursor is the last line.
pub(crate) async fn errors(
    State(app): State<ApiState>,
    Path(id): Path<String>,
    Params(paging): Params<Paging>,
) -> Result<Json<List<RowErrorView>>, ApiError> {
    let limit = page_limit(paging.limit)?;
    let after = match paging.cursor {
        Some(text) => text.parse().map_err(|_| ApiError::bad_cursor())?,
        None => 0,
    };
    let import = import_of(&app, id).await?;
    let store = &app.fleet.store;
    let mut rows = store.row_errors(&import.id, after, limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|row| row.line.to_string());
    Ok(Json(List {
        data: rows.into_iter().map(RowErrorView::from).collect(),
        next_cursor: last,
    }))
}

async fn import_of(app: &ApiState, id: String) -> Result<Import, ApiError> {
    let missing = || ApiError::NotFound("import");
    let id = ImportId::parse(id).map_err(|_| missing())?;
    let import = app.fleet.store.import(&id).await?;
    import
        .filter(|import| import.tenant == *app.tenant())
        .ok_or_else(missing)
}
