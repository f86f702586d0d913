//! The real clock and the real chance.

use std::time::Duration;

use async_trait::async_trait;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::{Clock, Entropy};
use dialfleet_runtime::clock;

/// The operating system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(clock::now_ms())
    }

    fn uptime(&self) -> Duration {
        clock::boottime()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// The operating system's random generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        clock::fill_random(out);
    }
}
