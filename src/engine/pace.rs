//! How many calls per second may leave for each carrier, over the whole fleet. A carrier such as
//! Twilio queues silently what comes too fast, and would then ring people later than we think.
//!
//! A carrier's time is cut into moments, 0.9 of its rate of them a second; one call may leave at
//! each. The moments belong in turn to the carrier's seats, and a process uses those of the seats it
//! holds (`pace/seats.rs`), so that however many processes there are, what they send together keeps the
//! rhythm. A governor at the very end keeps each process to it even when the clocks do not.

mod lane;
mod rest;
mod seats;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialfleet_domain::id::CarrierId;
use dialfleet_domain::time::Timestamp;
use tokio::sync::Notify;

use self::lane::{Lane, Moment};
pub(crate) use self::rest::Reply;
use self::seats::{LEASE, Seats};
use crate::fleet::Fleet;
use crate::port::Clock;
use crate::port::board::Note;
use crate::port::store::{Answer, Cas};

/// Without a seat, the next try is so long away; taking one is another's doing.
const NO_SEAT: Duration = Duration::from_millis(50);
/// Between two turns for seats, and the least between two when somebody waits for one.
const TURN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(100));
/// Tries to give seats up before they are left to their lease.
const LEAVE_TRIES: usize = 5;
/// A seat that was not asked for during this time is not wanted any more.
const IDLE: Duration = Duration::from_secs(2);

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
        let wait = self.with(carrier, |lane, now| lane.wait_behind(ahead, now));
        wait.unwrap_or(Duration::MAX)
    }

    /// Whether a token's moment is still to come, and still ours: a seat that was given up meanwhile may
    /// be another's already.
    #[must_use]
    pub(crate) fn is_timely(&self, token: &Token) -> bool {
        self.with(&token.carrier, |lane, now| {
            lane.is_timely(token.moment, now)
        })
        .unwrap_or(false)
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

/// Takes turns for the seats of every carrier's rate, until this process is to stop; then gives them
/// up.
pub(crate) async fn keep_seats(fleet: &Fleet) {
    loop {
        match fleet.unless_stopping(take_seats(fleet)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "no turn for the carriers' seats"),
            None => break,
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
    fleet.part(leave_seats(fleet)).await;
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
