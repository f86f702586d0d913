//! Circuit breakers: when a carrier account, or one of its routes, is not asked for a while.
//!
//! | | ok | failed | refused by configuration | limited (429) | until / probe over |
//! |---|---|---|---|---|---|
//! | closed    | row ends | opens at 5 in a row over 2 s, or half of 20 in a minute | opens, long | rests | - |
//! | open      | - | - | stays, long | rests | half-open, with one probe |
//! | half-open | closes | opens, twice as long | opens, long | rests, probe given back | another probe |
//!
//! * One breaker for an account, fed by the answers to create-call requests, and one for a route
//!   (account × destinations), fed by how calls ended; both are this machine. It is shared as one
//!   small document, written by compare-and-set, which is what makes the probe the only one.
//! * An answer nobody understands (time-out, 5xx) counts as a failure. "Too many requests" does not:
//!   the carrier works, and gets a rest.
//! * News of calls that began before the breaker last changed are late and change nothing: a probe is
//!   judged by its own call only.
//! * It opens twice as long each time, up to a cap, until it was closed for a while.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

mod event;
#[cfg(test)]
mod tests;

pub use event::{Event, Fault, Reason};

/// Failures in a row that open it…
pub const IN_A_ROW: u32 = 5;
/// …if the row has lasted so long. Processes report together what happened to each in a second; one
/// whose own way to the carrier is broken must not close it for the others, whose successes end the row.
pub const ROW: Duration = Duration::from_secs(2);
/// Calls in [`WINDOW`] from which on their failures' share counts…
pub const WINDOW_CALLS: u32 = 20;
/// …and opens it at this much, in percent.
pub const WINDOW_PERCENT: u32 = 50;
/// The window: two halves, the older one dropped when the newer is full.
pub const WINDOW: Duration = Duration::from_secs(60);
/// How long it opens first; doubled each time.
pub const OPEN: Duration = Duration::from_secs(30);
/// How long at most.
pub const OPEN_CAP: Duration = Duration::from_secs(600);
/// How long it opens first after a refusal that a person must mend; doubled each time.
pub const CONFIG_OPEN: Duration = Duration::from_secs(300);
/// How long at most.
pub const CONFIG_OPEN_CAP: Duration = Duration::from_secs(3_600);
/// After this long closed, the next opening is a first one again.
pub const CALM: Duration = Duration::from_secs(600);
/// How long a probe may take. After that its process is taken for dead, and another call may probe.
pub const PROBE: Duration = Duration::from_secs(120);
/// The longest rest a carrier can ask for.
pub const MAX_REST: Duration = Duration::from_secs(300);
/// Times, capped, are moved by up to this much, in percent, so that carriers do not come back all at once.
const JITTER_PERCENT: u64 = 20;

/// Where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Phase {
    /// Calls go.
    #[default]
    Closed,
    /// None goes.
    Open {
        /// Until when.
        until: Timestamp,
        /// Why.
        why: Reason,
    },
    /// One call goes, to see.
    HalfOpen {
        /// When its process is taken for dead.
        until: Timestamp,
        /// Why it was open.
        why: Reason,
    },
}

/// Calls counted over half a [`WINDOW`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Half {
    /// Calls.
    pub calls: u32,
    /// Of these, failed.
    pub failed: u32,
}

/// A breaker: the shared document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Breaker {
    /// Where it stands.
    pub phase: Phase,
    /// Since when. What happened to calls that began before is old news.
    pub since: Timestamp,
    /// Failures since the last success.
    pub in_a_row: u32,
    /// When the first of them was.
    #[serde(default)]
    pub row_at: Timestamp,
    /// The older half of the window, then the newer one.
    pub window: [Half; 2],
    /// When the newer half began.
    pub window_at: Timestamp,
    /// Openings since it was last closed for [`CALM`].
    pub trips: u32,
    /// The carrier asked to be left alone until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_until: Option<Timestamp>,
}

/// Whether a call may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Admission {
    /// It may.
    #[default]
    Free,
    /// One may, whoever takes the probe first: [`Breaker::take_probe`], written by compare-and-set.
    Probe,
    /// Not before this time.
    Resting {
        /// When the carrier may be asked again.
        until: Timestamp,
    },
    /// Not before this time.
    Open {
        /// When a probe may go.
        until: Timestamp,
        /// Why it is open.
        why: Reason,
    },
}

impl Breaker {
    /// Whether a call may go at `now`.
    #[must_use]
    pub fn admits(&self, now: Timestamp) -> Admission {
        if let Some(until) = self.rest_until.filter(|until| *until > now) {
            return Admission::Resting { until };
        }
        match &self.phase {
            Phase::Closed => Admission::Free,
            Phase::Open { until, .. } | Phase::HalfOpen { until, .. } if *until <= now => {
                Admission::Probe
            }
            Phase::Open { until, why } | Phase::HalfOpen { until, why } => Admission::Open {
                until: *until,
                why: why.clone(),
            },
        }
    }

    /// Takes the probe, if there is one to take. Whoever writes the result (compare-and-set) may send
    /// one call, and no other may until that is judged, given back, or [`PROBE`] is over. The call's
    /// intent must not be older than `now`.
    #[must_use]
    pub fn take_probe(&self, now: Timestamp) -> Option<Self> {
        if self.admits(now) != Admission::Probe {
            return None;
        }
        match &self.phase {
            Phase::Closed => None,
            Phase::Open { why, .. } | Phase::HalfOpen { why, .. } => Some(Self {
                phase: Phase::HalfOpen {
                    until: now + PROBE,
                    why: why.clone(),
                },
                since: now,
                ..self.clone()
            }),
        }
    }

    /// Gives back the probe that was taken at `taken`: its call was never sent. Somebody else's stays.
    #[must_use]
    pub fn give_back_probe(&self, taken: Timestamp, now: Timestamp) -> Self {
        let mut after = self.clone();
        if let Phase::HalfOpen { until, .. } = &mut after.phase
            && self.since == taken
        {
            *until = now.min(*until);
        }
        after
    }

    /// What it is after `event`, on a call that began at `call_at`. `draw` moves the time it opens for.
    #[must_use]
    pub fn step(&self, event: &Event, call_at: Timestamp, now: Timestamp, draw: u64) -> Self {
        let mut after = self.clone();
        if let Event::Limited { rest } = event {
            let until = now + (*rest).min(MAX_REST);
            after.rest_until = Some(self.rest_until.map_or(until, |old| old.max(until)));
            if call_at >= self.since {
                after = after.give_back_probe(self.since, now);
            }
            return after;
        }
        if call_at < self.since {
            return after;
        }
        match (&self.phase, event) {
            // Of many refusals under way when it opened only the first one counts.
            (
                Phase::Open {
                    why: Reason::Config { .. },
                    ..
                },
                Event::Refused { .. },
            ) => {}
            (_, Event::Refused { code }) => {
                after.open(Reason::Config { code: code.clone() }, now, draw);
            }
            (Phase::Closed, Event::Ok) => {
                after.in_a_row = 0;
                after.count(false, now);
            }
            (Phase::Closed, Event::Failed(last)) => {
                if self.in_a_row == 0 {
                    after.row_at = now;
                }
                after.in_a_row = self.in_a_row.saturating_add(1);
                let Half { calls, failed } = after.count(true, now);
                let last = *last;
                let failures = after.in_a_row;
                if failures >= IN_A_ROW && now.since(after.row_at) >= ROW {
                    after.open(Reason::InARow { failures, last }, now, draw);
                } else if calls >= WINDOW_CALLS && failed * 100 >= calls * WINDOW_PERCENT {
                    let why = Reason::Share {
                        failed,
                        calls,
                        last,
                    };
                    after.open(why, now, draw);
                }
            }
            (Phase::HalfOpen { .. }, Event::Ok) => {
                after = Self {
                    since: now,
                    trips: self.trips,
                    rest_until: self.rest_until,
                    ..Self::default()
                };
            }
            (Phase::HalfOpen { .. }, Event::Failed(fault)) => {
                after.open(Reason::Probe { fault: *fault }, now, draw);
            }
            (Phase::Open { .. }, Event::Ok | Event::Failed(_)) | (_, Event::Limited { .. }) => {}
        }
        after
    }

    /// Counts a call in the window, and returns the whole window.
    fn count(&mut self, failed: bool, now: Timestamp) -> Half {
        let age = now.since(self.window_at);
        if age >= WINDOW {
            self.window = [Half::default(); 2];
        } else if age >= WINDOW / 2 {
            self.window = [self.window[1], Half::default()];
        }
        if age >= WINDOW / 2 {
            self.window_at = now;
        }
        let newer = &mut self.window[1];
        newer.calls = newer.calls.saturating_add(1);
        newer.failed = newer.failed.saturating_add(u32::from(failed));
        let [old, new] = self.window;
        Half {
            calls: old.calls.saturating_add(new.calls),
            failed: old.failed.saturating_add(new.failed),
        }
    }

    fn open(&mut self, why: Reason, now: Timestamp, draw: u64) {
        let trips = match &self.phase {
            Phase::Closed if now.since(self.since) >= CALM => 0,
            Phase::Closed | Phase::HalfOpen { .. } => self.trips,
            // The same trip, for another reason.
            Phase::Open { .. } => self.trips.saturating_sub(1),
        };
        let (first, cap) = match why {
            Reason::Config { .. } => (CONFIG_OPEN, CONFIG_OPEN_CAP),
            Reason::InARow { .. } | Reason::Share { .. } | Reason::Probe { .. } => (OPEN, OPEN_CAP),
        };
        let time = first.saturating_mul(1_u32 << trips.min(16)).min(cap);
        let percent = 100 - JITTER_PERCENT + draw % (2 * JITTER_PERCENT + 1);
        let time = time.mul_f64(percent as f64 / 100.0);
        *self = Self {
            phase: Phase::Open {
                until: now + time,
                why,
            },
            since: now,
            trips: trips.saturating_add(1),
            rest_until: self.rest_until,
            ..Self::default()
        };
    }
}
