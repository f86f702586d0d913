//! The real clock and the real randomness. Workers read them through the engine's ports; nothing
//! else in the project asks the operating system for either.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::TryRng;
use rand::rngs::SysRng;
use rustix::time::{ClockId, clock_gettime};

/// The wall clock: whole milliseconds since the Unix epoch.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub fn now_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// Time since the machine started, suspension included (`CLOCK_BOOTTIME`). Unlike the monotonic
/// clock it goes on while a laptop sleeps or a container is frozen, so "at most 3 s ago" means it.
#[must_use]
pub fn boottime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    // Neither part is ever negative, and nanoseconds are below 1e9.
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Fills `out` from the operating system's generator.
///
/// # Panics
/// When the operating system has no randomness to give. Nonces and signing keys come from here:
/// going on with predictable ones would be worse.
pub fn fill_random(out: &mut [u8]) {
    SysRng
        .try_fill_bytes(out)
        .expect("the operating system's random generator works");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_move_forward_and_random_bytes_differ() {
        assert!(now_ms() > 1_700_000_000_000);
        let first = boottime();
        assert!(first > Duration::ZERO);
        assert!(boottime() >= first);
        let (mut a, mut b) = ([0; 16], [0; 16]);
        fill_random(&mut a);
        fill_random(&mut b);
        assert_ne!(a, b);
    }
}
