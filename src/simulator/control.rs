//! `/_sim`: what a test or a developer asks of the simulator itself. Open to anybody who can reach
//! the port; the simulator is not meant to be reachable from outside.
//!
//! `GET ledger` · `GET calls` (newest first, `?limit=`) · `GET heard?phone=%2B1555…` (a list for each of
//! its calls, oldest first, of what was heard and done on it) · `GET faults` · `POST faults` (JSON of
//! [`Faults`], replaces all; both with `?carrier=` for one account's own) · `POST scripts` (`{"+1555…": {"kind": "busy"}}`
//! or `{"kind": "person", "ring_ms": 3000, "person": {"who": "human", "keys": ["1"]}}`) · `POST reset`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::{FaultPlan, Faults};
use crate::ledger::Ledger;
use crate::network::{Network, Search};
use crate::script::Script;

#[derive(Clone)]
pub(crate) struct Control {
    pub(crate) network: Arc<Network>,
    pub(crate) faults: Arc<FaultPlan>,
}

pub(crate) fn router(control: Control) -> Router {
    Router::new()
        .route("/_sim/ledger", get(ledger))
        .route("/_sim/calls", get(calls))
        .route("/_sim/heard", get(heard))
        .route("/_sim/faults", get(faults).post(set_faults))
        .route("/_sim/scripts", post(set_scripts))
        .route("/_sim/reset", post(reset))
        .with_state(control)
}

async fn ledger(State(control): State<Control>) -> Json<Ledger> {
    Json(control.network.ledger())
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<usize>,
}

async fn calls(State(control): State<Control>, Query(query): Query<Limit>) -> Json<Vec<Value>> {
    let search = Search {
        limit: query.limit.unwrap_or(1_000),
        ..Search::default()
    };
    let calls = control.network.calls(&search, |_| true);
    let rows = calls.into_iter().map(|call| {
        json!({
            "call_id": call.call_id,
            "carrier": call.dial.carrier,
            "to": call.dial.to,
            "from": call.dial.from,
            "attempt": call.dial.attempt_key,
            "campaign": call.dial.campaign_key,
            "leg": call.dial.leg,
            "status": call.status,
            "party": call.party,
            "sip": call.sip,
            "placed_at": call.placed_at,
            "ended_at": call.ended_at,
        })
    });
    Json(rows.collect())
}

#[derive(Deserialize)]
struct Whom {
    carrier: Option<String>,
}

async fn faults(State(control): State<Control>, Query(whom): Query<Whom>) -> Json<Faults> {
    let carrier = whom.carrier.unwrap_or_default();
    Json(control.faults.get(&carrier))
}

async fn set_faults(
    State(control): State<Control>,
    Query(whom): Query<Whom>,
    Json(faults): Json<Faults>,
) -> StatusCode {
    match whom.carrier {
        None => control.faults.set(faults),
        Some(carrier) => control.faults.set_for(carrier, faults),
    }
    StatusCode::NO_CONTENT
}

async fn set_scripts(
    State(control): State<Control>,
    Json(scripts): Json<BTreeMap<String, Script>>,
) -> StatusCode {
    for (phone, script) in scripts {
        control.network.set_script(phone, script);
    }
    StatusCode::NO_CONTENT
}

/// Forgets calls, counts and scripts, and switches all faults off.
async fn reset(State(control): State<Control>) -> StatusCode {
    control.network.reset();
    control.faults.set(Faults::default());
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Whose {
    phone: String,
}

async fn heard(State(control): State<Control>, Query(whose): Query<Whose>) -> Json<Value> {
    Json(json!(control.network.heard_by(&whose.phone)))
}
