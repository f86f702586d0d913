//! Where a number was issued, as far as its leading digits say: country, state, area code. For local
//! presence (a caller id from next door) and for statistics by destination, not for law: a mobile
//! keeps its number when its owner moves.
//!
//! Area codes come from the numbering plans; their states, for North America, from `areas.csv`,
//! written by `areas.py`. Elsewhere a number has no state, and mobile numbers mostly no area.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{E164, Region};

static STATES: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    include_str!("areas.csv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| {
            let (state, areas) = line.split_once(',').expect("a row is state,area codes");
            areas.split(' ').map(move |area| (area, state))
        })
        .collect()
});

/// The place that a number's leading digits name. Computed once for a number and kept: it asks the
/// numbering plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The country, or the network behind a calling code without one.
    pub group: Group,
    /// ISO 3166-2, North America only.
    pub state: Option<&'static str>,
    /// The digits of country and area code, such as `1212`. `None` where digits name no area.
    pub area: Option<Box<str>>,
}

impl Place {
    /// Where `phone` was issued.
    #[must_use]
    pub fn of(phone: &E164) -> Self {
        let Some((code, region, area_len)) = phone.area() else {
            let first = phone.digits().get(..1).unwrap_or_default();
            return Self {
                group: Group(format!("+{first}")),
                state: None,
                area: None,
            };
        };
        let code = code.to_string();
        let area = (area_len > 0)
            .then(|| phone.digits().get(..code.len() + area_len))
            .flatten();
        let state = match (code.as_str(), area) {
            ("1", Some(area)) => STATES.get(&area[1..]).copied(),
            _ => None,
        };
        Self {
            group: Group(match region {
                Some(region) => region.as_str().to_owned(),
                None => format!("+{code}"),
            }),
            state,
            area: area.map(Into::into),
        }
    }
}

/// Destinations that are counted together: a country (`US`), or a calling code that is none's
/// (`+800`, and `+1` for the simulator's numbers).
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Group(String);

impl Group {
    /// As text: part of keys and labels, never a number.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Region> for Group {
    fn from(region: Region) -> Self {
        Self(region.as_str().to_owned())
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_places() {
        for (number, group, state, area) in [
            ("+12125550123", "US", Some("US-NY"), Some("1212")),
            ("+17185550123", "US", Some("US-NY"), Some("1718")),
            ("+13105550123", "US", Some("US-CA"), Some("1310")),
            ("+14165550123", "CA", Some("CA-ON"), Some("1416")),
            ("+19025550123", "CA", None, Some("1902")),
            ("+18765550123", "JM", None, None),
            ("+18002345678", "US", None, None),
            ("+442079460119", "GB", None, Some("4420")),
            ("+447400123456", "GB", None, None),
            ("+493012345678", "DE", None, Some("4930")),
            ("+80012345678", "+800", None, None),
            ("+15550100123", "+1", None, None),
        ] {
            let phone: E164 = serde_json::from_value(number.into()).expect(number);
            let place = Place::of(&phone);
            let got = (place.group.as_str(), place.state, place.area.as_deref());
            assert_eq!(got, (group, state, area), "{number}");
        }
    }

    #[test]
    fn every_area_code_has_one_state() {
        let listed = include_str!("areas.csv")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(|line| line.split_once(',').expect("a row").1.split(' '))
            .count();
        assert_eq!(listed, STATES.len());
        assert!(listed > 400);
    }
}
