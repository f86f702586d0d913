//! Time and chance for tests: a clock that stands still until it is told, and seeded randomness.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::{Clock, Entropy};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

/// A clock that moves only by [`ManualClock::advance`]. Sleepers wake when their time has come.
#[derive(Debug)]
pub struct ManualClock {
    start: Timestamp,
    passed: Mutex<Duration>,
    moved: Notify,
}

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            passed: Mutex::new(Duration::ZERO),
            moved: Notify::new(),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        *self.passed() += by;
        self.moved.notify_waiters();
    }

    fn passed(&self) -> MutexGuard<'_, Duration> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start + *self.passed()
    }

    fn uptime(&self) -> Duration {
        *self.passed()
    }

    async fn sleep(&self, time: Duration) {
        let until = self.uptime() + time;
        loop {
            let moved = self.moved.notified();
            if self.uptime() >= until {
                return;
            }
            moved.await;
        }
    }
}

/// Randomness that is the same for the same seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(out);
    }
}
