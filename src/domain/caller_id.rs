//! Which of our numbers a person sees: from next door where that is allowed, and none of them worn
//! out, because a number that calls too often is soon labelled as spam.
//!
//! Order: the number the person saw last (they may know it; showing them ever new ones is itself a
//! sign of spam), the same area code, the same state, the same country, any. Among equals the one
//! with more of its cap left is the likelier. A number at its cap rests; if all do, none is chosen:
//! other campaigns' numbers are not there to be worn out instead.
//!
//! Caps are off unless set. Common practice is 15 an hour and 75 to 100 a day.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::phone::E164;
use crate::phone::area::Place;
use crate::time::Timestamp;

#[cfg(test)]
mod tests;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// A number that reached a cap rests at least this long.
pub const MIN_REST: Duration = Duration::from_secs(15 * 60);

/// How often one number may call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Caps {
    /// In an hour, counted from its first call; absent: as often as you like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub hourly: Option<u32>,
    /// In a day, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub daily: Option<u32>,
}

/// Why caps are refused: a number that may never call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadCaps {
    /// In an hour.
    #[error("caps.hourly must be at least 1; leave it out for no cap")]
    Hourly,
    /// In a day.
    #[error("caps.daily must be at least 1; leave it out for no cap")]
    Daily,
}

impl Caps {
    /// Checks what the types cannot hold.
    ///
    /// # Errors
    /// See [`BadCaps`].
    pub fn check(&self) -> Result<(), BadCaps> {
        if self.hourly == Some(0) {
            return Err(BadCaps::Hourly);
        }
        if self.daily == Some(0) {
            return Err(BadCaps::Daily);
        }
        Ok(())
    }
}

/// Whether a number from next door is preferred.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Yes.
    #[default]
    Local,
    /// No: any of the country's numbers will do. For where the law bars a number that suggests a
    /// place the caller is not in (United Kingdom).
    Country,
}

/// How often a number called lately: a small shared document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// When the hour that is counted began.
    pub hour_at: Timestamp,
    /// Calls in it.
    pub hour: u32,
    /// When the day that is counted began.
    pub day_at: Timestamp,
    /// Calls in it.
    pub day: u32,
    /// It rests until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_until: Option<Timestamp>,
}

impl Usage {
    /// What counts at `now`: an hour or day that is over counts no more.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> Self {
        let mut usage = *self;
        if now.since(usage.hour_at) >= HOUR {
            (usage.hour_at, usage.hour) = (now, 0);
        }
        if now.since(usage.day_at) >= DAY {
            (usage.day_at, usage.day) = (now, 0);
        }
        usage.rest_until = usage.rest_until.filter(|until| *until > now);
        usage
    }

    /// After `calls` more at `now`. One that reaches a cap rests until the hour or day is over.
    #[must_use]
    pub fn add(&self, calls: u32, caps: &Caps, now: Timestamp) -> Self {
        let mut usage = self.at(now);
        usage.hour = usage.hour.saturating_add(calls);
        usage.day = usage.day.saturating_add(calls);
        let mut rest = |until: Timestamp| {
            let until = until.max(now + MIN_REST);
            usage.rest_until = Some(usage.rest_until.map_or(until, |old| old.max(until)));
        };
        if caps.hourly.is_some_and(|cap| usage.hour >= cap) {
            rest(usage.hour_at + HOUR);
        }
        if caps.daily.is_some_and(|cap| usage.day >= cap) {
            rest(usage.day_at + DAY);
        }
        usage
    }

    /// Rests it until `until`: its calls were blocked, or it was labelled.
    #[must_use]
    pub fn rest(&self, until: Timestamp) -> Self {
        let rest_until = Some(self.rest_until.map_or(until, |old| old.max(until)));
        Self {
            rest_until,
            ..*self
        }
    }

    /// How many more calls it has (1 without caps: all alike), or until when it rests. Caps may have
    /// been lowered since it was counted, so they are asked again.
    fn left(&self, caps: &Caps, now: Timestamp) -> Result<u32, Timestamp> {
        let usage = self.at(now);
        if let Some(until) = usage.rest_until {
            return Err(until);
        }
        let hour = caps.hourly.map(|cap| cap.saturating_sub(usage.hour));
        let day = caps.daily.map(|cap| cap.saturating_sub(usage.day));
        match (hour, day) {
            (_, Some(0)) => Err(usage.day_at + DAY),
            (Some(0), _) => Err(usage.hour_at + HOUR),
            (Some(left), None) | (None, Some(left)) => Ok(left),
            (Some(hour), Some(day)) => Ok(hour.min(day)),
            (None, None) => Ok(1),
        }
    }
}

/// A number of ours at one carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// The number.
    pub number: E164,
    /// Where it was issued, if that was looked up.
    pub place: Option<Place>,
    /// How often it called lately.
    pub usage: Usage,
}

impl Number {
    /// One that has not called yet, from nowhere: near to nobody.
    #[must_use]
    pub fn new(number: E164) -> Self {
        Self {
            number,
            place: None,
            usage: Usage::default(),
        }
    }

    /// One that has not called yet, with its place, which takes a while to find out: do it once.
    #[must_use]
    pub fn placed(number: E164) -> Self {
        let place = Some(Place::of(&number));
        Self {
            place,
            ..Self::new(number)
        }
    }
}

/// How near a caller id is to the person, nearest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Nearness {
    /// The person has seen it.
    Known,
    /// The same area code.
    Area,
    /// The same state or province.
    State,
    /// The same country.
    Country,
    /// None of these.
    Any,
}

/// The caller id to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The number.
    pub number: E164,
    /// How near it is.
    pub nearness: Nearness,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCallerId {
    /// The campaign wants to show numbers that we do not own there.
    NotOwned,
    /// All of them rest.
    Resting {
        /// Until the first one is free.
        until: Timestamp,
    },
}

impl fmt::Display for NoCallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOwned => f.write_str("has no caller id of this campaign"),
            Self::Resting { until } => {
                write!(f, "all its caller ids rest until {}", until.to_rfc3339())
            }
        }
    }
}

/// What the choice depends on.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// The campaign's caller ids; empty: any.
    pub wanted: &'a [E164],
    /// Where the person's number was issued, if it is known already.
    pub to: Option<&'a Place>,
    /// The number the person saw last.
    pub seen: Option<&'a E164>,
    /// The number the person must not see again: it was blocked there.
    pub not: Option<&'a E164>,
    /// Whether next door is preferred.
    pub presence: Presence,
    /// How often one number may call.
    pub caps: Caps,
}

/// Chooses one of `owned`. `draw` decides among equals.
///
/// # Errors
/// None of them may be shown now.
pub fn choose(
    owned: &[Number],
    wish: &Wish<'_>,
    now: Timestamp,
    draw: u64,
) -> Result<Choice, NoCallerId> {
    let wanted = owned
        .iter()
        .filter(|one| wish.wanted.is_empty() || wish.wanted.contains(&one.number));
    let mut free_at: Option<Timestamp> = None;
    let mut best: Vec<(&Number, u32)> = Vec::new();
    let mut nearest = Nearness::Any;
    for one in wanted {
        let left = match one.usage.left(&wish.caps, now) {
            Ok(left) => left,
            Err(until) => {
                free_at = Some(free_at.map_or(until, |first| first.min(until)));
                continue;
            }
        };
        let near = nearness(one, wish);
        if best.is_empty() || near < nearest {
            best.clear();
            nearest = near;
        }
        if near == nearest {
            best.push((one, left));
        }
    }
    // The one that was blocked only if there is no other as near.
    if best.len() > 1 {
        best.retain(|(one, _)| Some(&one.number) != wish.not);
    }
    let total: u64 = best.iter().map(|(_, left)| u64::from(*left)).sum();
    let mut ticket = draw.checked_rem(total).unwrap_or(0);
    for (one, left) in &best {
        let left = u64::from(*left);
        if ticket < left {
            return Ok(Choice {
                number: one.number.clone(),
                nearness: nearest,
            });
        }
        ticket -= left;
    }
    Err(free_at.map_or(NoCallerId::NotOwned, |until| NoCallerId::Resting { until }))
}

fn nearness(one: &Number, wish: &Wish<'_>) -> Nearness {
    if wish.seen == Some(&one.number) && wish.not != wish.seen {
        return Nearness::Known;
    }
    let (Some(to), Some(ours)) = (wish.to, &one.place) else {
        return Nearness::Any;
    };
    let local = wish.presence == Presence::Local;
    if to.group != ours.group {
        Nearness::Any
    } else if local && to.area.is_some() && to.area == ours.area {
        Nearness::Area
    } else if local && to.state.is_some() && to.state == ours.state {
        Nearness::State
    } else {
        Nearness::Country
    }
}
