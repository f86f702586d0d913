//! Who is at the other end once somebody has picked up, and what they do there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::timetable::Party;

/// From the end of a machine's greeting to its beep.
const BEEP_AFTER: Duration = Duration::from_millis(300);
/// What a person stays on the line who has no time of their own.
const AN_HOUR_MS: u32 = 3_600_000;

/// A callee after the answer. Times are network milliseconds, before the speed factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Person {
    /// Who or what picks up.
    pub who: Who,
    /// The keys pressed at each prompt for keys, in order. Empty text presses none, and nothing is
    /// pressed at prompts past the last.
    pub keys: Vec<String>,
    /// Presses half-way through a prompt, instead of a second after its end.
    pub interrupts: bool,
    /// Hangs up so long after the answer.
    pub stays_ms: u32,
}

/// Who or what picks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Who {
    /// A person.
    Human,
    /// An answering machine.
    Machine {
        /// How long its greeting takes.
        greeting_ms: u32,
        /// What comes after the greeting.
        then: After,
    },
    /// A fax machine.
    Fax,
    /// A line on which nothing is heard.
    Silence,
}

/// What follows a machine's greeting. It records from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// A beep.
    Beep,
    /// Silence.
    Silence,
    /// Neither: music, or noise.
    Other,
}

impl Default for Person {
    fn default() -> Self {
        Self {
            who: Who::Human,
            keys: Vec::new(),
            interrupts: false,
            stays_ms: AN_HOUR_MS,
        }
    }
}

impl Who {
    /// As the network counts it.
    #[must_use]
    pub const fn party(self) -> Party {
        match self {
            Self::Human => Party::Human,
            Self::Machine { .. } => Party::Machine,
            Self::Fax => Party::Fax,
            Self::Silence => Party::Silence,
        }
    }

    /// When a machine beeps, after the answer.
    #[must_use]
    pub fn beeps_at(self) -> Option<Duration> {
        match self {
            Self::Machine {
                greeting_ms,
                then: After::Beep,
            } => Some(Duration::from_millis(greeting_ms.into()) + BEEP_AFTER),
            Self::Machine { .. } | Self::Human | Self::Fax | Self::Silence => None,
        }
    }

    /// When a machine begins to record, after the answer.
    #[must_use]
    pub fn records_from(self) -> Option<Duration> {
        match self {
            Self::Machine { greeting_ms, .. } => {
                let greeting = Duration::from_millis(greeting_ms.into());
                Some(self.beeps_at().unwrap_or(greeting))
            }
            Self::Human | Self::Fax | Self::Silence => None,
        }
    }
}

impl Person {
    /// The person whom a seeded population deals out. `known`: the number is a magic one, whose
    /// outcome a reader must be able to foretell.
    pub(crate) fn draw(
        dice: Dice,
        (phone, nth): (&str, u64),
        machine: bool,
        known: bool,
        stays_ms: u32,
    ) -> Self {
        let percent = |kind| dice.between(kind, phone, nth, 0, 99);
        let odd = !known && percent("odd") < 3;
        let who = match (machine, odd) {
            (true, true) => Who::Fax,
            (false, true) => Who::Silence,
            (false, false) => Who::Human,
            (true, false) => Who::Machine {
                greeting_ms: u32::try_from(dice.between("greeting", phone, nth, 4_000, 12_000))
                    .unwrap_or(4_000),
                then: match percent("after") {
                    _ if known => After::Beep,
                    0..78 => After::Beep,
                    78..95 => After::Silence,
                    _ => After::Other,
                },
            },
        };
        let keys = match percent("keys") {
            _ if who != Who::Human => vec![],
            0..45 => vec!["1"],
            45..60 => vec!["2", "1"],
            60..70 => vec!["9"],
            70..80 => vec!["7", "1"],
            80..85 => vec!["", "1"],
            _ => vec![],
        };
        Self {
            who,
            keys: keys.into_iter().map(str::to_owned).collect(),
            interrupts: percent("interrupts") < 30,
            stays_ms,
        }
    }

    /// What is pressed at the `nth` prompt (from 0).
    pub(crate) fn keys_at(&self, nth: usize) -> &str {
        self.keys.get(nth).map_or("", String::as_str)
    }
}
