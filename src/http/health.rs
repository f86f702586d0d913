//! What operators and their machines probe: is the process alive, may it get traffic, what does it
//! count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use dialfleet_engine::Fleet;
use tokio::sync::Mutex;

use crate::error::{ApiError, FieldError};

/// How long a probe's answer is given to others: many probes are one question to store and broker.
const FRESH: Duration = Duration::from_secs(2);
/// How long store and broker may take.
const PING: Duration = Duration::from_secs(1);

/// Whether the start is done, and how store and broker were last seen. Clones are the same.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Default)]
struct Inner {
    started: AtomicBool,
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    at: Duration,
    store: bool,
    broker: bool,
}

impl Readiness {
    /// Not ready until [`Readiness::set_started`] is called.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The start is done: from now on only a stop, the store or the broker makes it unready.
    pub fn set_started(&self) {
        self.0.started.store(true, Ordering::Release);
    }

    async fn check(&self, fleet: &Fleet) -> Result<(), Vec<FieldError>> {
        let mut missing = Vec::new();
        let mut miss = |part: &str, code, detail: &str| {
            missing.push(FieldError {
                pointer: part.to_owned(),
                code,
                detail: detail.to_owned(),
            });
        };
        if !self.0.started.load(Ordering::Acquire) {
            miss("process", "starting", "the start is not done");
        } else if fleet.stopping.is_cancelled() {
            miss("process", "stopping", "the process is stopping");
        } else {
            let seen = self.look(fleet).await;
            if !seen.store {
                miss("store", "unreachable", "the store does not answer");
            }
            if !seen.broker {
                miss("broker", "unreachable", "the broker does not answer");
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing)
        }
    }

    /// Asks store and broker, unless somebody just did. Others wait for the one who asks.
    async fn look(&self, fleet: &Fleet) -> Seen {
        let mut last = self.0.seen.lock().await;
        let now = fleet.clock.uptime();
        if let Some(seen) = *last
            && now.saturating_sub(seen.at) < FRESH
        {
            return seen;
        }
        let (store, broker) = tokio::join!(
            tokio::time::timeout(PING, fleet.store.ping()),
            tokio::time::timeout(PING, fleet.queue.ping()),
        );
        let seen = Seen {
            at: now,
            store: matches!(store, Ok(Ok(()))),
            broker: matches!(broker, Ok(Ok(()))),
        };
        fleet.metrics.store_up(seen.store);
        fleet.metrics.broker_up(seen.broker);
        *last = Some(seen);
        seen
    }
}

/// What the probes get.
#[derive(Clone)]
pub(crate) struct Probed {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) readiness: Readiness,
}

/// `GET /healthz`: the process answers. It asks nobody: a restart does not mend a database.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`
pub(crate) async fn ready(State(probed): State<Probed>) -> Result<&'static str, ApiError> {
    probed
        .readiness
        .check(&probed.fleet)
        .await
        .map(|()| "ready\n")
        .map_err(ApiError::NotReady)
}

/// `GET /metrics`: Prometheus text.
pub(crate) async fn metrics(State(probed): State<Probed>) -> impl IntoResponse {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, kind)], probed.fleet.metrics.render())
}
