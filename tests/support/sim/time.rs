//! Virtual time: tokio's paused clock from a fixed date on, and a process's own view of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::Clock;
use tokio::time::Instant;

use super::gate::Gate;

/// 2026-11-21 09:00:00 UTC.
const EPOCH: Timestamp = Timestamp::from_millis(1_795_251_600_000);

/// True time.
#[derive(Debug, Clone, Copy)]
pub(super) struct SimTime {
    started: Instant,
}

impl SimTime {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Since the world began.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn now(&self) -> Timestamp {
        EPOCH + self.elapsed()
    }
}

#[async_trait]
impl Clock for SimTime {
    fn now(&self) -> Timestamp {
        Self::now(self)
    }

    fn uptime(&self) -> Duration {
        self.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A process's clock: its wall time may be off, its uptime never.
pub(super) struct OwnClock {
    time: SimTime,
    gate: Arc<Gate>,
}

impl OwnClock {
    pub(super) fn new(time: SimTime, gate: Arc<Gate>) -> Self {
        Self { time, gate }
    }
}

#[async_trait]
impl Clock for OwnClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.time.now().millis() + self.gate.off_ms.load(Ordering::Relaxed))
    }

    fn uptime(&self) -> Duration {
        self.time.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        self.gate.pass("sleep").await;
        tokio::time::sleep(time).await;
        self.gate.pass("sleep").await;
    }
}
