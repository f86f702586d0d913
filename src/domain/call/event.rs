//! Everything that can happen to an attempt, in our own words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempt::Leg;
use super::outcome::{Ending, Outcome, Party};
use crate::id::CarrierCallId;

/// Why a carrier did not place a call, by what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalClass {
    /// Over a limit: the same carrier will take it later.
    RetryLater,
    /// This carrier cannot; another may, now.
    Failover,
    /// The number is wrong wherever it is sent.
    BadNumber,
    /// Our account or request was refused: nothing will go there until a person mends it.
    ConfigFault,
    /// The caller id was: it is not ours there, not verified, or has a bad name.
    CallerIdFault,
    /// Our account may not call that destination.
    DestinationFault,
}

impl RefusalClass {
    /// The outcome when the chain ends with this refusal.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::RetryLater | Self::Failover => Outcome::NoCarrier,
            Self::BadNumber => Outcome::InvalidNumber,
            Self::ConfigFault | Self::CallerIdFault | Self::DestinationFault => {
                Outcome::ProviderConfig
            }
        }
    }

    /// Whether another carrier may be asked for the same attempt.
    #[must_use]
    pub const fn may_fail_over(self) -> bool {
        match self {
            Self::RetryLater
            | Self::Failover
            | Self::ConfigFault
            | Self::CallerIdFault
            | Self::DestinationFault => true,
            Self::BadNumber => false,
        }
    }
}

/// A documented refusal: the call was definitely not placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// What to do about it.
    pub class: RefusalClass,
    /// The carrier's own code, or `connect`, `dns`, `tls`.
    pub code: String,
    /// The carrier's own sentence, cut to 200 characters.
    pub message: String,
}

/// Something that happened to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEvent {
    /// Our create-call request was accepted.
    Accepted {
        /// Which leg.
        leg: u8,
        /// The carrier's name for the call.
        call_id: CarrierCallId,
    },
    /// Our create-call request was definitely refused, and `next` (if any) is tried instead.
    Refused {
        /// Which leg.
        leg: u8,
        /// The refusal.
        why: Refusal,
        /// The next leg, with its own nonce and times.
        next: Option<Box<Leg>>,
    },
    /// Our create-call request may or may not have been executed.
    Unclear {
        /// Which leg.
        leg: u8,
    },
    /// The carrier has the call (queued or initiated).
    Initiated {
        /// The carrier's name for the call.
        call_id: CarrierCallId,
    },
    /// The callee's telephone rings.
    Ringing {
        /// The carrier's name for the call.
        call_id: CarrierCallId,
    },
    /// Answered.
    Answered {
        /// The carrier's name for the call.
        call_id: CarrierCallId,
    },
    /// Detection said who answered.
    PartyDetected(Party),
    /// The carrier's terminal event or record.
    Ended {
        /// The carrier's name for the call.
        call_id: CarrierCallId,
        /// How it ended.
        ending: Ending,
        /// Connected seconds, when the carrier says so.
        duration_s: Option<u32>,
        /// The SIP final response, when the carrier says so.
        sip: Option<u16>,
    },
    /// The intent is too old for its request to be still under way.
    IntentStale,
    /// Absence is proven: the carrier never had the call.
    ProvenAbsent,
    /// The cool-off after an unclear attempt is over.
    CooledOff,
    /// Past the hard end, and the carrier confirmed that nothing is live.
    HardEndConfirmed,
    /// Unclear, past the hard end, and there is nobody to ask: it may have rung, and is over by now.
    Unresolved,
    /// We withdraw our own intent: nothing was sent.
    Withdrawn(Withdrawal),
}

/// Why an intent was withdrawn before anything was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Withdrawal {
    /// The campaign was paused, stopped or lowered below this slot.
    CampaignChanged,
    /// The gate no longer allows the call (do-not-call, schedule).
    GateClosed,
    /// Too much time passed since the gate was read.
    FenceLate,
    /// This process is stopping.
    Shutdown,
    /// No carrier could take the call now.
    NoCarrier,
}

impl CallEvent {
    /// A name for timelines and the state table.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Refused { .. } => "refused",
            Self::Unclear { .. } => "unclear",
            Self::Initiated { .. } => "initiated",
            Self::Ringing { .. } => "ringing",
            Self::Answered { .. } => "answered",
            Self::PartyDetected(_) => "party_detected",
            Self::Ended { .. } => "ended",
            Self::IntentStale => "intent_stale",
            Self::ProvenAbsent => "proven_absent",
            Self::CooledOff => "cooled_off",
            Self::HardEndConfirmed => "hard_end_confirmed",
            Self::Unresolved => "unresolved",
            Self::Withdrawn(_) => "withdrawn",
        }
    }
}
