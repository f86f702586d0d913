//! Telnyx Call Control v2 as a dialer sees it: Dial and its 60 s of idempotency, commands on a
//! call (speak, play, gather, record, transfer, stream, hang up), answering machine detection, signed
//! webhooks, and what can be asked afterwards: a call's status, a connection's active calls, call
//! events, webhook deliveries, recordings.
//!
//! Not here: sending DTMF, conferences, `webhook_urls`. Telnyx publishes neither the shape of a call
//! event's `metadata` nor its default pauses between webhook tries, nor what `call.cost` says of a call that nobody
//! answered; those here are guesses.

mod actions;
mod calls;
mod commands;
mod conversation;
mod detection;
mod gathers;
mod line;
mod progress;
mod recordings;
mod records;
mod request;
mod signature;
mod stream;
mod transfer;
mod webhook;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};

use crate::office::Office;
use actions::Command;
use commands::{
    Enqueue, GatherStop, PlaybackStart, PlaybackStop, RecordPause, RecordResume, RecordStart,
    RecordStop, Speak, StreamingStart, StreamingStop, TransferCommand,
};
use gathers::{GatherOnly, GatherUsingAudio, GatherUsingSpeak};
use line::Lines;
use signature::SigningKey;
use webhook::Deliveries;
use wire::ApiError;

/// A Telnyx account that clients may use.
#[derive(Clone)]
pub struct TelnyxAccount {
    /// Its name in the ledger and the fault plan.
    pub name: String,
    /// `KEY…`, the bearer token of requests.
    pub api_key: String,
    /// Its Call Control application.
    pub connection_id: String,
    /// What its signing key is made of.
    pub signing_seed: [u8; 32],
    /// Dials a second, reckoned over five; more are refused with 429.
    pub dps: u32,
    /// Where webhooks go that the first address did not take.
    pub failover_url: Option<String>,
    /// How long the receiver of a webhook may take.
    pub webhook_timeout: Duration,
    /// Whether the application wants `call.cost` (its setting `call_cost_in_webhooks`).
    pub says_cost: bool,
}

impl TelnyxAccount {
    /// With Telnyx's own defaults.
    #[must_use]
    pub fn new(api_key: impl Into<String>, connection_id: impl Into<String>) -> Self {
        Self {
            name: "telnyx".to_owned(),
            api_key: api_key.into(),
            connection_id: connection_id.into(),
            signing_seed: [7; 32],
            dps: 30,
            failover_url: None,
            webhook_timeout: Duration::from_secs(5),
            says_cost: false,
        }
    }

    /// The key that verifies its webhooks, as the portal shows it.
    #[must_use]
    pub fn public_key(&self) -> String {
        SigningKey::new(&self.signing_seed).public_key()
    }
}

/// One account at the simulated carrier.
pub(crate) struct Front {
    office: Arc<Office>,
    name: String,
    authorization: String,
    connection_id: String,
    key: SigningKey,
    dps: u32,
    failover_url: Option<String>,
    webhook_timeout: Duration,
    says_cost: bool,
    lines: Mutex<Lines>,
    deliveries: Deliveries,
}

impl Front {
    pub(crate) fn new(account: TelnyxAccount, office: Arc<Office>) -> Arc<Self> {
        Arc::new(Self {
            office,
            name: account.name,
            authorization: format!("Bearer {}", account.api_key),
            connection_id: account.connection_id,
            key: SigningKey::new(&account.signing_seed),
            dps: account.dps,
            failover_url: account.failover_url,
            webhook_timeout: account.webhook_timeout,
            says_cost: account.says_cost,
            lines: Mutex::default(),
            deliveries: Deliveries::default(),
        })
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every Telnyx account of the simulator.
#[derive(Clone)]
pub(crate) struct Fronts(Arc<[Arc<Front>]>);

impl Fronts {
    /// The account whose key the request has.
    fn admit(&self, headers: &HeaderMap) -> Result<Arc<Front>, ApiError> {
        let given = headers
            .get(header::AUTHORIZATION)
            .map(axum::http::HeaderValue::as_bytes);
        let front = self
            .0
            .iter()
            .find(|front| given == Some(front.authorization.as_bytes()));
        front.cloned().ok_or_else(|| {
            let detail = "The required authentication headers were either invalid or not included in the request.";
            ApiError::new(401, 10009, "Authentication failed", detail)
        })
    }

    /// As [`Self::admit`], and not struck by the fault of look-ups.
    fn admit_read(&self, headers: &HeaderMap, what: &str) -> Result<Arc<Front>, ApiError> {
        let front = self.admit(headers)?;
        if front.office.read_fails(&front.name, what) {
            return Err(ApiError::internal());
        }
        Ok(front)
    }
}

fn commands() -> Router<Fronts> {
    fn of<C: Command + 'static>(router: Router<Fronts>) -> Router<Fronts> {
        let path = format!("/v2/calls/{{control}}/actions/{}", C::NAME);
        router.route(&path, post(actions::give::<C>))
    }
    let router = of::<Speak>(of::<PlaybackStart>(of::<PlaybackStop>(Router::new())));
    let router = of::<GatherOnly>(of::<GatherUsingSpeak>(of::<GatherUsingAudio>(router)));
    let router = of::<GatherStop>(of::<TransferCommand>(of::<Enqueue>(router)));
    let router = of::<RecordStart>(of::<RecordStop>(router));
    let router = of::<RecordPause>(of::<RecordResume>(router));
    of::<StreamingStart>(of::<StreamingStop>(router))
}

pub(crate) fn router(fronts: Vec<Arc<Front>>) -> Router {
    Router::new()
        .route("/v2/calls", post(calls::dial))
        .route("/v2/calls/{control}", get(calls::status))
        .route("/v2/calls/{control}/actions/hangup", post(actions::hangup))
        .merge(commands())
        .route(
            "/v2/connections/{connection}/active_calls",
            get(records::active_calls),
        )
        .route("/v2/call_events", get(records::call_events))
        .route("/v2/recordings", get(recordings::list))
        .route(
            "/v2/recordings/{id}",
            get(recordings::fetch).delete(recordings::delete),
        )
        .route("/v2/webhook_deliveries", get(records::deliveries))
        .with_state(Fronts(fronts.into()))
}
