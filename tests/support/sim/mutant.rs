//! Defects that a world can be given on purpose: each takes away one of the mechanisms that the
//! promises rest on, and the checks must notice.

use std::fmt;
use std::str::FromStr;

use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_engine::mutant::{Part, Taken};

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// What the facts are after the intent does not count.
    Recheck,
    /// An opt-out is confirmed without being written.
    OptOut,
    /// An unclear answer is taken for a refusal.
    Unclear,
    /// A request leaves however long ago the facts were read.
    Fence,
    /// The unique index on slots.
    U2,
    /// The unique index on live phones.
    U3,
    /// The unique index on carriers' channels.
    U4,
    /// The version is not compared when an attempt is written.
    Version,
    /// One look at the carrier's list is proof that a call was not placed.
    Proof,
}

impl Mutant {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Recheck,
        Self::OptOut,
        Self::Unclear,
        Self::Fence,
        Self::U2,
        Self::U3,
        Self::U4,
        Self::Version,
        Self::Proof,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recheck => "recheck",
            Self::OptOut => "opt-out",
            Self::Unclear => "unclear",
            Self::Fence => "fence",
            Self::U2 => "u2",
            Self::U3 => "u3",
            Self::U4 => "u4",
            Self::Version => "version",
            Self::Proof => "proof",
        }
    }

    /// Takes its part away from the engine on this thread, if it is one of the engine's.
    pub(super) fn taken_from_engine(self) -> Option<Taken> {
        let part = match self {
            Self::Recheck => Part::Recheck,
            Self::OptOut => Part::OptOut,
            Self::Unclear => Part::Unclear,
            Self::Fence => Part::Fence,
            Self::Proof => Part::Proof,
            Self::U2 | Self::U3 | Self::U4 | Self::Version => return None,
        };
        Some(Taken::away(part))
    }

    /// Takes its index away from a store, if it is one.
    pub(super) async fn taken_from_store(self, store: &SqliteStore) {
        match self {
            Self::U2 => store.lose_index("attempts_u2").await,
            Self::U3 => store.lose_index("attempts_u3").await,
            Self::U4 => store.lose_index("attempts_u4").await,
            Self::Recheck
            | Self::OptOut
            | Self::Unclear
            | Self::Fence
            | Self::Version
            | Self::Proof => {}
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|mutant| mutant.name() == text)
            .ok_or_else(|| format!("there is no mutant {text}; there are: {}", known()))
    }
}
