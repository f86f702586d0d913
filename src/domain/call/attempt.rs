//! The attempt document.
//!
//! Unique indexes make it the whole of the safety argument: U1 `_id` and `{lead, n}` (an attempt
//! exists once), U2 `{campaign, slot}` while a slot is held (never more live calls than the limit), U3
//! `{tenant, phone}` while live (never two calls to one person), U4 `{channel}` while one is held (never
//! more live calls at a carrier than it takes).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cost::{Bill, Spend};
use super::event::Refusal;
use super::outcome::{Ending, Outcome, Party};
use super::state::CallState;
use super::talk::{Detected, Suspicion};
use crate::flow::{Input, Session};
use crate::id::{
    AttemptId, CampaignId, CarrierCallId, CarrierId, ClaimToken, LeadId, Nonce, TenantId,
};
use crate::phone::E164;
use crate::recording::{Act, Plan};
use crate::routing::Decision;
use crate::time::Timestamp;

/// Legs an attempt may have at most: one per carrier of the fallback chain.
pub const MAX_LEGS: usize = 3;
/// Timeline entries kept; what comes after is counted, not stored.
pub const MAX_TIMELINE: usize = 48;
/// Added to ring time and talk time for the hard end: the carrier's own slack and ours.
pub const HARD_END_SLACK: Duration = Duration::from_secs(120);
/// An intent older than this is no longer being sent by anybody (fence 3 s + request 6 s, doubled).
pub const INTENT_STALE: Duration = Duration::from_secs(15);
/// After this long without ringing, ask the carrier.
pub const PLACED_CHECK: Duration = Duration::from_secs(30);
/// Slack after the ring timeout or the maximum duration before asking the carrier.
pub const CHECK_SLACK: Duration = Duration::from_secs(10);
/// When an unknown attempt is looked for, counted from the intent.
pub const UNKNOWN_LOOKS: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(35),
    Duration::from_secs(65),
    Duration::from_secs(95),
];
/// And every this long after the last of them.
pub const UNKNOWN_LOOK_GAP: Duration = Duration::from_secs(30);

/// One request to one carrier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leg {
    /// Whom we ask.
    pub carrier: CarrierId,
    /// The caller id shown.
    pub from: E164,
    /// What became of the request.
    pub state: LegState,
    /// Fresh for each leg: only who holds it may send the request.
    pub nonce: Nonce,
    /// When this leg was written down.
    pub intent_at: Timestamp,
    /// The carrier's name for the call, as soon as anybody said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<CarrierCallId>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The longest its call may live, ms, where the carrier cannot be told how long to ring and talk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_ms: Option<u64>,
    /// Which of the carrier's channels it was given, where they are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<u32>,
    /// What it costs; absent where nobody will know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bill: Option<Bill>,
}

/// A channel of a carrier account: one of the calls that it takes at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Channel {
    /// Whose.
    pub carrier: CarrierId,
    /// Which, from 0.
    pub number: u32,
}

/// What became of a leg's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegState {
    /// Written down.
    Intent,
    /// The carrier has the call.
    Placed,
    /// Definitely not placed.
    Refused,
    /// Nobody knows.
    Unclear,
}

/// A command that must follow a state change. Written together with it, so that it is not lost
/// with the process; every one may be executed twice without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Todo {
    /// Carry the outcome over to the lead.
    ProjectLead,
    /// Fill the slot that became free.
    HandOff {
        /// Which slot.
        slot: u32,
    },
    /// End a call that nobody should be on.
    HangUp {
        /// At which carrier.
        carrier: CarrierId,
        /// Which call.
        call_id: CarrierCallId,
    },
    /// Have done on the answered call what follows an input of its flow.
    Perform {
        /// At which carrier.
        carrier: CarrierId,
        /// On which call.
        call_id: CarrierCallId,
        /// The number of the input.
        step: u32,
    },
    /// Give the flow of the answered call its next input.
    Hear {
        /// Of which call.
        call_id: CarrierCallId,
        /// Its number, from 0.
        turn: u32,
        /// The input.
        input: Input,
    },
    /// Somebody or something was detected: do what the campaign says about that.
    Judge,
    /// The person does not want to be called again: write it down, then tell the flow.
    OptOut,
    /// Command the recording of a call.
    Record {
        /// At which carrier.
        carrier: CarrierId,
        /// Of which call.
        call_id: CarrierCallId,
        /// What about it.
        act: Act,
    },
    /// The proof of absence was wrong: the call is there, without a slot. Raise the alarm, and find
    /// it a slot or end it.
    TakeBack,
}

/// One line of the attempt's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moment {
    /// When we learned it.
    pub at: Timestamp,
    /// The event's name.
    pub event: String,
    /// Anything worth keeping: a code, a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One attempt at one lead.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// `<lead>:<n>`.
    #[serde(rename = "_id")]
    pub id: AttemptId,
    /// Whose.
    pub tenant: TenantId,
    /// Of which campaign.
    pub campaign: CampaignId,
    /// At which lead.
    pub lead: LeadId,
    /// The sequence number, from 1.
    pub n: u32,
    /// Whom it rings.
    pub phone: E164,
    /// The slot it holds, 0 to limit-1; absent when it holds none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// The channel that the current leg's call holds, for as long as the slot is held; absent when it
    /// holds none, or the carrier's are not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// `true` while the phone is locked: live, unresolved, cooling off, or ended with an opt-out that is
    /// not on the list yet; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
    /// Where it stands.
    pub state: CallState,
    /// The campaign's generation when it was written.
    pub campaign_gen: u64,
    /// +1 with every write; every write compares it.
    pub version: u64,
    /// The claim under which the lead was taken.
    pub claim: ClaimToken,
    /// The requests, in order; the last one is current.
    pub legs: Vec<Leg>,
    /// When the attempt was written down.
    pub intent_at: Timestamp,
    /// When the sweeper looks at it next, while live.
    pub check_at: Timestamp,
    /// The end by time of the current leg: ring + talk + slack.
    pub hard_end: Timestamp,
    /// How long it may ring, ms.
    pub ring_ms: u64,
    /// How long it may last, ms.
    pub talk_ms: u64,
    /// How long the phone stays locked after proof of absence, ms.
    pub cooloff_ms: u64,
    /// When the cool-off ends, once it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooloff_until: Option<Timestamp>,
    /// When the carrier's list was seen complete and empty: the proof of absence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub empty_looks: Vec<Timestamp>,
    /// How often the sweeper looked for it while unknown.
    #[serde(default)]
    pub looks: u32,
    /// History, at most [`MAX_TIMELINE`] lines.
    pub timeline: Vec<Moment>,
    /// Commands not yet executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub todo: Vec<Todo>,
    /// When they were written, or are due again; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub todo_at: Option<Timestamp>,
    /// The call is to be ended as soon as it has a name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hang_up: bool,
    /// Where the answered call stands in its flow, if it had to be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Box<Session>>,
    /// When the message for the machine must be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_by: Option<Timestamp>,
    /// What detection heard, as closely as the carrier says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected: Option<Detected>,
    /// Why the answer may be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<Suspicion>,
    /// Who answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
    /// The carrier's terminal word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// The result, once ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// SIP final response, if the carrier gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip: Option<u16>,
    /// First ringing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ringing_at: Option<Timestamp>,
    /// First answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Connected seconds, by the carrier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u32>,
    /// What it adds to the accounts of campaign and carrier; absent while nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend: Option<Spend>,
    /// When the carrier is asked next what the ended call cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_at: Option<Timestamp>,
    /// How often it was asked in vain.
    #[serde(default, skip_serializing_if = "zero")]
    pub cost_looks: u32,
    /// Why these carriers, in this order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Box<Decision>>,
    /// What is recorded of it; absent means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Plan>,
}

/// What an attempt is made of before it is written down.
#[derive(Debug, Clone)]
pub struct NewAttempt {
    /// Whose.
    pub tenant: TenantId,
    /// At which lead.
    pub lead: LeadId,
    /// The sequence number.
    pub n: u32,
    /// Whom it rings.
    pub phone: E164,
    /// The slot it takes.
    pub slot: u32,
    /// The campaign's generation.
    pub campaign_gen: u64,
    /// The claim.
    pub claim: ClaimToken,
    /// The first leg.
    pub leg: Leg,
    /// How long it may ring.
    pub ring: Duration,
    /// How long it may last.
    pub talk: Duration,
    /// The cool-off after proof of absence.
    pub cooloff: Duration,
    /// Why these carriers, in this order.
    pub decision: Option<Box<Decision>>,
}

impl Attempt {
    /// The intent: what is written before anything is sent.
    #[must_use]
    pub fn intend(new: NewAttempt) -> Self {
        let at = new.leg.intent_at;
        let mut attempt = Self {
            id: AttemptId::new(&new.lead, new.n),
            tenant: new.tenant,
            campaign: new.lead.campaign(),
            lead: new.lead,
            n: new.n,
            phone: new.phone,
            slot: Some(new.slot),
            channel: None,
            live: Some(true),
            state: CallState::Intent,
            campaign_gen: new.campaign_gen,
            version: 0,
            claim: new.claim,
            legs: vec![new.leg],
            intent_at: at,
            check_at: at + INTENT_STALE,
            hard_end: at,
            ring_ms: whole_ms(new.ring),
            talk_ms: whole_ms(new.talk),
            cooloff_ms: whole_ms(new.cooloff),
            cooloff_until: None,
            empty_looks: Vec::new(),
            looks: 0,
            timeline: Vec::new(),
            todo: Vec::new(),
            todo_at: None,
            hang_up: false,
            session: None,
            message_by: None,
            detected: None,
            suspicion: None,
            party: None,
            ending: None,
            outcome: None,
            sip: None,
            ringing_at: None,
            answered_at: None,
            ended_at: None,
            duration_s: None,
            spend: None,
            cost_at: None,
            cost_looks: 0,
            decision: new.decision,
            recording: None,
        };
        attempt.hard_end = attempt.hard_end_of(&attempt.legs[0]);
        attempt.hold_channel();
        attempt.reckon();
        attempt
    }

    /// The end by time of a leg's call, whatever the carrier does.
    pub(super) fn hard_end_of(&self, leg: &Leg) -> Timestamp {
        let longest = leg.longest_ms.map(Duration::from_millis);
        leg.intent_at + longest.unwrap_or(self.ring() + self.talk()) + HARD_END_SLACK
    }

    /// The channel of the current leg is this attempt's from now on, and no other.
    pub(super) fn hold_channel(&mut self) {
        self.channel = self.legs.last().and_then(|leg| {
            Some(Channel {
                carrier: leg.carrier.clone(),
                number: leg.channel?,
            })
        });
    }

    /// The current leg and its index. There always is one: [`Attempt::intend`] writes the first.
    #[must_use]
    pub fn current_leg(&self) -> Option<(u8, &Leg)> {
        let last = self.legs.len().checked_sub(1)?;
        Some((u8::try_from(last).unwrap_or(u8::MAX), &self.legs[last]))
    }

    /// Whether `nonce` is the current leg's: only its holder may send the request.
    #[must_use]
    pub fn is_mine(&self, nonce: &Nonce) -> bool {
        self.legs.last().is_some_and(|leg| leg.nonce == *nonce)
    }

    /// Whether the phone is locked by this attempt.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live == Some(true)
    }

    /// Proof of absence was found, and the phone is kept locked until the cool-off ends.
    #[must_use]
    pub const fn is_cooling(&self) -> bool {
        self.cooloff_until.is_some()
    }

    /// No request of the current leg was answered, and its call was never heard of: if its writer
    /// says that nothing was sent, nothing was.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        self.legs
            .last()
            .is_some_and(|leg| leg.state == LegState::Intent && leg.call_id.is_none())
    }

    /// How long it may ring.
    #[must_use]
    pub const fn ring(&self) -> Duration {
        Duration::from_millis(self.ring_ms)
    }

    /// How long it may last.
    #[must_use]
    pub const fn talk(&self) -> Duration {
        Duration::from_millis(self.talk_ms)
    }

    /// The carrier's terminal word was heard (as opposed to an end by our own reasoning).
    #[must_use]
    pub const fn ended_by_carrier(&self) -> bool {
        self.ending.is_some()
    }

    /// The next look for an unknown attempt, after `self.looks` of them.
    #[must_use]
    pub fn next_look(&self, now: Timestamp) -> Timestamp {
        let began = self.legs.last().map_or(self.intent_at, |leg| leg.intent_at);
        UNKNOWN_LOOKS
            .iter()
            .map(|after| began + *after)
            .find(|at| *at > now)
            .unwrap_or(now + UNKNOWN_LOOK_GAP)
    }

    pub(super) fn note(&mut self, at: Timestamp, event: &str, note: Option<String>) {
        if self.timeline.len() < MAX_TIMELINE {
            self.timeline.push(Moment {
                at,
                event: event.to_owned(),
                note,
            });
        }
    }

    pub(super) fn command(&mut self, at: Timestamp, todo: Todo) {
        if !self.todo.contains(&todo) {
            self.todo.push(todo);
            self.todo_at.get_or_insert(at);
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn zero(n: &u32) -> bool {
    *n == 0
}

fn whole_ms(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
