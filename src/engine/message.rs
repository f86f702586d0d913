//! What travels on the queues. Every type is versioned by its name; a changed payload gets a new
//! version, and the old one is decoded until none can be queued any more.

use std::collections::BTreeMap;

use bytes::Bytes;
use dialfleet_domain::id::{
    AttemptId, CallbackId, CampaignId, CarrierCallId, CarrierId, ImportId, TenantId,
};
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::port::carrier::{CallStatus, RecordingNews};
use crate::port::queue::{Message, Topic};

/// Rows one batch may have.
pub const MAX_BATCH: usize = 500;
/// Bytes a message may have.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// Bytes of a callback's body that travel with its event, as evidence.
pub const MAX_RAW: usize = 16 * 1024;
/// Headers that travel with it, and characters each value has.
pub const MAX_HEADERS: (usize, usize) = (16, 500);
/// Statuses one event has.
const MAX_STATUSES: usize = 8;

/// A payload with its schema name and its queue.
pub trait Payload: Serialize + DeserializeOwned {
    /// The schema's name, such as `fill_slot.v1`.
    const KIND: &'static str;
    /// Its queue.
    const TOPIC: Topic;

    /// Checks limits that the types cannot hold.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// As a message.
    fn message(&self, id: String) -> Message {
        Message {
            topic: Self::TOPIC,
            id,
            kind: Self::KIND,
            body: encode(self),
            headers: BTreeMap::new(),
        }
    }
}

/// Reads a payload. `kind` is the schema that the publisher named, if any.
///
/// # Errors
/// A sentence about what is wrong, without the values: they may be people's numbers.
pub fn decode<T: Payload>(kind: Option<&str>, body: &[u8]) -> Result<T, String> {
    if let Some(kind) = kind.filter(|kind| !kind.is_empty() && *kind != T::KIND) {
        let kind: String = kind.chars().take(50).collect();
        return Err(format!("expected {}, got {}", T::KIND, kind.escape_debug()));
    }
    if body.len() > MAX_MESSAGE {
        let limit = MAX_MESSAGE / 1024 / 1024;
        return Err(format!("the message has more than {limit} MiB"));
    }
    let value: T = serde_json::from_slice(body)
        .map_err(|error| format!("not a {}: {}", T::KIND, without_values(&error)))?;
    value.check()?;
    Ok(value)
}

/// serde repeats what it did not expect. Names of fields are kept, numbers and long texts are not.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let (what, place) = text.split_at(text.rfind(" at line ").unwrap_or(text.len()));
    let number = what.chars().filter(|c| c.is_numeric()).count() > 4;
    let mut said: String = what
        .chars()
        .take(200)
        .map(|c| match c {
            c if c.is_control() => ' ',
            c if number && c.is_numeric() => '#',
            c => c,
        })
        .collect();
    said.push_str(place);
    said
}

/// As JSON. Our own types always have a JSON form: no map with keys that are not text.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .unwrap_or_default()
}

/// `lead_batch.v1`: up to 500 leads for a campaign. Anybody may publish it to the exchange `leads`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeadBatch {
    /// Into which campaign.
    pub campaign: CampaignId,
    /// The delivery this batch belongs to; absent when a customer publishes it directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<BatchOf>,
    /// The rows, 1 to 500.
    #[schemars(length(min = 1, max = 500))]
    pub leads: Vec<LeadRow>,
}

/// Which batch of which delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchOf {
    /// The delivery.
    pub id: ImportId,
    /// The batch's number, from 0.
    pub batch: u32,
}

/// A lead as its owner wrote it. Nothing in it has been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeadRow {
    /// The phone number, E.164 or as written in the campaign's region.
    pub phone: String,
    /// The owner's reference: the same one is the same lead. Defaults to the phone number.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// IANA time zone of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// 0 to 99, higher first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Written>,
    /// Any other columns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, String>,
    /// The line in the owner's file; absent when a customer publishes directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// A number, or the text of one as a file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Written {
    /// A JSON number.
    Number(i64),
    /// Text.
    Text(String),
}

impl LeadRow {
    /// About how many bytes it takes in a message.
    pub(crate) fn bytes(&self) -> usize {
        let var = |(name, value): (&String, &String)| name.len() + value.len();
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.phone.len()
            + text(&self.reference)
            + text(&self.timezone)
            + self.vars.iter().map(var).sum::<usize>()
    }
}

impl Payload for LeadBatch {
    const KIND: &'static str = "lead_batch.v1";
    const TOPIC: Topic = Topic::LeadsIngest;
}

/// `fill_slot.v1`: this slot is free, fill it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FillSlot {
    /// Of which campaign.
    pub campaign: CampaignId,
    /// Which slot.
    pub slot: u32,
    /// The campaign's generation as the sender knew it; an old one is no reason to drop the message.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// When the event that freed it was received: refill latency counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed_at: Option<Timestamp>,
}

impl Payload for FillSlot {
    const KIND: &'static str = "fill_slot.v1";
    const TOPIC: Topic = Topic::Dial;
}

/// `call_event.v1`: a callback whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallEventMessage {
    /// From which carrier account.
    pub carrier: CarrierId,
    /// About which attempt, by the token in the URL.
    pub attempt: AttemptId,
    /// About which leg of it.
    pub leg: u8,
    /// The carrier's name for the call.
    pub call_id: CarrierCallId,
    /// Unique per event, the same on a repeated delivery.
    pub event_key: String,
    /// What happened.
    pub statuses: Vec<CallStatus>,
    /// When it came in.
    pub received_at: Timestamp,
    /// The raw body, as evidence.
    pub raw: String,
    /// The headers worth keeping.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Payload for CallEventMessage {
    const KIND: &'static str = "call_event.v1";
    const TOPIC: Topic = Topic::CallEvents;

    /// What no store could keep would be held, and tried again, for ever.
    fn check(&self) -> Result<(), String> {
        let (many, long) = MAX_HEADERS;
        if CallbackId::parse(format!("{}:{}", self.carrier, self.event_key)).is_err() {
            Err("event_key is empty, too long, or has control characters".to_owned())
        } else if self.statuses.len() > MAX_STATUSES {
            Err(format!("an event has at most {MAX_STATUSES} statuses"))
        } else if self.raw.len() > MAX_RAW {
            Err(format!("raw has more than {MAX_RAW} bytes"))
        } else if self.headers.len() > many
            || self.headers.iter().any(|(name, value)| {
                name.len() > long || name.contains('\0') || value.chars().count() > long
            })
        {
            Err(format!("there are more than {many} headers, or a bad one"))
        } else {
            Ok(())
        }
    }
}

/// `recording_event.v1`: a carrier announced a recording, in a callback whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordingEvent {
    /// From which carrier account.
    pub carrier: CarrierId,
    /// Of which attempt, by the token in the URL.
    pub attempt: AttemptId,
    /// The carrier's name for the call.
    pub call_id: CarrierCallId,
    /// The recording.
    pub recording: RecordingNews,
    /// When it came in.
    pub received_at: Timestamp,
}

impl Payload for RecordingEvent {
    const KIND: &'static str = "recording_event.v1";
    const TOPIC: Topic = Topic::Media;

    fn check(&self) -> Result<(), String> {
        let id = &self.recording.id;
        if (1..=200).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(())
        } else {
            Err("recording.id is empty, too long, or no name".to_owned())
        }
    }
}

/// `control.v1`, fan-out: something changed that processes keep in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "changed", rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// A campaign was changed.
    Campaign {
        /// Which.
        campaign: CampaignId,
    },
    /// Somebody must not be called any more.
    DoNotCall {
        /// On whose list.
        tenant: TenantId,
        /// Whom.
        phone: E164,
    },
}

impl Control {
    /// The schema's name.
    pub const KIND: &'static str = "control.v1";

    /// As JSON.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self)
    }
}
