//! A time zone that can be stored.

use std::borrow::Cow;
use std::fmt;

use chrono_tz::Tz;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Not a time zone we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a time zone: give its IANA name, such as Europe/London or America/New_York")]
pub struct BadZone;

/// A time zone by its IANA name. Written as that text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(Tz);

impl Zone {
    /// Takes an IANA name, spelled as it is in the database.
    ///
    /// # Errors
    /// No zone has that name.
    pub fn parse(text: &str) -> Result<Self, BadZone> {
        text.parse().map(Self).map_err(|_| BadZone)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        self.0.name()
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Tz> for Zone {
    fn from(zone: Tz) -> Self {
        Self(zone)
    }
}

impl From<Zone> for Tz {
    fn from(zone: Zone) -> Self {
        zone.0
    }
}

impl TryFrom<String> for Zone {
    type Error = BadZone;
    fn try_from(text: String) -> Result<Self, BadZone> {
        Self::parse(&text)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.as_str().to_owned()
    }
}

impl JsonSchema for Zone {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Zone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A time zone by its IANA name.",
            "examples": ["Europe/London"],
        })
    }
}
