//! The processes of the fleet.

use axum::Json;
use axum::extract::State;
use dialfleet_engine::audit::GONE;

use crate::error::ApiError;
use crate::extract::{NoParams, Params};
use crate::state::ApiState;
use crate::view::{List, WorkerView};

/// `GET /v1/workers`: those heard of lately, by the store's clock, as their heartbeats are.
pub(crate) async fn list(
    State(app): State<ApiState>,
    _: Params<NoParams>,
) -> Result<Json<List<WorkerView>>, ApiError> {
    let store = &app.fleet.store;
    let workers = store.workers(store.clock().await? - GONE).await?;
    Ok(Json(List {
        data: workers.into_iter().map(WorkerView::from).collect(),
        next_cursor: None,
    }))
}
