//! What travels on the queues. Every type is versioned by its name; a changed payload gets a new
//! version, and the old one is decoded until none can be queued any more.

use std::collections::BTreeMap;

use bytes::Bytes;
use dialfleet_domain::id::{AttemptId, CampaignId, CarrierCallId, CarrierId, ImportId, TenantId};
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::port::carrier::CallStatus;
use crate::port::queue::{Message, Topic};

/// Rows one batch may have.
pub const MAX_BATCH: usize = 500;

/// A payload with its schema name and its queue.
pub trait Payload: Serialize + DeserializeOwned {
    /// The schema's name, such as `fill_slot.v1`.
    const KIND: &'static str;
    /// Its queue.
    const TOPIC: Topic;

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
