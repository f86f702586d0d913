//! Twilio Programmable Voice (2010-04-01) as a dialer sees it: create, look up, list and end
//! calls; signed status callbacks; answering machine results.
//!
//! Every callback and every call's progress is a task of the simulator's tracker. Not here: the
//! `StartTime` list filters, notifications, recordings, and fetching `Url`.

mod calls;
mod courier;
mod progress;
mod request;
mod signature;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dialfleet_domain::time::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use signature::sign;

use crate::clock::Clock;
use crate::faults::FaultPlan;
use crate::network::Network;
use wire::ApiError;

/// One account at the simulated carrier.
pub(crate) struct Front {
    account_sid: String,
    auth_token: String,
    authorization: String,
    network: Arc<Network>,
    faults: Arc<FaultPlan>,
    clock: Clock,
    http: reqwest::Client,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Wakes the task of a call that was hung up.
    wakes: Mutex<BTreeMap<String, Arc<Notify>>>,
    reads: AtomicU64,
    /// See [`crate::SimulatorConfig::forgot`].
    forgot: bool,
}

/// What a front shares with the rest of the simulator.
pub(crate) struct Shared {
    pub(crate) network: Arc<Network>,
    pub(crate) faults: Arc<FaultPlan>,
    pub(crate) http: reqwest::Client,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) forgot: bool,
}

impl Front {
    pub(crate) fn new(account_sid: String, auth_token: String, shared: Shared) -> Arc<Self> {
        let basic = STANDARD.encode(format!("{account_sid}:{auth_token}"));
        Arc::new(Self {
            account_sid,
            auth_token,
            authorization: format!("Basic {basic}"),
            network: shared.network,
            faults: shared.faults,
            clock: Clock::start(),
            http: shared.http,
            tasks: shared.tasks,
            stop: shared.stop,
            wakes: Mutex::default(),
            reads: AtomicU64::new(0),
            forgot: shared.forgot,
        })
    }

    fn admit(&self, account: &str, headers: &HeaderMap) -> Result<(), ApiError> {
        let given = headers
            .get(header::AUTHORIZATION)
            .map(axum::http::HeaderValue::as_bytes);
        if given != Some(self.authorization.as_bytes()) {
            return Err(ApiError::new(401, 20003, "Authenticate"));
        }
        if account != self.account_sid {
            return Err(ApiError::not_found(&format!(
                "/2010-04-01/Accounts/{account}"
            )));
        }
        Ok(())
    }

    /// As [`Self::admit`], and not struck by the fault of look-ups.
    fn admit_read(&self, account: &str, headers: &HeaderMap, what: &str) -> Result<(), ApiError> {
        self.admit(account, headers)?;
        if self
            .faults
            .read_fails(what, self.reads.fetch_add(1, Ordering::Relaxed))
        {
            return Err(ApiError::internal());
        }
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn wakes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Notify>>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn router(front: Arc<Front>) -> Router {
    Router::new()
        .route(
            "/2010-04-01/Accounts/{account}/Calls.json",
            post(calls::create).get(calls::list),
        )
        .route(
            "/2010-04-01/Accounts/{account}/Calls/{file}",
            get(calls::fetch).post(calls::update),
        )
        .with_state(front)
}
