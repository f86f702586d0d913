//! A minute of the day as schedules write it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Not a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a time of day is HH:MM, from 00:00 to 24:00")]
pub struct BadTimeOfDay;

/// A minute of the day, `00:00` to `24:00`. Written as that text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(pub(super) u16);

impl TimeOfDay {
    /// Reads `HH:MM`.
    ///
    /// # Errors
    /// It has another form, or is past `24:00`.
    pub fn parse(text: &str) -> Result<Self, BadTimeOfDay> {
        let &[h1, h2, b':', m1, m2] = text.as_bytes() else {
            return Err(BadTimeOfDay);
        };
        let number = |a: u8, b: u8| {
            let both = a.is_ascii_digit() && b.is_ascii_digit();
            both.then(|| u16::from(a - b'0') * 10 + u16::from(b - b'0'))
        };
        let hours = number(h1, h2).ok_or(BadTimeOfDay)?;
        let minutes = number(m1, m2).filter(|&m| m < 60).ok_or(BadTimeOfDay)?;
        let this = Self(hours * 60 + minutes);
        if this.0 <= 1_440 {
            Ok(this)
        } else {
            Err(BadTimeOfDay)
        }
    }

    /// Milliseconds after midnight.
    pub(super) const fn millis(self) -> i64 {
        self.0 as i64 * 60_000
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl fmt::Debug for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = BadTimeOfDay;
    fn try_from(text: String) -> Result<Self, BadTimeOfDay> {
        Self::parse(&text)
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl JsonSchema for TimeOfDay {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TimeOfDay".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$",
            "description": "A time of day, HH:MM, 00:00 to 24:00.",
        })
    }
}
