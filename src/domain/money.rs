//! Money: exact decimals in one currency, never floats. Sums of two currencies do not exist: every
//! addition says so instead of guessing a rate of exchange.
//!
//! Amounts are kept to [`SCALE`] decimals, which is finer than any carrier bills; stored and sent as
//! `{"amount": "0.0061", "currency": "USD"}`, because a JSON number would be read as a float.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

mod currency;

pub use currency::Currency;

/// Decimals kept. What is computed is rounded to them, half to even.
pub const SCALE: u32 = 8;
/// Digits before the point that are accepted: more is a mistake, and would overflow sums.
pub const MAX_WHOLE_DIGITS: usize = 12;

/// Why an amount or a sum is not money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MoneyError {
    /// Not three letters.
    #[error("a currency is its three-letter code, such as USD, EUR or INR")]
    Currency,
    /// Not a plain decimal number.
    #[error(
        "an amount is written as digits with a point, such as \"0.014\", with at most {SCALE} decimals"
    )]
    Amount,
    /// Two currencies in one sum.
    #[error("{left} and {right} cannot be added or compared: there is no rate of exchange")]
    Mixed {
        /// Of the one.
        left: Currency,
        /// Of the other.
        right: Currency,
    },
    /// Larger than anything real.
    #[error("the amount is too large")]
    Overflow,
}

/// Reads a plain decimal: digits, at most one point, perhaps a minus. Nothing is rounded away: more
/// than [`SCALE`] decimals is an error, and so are exponents, blanks inside and decimal commas.
///
/// # Errors
/// See [`MoneyError::Amount`] and [`MoneyError::Overflow`].
pub fn parse_decimal(text: &str) -> Result<Decimal, MoneyError> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let rest = rest.trim_end_matches('0');
    let fits = rest.len() <= SCALE as usize;
    if !plain(whole) || !(rest.is_empty() || plain(rest)) || !fits || digits.ends_with('.') {
        return Err(MoneyError::Amount);
    }
    if whole.trim_start_matches('0').len() > MAX_WHOLE_DIGITS {
        return Err(MoneyError::Overflow);
    }
    Decimal::from_str(text)
        .map(|amount| amount.normalize())
        .map_err(|_| MoneyError::Amount)
}

/// An amount in a currency. May be negative: a credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    amount: Decimal,
    currency: Currency,
}

impl Money {
    /// Rounds `amount` to [`SCALE`] decimals.
    #[must_use]
    pub fn new(amount: Decimal, currency: Currency) -> Self {
        let amount = amount
            .round_dp_with_strategy(SCALE, RoundingStrategy::MidpointNearestEven)
            .normalize();
        Self { amount, currency }
    }

    /// Reads an amount as text; see [`parse_decimal`].
    ///
    /// # Errors
    /// Either text is wrong.
    pub fn parse(amount: &str, currency: &str) -> Result<Self, MoneyError> {
        Ok(Self::new(
            parse_decimal(amount)?,
            Currency::parse(currency)?,
        ))
    }

    /// Nothing.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self {
            amount: Decimal::ZERO,
            currency,
        }
    }

    /// How much.
    #[must_use]
    pub const fn amount(&self) -> Decimal {
        self.amount
    }

    /// Of what.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// Whether it is more than nothing.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        self.amount > Decimal::ZERO
    }

    /// The sum.
    ///
    /// # Errors
    /// The currencies differ, or the sum overflows.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.same(other)?;
        Self::bounded(self.amount.checked_add(other.amount), self.currency)
    }

    /// The difference.
    ///
    /// # Errors
    /// The currencies differ, or the difference overflows.
    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.plus(Self {
            amount: -other.amount,
            ..other
        })
    }

    /// `n` times as much.
    ///
    /// # Errors
    /// The product overflows.
    pub fn times(self, n: u64) -> Result<Self, MoneyError> {
        Self::bounded(self.amount.checked_mul(Decimal::from(n)), self.currency)
    }

    /// Which of the two is more.
    ///
    /// # Errors
    /// The currencies differ.
    pub fn compare(self, other: Self) -> Result<Ordering, MoneyError> {
        self.same(other)?;
        Ok(self.amount.cmp(&other.amount))
    }

    /// The sum of many; `None` of none.
    ///
    /// # Errors
    /// Two of them differ in currency, or the sum overflows.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Option<Self>, MoneyError> {
        amounts
            .into_iter()
            .try_fold(None, |sum: Option<Self>, one| {
                Ok(Some(match sum {
                    Some(sum) => sum.plus(one)?,
                    None => one,
                }))
            })
    }

    /// What could not be read again is not made.
    fn bounded(amount: Option<Decimal>, currency: Currency) -> Result<Self, MoneyError> {
        amount
            .map(|amount| Self::new(amount, currency))
            .filter(|money| money.amount.abs() < Decimal::from(10_u64.pow(12)))
            .ok_or(MoneyError::Overflow)
    }

    fn same(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            return Ok(());
        }
        Err(MoneyError::Mixed {
            left: self.currency,
            right: other.currency,
        })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

/// Money as it is written: the amount as text.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename = "Money", deny_unknown_fields)]
struct Written {
    /// A decimal number with at most 8 decimals, as text.
    #[schemars(regex(pattern = r"^-?[0-9]{1,12}(\.[0-9]{1,8})?$"))]
    amount: String,
    /// ISO 4217.
    currency: Currency,
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written {
            amount: self.amount.to_string(),
            currency: self.currency,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let amount = parse_decimal(&written.amount).map_err(serde::de::Error::custom)?;
        Ok(Self::new(amount, written.currency))
    }
}

impl JsonSchema for Money {
    fn schema_name() -> Cow<'static, str> {
        "Money".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd(amount: &str) -> Money {
        Money::parse(amount, "usd").expect(amount)
    }

    #[test]
    fn amounts_are_read_exactly_or_not_at_all() {
        for (text, want) in [
            ("0.014", Some("0.014")),
            ("0.01400000000", Some("0.014")),
            (" 12 ", Some("12")),
            ("-0.5", Some("-0.5")),
            ("000.10", Some("0.1")),
            ("0.00000001", Some("0.00000001")),
            ("0.000000001", None),
            ("999999999999.99999999", Some("999999999999.99999999")),
            ("1000000000000", None),
            ("", None),
            ("-", None),
            (".5", None),
            ("5.", None),
            ("1e-2", None),
            ("0,014", None),
            ("1_000", None),
            ("+1", None),
            ("--1", None),
            ("1.2.3", None),
            ("NaN", None),
        ] {
            let read = parse_decimal(text).ok().map(|d| d.to_string());
            assert_eq!(read.as_deref(), want, "{text:?}");
        }
        for text in ["US", "USDT", "U$D", "", "€"] {
            assert_eq!(Currency::parse(text), Err(MoneyError::Currency), "{text}");
        }
    }

    #[test]
    fn written_as_text_and_never_read_from_a_number() {
        let json = serde_json::to_value(usd("0.0061")).expect("serialises");
        assert_eq!(
            json,
            serde_json::json!({"amount": "0.0061", "currency": "USD"})
        );
        for bad in [
            r#"{"amount":0.0061,"currency":"USD"}"#,
            r#"{"amount":"0.0061","currency":"dollar"}"#,
            r#"{"amount":"0.0061"}"#,
            r#"{"amount":"1","currency":"USD","at":1}"#,
        ] {
            assert!(serde_json::from_str::<Money>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_currencies_never_meet() {
        let euro = Money::parse("1", "EUR").expect("valid");
        let mixed = Err(MoneyError::Mixed {
            left: Currency::USD,
            right: euro.currency(),
        });
        assert_eq!(usd("1").plus(euro), mixed);
        assert_eq!(usd("1").minus(euro), mixed);
        assert!(usd("1").compare(euro).is_err());
        assert!(Money::sum([usd("1"), euro]).is_err());
        assert_eq!(Money::sum([]), Ok(None));
        assert_eq!(Money::sum([usd("0.1"); 3]), Ok(Some(usd("0.3"))));
    }

    proptest! {
        #[test]
        fn sums_are_exact(parts in prop::collection::vec(-1_000_000_000_i64..1_000_000_000, 1..50)) {
            let money = |units: i64| Money::new(Decimal::new(units, SCALE), Currency::USD);
            let sum = Money::sum(parts.iter().copied().map(money)).expect("one currency");
            prop_assert_eq!(sum, Some(money(parts.iter().sum())));
        }

        #[test]
        fn what_is_written_is_read(units in any::<i64>(), scale in 0u32..=SCALE) {
            prop_assume!(units.unsigned_abs() / 10u64.pow(scale) < 1_000_000_000_000);
            let money = Money::new(Decimal::new(units, scale), Currency::USD);
            let text = serde_json::to_string(&money).expect("serialises");
            let read: Money = serde_json::from_str(&text).expect("reads");
            prop_assert_eq!(read, money);
            prop_assert_eq!(serde_json::to_string(&read).expect("serialises"), text);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = Money::parse(&text, &text);
        }
    }
}
