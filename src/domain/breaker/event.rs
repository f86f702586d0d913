//! What a breaker hears, and what it says when it opens.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::{Outcome, Refusal, RefusalClass};

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It refused the call for a reason of its own.
    Refused,
    /// It was not reached: DNS, connection, TLS.
    Unreachable,
    /// Nobody knows what it did: time-out, 5xx.
    Unclear,
    /// It took the call and could not deliver it.
    Undelivered,
}

/// Something that happened on a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It worked.
    Ok,
    /// It did not, and another carrier might.
    Failed(Fault),
    /// Our account was refused (401, 402, 403): nothing will work until a person mends it.
    Refused {
        /// The carrier's own code.
        code: String,
    },
    /// Too many requests: no failure.
    Limited {
        /// How long it wants to be left alone.
        rest: Duration,
    },
}

impl Event {
    /// What a documented refusal means for the account's breaker. `None` for what is not the account's
    /// fault: a number that is wrong wherever it is sent, a caller id, a destination. `rest` is for a
    /// refusal by rate.
    #[must_use]
    pub fn of_refusal(refusal: &Refusal, rest: Duration) -> Option<Self> {
        Some(match refusal.class {
            RefusalClass::RetryLater => Self::Limited { rest },
            RefusalClass::Failover => match refusal.code.as_str() {
                "connect" | "dns" | "tls" => Self::Failed(Fault::Unreachable),
                _ => Self::Failed(Fault::Refused),
            },
            RefusalClass::ConfigFault => Self::Refused {
                code: refusal.code.clone(),
            },
            RefusalClass::BadNumber
            | RefusalClass::CallerIdFault
            | RefusalClass::DestinationFault => return None,
        })
    }

    /// What the end of a placed call means for the route's breaker. `None` if it says nothing about
    /// the carrier.
    #[must_use]
    pub const fn of_outcome(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::HumanConnected
            | Outcome::Answered
            | Outcome::MachineHangup
            | Outcome::VoicemailLeft
            | Outcome::CallScreened
            | Outcome::Fax
            | Outcome::NoAnswer
            | Outcome::Busy
            | Outcome::Rejected
            | Outcome::Unwanted
            | Outcome::Unreachable
            // Delivered to a network that knows the number's fate.
            | Outcome::InvalidNumber => Some(Self::Ok),
            Outcome::Congestion | Outcome::CarrierError => Some(Self::Failed(Fault::Undelivered)),
            Outcome::NotPlaced | Outcome::Unresolved => Some(Self::Failed(Fault::Unclear)),
            Outcome::BlockedAnalytics
            | Outcome::NoCarrier
            | Outcome::ProviderConfig
            | Outcome::Canceled
            | Outcome::Expired
            | Outcome::Withdrawn => None,
        }
    }
}

/// Why it opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reason {
    /// Too many failures in a row.
    InARow {
        /// How many.
        failures: u32,
        /// The last of them.
        last: Fault,
    },
    /// Too large a share of the calls of the last minute.
    Share {
        /// How many failed.
        failed: u32,
        /// Of how many.
        calls: u32,
        /// The last of them.
        last: Fault,
    },
    /// Our account was refused.
    Config {
        /// The carrier's own code.
        code: String,
    },
    /// The probe failed.
    Probe {
        /// How.
        fault: Fault,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Unreachable => "not reached",
            Self::Unclear => "no clear answer",
            Self::Undelivered => "not delivered",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InARow { failures, last } => {
                write!(f, "{failures} failures in a row, the last: {last}")
            }
            Self::Share {
                failed,
                calls,
                last,
            } => write!(f, "{failed} of {calls} calls failed, the last: {last}"),
            Self::Config { code } => write!(f, "our account was refused ({code})"),
            Self::Probe { fault } => write!(f, "the probe failed: {fault}"),
        }
    }
}
