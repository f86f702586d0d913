//! How many calls per second may leave for each carrier: a token each, burst 1, at 0.9 of this
//! process's share of the carrier's rate. A carrier such as Twilio queues silently what comes too
//! fast, and would then ring people later than we think.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialfleet_domain::id::CarrierId;
use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::port::Clock;

/// The part of the carrier's rate that we use; the rest covers jitter between processes.
const USE: f64 = 0.9;

/// The governor's clock, told by ours, so that pacing runs on virtual time in the simulation.
#[derive(Clone)]
struct OurClock(Arc<dyn Clock>);

impl GovernorClock for OurClock {
    type Instant = Uptime;

    fn now(&self) -> Uptime {
        Uptime(self.0.uptime())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Uptime(Duration);

impl std::ops::Add<Nanos> for Uptime {
    type Output = Self;
    fn add(self, by: Nanos) -> Self {
        Self(self.0 + Duration::from(by))
    }
}

impl Reference for Uptime {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, by: Nanos) -> Self {
        Self(self.0.saturating_sub(Duration::from(by)))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, OurClock, NoOpMiddleware<Uptime>>;

struct Lane {
    cps: f64,
    share: f64,
    limiter: Limiter,
    /// Until when a token that was taken and not used is good: later the next one is due anyway, and
    /// both together would be a burst.
    spare_until: Duration,
    /// Not before this uptime: the carrier told us to slow down, or refused our account.
    rest_until: Duration,
}

/// The right to send one create-call request to one carrier. Consumed by the request; given back
/// with [`Pace::give_back`] by every exit without one.
#[derive(Debug)]
pub struct Token {
    carrier: CarrierId,
}

impl Token {
    /// For which carrier.
    #[must_use]
    pub const fn carrier(&self) -> &CarrierId {
        &self.carrier
    }
}

/// The lanes of all carriers.
pub struct Pace {
    clock: Arc<dyn Clock>,
    lanes: Mutex<BTreeMap<CarrierId, Lane>>,
}

impl Pace {
    /// Lanes for carriers with these rates (calls per second over the whole fleet).
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, rates: impl IntoIterator<Item = (CarrierId, f64)>) -> Self {
        let lanes = rates
            .into_iter()
            .map(|(id, cps)| {
                let limiter = limiter(cps, &clock);
                (
                    id,
                    Lane {
                        cps,
                        share: 1.0,
                        limiter,
                        spare_until: Duration::ZERO,
                        rest_until: Duration::ZERO,
                    },
                )
            })
            .collect();
        Self {
            clock,
            lanes: Mutex::new(lanes),
        }
    }

    /// Takes a token, or says how long to wait for the next one. `None` for an unknown carrier.
    pub fn try_take(&self, carrier: &CarrierId) -> Option<Result<Token, Duration>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.get_mut(carrier)?;
        let now = self.clock.uptime();
        if now < lane.rest_until {
            return Some(Err(lane.rest_until - now));
        }
        if std::mem::take(&mut lane.spare_until) > now {
            return Some(Ok(Token {
                carrier: carrier.clone(),
            }));
        }
        Some(match lane.limiter.check() {
            Ok(()) => Ok(Token {
                carrier: carrier.clone(),
            }),
            Err(wait) => Err(wait
                .wait_time_from(Uptime(now))
                .max(Duration::from_millis(1))),
        })
    }

    /// Returns a token that was not used. One is kept; more would make a burst.
    pub fn give_back(&self, token: Token) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get_mut(&token.carrier) {
            lane.spare_until = self.clock.uptime() + period(lane.cps * lane.share);
        }
    }

    /// Leaves a carrier alone for a while.
    pub fn rest(&self, carrier: &CarrierId, time: Duration) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let until = self.clock.uptime() + time;
        if let Some(lane) = lanes.get_mut(carrier) {
            lane.rest_until = lane.rest_until.max(until);
        }
    }

    /// Whether a carrier is being left alone.
    #[must_use]
    pub fn is_resting(&self, carrier: &CarrierId) -> bool {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes
            .get(carrier)
            .is_some_and(|lane| self.clock.uptime() < lane.rest_until)
    }

    /// Sets this process's share of every carrier's rate: one part in `dialers`.
    pub fn share_among(&self, dialers: usize) {
        let share = 1.0 / f64::from(u32::try_from(dialers.max(1)).unwrap_or(u32::MAX));
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes.values_mut() {
            if (lane.share - share).abs() > f64::EPSILON {
                lane.share = share;
                lane.spare_until = Duration::ZERO;
                lane.limiter = limiter(lane.cps * share, &self.clock);
                // A new limiter would give a token at once; spend it, so that a change of share is
                // never a burst.
                let _ = lane.limiter.check();
            }
        }
    }
}

/// Between two tokens of a lane with this rate.
fn period(cps: f64) -> Duration {
    Duration::from_secs_f64(1.0 / (cps * USE).clamp(0.01, 10_000.0))
}

fn limiter(cps: f64, clock: &Arc<dyn Clock>) -> Limiter {
    let quota = Quota::with_period(period(cps))
        .expect("the period is not zero: the rate is clamped")
        .allow_burst(NonZeroU32::MIN);
    RateLimiter::direct_with_clock(quota, OurClock(clock.clone()))
}
