//! The fleet's time: the store's clock, carried on by this process's uptime between two questions.
//!
//! Everything is dated by it: intents, claims, due times, hours of calling. A wall clock that is off,
//! or jumps, would date an intent later than the carrier's record of its call, which is then not
//! recognised; would ring people at night; would make leads due next year. What is left of a wrong
//! wall clock are log lines, and an alarm (see [`crate::audit`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dialfleet_domain::time::Timestamp;

use crate::port::Clock;

/// An answer that took longer says too little about when it was true.
const CLEAR: Duration = Duration::from_secs(1);
/// Nobody was asked yet.
const UNKNOWN: i64 = i64::MIN;

/// A process's clock, set by the store's.
pub struct FleetClock {
    own: Arc<dyn Clock>,
    /// The store's time less the uptime, ms.
    ahead_ms: AtomicI64,
}

impl FleetClock {
    /// A clock that shows the process's own time until it is set.
    #[must_use]
    pub fn new(own: Arc<dyn Clock>) -> Self {
        Self {
            own,
            ahead_ms: AtomicI64::new(UNKNOWN),
        }
    }

    /// The fleet's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self.ahead_ms.load(Ordering::Relaxed) {
            UNKNOWN => self.own.now(),
            ahead => Timestamp::from_millis(ahead.saturating_add(whole_ms(self.own.uptime()))),
        }
    }

    /// The process's wall clock, right or wrong.
    #[must_use]
    pub fn own(&self) -> Timestamp {
        self.own.now()
    }

    /// See [`Clock::uptime`].
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.own.uptime()
    }

    /// Waits.
    pub async fn sleep(&self, time: Duration) {
        self.own.sleep(time).await;
    }

    /// Whether it was set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.ahead_ms.load(Ordering::Relaxed) != UNKNOWN
    }

    /// Sets it: asked at uptime `asked`, the store's clock showed `there`, and it is now known.
    pub(crate) fn set(&self, there: Timestamp, asked: Duration) {
        let answered = self.own.uptime();
        let took = answered.saturating_sub(asked);
        if took <= CLEAR || !self.is_set() {
            let middle = whole_ms(answered.saturating_sub(took / 2));
            let ahead = there.millis().saturating_sub(middle);
            self.ahead_ms.store(ahead, Ordering::Relaxed);
        }
    }
}

fn whole_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;

    /// Wall time and uptime, ms.
    struct Hands(Mutex<(i64, u64)>);

    #[async_trait]
    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.lock().expect("no panic").0)
        }

        fn uptime(&self) -> Duration {
            Duration::from_millis(self.0.lock().expect("no panic").1)
        }

        async fn sleep(&self, _: Duration) {}
    }

    #[test]
    fn it_follows_the_store_and_not_the_wall_clock() {
        let hands = Arc::new(Hands(Mutex::new((5_000, 100))));
        let show = |wall, uptime| *hands.0.lock().expect("no panic") = (wall, uptime);
        let clock = FleetClock::new(hands.clone());
        assert_eq!(clock.now().millis(), 5_000, "nobody was asked yet");
        show(5_040, 140);
        clock.set(Timestamp::from_millis(90_000), Duration::from_millis(100));
        assert_eq!(clock.now().millis(), 90_020, "half of the way back is over");
        show(1, 1_140);
        assert_eq!((clock.now().millis(), clock.own().millis()), (91_020, 1));
        show(1, 9_140);
        clock.set(Timestamp::from_millis(50_000), Duration::from_millis(1_140));
        assert_eq!(clock.now().millis(), 99_020, "8 s on the way say nothing");
    }
}
