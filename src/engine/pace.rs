//! How many calls per second may leave for each carrier, over the whole fleet. A carrier such as
//! Twilio queues silently what comes too fast, and would then ring people later than we think.
//!
//! A carrier's time is cut into moments, 0.9 of its rate of them a second; one call may leave at
//! each. The moments belong in turn to the carrier's seats, and a process uses those of the seats it
//! holds (`pace/seats.rs`), so that however many processes there are, what they send together keeps the
//! rhythm. A governor at the very end keeps each process to it even when the clocks do not.

mod rest;
mod seats;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialfleet_domain::id::CarrierId;
use dialfleet_domain::time::Timestamp;
use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Notify;

pub(crate) use self::rest::Reply;
use self::rest::Rest;
use self::seats::{LEASE, Seats, seats_of};
use crate::fleet::Fleet;
use crate::port::Clock;
use crate::port::board::Note;
use crate::port::store::{Answer, Cas};

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
const LATE: Duration = Duration::from_millis(50);
/// A lease is used up to so long before its end.
const LEASE_MARGIN: Duration = Duration::from_millis(500);
/// Without a seat, the next try is so long away; taking one is another's doing.
const NO_SEAT: Duration = Duration::from_millis(50);
/// Between two turns for seats, and the least between two when somebody waits for one.
const TURN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(100));
/// Tries to give seats up before they are left to their lease.
const LEAVE_TRIES: usize = 5;
/// A seat that was not asked for during this time is not wanted any more.
const IDLE: Duration = Duration::from_secs(2);

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
    /// Between two moments, ms.
    step: f64,
    /// How many seats the rate has, and which of them are ours until when (uptime).
    total: u32,
    mine: BTreeSet<u32>,
    until: Duration,
    /// The store's clock less our uptime, ms: all processes count the same moments.
    offset: f64,
    /// The last moment that was used.
    last: u64,
    /// A token that was taken and not used.
    spare: Option<Moment>,
    /// How long a call takes from its token to its request.
    prepared_in: Duration,
    /// When a token was last asked for.
    asked: Option<Duration>,
    rest: Rest,
    limiter: Limiter,
}

/// A moment of the rhythm, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    /// Uptime.
    at: Duration,
    seat: u32,
}

/// The right to send one create-call request to one carrier at its moment. Consumed by the request;
/// given back with [`Pace::give_back`] by every exit without one.
#[derive(Debug)]
pub struct Token {
    carrier: CarrierId,
    moment: Moment,
    /// Uptime.
    taken_at: Duration,
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
    /// Somebody wants a token and there is no seat.
    wanted: Notify,
}

impl Pace {
    /// Lanes for carriers with these rates (calls per second over the whole fleet). Without a seat:
    /// the role `dial` takes them in turns.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, rates: impl IntoIterator<Item = (CarrierId, f64)>) -> Self {
        let lanes = rates
            .into_iter()
            .map(|(id, cps)| (id, Lane::new(cps, &clock)))
            .collect();
        Self {
            clock,
            lanes: Mutex::new(lanes),
            wanted: Notify::new(),
        }
    }

    fn with<T>(
        &self,
        carrier: &CarrierId,
        work: impl FnOnce(&mut Lane, Duration) -> T,
    ) -> Option<T> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.uptime();
        lanes.get_mut(carrier).map(|lane| work(lane, now))
    }

    /// Takes a token, or says how long to wait for the next one. `None` for an unknown carrier.
    pub fn try_take(&self, carrier: &CarrierId) -> Option<Result<Token, Duration>> {
        let taken = self.with(carrier, |lane, now| {
            lane.asked = Some(now);
            if let Some(left) = lane.rest.left(now) {
                return Err(left);
            }
            if !lane.holds_seats(now + lane.ahead()) {
                self.wanted.notify_one();
                return Err(NO_SEAT);
            }
            lane.next_moment(now).map(|moment| (moment, now))
        })?;
        let carrier = carrier.clone();
        Some(taken.map(|(moment, taken_at)| Token {
            carrier,
            moment,
            taken_at,
        }))
    }

    /// Waits for the token's moment, the last thing but one before the request. A token whose moment
    /// has passed is exchanged for a later one, during `patience`.
    ///
    /// # Errors
    /// There was no later one in time: nothing may be sent.
    pub async fn on_time(&self, token: Token, patience: Duration) -> Result<Token, TooLate> {
        let (mut token, until) = (token, self.clock.uptime() + patience);
        self.with(&token.carrier, |lane, now| {
            lane.prepared(now.saturating_sub(token.taken_at));
        });
        loop {
            let now = self.clock.uptime();
            let wait = if !self.is_timely(&token) {
                match self.try_take(&token.carrier).ok_or(TooLate)? {
                    Ok(later) => {
                        token = later;
                        continue;
                    }
                    Err(wait) => wait,
                }
            } else if now < token.moment.at {
                token.moment.at - now
            } else {
                let passes = self.with(&token.carrier, |lane, now| lane.pass(now));
                match passes.ok_or(TooLate)? {
                    Ok(()) => return Ok(token),
                    Err(wait) => wait,
                }
            };
            if now + wait > until {
                return Err(TooLate);
            }
            self.clock.sleep(wait).await;
        }
    }

    /// About how long it takes here until `ahead` tokens of a carrier are used.
    #[must_use]
    pub(crate) fn wait_behind(&self, carrier: &CarrierId, ahead: usize) -> Duration {
        let wait = self.with(carrier, |lane, now| {
            let mine = if lane.holds_seats(now) {
                lane.mine.len()
            } else {
                1
            };
            let ours =
                f64::from(lane.total) / f64::from(u32::try_from(mine.max(1)).unwrap_or(u32::MAX));
            let ahead = f64::from(u32::try_from(ahead).unwrap_or(u32::MAX));
            let seconds = (lane.step * ours * ahead / 1_000.0).min(86_400.0);
            lane.rest.left(now).unwrap_or_default() + Duration::from_secs_f64(seconds)
        });
        wait.unwrap_or(Duration::MAX)
    }

    /// Whether a token's moment is still to come, and still ours: a seat that was given up meanwhile may
    /// be another's already.
    #[must_use]
    pub(crate) fn is_timely(&self, token: &Token) -> bool {
        let ours = self.with(&token.carrier, |lane, now| {
            let Moment { at, seat } = token.moment;
            now <= at + LATE && lane.mine.contains(&seat)
        });
        ours.unwrap_or(false)
    }

    /// Returns a token that was not used. One is kept, while its moment has not passed.
    pub fn give_back(&self, token: Token) {
        self.with(&token.carrier, |lane, _| lane.spare = Some(token.moment));
    }

    /// Leaves a carrier alone for a while.
    pub fn rest(&self, carrier: &CarrierId, time: Duration) {
        self.with(carrier, |lane, now| lane.rest.extend(now + time));
    }

    /// A carrier said "too many requests". Returns how long everybody should leave it alone.
    pub(crate) fn limited(&self, carrier: &CarrierId) -> Duration {
        let everybody = self.with(carrier, |lane, now| lane.rest.limited(now));
        everybody.unwrap_or_default()
    }

    /// Notes how a carrier answered.
    pub(crate) fn answered(&self, carrier: &CarrierId, reply: Reply) {
        self.with(carrier, |lane, now| lane.rest.answered(reply, now));
    }

    /// Whether a carrier is being left alone.
    #[must_use]
    pub fn is_resting(&self, carrier: &CarrierId) -> bool {
        self.with(carrier, |lane, now| lane.rest.left(now).is_some())
            .unwrap_or(false)
    }
}

/// A token's moment had passed, and no other came in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLate;

impl Lane {
    fn new(cps: f64, clock: &Arc<dyn Clock>) -> Self {
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

    fn holds_seats(&self, now: Duration) -> bool {
        !self.mine.is_empty() && now + LEASE_MARGIN < self.until
    }

    /// Uses the next moment of ours, or says how long to wait before asking again.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "milliseconds since 1970 over a step of 0.1 ms or more: far below 2^53"
    )]
    fn next_moment(&mut self, now: Duration) -> Result<Moment, Duration> {
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

    /// How long before its moment a token may be taken.
    fn ahead(&self) -> Duration {
        self.prepared_in
            .mul_f64(AHEAD_OF_MEAN)
            .clamp(AHEAD.0, AHEAD.1)
    }

    /// A call took so long from its token to its request. What took longer than can be made up for (this
    /// process was frozen) counts as that: no moment that a call can be ready for may lie further ahead
    /// than tokens are taken.
    fn prepared(&mut self, took: Duration) {
        let took = took.min(AHEAD.1.div_f64(AHEAD_OF_MEAN));
        self.prepared_in = self.prepared_in.mul_f64(1.0 - NEW_SHARE) + took.mul_f64(NEW_SHARE);
    }

    /// The governor's word, the last before the request.
    fn pass(&self, now: Duration) -> Result<(), Duration> {
        let wait = |not_yet: governor::NotUntil<Uptime>| not_yet.wait_time_from(Uptime(now));
        self.limiter
            .check()
            .map_err(|n| wait(n).max(Duration::from_millis(1)))
    }
}

/// Takes turns for the seats of every carrier's rate, until this process is to stop; then gives them
/// up.
pub(crate) async fn keep_seats(fleet: &Fleet) {
    loop {
        if let Err(error) = take_seats(fleet).await {
            tracing::warn!(%error, "no turn for the carriers' seats");
        }
        if !fleet.pause(TURN.1).await {
            break;
        }
        tokio::select! {
            biased;
            () = fleet.stopping.cancelled() => break,
            () = fleet.pace.wanted.notified() => {}
            () = fleet.clock.sleep(TURN.0 - TURN.1) => {}
        }
    }
    if let Err(error) = leave_seats(fleet).await {
        tracing::debug!(%error, "left without giving the seats up");
    }
}

/// This process's turn for seats of every carrier. What is held is good until its lease ends, also
/// when the store fails.
async fn take_seats(fleet: &Fleet) -> Answer<()> {
    let carriers: Vec<&CarrierId> = fleet.carriers.keys().collect();
    let keys: Vec<String> = carriers.iter().map(|c| format!("seats/{c}")).collect();
    // Leases count from before the question: they end with us no later than there.
    let asked_at = fleet.clock.uptime();
    let now = fleet.store.clock().await?;
    let answered_at = fleet.clock.uptime();
    let offset = offset(now, asked_at, answered_at);
    let notes = fleet.store.notes(&keys).await?;
    let me = &fleet.settings.worker;
    for ((carrier, key), note) in carriers.into_iter().zip(keys).zip(notes) {
        let (seats, version) = read(note);
        let pace = &fleet.pace;
        let known = pace.with(carrier, |lane, up| {
            lane.offset = offset;
            let asks = lane.asked.is_some_and(|at| up.saturating_sub(at) < IDLE);
            (lane.total, asks)
        });
        let Some((total, wants)) = known else {
            continue;
        };
        let Some(next) = seats.turn(total, me, wants, now) else {
            continue;
        };
        // First less, then more: what is given up is not used from before the others can see it.
        let keep: BTreeSet<u32> = next.of(me, now).into_iter().collect();
        pace.with(carrier, |lane, _| {
            lane.mine.retain(|seat| keep.contains(seat))
        });
        let body = serde_json::to_string(&next).unwrap_or_default();
        let note = Note {
            key,
            version: version + 1,
            body,
        };
        if fleet.store.save_notes(&[note]).await?.first() == Some(&Cas::Won) {
            pace.with(carrier, |lane, _| {
                lane.mine = keep;
                lane.until = asked_at + LEASE;
            });
        }
    }
    Ok(())
}

/// Gives every seat up. Without it the leases end by themselves.
async fn leave_seats(fleet: &Fleet) -> Answer<()> {
    for carrier in fleet.carriers.keys() {
        let key = format!("seats/{carrier}");
        fleet.pace.with(carrier, |lane, _| lane.mine.clear());
        // The others write it too; the lease is the last resort.
        for _ in 0..LEAVE_TRIES {
            let note = fleet.store.notes(std::slice::from_ref(&key)).await?.pop();
            let (seats, version) = read(note.flatten());
            let Some(next) = seats.without(&fleet.settings.worker) else {
                break;
            };
            let note = Note {
                key: key.clone(),
                version: version + 1,
                body: serde_json::to_string(&next).unwrap_or_default(),
            };
            if fleet.store.save_notes(&[note]).await?.first() == Some(&Cas::Won) {
                break;
            }
        }
    }
    Ok(())
}

/// A note that cannot be read is begun anew: leases are short.
fn read(note: Option<Note>) -> (Seats, u64) {
    let version = note.as_ref().map_or(0, |note| note.version);
    let seats = note.and_then(|note| serde_json::from_str(&note.body).ok());
    (seats.unwrap_or_default(), version)
}

/// The store's clock less our uptime, ms.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970: far below 2^53"
)]
fn offset(there: Timestamp, asked_at: Duration, answered_at: Duration) -> f64 {
    let here = (asked_at + answered_at).as_secs_f64() * 500.0;
    there.millis() as f64 - here
}

#[cfg(test)]
mod tests;
