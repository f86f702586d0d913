//! The only reader of the wall clock in this crate: once, at start. From then on time is tokio's,
//! so that a test may pause it.

use std::time::{SystemTime, UNIX_EPOCH};

use dialfleet_domain::time::Timestamp;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Timestamp,
    started: Instant,
}

impl Clock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the simulator is a program of its own and dates its calls by the wall clock"
    )]
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            epoch: Timestamp::from_millis(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)),
            started: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.epoch + self.started.elapsed()
    }
}
