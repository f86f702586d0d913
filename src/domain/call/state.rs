//! The states of an attempt.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where an attempt stands, as far as we can prove.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Written down; the create-call request may or may not have left.
    Intent,
    /// Nobody can say whether the call exists. Left only by a callback, a look-up or proof of absence.
    Unknown,
    /// The carrier has the call.
    Placed,
    /// The callee's telephone rings.
    Ringing,
    /// Somebody or something answered.
    Answered,
    /// Over. Terminal, and sticky: nothing leads out.
    Ended,
}

impl CallState {
    /// Every state, in rank order.
    pub const ALL: [Self; 6] = [
        Self::Intent,
        Self::Unknown,
        Self::Placed,
        Self::Ringing,
        Self::Answered,
        Self::Ended,
    ];

    /// How far the call has come. An event never leads to a lower rank, so callbacks may arrive in
    /// any order.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Intent => 0,
            Self::Unknown => 1,
            Self::Placed => 2,
            Self::Ringing => 3,
            Self::Answered => 4,
            Self::Ended => 5,
        }
    }

    /// The name used in documents, the API and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Unknown => "unknown",
            Self::Placed => "placed",
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Ended => "ended",
        }
    }
}
