//! Time and chance. Real ones in production, virtual and seeded ones in the simulation.

use std::time::Duration;

use async_trait::async_trait;
use dialfleet_domain::time::Timestamp;

/// Time.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point that goes on while the machine is suspended (`CLOCK_BOOTTIME`):
    /// the fence compares two of these.
    fn uptime(&self) -> Duration;

    /// Waits.
    async fn sleep(&self, time: Duration);
}

/// Chance.
pub trait Entropy: Send + Sync {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]);

    /// 80 random bits, for ids.
    fn id_bits(&self) -> [u8; 10] {
        let mut bits = [0; 10];
        self.fill(&mut bits);
        bits
    }

    /// A uniform draw.
    fn draw(&self) -> u64 {
        let mut bits = [0; 8];
        self.fill(&mut bits);
        u64::from_le_bytes(bits)
    }
}
