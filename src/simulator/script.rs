//! What a callee does when called.
//!
//! A callee's script is drawn by hashing (seed, phone, how many times this phone has been called),
//! so it is the same in every run, whatever the order of calls. A test may fix one for a phone
//! ([`crate::Network::set_script`]); the magic numbers `+1555010xxxx` have theirs from the two
//! digits after `+1555010`:
//!
//! | Number | Outcome |
//! |---|---|
//! | `+155501000xx` | a human answers |
//! | `+155501001xx` | an answering machine answers |
//! | `+155501002xx` | busy |
//! | `+155501003xx` | rings, nobody answers |
//! | `+155501004xx` | invalid number: even last digit refused at once, odd placed and then failed (404) |
//! | `+155501005xx` | congestion (503), never rings |
//! | `+155501006xx` | rings, then is declined (603) |
//! | `+155501007xx` | rings, then the carrier cancels |
//! | `+155501008xx` | a human answers at once |
//! | `+155501009xx` | a human answers and talks for an hour |
//! | the rest | a human answers |
//!
//! What whoever answers does then is a [`Person`], drawn in the same way.

use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::person::Person;

/// What happens on one call. Times are network milliseconds, before the speed factor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Script {
    /// A person answers after `ring_ms` and hangs up after `talk_ms`.
    Human {
        /// From ringing to answer.
        ring_ms: u32,
        /// From answer to hang-up.
        talk_ms: u32,
    },
    /// An answering machine; as `Human`, but detection says machine.
    Machine {
        /// From ringing to answer.
        ring_ms: u32,
        /// From answer to hang-up.
        talk_ms: u32,
    },
    /// Somebody answers who behaves in a given way.
    Person {
        /// From ringing to answer.
        ring_ms: u32,
        /// Who.
        person: Person,
    },
    /// Busy (486), without ringing.
    Busy,
    /// Rings until the caller's ring timeout (487).
    NoAnswer,
    /// No such number: refused when the call is created, or placed and failed later (404).
    Invalid {
        /// Whether the creation itself is refused.
        refused: bool,
    },
    /// The network has no line (503), without ringing.
    Congestion,
    /// Rings for `ring_ms`, then is declined (603).
    Declined {
        /// From ringing to the refusal.
        ring_ms: u32,
    },
    /// Rings for `ring_ms`, then the carrier cancels (487).
    RingsThenCancels {
        /// From ringing to the cancellation.
        ring_ms: u32,
    },
}

/// Relative frequencies of outcomes; only their ratios matter. All zero means human.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "one weight per variant of Script, named as it is"
)]
pub struct Weights {
    pub human: u32,
    pub machine: u32,
    pub busy: u32,
    pub no_answer: u32,
    pub invalid: u32,
    pub congestion: u32,
    pub declined: u32,
    pub rings_then_cancels: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            human: 45,
            machine: 22,
            busy: 8,
            no_answer: 15,
            invalid: 3,
            congestion: 2,
            declined: 4,
            rings_then_cancels: 1,
        }
    }
}

/// Everybody who can be called: a distribution of scripts and the seed that deals them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Population {
    /// Seed of every draw of the network, faults included.
    pub seed: u64,
    /// How often each outcome happens.
    pub weights: Weights,
    /// Shortest and longest ring before an answer, network milliseconds.
    pub ring_ms: (u32, u32),
    /// Shortest and longest conversation, network milliseconds.
    pub talk_ms: (u32, u32),
    /// Shortest and longest time from dialing to the first ring or refusal, network milliseconds.
    pub set_up_ms: (u32, u32),
}

impl Default for Population {
    fn default() -> Self {
        Self {
            seed: 1,
            weights: Weights::default(),
            ring_ms: (4_000, 20_000),
            talk_ms: (15_000, 90_000),
            set_up_ms: (300, 1_200),
        }
    }
}

const AN_HOUR_MS: u32 = 3_600_000;

#[derive(Clone, Copy)]
enum Kind {
    Human,
    Machine,
    Busy,
    NoAnswer,
    Invalid,
    Congestion,
    Declined,
    RingsThenCancels,
}

impl Population {
    /// The script of the `nth` call (from 0) to `phone`.
    #[must_use]
    pub fn script(&self, phone: &str, nth: u64) -> Script {
        let dice = Dice::new(self.seed);
        let between = |kind, (low, high): (u32, u32)| {
            u32::try_from(dice.between(kind, phone, nth, low.into(), high.into())).unwrap_or(high)
        };
        let ring_ms = between("ring", self.ring_ms);
        let talk_ms = between("talk", self.talk_ms);
        let class = magic_class(phone);
        let kind = match class {
            None => self.draw(dice.roll("script", phone, nth)),
            Some("01") => Kind::Machine,
            Some("02") => Kind::Busy,
            Some("03") => Kind::NoAnswer,
            Some("04") => Kind::Invalid,
            Some("05") => Kind::Congestion,
            Some("06") => Kind::Declined,
            Some("07") => Kind::RingsThenCancels,
            Some(_) => Kind::Human,
        };
        match kind {
            Kind::Human if class == Some("08") => Script::Human {
                ring_ms: 0,
                talk_ms,
            },
            Kind::Human if class == Some("09") => Script::Human {
                ring_ms,
                talk_ms: AN_HOUR_MS,
            },
            Kind::Human => Script::Human { ring_ms, talk_ms },
            Kind::Machine => Script::Machine { ring_ms, talk_ms },
            Kind::Busy => Script::Busy,
            Kind::NoAnswer => Script::NoAnswer,
            Kind::Invalid => Script::Invalid {
                refused: match class {
                    Some(_) => phone.ends_with(['0', '2', '4', '6', '8']),
                    // Of the phone alone: a number is refused every time or never.
                    None => dice.hits(0.5, "refused", phone, 0),
                },
            },
            Kind::Congestion => Script::Congestion,
            Kind::Declined => Script::Declined { ring_ms },
            Kind::RingsThenCancels => Script::RingsThenCancels { ring_ms },
        }
    }

    /// Who answers the `nth` call to `phone`, when its script says that somebody does.
    #[must_use]
    pub fn person(&self, script: &Script, phone: &str, nth: u64) -> Option<Person> {
        let (machine, talk_ms) = match script {
            Script::Human { talk_ms, .. } => (false, *talk_ms),
            Script::Machine { talk_ms, .. } => (true, *talk_ms),
            Script::Person { person, .. } => return Some(person.clone()),
            Script::Busy
            | Script::NoAnswer
            | Script::Invalid { .. }
            | Script::Congestion
            | Script::Declined { .. }
            | Script::RingsThenCancels { .. } => return None,
        };
        let (dice, known) = (Dice::new(self.seed), magic_class(phone).is_some());
        Some(Person::draw(dice, (phone, nth), machine, known, talk_ms))
    }

    fn draw(&self, roll: u64) -> Kind {
        let w = self.weights;
        let table = [
            (w.human, Kind::Human),
            (w.machine, Kind::Machine),
            (w.busy, Kind::Busy),
            (w.no_answer, Kind::NoAnswer),
            (w.invalid, Kind::Invalid),
            (w.congestion, Kind::Congestion),
            (w.declined, Kind::Declined),
            (w.rings_then_cancels, Kind::RingsThenCancels),
        ];
        let total: u64 = table.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut left = roll % total.max(1);
        for (weight, kind) in table {
            match left.checked_sub(weight.into()) {
                None => return kind,
                Some(rest) => left = rest,
            }
        }
        Kind::Human
    }
}

/// The two digits that decide a magic number's outcome.
fn magic_class(phone: &str) -> Option<&str> {
    let digits = phone.strip_prefix("+1555010")?;
    (digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| &digits[..2])
}
