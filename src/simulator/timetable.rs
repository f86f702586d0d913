//! A call as a timetable: what happens after how long, computed once, when it is placed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::person::Person;
use crate::script::Script;

/// Who picked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// A person.
    Human,
    /// An answering machine.
    Machine,
    /// A fax machine.
    Fax,
    /// Nobody who makes a sound.
    Silence,
}

impl Party {
    /// The word in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Machine => "machine",
            Self::Fax => "fax",
            Self::Silence => "silence",
        }
    }
}

/// Answering machine detection the caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amd {
    /// Say who answered.
    Detect,
    /// Say when the machine's greeting ended.
    GreetingEnd,
}

/// Where a call is. Names as Twilio's callbacks have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum CallStatus {
    Queued,
    Initiated,
    Ringing,
    InProgress,
    Completed,
    Busy,
    NoAnswer,
    Failed,
    Canceled,
}

impl CallStatus {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether the call is over.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Initiated | Self::Ringing | Self::InProgress => false,
            Self::Completed | Self::Busy | Self::NoAnswer | Self::Failed | Self::Canceled => true,
        }
    }
}

/// One thing that happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum NetEvent {
    /// The carrier began to dial.
    Initiated,
    /// The callee's phone rings: the moment that counts in the ledger.
    Ringing,
    /// Somebody picked up.
    Answered {
        /// Who.
        party: Party,
    },
    /// The call is over.
    Ended {
        /// How; always terminal.
        status: CallStatus,
        /// SIP response code that ended it.
        sip: u16,
        /// From answer to end in network time (before the speed factor); zero when unanswered.
        duration: Duration,
    },
}

impl NetEvent {
    /// The status the call has from this event on.
    #[must_use]
    pub const fn status(&self) -> CallStatus {
        match self {
            Self::Initiated => CallStatus::Initiated,
            Self::Ringing => CallStatus::Ringing,
            Self::Answered { .. } => CallStatus::InProgress,
            Self::Ended { status, .. } => *status,
        }
    }
}

/// Limits and delays of one call: network time, but for `queued_for`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Real time in the carrier's queue before it dials.
    pub(crate) queued_for: Duration,
    /// From dialing to the first ring or refusal.
    pub(crate) set_up: Duration,
    pub(crate) ring: Duration,
    pub(crate) talk: Duration,
}

/// The events of a call and when they are due after its placing, in order; the last is `Ended`.
pub(crate) fn timetable(
    script: &Script,
    person: Option<&Person>,
    limits: Limits,
    speed: f64,
) -> Vec<(Duration, NetEvent)> {
    let at = |network: Duration| limits.queued_for + network.div_f64(speed);
    let ended = |after: Duration, status, sip, duration| {
        (
            at(after),
            NetEvent::Ended {
                status,
                sip,
                duration,
            },
        )
    };
    let set_up = limits.set_up;
    let refused = |status, sip| {
        vec![
            (at(Duration::ZERO), NetEvent::Initiated),
            ended(set_up, status, sip, Duration::ZERO),
        ]
    };
    let answer = || match person {
        Some(person) => Ok((person.who.party(), person.stays_ms)),
        None => Err((CallStatus::Failed, 480)),
    };
    let (ring_ms, then) = match *script {
        Script::Busy => return refused(CallStatus::Busy, 486),
        Script::Invalid { .. } => return refused(CallStatus::Failed, 404),
        Script::Congestion => return refused(CallStatus::Failed, 503),
        Script::Human { ring_ms, .. }
        | Script::Machine { ring_ms, .. }
        | Script::Person { ring_ms, .. } => (Some(ring_ms), answer()),
        Script::Declined { ring_ms } => (Some(ring_ms), Err((CallStatus::Failed, 603))),
        Script::RingsThenCancels { ring_ms } => (Some(ring_ms), Err((CallStatus::Canceled, 487))),
        Script::NoAnswer => (None, Err((CallStatus::NoAnswer, 487))),
    };
    let mut events = vec![
        (at(Duration::ZERO), NetEvent::Initiated),
        (at(set_up), NetEvent::Ringing),
    ];
    let ring = ring_ms
        .map(|ms| Duration::from_millis(ms.into()))
        .filter(|r| *r < limits.ring);
    match (ring, then) {
        (None, _) => {
            events.push(ended(
                set_up + limits.ring,
                CallStatus::NoAnswer,
                487,
                Duration::ZERO,
            ));
        }
        (Some(ring), Err((status, sip))) => {
            events.push(ended(set_up + ring, status, sip, Duration::ZERO));
        }
        (Some(ring), Ok((party, talk_ms))) => {
            let talk = Duration::from_millis(talk_ms.into()).min(limits.talk);
            events.push((at(set_up + ring), NetEvent::Answered { party }));
            events.push(ended(
                set_up + ring + talk,
                CallStatus::Completed,
                200,
                talk,
            ));
        }
    }
    events
}
