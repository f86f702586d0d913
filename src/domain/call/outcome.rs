//! How a call ended: the carrier's word ([`Ending`]), who answered ([`Party`]) and the canonical
//! [`Outcome`] derived from both. The three are kept apart, because each is corrected separately.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the carrier reported as the end of the call (telephony result), normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It was answered and then hung up.
    Completed,
    /// SIP 486, 600.
    Busy,
    /// It rang until the ring timeout (SIP 487 by our timer, 408 after ringing).
    NoAnswer,
    /// The callee pressed "decline" (SIP 603).
    Declined,
    /// The callee marked the call as unwanted (SIP 607).
    Unwanted,
    /// An analytics engine blocked the caller id (SIP 608).
    Blocked,
    /// The number does not exist (SIP 404, 410, 484, 485, 604).
    InvalidNumber,
    /// Temporarily unavailable, switched off or out of coverage (SIP 480).
    Unreachable,
    /// No circuit (SIP 503, Q.850 34, 38, 41, 42).
    Congestion,
    /// Any other carrier-side failure (SIP 5xx).
    CarrierError,
    /// Our own fault: credentials, funds, codec, caller id (SIP 401, 402, 403, 407, 488).
    ConfigFault,
    /// Cancelled before the answer, by us or by the carrier.
    Canceled,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 12] = [
        Self::Completed,
        Self::Busy,
        Self::NoAnswer,
        Self::Declined,
        Self::Unwanted,
        Self::Blocked,
        Self::InvalidNumber,
        Self::Unreachable,
        Self::Congestion,
        Self::CarrierError,
        Self::ConfigFault,
        Self::Canceled,
    ];

    /// The ending a SIP final response stands for, before an answer.
    /// Sources: RFC 3261, RFC 8197 (607), RFC 8688 (608); `ring_timed_out` tells 487 by our own ring
    /// timer from a cancel, as Twilio reports both with that code.
    #[must_use]
    pub const fn from_sip(code: u16, ring_timed_out: bool) -> Self {
        match code {
            200..=299 => Self::Completed,
            486 | 600 => Self::Busy,
            487 if ring_timed_out => Self::NoAnswer,
            487 => Self::Canceled,
            408 => Self::NoAnswer,
            480 | 430 => Self::Unreachable,
            404 | 410 | 484 | 485 | 604 => Self::InvalidNumber,
            603 => Self::Declined,
            607 => Self::Unwanted,
            608 => Self::Blocked,
            401..=403 | 407 | 415 | 428 | 436..=438 | 488 | 606 => Self::ConfigFault,
            429 | 503 => Self::Congestion,
            _ => Self::CarrierError,
        }
    }

    /// The ending a Q.850 cause stands for; `answered` tells the normal end of a conversation from
    /// that of a call nobody took.
    /// Sources: ITU-T Q.850; the SIP equivalents as in RFC 4497, Asterisk and FreeSWITCH.
    #[must_use]
    pub const fn from_q850(cause: u8, answered: bool) -> Self {
        match cause {
            16 | 26 | 31 if answered => Self::Completed,
            16 | 18 | 19 | 26 | 31 => Self::NoAnswer,
            17 => Self::Busy,
            20 | 27 => Self::Unreachable,
            21 => Self::Declined,
            1 | 22 | 28 => Self::InvalidNumber,
            34 | 38 | 41 | 42 | 44 | 47 => Self::Congestion,
            29 | 50 | 52 | 54 | 55 | 57 | 58 | 63 | 65 | 79 | 87 | 88 => Self::ConfigFault,
            _ => Self::CarrierError,
        }
    }
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// A person.
    Human,
    /// An answering machine or voicemail.
    Machine,
    /// A fax or modem.
    Fax,
    /// Detection ran and could not tell. Treated as a person.
    Unknown,
    /// An assistant that asks callers who they are; a person listens, or may take over. Treated as
    /// one.
    Screening,
    /// The network: "the number you have dialed ...". Nobody was reached.
    Announcement,
}

impl Party {
    /// The name used in documents, the API and flows.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Machine => "machine",
            Self::Fax => "fax",
            Self::Unknown => "unknown",
            Self::Screening => "screening",
            Self::Announcement => "announcement",
        }
    }
}

/// The canonical result of an attempt.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A person was reached.
    HumanConnected,
    /// Answered, and no detection ran (or it could not tell): taken for a person.
    Answered,
    /// A machine answered and no message was left.
    MachineHangup,
    /// A machine answered, and the message was played to its end.
    VoicemailLeft,
    /// A screening assistant answered, and nobody took over.
    CallScreened,
    /// A fax or modem answered.
    Fax,
    /// Nobody answered.
    NoAnswer,
    /// Busy.
    Busy,
    /// The callee declined.
    Rejected,
    /// The callee marked the call as unwanted.
    Unwanted,
    /// An analytics engine blocked the caller id.
    BlockedAnalytics,
    /// Switched off, out of coverage, not registered.
    Unreachable,
    /// The number does not exist.
    InvalidNumber,
    /// No circuit, or every carrier was over its limit.
    Congestion,
    /// A carrier failed before the callee could have been rung.
    CarrierError,
    /// No carrier took the call: nothing left, whoever was asked.
    NoCarrier,
    /// Our credentials, funds or settings were refused: never the lead's fault.
    ProviderConfig,
    /// Cancelled before it was answered.
    Canceled,
    /// Proven not to have been placed, after an unclear answer.
    NotPlaced,
    /// Past its hard end; the carrier confirmed that nothing is live, but not how it ended.
    Expired,
    /// Nobody can say whether it rang: the answer was unclear, and its carrier cannot be asked.
    Unresolved,
    /// We cancelled our own intent before anything was sent.
    Withdrawn,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 22] = [
        Self::HumanConnected,
        Self::Answered,
        Self::MachineHangup,
        Self::VoicemailLeft,
        Self::CallScreened,
        Self::Fax,
        Self::NoAnswer,
        Self::Busy,
        Self::Rejected,
        Self::Unwanted,
        Self::BlockedAnalytics,
        Self::Unreachable,
        Self::InvalidNumber,
        Self::Congestion,
        Self::CarrierError,
        Self::NoCarrier,
        Self::ProviderConfig,
        Self::Canceled,
        Self::NotPlaced,
        Self::Expired,
        Self::Unresolved,
        Self::Withdrawn,
    ];

    /// The outcome of a call that the carrier ended with `ending`, answered by `party` if known.
    #[must_use]
    pub const fn of(ending: Ending, party: Option<Party>) -> Self {
        match (ending, party) {
            (Ending::Completed, Some(Party::Human)) => Self::HumanConnected,
            (Ending::Completed, Some(Party::Machine)) => Self::MachineHangup,
            (Ending::Completed, Some(Party::Fax)) => Self::Fax,
            (Ending::Completed, Some(Party::Unknown) | None) => Self::Answered,
            (Ending::Completed, Some(Party::Screening)) => Self::CallScreened,
            // As if the network had said it by its code.
            (Ending::Completed, Some(Party::Announcement)) => Self::Unreachable,
            (Ending::Busy, _) => Self::Busy,
            (Ending::NoAnswer, _) => Self::NoAnswer,
            (Ending::Declined, _) => Self::Rejected,
            (Ending::Unwanted, _) => Self::Unwanted,
            (Ending::Blocked, _) => Self::BlockedAnalytics,
            (Ending::InvalidNumber, _) => Self::InvalidNumber,
            (Ending::Unreachable, _) => Self::Unreachable,
            (Ending::Congestion, _) => Self::Congestion,
            (Ending::CarrierError, _) => Self::CarrierError,
            (Ending::ConfigFault, _) => Self::ProviderConfig,
            (Ending::Canceled, _) => Self::Canceled,
        }
    }

    /// Whether the attempt counts against the lead's budget: only those that may have rung.
    #[must_use]
    pub const fn consumes_budget(self) -> bool {
        match self {
            Self::HumanConnected
            | Self::Answered
            | Self::MachineHangup
            | Self::VoicemailLeft
            | Self::CallScreened
            | Self::Fax
            | Self::NoAnswer
            | Self::Busy
            | Self::Rejected
            | Self::Unwanted
            | Self::BlockedAnalytics
            | Self::Unreachable
            | Self::InvalidNumber
            | Self::Canceled
            | Self::Expired
            | Self::Unresolved => true,
            Self::Congestion
            | Self::CarrierError
            | Self::NoCarrier
            | Self::ProviderConfig
            | Self::NotPlaced
            | Self::Withdrawn => false,
        }
    }

    /// Whether no retry rule may lead to another attempt: the person does not want to be called, or
    /// may have been rung without anybody knowing.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Unwanted | Self::Unresolved)
    }

    /// Whether somebody or something answered.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        matches!(
            self,
            Self::HumanConnected
                | Self::Answered
                | Self::MachineHangup
                | Self::VoicemailLeft
                | Self::CallScreened
                | Self::Fax
        )
    }

    /// The name used in documents, the API, reports and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HumanConnected => "human_connected",
            Self::Answered => "answered",
            Self::MachineHangup => "machine_hangup",
            Self::VoicemailLeft => "voicemail_left",
            Self::CallScreened => "call_screened",
            Self::Fax => "fax",
            Self::NoAnswer => "no_answer",
            Self::Busy => "busy",
            Self::Rejected => "rejected",
            Self::Unwanted => "unwanted",
            Self::BlockedAnalytics => "blocked_analytics",
            Self::Unreachable => "unreachable",
            Self::InvalidNumber => "invalid_number",
            Self::Congestion => "congestion",
            Self::CarrierError => "carrier_error",
            Self::NoCarrier => "no_carrier",
            Self::ProviderConfig => "provider_config",
            Self::Canceled => "canceled",
            Self::NotPlaced => "not_placed",
            Self::Expired => "expired",
            Self::Unresolved => "unresolved",
            Self::Withdrawn => "withdrawn",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_stored_ones() {
        for outcome in Outcome::ALL {
            let stored = serde_json::to_value(outcome).expect("serialises");
            assert_eq!(stored, outcome.name());
        }
    }

    #[test]
    fn sip_codes_map_by_the_table() {
        let table = [
            (486, Ending::Busy),
            (600, Ending::Busy),
            (480, Ending::Unreachable),
            (404, Ending::InvalidNumber),
            (604, Ending::InvalidNumber),
            (603, Ending::Declined),
            (607, Ending::Unwanted),
            (608, Ending::Blocked),
            (402, Ending::ConfigFault),
            (488, Ending::ConfigFault),
            (503, Ending::Congestion),
            (500, Ending::CarrierError),
            (504, Ending::CarrierError),
        ];
        for (code, ending) in table {
            assert_eq!(Ending::from_sip(code, false), ending, "{code}");
        }
        assert_eq!(Ending::from_sip(487, true), Ending::NoAnswer);
        assert_eq!(Ending::from_sip(487, false), Ending::Canceled);
    }

    #[test]
    fn q850_causes_map_by_the_table() {
        let table: [(Ending, &[u8]); 8] = [
            (Ending::NoAnswer, &[16, 18, 19, 26, 31]),
            (Ending::Busy, &[17]),
            (Ending::Unreachable, &[20, 27]),
            (Ending::Declined, &[21]),
            (Ending::InvalidNumber, &[1, 22, 28]),
            (Ending::Congestion, &[34, 38, 41, 42, 44, 47]),
            (
                Ending::ConfigFault,
                &[29, 50, 52, 54, 55, 57, 58, 63, 65, 79, 87, 88],
            ),
            (Ending::CarrierError, &[0, 2, 3, 25, 102, 111, 127, 255]),
        ];
        for (ending, causes) in table {
            for &cause in causes {
                assert_eq!(Ending::from_q850(cause, false), ending, "{cause}");
            }
        }
        for cause in [16, 26, 31] {
            assert_eq!(Ending::from_q850(cause, true), Ending::Completed, "{cause}");
        }
        assert_eq!(Ending::from_q850(17, true), Ending::Busy);
    }

    #[test]
    fn an_unanswered_call_has_the_same_outcome_whoever_was_guessed() {
        for ending in Ending::ALL.into_iter().filter(|e| *e != Ending::Completed) {
            assert_eq!(
                Outcome::of(ending, Some(Party::Human)),
                Outcome::of(ending, None)
            );
        }
    }
}
