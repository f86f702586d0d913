//! What a call costs: price, billing increments and fees of one destination at one carrier.
//!
//! ```text
//! billed(d) = minimum if d <= minimum, else minimum + ceil((d - minimum) / increment) * increment
//! cost(d)   = per_call + billed(d) / 60 * per_min + amd fee + billed(d) / 60 * stream_per_min
//! ```
//!
//! `60/60` means minimum 60 s and then by 60 s; with many short calls it matters more than the
//! price: 18 s at 0.010 a minute are 0.010 at 60/60 and 0.003 at 6/6. Only answered calls cost:
//! ringing is free at every carrier we know, and detection is charged when it runs, after the answer
//! (Twilio: per answered call analysed; Telnyx: per invocation). Media streams are rounded as the
//! leg is (Twilio, since October 2022).
//!
//! Estimates only: what is owed is on the carrier's record of the call.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::money::{Currency, Money, MoneyError, parse_decimal};

/// The longest minimum or increment: an hour. More is a mistake of units.
pub const MAX_INCREMENT_S: u32 = 3_600;

/// Fees of a carrier account that do not depend on the destination, in its deck's currency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fees {
    /// For one run of answering-machine detection.
    pub amd: Decimal,
    /// For one minute of media stream.
    pub stream_per_min: Decimal,
}

/// Fees as they are configured: amounts as text, as everywhere.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeesDraft {
    /// For one run of answering-machine detection, such as `"0.0075"`.
    #[serde(default)]
    pub amd: Option<String>,
    /// For one minute of media stream, such as `"0.004"`.
    #[serde(default)]
    pub stream_per_min: Option<String>,
}

/// Which fee is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{name}: {why}")]
pub struct BadFee {
    /// Which.
    pub name: &'static str,
    /// What is wrong with it.
    pub why: MoneyError,
}

impl TryFrom<FeesDraft> for Fees {
    type Error = BadFee;

    fn try_from(draft: FeesDraft) -> Result<Self, BadFee> {
        let named = |name, text| fee(text).map_err(|why| BadFee { name, why });
        Ok(Self {
            amd: named("amd", draft.amd.as_deref())?,
            stream_per_min: named("stream_per_min", draft.stream_per_min.as_deref())?,
        })
    }
}

fn fee(text: Option<&str>) -> Result<Decimal, MoneyError> {
    let fee = text.map_or(Ok(Decimal::ZERO), parse_decimal)?;
    if fee.is_sign_negative() {
        return Err(MoneyError::Amount);
    }
    Ok(fee)
}

/// What is used on a call, as far as it costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Seconds from answer to end; `None` when nobody answered.
    pub talk_s: Option<u32>,
    /// Answering-machine detection runs.
    pub amd: bool,
    /// The audio is streamed to somebody.
    pub stream: bool,
}

/// The price of one destination at one carrier, with the account's fees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tariff {
    /// Of every amount here.
    pub currency: Currency,
    /// For one minute.
    pub per_min: Decimal,
    /// For each answered call.
    pub per_call: Decimal,
    /// Seconds billed at least.
    pub minimum_s: u32,
    /// Seconds by which more is billed; at least 1.
    pub increment_s: u32,
    /// What comes on top.
    pub fees: Fees,
}

impl Tariff {
    /// Seconds billed for `talk_s` seconds. A call that was answered lasts a second at least.
    #[must_use]
    pub fn billed_s(&self, talk_s: u32) -> u32 {
        let talk_s = talk_s.max(1);
        let increment = self.increment_s.max(1);
        let beyond = talk_s.saturating_sub(self.minimum_s);
        let steps = beyond.div_ceil(increment);
        self.minimum_s
            .saturating_add(steps.saturating_mul(increment))
    }

    /// What a call costs; nothing if nobody answered.
    ///
    /// # Errors
    /// The prices are absurd and the sum overflows.
    pub fn cost(&self, usage: Usage) -> Result<Money, MoneyError> {
        let Some(talk_s) = usage.talk_s else {
            return Ok(Money::zero(self.currency));
        };
        let billed = Decimal::from(self.billed_s(talk_s));
        let mut per_min = self.per_min;
        let mut fixed = self.per_call;
        if usage.stream {
            per_min = per_min
                .checked_add(self.fees.stream_per_min)
                .ok_or(MoneyError::Overflow)?;
        }
        if usage.amd {
            fixed = fixed
                .checked_add(self.fees.amd)
                .ok_or(MoneyError::Overflow)?;
        }
        per_min
            .checked_mul(billed)
            .and_then(|total| total.checked_div(Decimal::from(60)))
            .and_then(|total| total.checked_add(fixed))
            .map(|total| Money::new(total, self.currency))
            .ok_or(MoneyError::Overflow)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tariff(per_min: &str, minimum_s: u32, increment_s: u32) -> Tariff {
        Tariff {
            currency: Currency::USD,
            per_min: parse_decimal(per_min).expect(per_min),
            per_call: Decimal::ZERO,
            minimum_s,
            increment_s,
            fees: Fees::default(),
        }
    }

    fn talk(talk_s: u32) -> Usage {
        Usage {
            talk_s: Some(talk_s),
            ..Usage::default()
        }
    }

    #[test]
    fn increments_by_the_table() {
        // minimum, increment, seconds, billed
        for (minimum, increment, seconds, billed) in [
            (60, 60, 0, 60),
            (60, 60, 1, 60),
            (60, 60, 60, 60),
            (60, 60, 61, 120),
            (6, 6, 18, 18),
            (6, 6, 19, 24),
            (1, 1, 18, 18),
            (30, 6, 18, 30),
            (30, 6, 30, 30),
            (30, 6, 31, 36),
            (0, 1, 0, 1),
            (0, 60, 1, 60),
        ] {
            let got = tariff("0.01", minimum, increment).billed_s(seconds);
            assert_eq!(got, billed, "{minimum}/{increment} {seconds} s");
        }
    }

    #[test]
    fn what_calls_cost() {
        let mut t = tariff("0.010", 60, 60);
        let amount = |t: &Tariff, usage| t.cost(usage).expect("small").amount().to_string();
        assert_eq!(amount(&t, talk(18)), "0.01");
        assert_eq!(amount(&tariff("0.010", 6, 6), talk(18)), "0.003");
        assert_eq!(amount(&t, Usage::default()), "0");
        t.fees = Fees::try_from(FeesDraft {
            amd: Some("0.0075".to_owned()),
            stream_per_min: Some("0.004".to_owned()),
        })
        .expect("valid");
        t.per_call = parse_decimal("0.001").expect("valid");
        let all = Usage {
            talk_s: Some(61),
            amd: true,
            stream: true,
        };
        // 0.001 + 2 min * (0.010 + 0.004) + 0.0075
        assert_eq!(amount(&t, all), "0.0365");
        let unanswered = Usage {
            talk_s: None,
            ..all
        };
        assert_eq!(amount(&t, unanswered), "0");
        assert!(fee(Some("-1")).is_err());
    }

    proptest! {
        #[test]
        fn billed_covers_the_call_and_never_by_more_than_a_step(
            minimum in 0u32..=MAX_INCREMENT_S, increment in 1u32..=MAX_INCREMENT_S, seconds in 0u32..100_000,
        ) {
            let billed = tariff("1", minimum, increment).billed_s(seconds);
            prop_assert!(billed >= seconds.max(1).max(minimum));
            prop_assert!(billed < seconds.max(1).max(minimum) + increment);
        }

        #[test]
        fn longer_calls_never_cost_less(
            units in 0i64..10_000_000, minimum in 0u32..120, increment in 1u32..120, a in 0u32..20_000, b in 0u32..20_000,
        ) {
            let mut t = tariff("0", minimum, increment);
            t.per_min = Decimal::new(units, 6);
            let cost = |s| t.cost(talk(s)).expect("small").amount();
            prop_assert!(cost(a.min(b)) <= cost(a.max(b)));
        }

        #[test]
        fn no_price_panics(units in any::<i64>(), scale in 0u32..8, seconds in any::<u32>()) {
            let mut t = tariff("0", seconds, 1);
            t.per_min = Decimal::new(units, scale);
            t.per_call = t.per_min;
            let _ = t.cost(talk(seconds));
        }
    }
}
