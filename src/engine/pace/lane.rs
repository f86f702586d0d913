//! One carrier's time here: whose moments there are, and which of ours comes next.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::rest::Rest;
use super::seats::seats_of;
use crate::port::Clock;

/// The part of the carrier's rate that we use; the rest covers jitter on the way.
const USE: f64 = 0.9;
/// A token may be taken so long before its moment, at least and at most: the dial protocol has things to
/// do before the request, and they should not cost the rhythm. How long they take is measured, since with
/// a slow store every call would miss its moment and take another's.
const AHEAD: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Of the measured time so much more, and so much of each new measurement.
const AHEAD_OF_MEAN: f64 = 1.5;
const NEW_SHARE: f64 = 0.1;
/// A request may leave so long after its moment; more would be a burst with those that follow.
pub(super) const LATE: Duration = Duration::from_millis(50);
/// A lease is used up to so long before its end.
pub(super) const LEASE_MARGIN: Duration = Duration::from_millis(500);

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

pub(super) struct Lane {
    /// Between two moments, ms.
    step: f64,
    /// How many seats the rate has, and which of them are ours until when (uptime).
    pub(super) total: u32,
    pub(super) mine: BTreeSet<u32>,
    pub(super) until: Duration,
    /// The store's clock less our uptime, ms: all processes count the same moments.
    pub(super) offset: f64,
    /// The last moment that was used.
    last: u64,
    /// A token that was taken and not used.
    pub(super) spare: Option<Moment>,
    /// How long a call takes from its token to its request.
    prepared_in: Duration,
    /// When a token was last asked for.
    pub(super) asked: Option<Duration>,
    pub(super) rest: Rest,
    limiter: Limiter,
}

/// A moment of the rhythm, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// Uptime.
    pub(super) at: Duration,
    pub(super) seat: u32,
}

impl Lane {
    pub(super) fn new(cps: f64, clock: &Arc<dyn Clock>) -> Self {
        let period = Duration::from_secs_f64(1.0 / (cps * USE).clamp(0.01, 10_000.0));
        let quota = Quota::with_period(period)
            .expect("the period is not zero: the rate is clamped")
            .allow_burst(NonZeroU32::MIN);
        Self {
            step: period.as_secs_f64() * 1_000.0,
            total: seats_of(cps),
            mine: BTreeSet::new(),
            until: Duration::ZERO,
            offset: 0.0,
            last: 0,
            spare: None,
            prepared_in: Duration::ZERO,
            // To begin with it wants some: the first call should find them.
            asked: Some(clock.uptime()),
            rest: Rest::default(),
            limiter: RateLimiter::direct_with_clock(quota, OurClock(Arc::clone(clock))),
        }
    }

    pub(super) fn holds_seats(&self, now: Duration) -> bool {
        !self.mine.is_empty() && now + LEASE_MARGIN < self.until
    }

    /// Uses the next moment of ours, or says how long to wait before asking again.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "milliseconds since 1970 over a step of 0.1 ms or more: far below 2^53"
    )]
    pub(super) fn next_moment(&mut self, now: Duration) -> Result<Moment, Duration> {
        let is_good = |moment: &Moment| moment.at >= now && self.mine.contains(&moment.seat);
        if let Some(moment) = self.spare.take().filter(is_good) {
            return Ok(moment);
        }
        let there = now.as_secs_f64() * 1_000.0 + self.offset;
        // One that the call can be ready for.
        let ready = there + self.prepared_in.as_secs_f64() * 1_000.0;
        let mut k = ((ready / self.step).ceil() as u64).max(self.last + 1);
        let total = u64::from(self.total);
        let seat_of = |k: u64| u32::try_from(k % total).unwrap_or(u32::MAX);
        while !self.mine.contains(&seat_of(k)) {
            k += 1;
        }
        let wait = Duration::from_secs_f64(((k as f64 * self.step - there) / 1_000.0).max(0.0));
        let ahead = self.ahead();
        if wait > ahead {
            return Err(wait - ahead);
        }
        self.last = k;
        Ok(Moment {
            at: now + wait,
            seat: seat_of(k),
        })
    }

    /// Whether a moment is still to come, and still ours.
    pub(super) fn is_timely(&self, moment: Moment, now: Duration) -> bool {
        now <= moment.at + LATE && self.mine.contains(&moment.seat)
    }

    /// About how long it takes here until `ahead` tokens are used.
    pub(super) fn wait_behind(&self, ahead: usize, now: Duration) -> Duration {
        let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let mine = if self.holds_seats(now) {
            self.mine.len()
        } else {
            1
        };
        let ours = f64::from(self.total) / count(mine.max(1));
        let seconds = (self.step * ours * count(ahead) / 1_000.0).min(86_400.0);
        self.rest.left(now).unwrap_or_default() + Duration::from_secs_f64(seconds)
    }

    /// How long before its moment a token may be taken.
    pub(super) fn ahead(&self) -> Duration {
        self.prepared_in
            .mul_f64(AHEAD_OF_MEAN)
            .clamp(AHEAD.0, AHEAD.1)
    }

    /// A call took so long from its token to its request. What took longer than can be made up for (this
    /// process was frozen) counts as that: no moment that a call can be ready for may lie further ahead
    /// than tokens are taken.
    pub(super) fn prepared(&mut self, took: Duration) {
        let took = took.min(AHEAD.1.div_f64(AHEAD_OF_MEAN));
        self.prepared_in = self.prepared_in.mul_f64(1.0 - NEW_SHARE) + took.mul_f64(NEW_SHARE);
    }

    /// The governor's word, the last before the request.
    pub(super) fn pass(&self, now: Duration) -> Result<(), Duration> {
        let wait = |not_yet: governor::NotUntil<Uptime>| not_yet.wait_time_from(Uptime(now));
        self.limiter
            .check()
            .map_err(|n| wait(n).max(Duration::from_millis(1)))
    }
}
