//! A carrier as the router sees it, and why it may be left out.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::breaker::{Admission, Reason};
use crate::caller_id::{NoCallerId, Number};
use crate::id::CarrierId;
use crate::money::Currency;
use crate::phone::E164;
use crate::quality::RouteStats;
use crate::tariff::Tariff;
use crate::time::Timestamp;

/// Something a call may need of its carrier.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Answering-machine detection while the call goes on.
    AsyncAmd,
    /// Answering-machine detection before it goes on.
    SyncAmd,
    /// Speaking a text.
    Say,
    /// Playing a recording.
    Play,
    /// Taking digits.
    Gather,
    /// Recording.
    Record,
    /// Streaming the audio.
    Stream,
    /// Transferring the call.
    Transfer,
}

impl Feature {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AsyncAmd => "asynchronous machine detection",
            Self::SyncAmd => "machine detection before the call goes on",
            Self::Say => "speech",
            Self::Play => "playing recordings",
            Self::Gather => "digits",
            Self::Record => "recording",
            Self::Stream => "media streams",
            Self::Transfer => "transfers",
        }
    }
}

/// What a call to this destination costs there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Price {
    /// Nobody knows: no rate deck is configured, or there is no destination yet.
    #[default]
    Unknown,
    /// There is a rate deck, and the destination is not in it.
    NotServed,
    /// This.
    At(Tariff),
}

/// A carrier that may be asked. [`Candidate::new`] knows nothing against it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its id.
    pub carrier: CarrierId,
    /// Its weight in carriers.toml: 2 is preferred to 1 as if it were twice as good.
    pub weight: u32,
    /// Our numbers there, with their usage.
    pub caller_ids: Arc<[Number]>,
    /// What a call to this destination costs.
    pub price: Price,
    /// What it cannot do.
    pub cannot: Arc<[Feature]>,
    /// How its route to this group of destinations did lately.
    pub stats: RouteStats,
    /// What its account's breaker and its route's say: the sterner of the two ([`sterner`]).
    pub breaker: Admission,
    /// Why it cannot be asked now for another reason: pace, channels, hours, rest.
    pub excluded: Option<Exclusion>,
}

impl Candidate {
    /// A carrier about which nothing but its configuration is known.
    #[must_use]
    pub fn new(carrier: CarrierId, weight: u32, caller_ids: &[E164]) -> Self {
        Self {
            carrier,
            weight,
            caller_ids: caller_ids.iter().cloned().map(Number::new).collect(),
            price: Price::Unknown,
            cannot: Arc::default(),
            stats: RouteStats::default(),
            breaker: Admission::Free,
            excluded: None,
        }
    }
}

/// The one of two admissions that lets less through, the later of two like ones.
#[must_use]
pub fn sterner(a: Admission, b: Admission) -> Admission {
    let rank = |one: &Admission| match one {
        Admission::Free => (0, Timestamp::default()),
        Admission::Probe => (1, Timestamp::default()),
        Admission::Resting { until } => (2, *until),
        Admission::Open { until, .. } => (3, *until),
    };
    if rank(&b) > rank(&a) { b } else { a }
}

/// Why a carrier is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Exclusion {
    /// The campaign names others.
    NotOfCampaign,
    /// The lead or the campaign names another one, or none.
    NotAssigned,
    /// It was asked in this attempt already.
    Tried,
    /// Its rate deck has no price for the destination.
    NoRate,
    /// It bills in another currency than the campaign counts in.
    Currency {
        /// The carrier's.
        bills: Currency,
        /// The campaign's.
        counts: Currency,
    },
    /// None of our numbers there is the campaign's.
    CallerIdNotOwned,
    /// All of them are at their caps.
    CallerIdsRest {
        /// Until the first one is free.
        until: Timestamp,
    },
    /// The call needs what it cannot do.
    Cannot {
        /// What.
        what: Vec<Feature>,
    },
    /// Its breaker is open.
    BreakerOpen {
        /// When a probe may go.
        until: Timestamp,
        /// Why it opened.
        why: Reason,
    },
    /// It asked to be left alone, or is for a while.
    Resting {
        /// Until when, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// As many calls per second as it takes are on their way.
    NoPace,
    /// As many calls as it takes are live.
    NoChannel,
    /// Outside its hours.
    Closed {
        /// When it opens, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
}

impl Exclusion {
    /// When it ends, if that is known.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::CallerIdsRest { until } | Self::BreakerOpen { until, .. } => Some(*until),
            Self::Resting { until } | Self::Closed { until } => *until,
            Self::NotOfCampaign
            | Self::NotAssigned
            | Self::Tried
            | Self::NoRate
            | Self::Currency { .. }
            | Self::CallerIdNotOwned
            | Self::Cannot { .. }
            | Self::NoPace
            | Self::NoChannel => None,
        }
    }
}

impl From<NoCallerId> for Exclusion {
    fn from(none: NoCallerId) -> Self {
        match none {
            NoCallerId::NotOwned => Self::CallerIdNotOwned,
            NoCallerId::Resting { until } => Self::CallerIdsRest { until },
        }
    }
}

/// A sentence without its subject: "has no rate for this destination".
impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NotOfCampaign => "is not one of the campaign's",
            Self::NotAssigned => "is not the one assigned",
            Self::Tried => "was asked already",
            Self::NoRate => "has no rate for this destination",
            Self::Currency { bills, counts } => {
                return write!(f, "bills in {bills}, not in {counts}");
            }
            Self::CallerIdNotOwned => return NoCallerId::NotOwned.fmt(f),
            Self::CallerIdsRest { until } => {
                return write!(f, "has no caller id free until {}", until.to_rfc3339());
            }
            Self::Cannot { what } => {
                let names: Vec<_> = what.iter().map(|feature| feature.name()).collect();
                return write!(f, "has no {}", names.join(", no "));
            }
            Self::BreakerOpen { until, why } => {
                let until = until.to_rfc3339();
                return write!(f, "is not asked until {until} ({why})");
            }
            Self::Resting { until: Some(until) } => {
                return write!(f, "is being left alone until {}", until.to_rfc3339());
            }
            Self::Resting { until: None } => "is being left alone",
            Self::NoPace => "is at its rate of calls",
            Self::NoChannel => "has no channel free",
            Self::Closed { until: Some(until) } => {
                return write!(f, "is closed until {}", until.to_rfc3339());
            }
            Self::Closed { until: None } => "is closed",
        };
        f.write_str(text)
    }
}
