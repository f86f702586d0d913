//! A telephone carrier. Exactly one method can make a telephone ring: [`Carrier::dial`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_domain::amd::Amd;
use dialfleet_domain::call::{Detected, Ending, Party, Refusal};
use dialfleet_domain::flow::{Action, Input, Then};
use dialfleet_domain::id::{AttemptId, CarrierCallId, CarrierId};
use dialfleet_domain::money::Money;
use dialfleet_domain::phone::E164;
use dialfleet_domain::recording::{Act, Channels, MediaUrl, Recording};
use dialfleet_domain::routing::Feature;
use dialfleet_domain::time::Timestamp;
use thiserror::Error;

use super::media::{Download, MediaError};

/// What a carrier can and cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// It can be asked what became of a call, and for lists. Without it an unclear attempt is never
    /// dialed again by itself.
    pub pollable: bool,
    /// It says when the telephone begins to ring.
    pub ringing_event: bool,
    /// The longest a call may live there, from the request to its end. `None`: it can be told how
    /// long to ring and to talk, and ends calls at these times by itself.
    pub longest_call: Option<Duration>,
    /// It signs what it reports. Without a signature a callback must also name an attempt that is
    /// still open, and its call.
    pub signed_callbacks: bool,
    /// How it is told what to do after the answer.
    pub commands: CommandStyle,
    /// The longest it may hold an accepted call back before placing it. Proof of absence must be
    /// older than this.
    pub queue_bound: Duration,
    /// What a call may need and it cannot do: such calls are not routed to it.
    pub cannot: &'static [Feature],
}

/// How a carrier is told what happens on an answered call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandStyle {
    /// A flow that needs to hear nothing goes with [`Carrier::dial`]. Of any other the carrier asks
    /// for one page after the other ([`Carrier::read_question`], [`Carrier::write_page`]).
    Document,
    /// One action at a time, by [`Carrier::perform`]: the first when the call is answered, each other
    /// when [`CallStatus::StepEnded`] says that the one before it is over.
    Commands,
}

/// A carrier as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct CarrierProfile {
    /// Its id in carriers.toml.
    pub id: CarrierId,
    /// `twilio`, …
    pub kind: &'static str,
    /// Calls per second at most, over the whole fleet.
    pub cps: f64,
    /// Concurrent calls at most, over the whole fleet.
    pub channels: Option<u32>,
    /// Caller ids we own there.
    pub caller_ids: Vec<E164>,
    /// Preference when a campaign names no order.
    pub weight: u32,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// A call to place.
#[derive(Debug, Clone)]
pub struct DialRequest {
    /// For which attempt.
    pub attempt: AttemptId,
    /// For which leg of it.
    pub leg: u8,
    /// Whom to ring.
    pub to: E164,
    /// The caller id.
    pub from: E164,
    /// How long it may ring.
    pub ring_timeout_s: u32,
    /// How long it may last.
    pub max_duration_s: u32,
    /// What happens after the answer, if that is known to its end; otherwise it is asked for.
    pub opening: Option<Vec<Action>>,
    /// Where to ask for it: a full URL.
    pub flow_url: String,
    /// Answering-machine detection.
    pub amd: Amd,
    /// A message is left on machines: the end of the greeting must be reported.
    pub leaves_message: bool,
    /// Record it from the answer on.
    pub record: Option<Channels>,
    /// Where the carrier reports: a full URL that proves the attempt and the leg.
    pub callback_url: String,
}

/// What an answered call does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What to do, in order.
    pub actions: Vec<Action>,
    /// What comes after it: the end, or the carrier asks at `next_url`.
    pub then: Then,
    /// Where to ask for what follows.
    pub next_url: String,
}

/// A page as a carrier reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its media type.
    pub content_type: &'static str,
    /// Its text.
    pub body: String,
}

/// A carrier's question what to do next on a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// On which call.
    pub call_id: CarrierCallId,
    /// Who was rung, if it says so.
    pub to: Option<E164>,
    /// What was heard on it.
    pub input: Input,
    /// What else the question says of the call.
    pub statuses: Vec<CallStatus>,
    /// The call is over: there is nothing more to do, and nothing was heard.
    pub over: bool,
}

/// Something to be done on an answered call now.
#[derive(Debug, Clone)]
pub struct StepRequest {
    /// Of which attempt.
    pub attempt: AttemptId,
    /// Of which leg of it.
    pub leg: u8,
    /// On which call.
    pub call_id: CarrierCallId,
    /// Who was rung.
    pub to: E164,
    /// The caller id.
    pub from: E164,
    /// The number of the input that it follows, from 0: comes back in [`CallStatus::StepEnded`].
    pub step: u32,
    /// What to do. For [`CommandStyle::Commands`] at most one action that takes time, the last.
    pub page: Page,
    /// Whatever is being heard now ends first.
    pub interrupts: bool,
    /// Where a carrier that asks for pages gets this one.
    pub again_url: String,
    /// Where it reports about another leg that it makes: as of [`DialRequest::callback_url`].
    pub callback_url: String,
}

/// A command about the recording of an answered call.
#[derive(Debug, Clone)]
pub struct RecordRequest {
    /// Of which attempt.
    pub attempt: AttemptId,
    /// Of which leg of it.
    pub leg: u8,
    /// Which call.
    pub call_id: CarrierCallId,
    /// Who was rung.
    pub to: E164,
    /// The caller id.
    pub from: E164,
    /// What about it.
    pub act: Act,
    /// The tracks, where it begins.
    pub channels: Channels,
    /// Where the carrier reports it: the leg's address.
    pub callback_url: String,
}

/// A recording that the carrier announced.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct RecordingNews {
    /// The carrier's name for it.
    pub id: String,
    /// Where it is, if that is needed to fetch it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<MediaUrl>,
    /// How many tracks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// Its length, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// The answer to [`Carrier::dial`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialAnswer {
    /// The carrier has the call.
    Accepted {
        /// Its name for it.
        call_id: CarrierCallId,
        /// How long it means to hold it back.
        queued_for: Duration,
    },
    /// Definitely not placed.
    Refused(Refusal),
    /// Sent, and nobody knows: never send it again.
    Unclear(String),
}

/// Why a question was not answered.
#[derive(Debug, Error)]
pub enum CarrierError {
    /// No such call. Says nothing about whether it ever existed.
    #[error("the carrier does not know the call")]
    NotFound,
    /// It has ended already (when asked to hang up).
    #[error("the call has ended already")]
    AlreadyEnded,
    /// Credentials were refused.
    #[error("the carrier refused our credentials: {0}")]
    Unauthorized(String),
    /// Network, time-out, 5xx, rate limit, a partial or unreadable answer.
    #[error("the carrier did not answer properly: {0}")]
    Unavailable(String),
    /// This carrier cannot be asked that.
    #[error("the carrier has no such interface")]
    Unsupported,
}

/// How a call stands, by a callback or by the carrier's own record.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum CallStatus {
    /// Queued or initiated.
    Initiated,
    /// Ringing.
    Ringing,
    /// Answered.
    Answered,
    /// Detection spoke; says nothing about the state.
    Party {
        /// Who answered.
        party: Party,
        /// As closely as the carrier says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detected: Option<Detected>,
    },
    /// The carrier says what the call cost, everything included. Says nothing about the state.
    Cost {
        /// How much.
        money: Money,
    },
    /// What was commanded is over; the call goes on (carriers that are told one thing at a time).
    StepEnded {
        /// Which: [`StepRequest::step`].
        step: u32,
        /// How it ended.
        #[serde(default, skip_serializing_if = "is_done")]
        input: Input,
    },
    /// The person does not want to be called again. Not a carrier's word: ours, kept by the broker
    /// while the store was out.
    OptedOut,
    /// Over.
    Ended {
        /// How.
        ending: Ending,
        /// Connected seconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration_s: Option<u32>,
        /// SIP final response.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sip: Option<u16>,
    },
}

impl CallStatus {
    /// Somebody or something was detected.
    #[must_use]
    pub const fn detected(detected: Detected) -> Self {
        Self::Party {
            party: detected.party(),
            detected: Some(detected),
        }
    }

    /// What was commanded is over, as it should be.
    #[must_use]
    pub const fn step_ended(step: u32) -> Self {
        Self::StepEnded {
            step,
            input: Input::Done,
        }
    }
}

fn is_done(input: &Input) -> bool {
    *input == Input::Done
}

/// A call in the carrier's own records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The carrier's name for it.
    pub call_id: CarrierCallId,
    /// Whom it rings, as the carrier wrote it.
    pub to: String,
    /// The caller id, as the carrier wrote it.
    pub from: String,
    /// When the carrier made the record, if it says so.
    pub created_at: Option<Timestamp>,
    /// How it stands.
    pub status: CallStatus,
}

/// An HTTP request as it came, for [`Carrier::read_callback`].
#[derive(Debug, Clone)]
pub struct RawCallback {
    /// The full public URL that the carrier called: our configured public base, then path and query
    /// as received.
    pub url: String,
    /// Header names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The other end of the connection, if known: the carrier, or the proxy before us.
    pub peer: Option<IpAddr>,
    /// The raw body.
    pub body: Bytes,
}

/// What a genuine callback said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackNews {
    /// Unique per event of this carrier, the same on a repeated delivery.
    pub event_key: String,
    /// A recording that is ready, or will be.
    pub recording: Option<RecordingNews>,
    /// Which call.
    pub call_id: CarrierCallId,
    /// What happened, in order.
    pub statuses: Vec<CallStatus>,
}

/// Why a callback was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallbackRefused {
    /// The signature is missing or wrong: 403.
    #[error("the signature is missing or wrong")]
    Forged,
    /// Genuine, but not understood: 400.
    #[error("the callback cannot be read: {0}")]
    Unreadable(String),
}

/// A carrier account.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// What was configured.
    fn profile(&self) -> &CarrierProfile;
    /// Gets what the next request needs and may have to wait for, such as a session token; rings nobody.
    /// What goes wrong, [`Carrier::dial`] says.
    async fn prepare(&self) {}
    /// Places a call: exactly one request leaves, whatever happens; never retried, never redirected.
    async fn dial(&self, request: &DialRequest) -> DialAnswer;
    /// Ends a call. `Ok` when the carrier confirmed that it is over or ending.
    async fn hang_up(&self, call: &CarrierCallId) -> Result<(), CarrierError>;
    /// Has an answered call do something now; repeated, it is done once. Carriers with
    /// [`CommandStyle::Document`] are asked only for what the call did not ask for.
    async fn perform(&self, _step: &StepRequest) -> Result<(), CarrierError> {
        Err(CarrierError::Unsupported)
    }
    /// Carries out a command about a recording; repeated, it is done once. What makes no sense any
    /// more (nothing is being recorded) is done.
    async fn record(&self, _request: &RecordRequest) -> Result<(), CarrierError> {
        Err(CarrierError::Unsupported)
    }
    /// Begins to fetch a recording. Our credentials go to the carrier's own address only.
    async fn fetch(&self, _recording: &Recording) -> Result<Download, MediaError> {
        Err(MediaError::Unsupported)
    }
    /// Whether the carrier says what a call cost when it is asked, some time after its end
    /// ([`Carrier::cost`]).
    fn says_cost(&self) -> bool {
        false
    }
    /// What an ended call cost, without what is billed apart, such as detection; `None` if the carrier
    /// does not know yet.
    async fn cost(&self, _call: &CarrierCallId) -> Result<Option<Money>, CarrierError> {
        Err(CarrierError::Unsupported)
    }
    /// What the carrier's own record says about a call.
    async fn look(&self, call: &CarrierCallId) -> Result<CallRecord, CarrierError>;
    /// Every record of calls `from` → `to`, newest first, all pages. A partial answer is an error.
    async fn find(&self, to: &E164, from: &E164) -> Result<Vec<CallRecord>, CarrierError>;
    /// Every call that is live now, all pages. A partial answer is an error.
    async fn live(&self) -> Result<Vec<CallRecord>, CarrierError>;
    /// Verifies and reads a callback.
    ///
    /// # Errors
    /// It is forged or cannot be read.
    fn read_callback(&self, raw: &RawCallback) -> Result<CallbackNews, CallbackRefused>;
    /// Verifies and reads a question at a flow's address. Only [`CommandStyle::Document`].
    ///
    /// # Errors
    /// It is forged or cannot be read.
    fn read_question(&self, _raw: &RawCallback) -> Result<Question, CallbackRefused> {
        Err(CallbackRefused::Unreadable(
            "this carrier asks no questions".to_owned(),
        ))
    }
    /// Writes the answer to a question. `None`: this carrier reads no documents.
    fn write_page(&self, _page: &Page) -> Option<Document> {
        None
    }
}
