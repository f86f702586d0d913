//! How well a route (a carrier account × a group of destinations) does, from the calls that ended on it.
//!
//! Three steps, so that many workers can share one view of a route in one small document:
//!
//! 1. [`Sample::of`] reads an ended attempt; `None` for one that says nothing about its carrier
//!    (nothing placed, our own fault, the list's or the caller id's).
//! 2. A worker adds its samples to a [`Tally`]: whole numbers, so adding is commutative and
//!    associative, whoever does it and in whichever order.
//! 3. About once a second it folds the tally into the route's [`RouteStats`] by compare-and-set.
//!    Older calls fade with each newer one ([`MEMORY`]), not with the clock alone, so a route is
//!    forgotten as fast at 1 as at 100 calls per second; and all of it fades slowly ([`HALF_LIFE`]), so
//!    that nobody is judged by last week. Within one tally calls count the same; the order of two folds
//!    matters a little, by as much as one of the tallies fades.
//!
//! A memory long enough to tell two good routes apart is too long to notice that one has changed. So
//! each fold also asks whether the latest calls look more like half the answers, or twice, than like as
//! many as before (two CUSUM tests, Page 1954); once one of them is [`ALARM`] sure, the calls since then
//! are what is known. With fewer answers it takes longer: some 65 calls to see half of 45 %, 270 to see
//! half of 15 %; hardly a test could tell sooner.
//!
//! A tally lost with its worker costs a second of knowledge, no more.
//!
//! Definitions: ASR = answers / calls. NER = (answers, busy, no answer, declined, switched off) /
//! calls, after ITU-T E.425: what the network delivered, whatever people did then. PDD = from the
//! leg's intent to the first ringing. Short = answered for less than 6 s. False answer: answered
//! within a second without ringing (carriers that bill calls nobody took).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::{Attempt, Outcome};
use crate::id::CarrierId;
use crate::phone::E164;
use crate::time::Timestamp;

mod estimate;
#[cfg(test)]
mod tests;

pub use estimate::{Estimate, Prior};

/// Calls that a route's statistics remember: each new one takes this part of the weight.
pub const MEMORY: f64 = 300.0;
/// The logarithm of the odds at which a route is taken to have changed.
pub const ALARM: f64 = 7.0;
/// Calls after which a route is known well enough to notice.
const ENOUGH: f64 = 30.0;
/// The weight that calls since then keep: they were found by being odd, so they look odder than they
/// are, and little weight leaves room to find that out.
const AFTER_ALARM: f64 = 25.0;
/// After this long without a call half of what is known counts.
pub const HALF_LIFE: Duration = Duration::from_secs(6 * 3600);
/// An answered call shorter than this is short.
pub const SHORT: Duration = Duration::from_secs(6);
/// An answer sooner than this, without ringing, is false.
pub const FALSE_ANSWER: Duration = Duration::from_secs(1);
/// A PDD beyond this is a lost or late callback, not a delay.
pub const MAX_PDD: Duration = Duration::from_secs(60);

/// What one ended call says about its carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Who carried it.
    pub carrier: CarrierId,
    /// Whither: [`crate::phone::area::Place::of`] says of which group.
    pub to: E164,
    /// The network delivered it.
    pub delivered: bool,
    /// How long it lasted, if it was answered.
    pub talk: Option<Duration>,
    /// Answered by nobody.
    pub false_answer: bool,
    /// From the request to the first ringing, if heard of.
    pub pdd: Option<Duration>,
}

impl Sample {
    /// Reads an ended attempt. `speed` is that of the simulated network, by which its times are
    /// shorter; 1 otherwise.
    #[must_use]
    pub fn of(attempt: &Attempt, speed: f64) -> Option<Self> {
        let leg = attempt.legs.last().filter(|leg| leg.call_id.is_some())?;
        attempt.ending?;
        let delivered = delivered(attempt.outcome?)?;
        let real = |from: Timestamp, to: Timestamp| to.since(from).mul_f64(speed.max(1.0));
        let answered = attempt.outcome.is_some_and(Outcome::is_answer);
        let talk = answered.then(|| match (attempt.duration_s, attempt.answered_at) {
            // The carrier's own figure is in its network's time already.
            (Some(seconds), _) => Duration::from_secs(u64::from(seconds)),
            (None, Some(at)) => attempt.ended_at.map_or(Duration::ZERO, |end| real(at, end)),
            (None, None) => Duration::ZERO,
        });
        let false_answer = answered
            && attempt.ringing_at.is_none()
            && attempt
                .answered_at
                .is_some_and(|at| real(leg.intent_at, at) < FALSE_ANSWER);
        let pdd = attempt
            .ringing_at
            .map(|at| real(leg.intent_at, at))
            .filter(|pdd| *pdd <= MAX_PDD);
        Some(Self {
            carrier: leg.carrier.clone(),
            to: attempt.phone.clone(),
            delivered,
            talk,
            false_answer,
            pdd,
        })
    }
}

/// Whether a call with this outcome was delivered; `None` if that says nothing about the carrier:
/// nothing was placed, or what stopped it was ours, the list's or the caller id's.
const fn delivered(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::HumanConnected
        | Outcome::Answered
        | Outcome::MachineHangup
        | Outcome::VoicemailLeft
        | Outcome::CallScreened
        | Outcome::Fax
        | Outcome::NoAnswer
        | Outcome::Busy
        | Outcome::Rejected
        | Outcome::Unwanted
        | Outcome::Unreachable
        // Delivered to a network that knows the number's fate. A carrier whose 404s are gaps in its
        // routes shows by fewer answers.
        | Outcome::InvalidNumber => Some(true),
        Outcome::Congestion | Outcome::CarrierError => Some(false),
        Outcome::BlockedAnalytics
        | Outcome::NoCarrier
        | Outcome::ProviderConfig
        | Outcome::Canceled
        | Outcome::NotPlaced
        | Outcome::Expired
        | Outcome::Unresolved
        | Outcome::Withdrawn => None,
    }
}

/// Calls counted: whole numbers, for one route and any stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// Ended calls that say something about the route.
    pub calls: u64,
    /// Of these, delivered.
    pub delivered: u64,
    /// Answered.
    pub answered: u64,
    /// Answered for less than [`SHORT`].
    pub short: u64,
    /// Answered by nobody.
    pub false_answers: u64,
    /// Connected time, ms.
    pub talk_ms: u64,
    /// Calls whose PDD is known.
    pub rung: u64,
    /// Their PDD, ms.
    pub pdd_ms: u64,
}

impl Tally {
    /// Counts one call.
    pub fn add(&mut self, sample: &Sample) {
        let one = Self {
            calls: 1,
            delivered: u64::from(sample.delivered),
            answered: u64::from(sample.talk.is_some()),
            short: u64::from(sample.talk.is_some_and(|talk| talk < SHORT)),
            false_answers: u64::from(sample.false_answer && sample.talk.is_some()),
            talk_ms: sample.talk.map_or(0, whole_ms),
            rung: u64::from(sample.pdd.is_some()),
            pdd_ms: sample.pdd.map_or(0, whole_ms),
        };
        self.merge(&one);
    }

    /// Adds another tally of the same route.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.calls, other.calls),
            (&mut self.delivered, other.delivered),
            (&mut self.answered, other.answered),
            (&mut self.short, other.short),
            (&mut self.false_answers, other.false_answers),
            (&mut self.talk_ms, other.talk_ms),
            (&mut self.rung, other.rung),
            (&mut self.pdd_ms, other.pdd_ms),
        ] {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.calls == 0
    }
}

/// Counts of [`Tally`], weighted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sums {
    /// The weight of what is known, in calls.
    pub calls: f64,
    /// Delivered.
    pub delivered: f64,
    /// Answered.
    pub answered: f64,
    /// Answered for less than [`SHORT`].
    pub short: f64,
    /// Answered by nobody.
    pub false_answers: f64,
    /// Connected seconds.
    pub talk_s: f64,
    /// Calls whose PDD is known.
    pub rung: f64,
    /// Their PDD, seconds.
    pub pdd_s: f64,
}

impl Sums {
    /// Field by field.
    fn zip(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            calls: f(self.calls, other.calls),
            delivered: f(self.delivered, other.delivered),
            answered: f(self.answered, other.answered),
            short: f(self.short, other.short),
            false_answers: f(self.false_answers, other.false_answers),
            talk_s: f(self.talk_s, other.talk_s),
            rung: f(self.rung, other.rung),
            pdd_s: f(self.pdd_s, other.pdd_s),
        }
    }

    fn plus(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    fn times(&self, by: f64) -> Self {
        self.zip(self, |value, _| value * by)
    }

    /// No more weight than [`MEMORY`]; the shares stay.
    fn capped(&self) -> Self {
        if self.calls > MEMORY {
            self.times(MEMORY / self.calls)
        } else {
            *self
        }
    }
}

impl From<&Tally> for Sums {
    fn from(tally: &Tally) -> Self {
        Self {
            calls: float(tally.calls),
            delivered: float(tally.delivered),
            answered: float(tally.answered),
            short: float(tally.short),
            false_answers: float(tally.false_answers),
            talk_s: float(tally.talk_ms) / 1e3,
            rung: float(tally.rung),
            pdd_s: float(tally.pdd_ms) / 1e3,
        }
    }
}

/// Whether a route has changed: the latest calls, and how much they speak for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// The logarithm of the odds.
    pub odds: f64,
    /// Its calls since nothing spoke for a change: what it will be judged by if there was one.
    pub run: Sums,
}

impl Drift {
    /// After calls that speak so much for it.
    fn after(&self, new: &Sums, evidence: f64) -> Self {
        let odds = self.odds + evidence;
        if odds <= 0.0 {
            return Self::default();
        }
        let run = self.run.plus(new).capped();
        Self { odds, run }
    }

    fn times(&self, by: f64) -> Self {
        Self {
            odds: self.odds * by,
            run: self.run.times(by),
        }
    }
}

/// What is remembered of a route: the shared document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouteStats {
    /// When it was folded last; zero for a route nobody knows.
    pub at: Timestamp,
    /// Its calls, older ones faded. Their weight is at most [`MEMORY`].
    pub known: Sums,
    /// Signs that it got worse.
    pub worse: Drift,
    /// Signs that it got better.
    pub better: Drift,
}

impl RouteStats {
    /// What is known once the calls of `tally` have ended as well. An empty tally only lets time pass.
    #[must_use]
    pub fn fold(&self, tally: &Tally, now: Timestamp) -> Self {
        let mut after = self.aged(now);
        if tally.is_empty() {
            return after;
        }
        let new = Sums::from(tally);
        if after.known.calls >= ENOUGH {
            let asr = (after.known.answered / after.known.calls).clamp(0.02, 0.98);
            let half = evidence(&new, asr, asr / 2.0);
            let double = evidence(&new, asr, (asr * 2.0).min(f64::midpoint(asr, 1.0)));
            after.worse = after.worse.after(&new, half);
            after.better = after.better.after(&new, double);
        }
        let keep = (1.0 - 1.0 / MEMORY).powf(new.calls);
        // As if each call had faded those before it, and all of the tally were alike.
        let each = (1.0 - keep) * MEMORY / new.calls;
        after.known = after.known.times(keep).plus(&new.times(each));
        for drift in [after.worse, after.better] {
            if drift.odds >= ALARM {
                let weight = (AFTER_ALARM / drift.run.calls).min(1.0);
                after.known = drift.run.times(weight);
                (after.worse, after.better) = (Drift::default(), Drift::default());
            }
        }
        after
    }

    /// What is still known at `now`.
    #[must_use]
    pub fn aged(&self, now: Timestamp) -> Self {
        let half_lives = now.since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        let keep = 0.5_f64.powf(half_lives);
        Self {
            at: self.at.max(now),
            known: self.known.times(keep),
            worse: self.worse.times(keep),
            better: self.better.times(keep),
        }
    }
}

/// How much `new` speaks for this share of answers and against that of before: the logarithm of the
/// ratio of their likelihoods.
fn evidence(new: &Sums, before: f64, share: f64) -> f64 {
    let unanswered = new.calls - new.answered;
    new.answered * (share / before).ln() + unanswered * ((1.0 - share) / (1.0 - before)).ln()
}

/// Counts are far below 2^53.
fn float(n: u64) -> f64 {
    n as f64
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
