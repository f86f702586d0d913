//! When a lead is dialed again: per outcome a list of delays and a maximum, under one budget.
//!
//! Defaults follow common practice of predictive dialers: a busy line is worth another try within
//! the half hour, a declined call not before tomorrow, a wrong number never.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::call::Outcome;
use crate::time::Timestamp;

/// The most attempts anybody may ask for.
pub const MAX_ATTEMPTS: u32 = 20;
/// The longest delay between two attempts: 30 days.
pub const MAX_DELAY_S: u32 = 30 * 24 * 3600;

/// How often and after how long one outcome is followed by another attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRule {
    /// Seconds to wait after the first, second, … such outcome; the last one repeats.
    pub delays_s: Vec<u32>,
    /// How many such outcomes may be followed by another attempt.
    pub max: u32,
}

/// A campaign's retry policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, try_from = "Draft")]
pub struct RetryPolicy {
    /// Attempts per lead that may have rung, over all outcomes.
    pub max_attempts: u32,
    /// Seconds a phone stays locked after an attempt that turned out not to have been placed.
    pub unknown_cooloff_s: u32,
    /// Rules that replace the defaults, by outcome.
    #[serde(default)]
    pub rules: BTreeMap<Outcome, RetryRule>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    #[serde(default = "default_max_attempts")]
    max_attempts: u32,
    #[serde(default = "default_cooloff")]
    unknown_cooloff_s: u32,
    #[serde(default)]
    rules: BTreeMap<Outcome, RetryRule>,
}

const fn default_max_attempts() -> u32 {
    3
}

const fn default_cooloff() -> u32 {
    900
}

/// Why a retry policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadRetry {
    /// No attempt at all, or too many.
    #[error("retry.max_attempts must be 1 to {MAX_ATTEMPTS}")]
    Attempts,
    /// The cool-off is longer than a day.
    #[error("retry.unknown_cooloff_s must be at most 86400")]
    Cooloff,
    /// A rule without a delay, or with too long a one.
    #[error("retry.rules.{0}.delays_s needs 1 to 20 delays of at most {MAX_DELAY_S} seconds")]
    Delays(&'static str),
    /// A rule for something after which nobody may be called again.
    #[error("retry.rules.{0}: this outcome is final and cannot be retried")]
    Final(&'static str),
}

impl TryFrom<Draft> for RetryPolicy {
    type Error = BadRetry;

    fn try_from(d: Draft) -> Result<Self, BadRetry> {
        if d.max_attempts == 0 || d.max_attempts > MAX_ATTEMPTS {
            return Err(BadRetry::Attempts);
        }
        if d.unknown_cooloff_s > 86_400 {
            return Err(BadRetry::Cooloff);
        }
        for (outcome, rule) in &d.rules {
            let delays = &rule.delays_s;
            if delays.is_empty() || delays.len() > 20 || delays.iter().any(|s| *s > MAX_DELAY_S) {
                return Err(BadRetry::Delays(outcome.name()));
            }
            if outcome.is_final() && rule.max > 0 {
                return Err(BadRetry::Final(outcome.name()));
            }
        }
        Ok(Self {
            max_attempts: d.max_attempts,
            unknown_cooloff_s: d.unknown_cooloff_s,
            rules: d.rules,
        })
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: default_max_attempts(),
            unknown_cooloff_s: default_cooloff(),
            rules: BTreeMap::new(),
        }
    }
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Dial again, not before this.
    At(Timestamp),
    /// No more attempts.
    Never,
}

impl RetryPolicy {
    /// What follows `outcome`, which this lead has now had `seen` times (this one included), with
    /// `budget_used` attempts counted against the budget. `speed` divides the delays (1 in
    /// production; the demonstration runs faster).
    #[must_use]
    pub fn next(
        &self,
        outcome: Outcome,
        seen: u32,
        budget_used: u32,
        now: Timestamp,
        speed: f64,
    ) -> Next {
        let (delays, max): (&[u32], u32) = match self.rules.get(&outcome) {
            Some(rule) => (&rule.delays_s, rule.max),
            None => default_rule(outcome),
        };
        if budget_used >= self.max_attempts || seen == 0 || seen > max {
            return Next::Never;
        }
        let nth = usize::try_from(seen - 1).unwrap_or(usize::MAX);
        let Some(delay) = delays.get(nth).or(delays.last()) else {
            return Next::Never;
        };
        let wait = Duration::from_secs(u64::from(*delay)).div_f64(speed.max(1.0));
        Next::At(now + wait)
    }
}

const MIN: u32 = 60;
const HOUR: u32 = 3600;

const fn default_rule(outcome: Outcome) -> (&'static [u32], u32) {
    match outcome {
        Outcome::HumanConnected | Outcome::Answered | Outcome::Fax | Outcome::Unwanted => (&[], 0),
        // It may have rung. Nobody is called again over that, unless a person asks for it.
        Outcome::Unresolved => (&[], 0),
        // Two observations before a number is believed to be wrong: one carrier's 404 can be a
        // route gap.
        Outcome::InvalidNumber => (&[24 * HOUR], 1),
        Outcome::Busy => (&[15 * MIN, 30 * MIN, 60 * MIN], 3),
        Outcome::NoAnswer => (&[4 * HOUR, 24 * HOUR], 5),
        Outcome::MachineHangup => (&[4 * HOUR, 24 * HOUR], 4),
        // A message a day at most, and two in all.
        Outcome::VoicemailLeft => (&[24 * HOUR, 72 * HOUR], 1),
        Outcome::CallScreened => (&[4 * HOUR, 24 * HOUR], 2),
        Outcome::Rejected => (&[24 * HOUR, 72 * HOUR], 2),
        Outcome::BlockedAnalytics => (&[4 * HOUR, 24 * HOUR], 2),
        Outcome::Unreachable => (&[2 * HOUR, 6 * HOUR, 24 * HOUR], 4),
        Outcome::Congestion | Outcome::CarrierError => (&[5 * MIN, 15 * MIN, 60 * MIN], 5),
        // The carriers are out, or our account needs a human: the lead waits, however long it takes.
        Outcome::NoCarrier => (&[MIN, 5 * MIN, 15 * MIN], u32::MAX),
        Outcome::ProviderConfig => (&[30 * MIN], u32::MAX),
        Outcome::Canceled | Outcome::Expired => (&[HOUR], 3),
        // Nobody was rung: as soon as there is a slot.
        Outcome::NotPlaced | Outcome::Withdrawn => (&[0], u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn defaults_by_outcome() {
        let p = RetryPolicy::default();
        let at = |s: u64| Next::At(NOW + Duration::from_secs(s));
        let table = [
            (Outcome::Busy, 1, 1, at(900)),
            (Outcome::Busy, 2, 2, at(1800)),
            (Outcome::Busy, 3, 3, Next::Never),
            (Outcome::HumanConnected, 1, 1, Next::Never),
            (Outcome::Unwanted, 1, 1, Next::Never),
            (Outcome::Unresolved, 1, 1, Next::Never),
            (Outcome::Congestion, 5, 0, at(3600)),
            (Outcome::Congestion, 6, 0, Next::Never),
            (Outcome::Withdrawn, 900, 0, at(0)),
            (Outcome::NotPlaced, 2, 2, at(0)),
            (Outcome::NotPlaced, 2, 3, Next::Never),
        ];
        for (outcome, seen, used, expected) in table {
            assert_eq!(
                p.next(outcome, seen, used, NOW, 1.0),
                expected,
                "{outcome:?} {seen} {used}"
            );
        }
    }

    #[test]
    fn bad_policies_are_refused_with_the_field_named() {
        for (json, needle) in [
            (r#"{"max_attempts":0}"#, "max_attempts"),
            (r#"{"max_attempts":99}"#, "max_attempts"),
            (r#"{"rules":{"busy":{"delays_s":[],"max":1}}}"#, "busy"),
            (
                r#"{"rules":{"unwanted":{"delays_s":[60],"max":1}}}"#,
                "unwanted",
            ),
            (
                r#"{"rules":{"unresolved":{"delays_s":[60],"max":1}}}"#,
                "unresolved",
            ),
            (
                r#"{"rules":{"sneeze":{"delays_s":[60],"max":1}}}"#,
                "sneeze",
            ),
            (r#"{"atempts":3}"#, "atempts"),
        ] {
            let error = serde_json::from_str::<RetryPolicy>(json)
                .expect_err(json)
                .to_string();
            assert!(error.contains(needle), "{json}: {error}");
        }
    }

    proptest! {
        #[test]
        fn never_beyond_the_budget(used in 0u32..30, seen in 1u32..30, o in 0usize..Outcome::ALL.len()) {
            let p = RetryPolicy::default();
            let next = p.next(Outcome::ALL[o], seen, used, NOW, 1.0);
            if used >= p.max_attempts {
                prop_assert_eq!(next, Next::Never);
            }
            if let Next::At(at) = next {
                prop_assert!(at >= NOW);
            }
        }
    }
}
