//! Rate decks: a carrier account's prices by destination, found by the longest prefix of the number.
//!
//! ```csv
//! prefix,price_per_min,currency,increment,minimum,per_call
//! 1,0.0140,USD,60,60,
//! 44,0.0158,USD,60/60,,
//! 447,0.0320,USD,1,30,0.001
//! ```
//!
//! * A destination that no prefix covers has no price: the router leaves the carrier out, it never
//!   takes the price for zero.
//! * One deck, one currency: an account is billed in one.
//! * A deck is replaced as a whole. Dates of validity are not here: load the new one when it begins.

use std::collections::HashMap;
use std::fmt;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::money::{Currency, parse_decimal};
use crate::phone::E164;
use crate::tariff::{Fees, MAX_INCREMENT_S, Tariff};

mod csv;
#[cfg(test)]
mod tests;

/// Longest prefix, in digits: a whole number.
pub const MAX_PREFIX: usize = 15;
/// Rows a deck may have: every exchange of North America, and the rest of the world.
pub const MAX_ROWS: usize = 500_000;
/// Faults named in one refusal; the rest are counted.
pub const MAX_FAULTS: usize = 20;
/// Minimum and increment of a row that names none: what the large carriers bill.
pub const DEFAULT_INCREMENT_S: u32 = 60;

/// A row as it is configured (`[[carrier.rates]]`). Amounts are text: TOML's numbers are floats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Leading digits of the international number, with or without a plus.
    pub prefix: String,
    /// For one minute, such as `"0.014"`.
    pub price_per_min: String,
    /// ISO 4217, the same in every row.
    pub currency: String,
    /// Seconds by which time beyond the minimum is billed; 60 unless said.
    #[serde(default)]
    pub increment: Option<u32>,
    /// Seconds billed at least; as much as the increment unless said.
    #[serde(default)]
    pub minimum: Option<u32>,
    /// For each answered call.
    #[serde(default)]
    pub per_call: Option<String>,
}

/// What is wrong with one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line of the file, from 1; in a list of rows, the row.
    pub line: u64,
    /// What to change.
    pub why: String,
}

/// Why a deck is refused: with one wrong price nothing in it is to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct BadDeck {
    /// What a fault's number counts: `line` or `row`.
    pub unit: &'static str,
    /// The first [`MAX_FAULTS`], in order.
    pub faults: Vec<Fault>,
    /// How many there are.
    pub count: usize,
}

impl fmt::Display for BadDeck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            let mark = if i > 0 { "; " } else { "" };
            write!(f, "{mark}{} {}: {}", self.unit, fault.line, fault.why)?;
        }
        match self.count.saturating_sub(self.faults.len()) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Price {
    per_min: Decimal,
    per_call: Decimal,
    minimum_s: u32,
    increment_s: u32,
}

/// The prices of one carrier account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateDeck {
    currency: Currency,
    fees: Fees,
    /// The longest prefixes first; within, by the prefix as a number. At most [`MAX_PREFIX`] lookups.
    by_length: Vec<(usize, HashMap<u64, Price>)>,
}

/// What a deck says about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What it costs.
    pub tariff: Tariff,
    /// How many leading digits of the number decided.
    pub prefix_len: usize,
}

impl RateDeck {
    /// Reads a deck from CSV text: a header that names the columns, in any order (see the module);
    /// `destination`, `country` and `comment` may be there and are not read. `increment` may also be
    /// written as minimum/increment. Empty lines and those that begin with `#` are skipped.
    ///
    /// # Errors
    /// Every wrong line, with its number.
    pub fn parse_csv(text: &str, fees: Fees) -> Result<Self, BadDeck> {
        let (rows, faults) = csv::rows(text);
        Self::build("line", rows, faults, fees)
    }

    /// Takes rows from a configuration file; their number, from 1, stands for the line.
    ///
    /// # Errors
    /// Every wrong row, with its number.
    pub fn from_rows(rows: Vec<Row>, fees: Fees) -> Result<Self, BadDeck> {
        Self::build("row", (1..).zip(rows).collect(), Vec::new(), fees)
    }

    fn build(
        unit: &'static str,
        rows: Vec<(u64, Row)>,
        mut faults: Vec<Fault>,
        fees: Fees,
    ) -> Result<Self, BadDeck> {
        let mut currency = None;
        let mut prices: Vec<HashMap<u64, Price>> = vec![HashMap::new(); MAX_PREFIX + 1];
        if rows.len() > MAX_ROWS {
            let why = format!("a deck has at most {MAX_ROWS} rows");
            faults.push(Fault { line: 1, why });
        } else if rows.is_empty() && faults.is_empty() {
            let why = "there is no price in it".to_owned();
            faults.push(Fault { line: 1, why });
        }
        for (line, row) in rows {
            let mut fault = |why: String| faults.push(Fault { line, why });
            let (prefix, price, of) = match row.read() {
                Ok(read) => read,
                Err(why) => {
                    fault(why);
                    continue;
                }
            };
            if *currency.get_or_insert(of) != of {
                fault("the currency is not that of the rows before: one deck, one currency".into());
            }
            let number = prefix.parse().expect("at most 15 digits, checked by read");
            if prices[prefix.len()].insert(number, price).is_some() {
                fault(format!("the prefix {prefix} was priced before"));
            }
        }
        let Some(currency) = currency.filter(|_| faults.is_empty()) else {
            faults.sort_by_key(|fault| fault.line);
            let count = faults.len();
            faults.truncate(MAX_FAULTS);
            return Err(BadDeck {
                unit,
                faults,
                count,
            });
        };
        let by_length = prices.into_iter().enumerate().rev();
        Ok(Self {
            currency,
            fees,
            by_length: by_length.filter(|(_, map)| !map.is_empty()).collect(),
        })
    }

    /// The currency of every price.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// How many prefixes it prices.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.by_length.iter().map(|(_, map)| map.len()).sum()
    }

    /// The price of calling `phone`: that of the longest prefix. `None` if no prefix covers it.
    #[must_use]
    pub fn rate(&self, phone: &E164) -> Option<Rate> {
        let digits = phone.as_str().trim_start_matches('+');
        self.by_length.iter().find_map(|(length, map)| {
            let prefix: u64 = digits.get(..*length)?.parse().ok()?;
            map.get(&prefix).map(|price| Rate {
                tariff: Tariff {
                    currency: self.currency,
                    per_min: price.per_min,
                    per_call: price.per_call,
                    minimum_s: price.minimum_s,
                    increment_s: price.increment_s,
                    fees: self.fees,
                },
                prefix_len: *length,
            })
        })
    }
}

impl Row {
    fn read(&self) -> Result<(&str, Price, Currency), String> {
        let prefix = self.prefix.trim();
        let prefix = prefix.strip_prefix('+').unwrap_or(prefix);
        if prefix.is_empty()
            || prefix.len() > MAX_PREFIX
            || prefix.starts_with('0')
            || !prefix.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(format!(
                "prefix must be the first 1 to {MAX_PREFIX} digits of international numbers, without 00"
            ));
        }
        let amount = |name: &str, text: &str| match parse_decimal(text) {
            Ok(amount) if amount.is_sign_negative() => Err(format!("{name} must not be negative")),
            Ok(amount) => Ok(amount),
            Err(why) => Err(format!("{name}: {why}")),
        };
        let seconds = |name: &str, seconds: u32, least: u32| {
            if (least..=MAX_INCREMENT_S).contains(&seconds) {
                return Ok(seconds);
            }
            Err(format!(
                "{name} must be {least} to {MAX_INCREMENT_S} seconds"
            ))
        };
        let increment = self.increment.unwrap_or(DEFAULT_INCREMENT_S);
        let price = Price {
            per_min: amount("price_per_min", &self.price_per_min)?,
            per_call: amount("per_call", self.per_call.as_deref().unwrap_or("0"))?,
            increment_s: seconds("increment", increment, 1)?,
            minimum_s: seconds("minimum", self.minimum.unwrap_or(increment), 0)?,
        };
        let currency = Currency::parse(&self.currency).map_err(|why| why.to_string())?;
        Ok((prefix, price, currency))
    }
}
