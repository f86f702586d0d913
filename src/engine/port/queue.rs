//! Work and wake-ups between processes. Every message may be lost, repeated or late without harm;
//! a publish that returned `Ok` is confirmed, though, and will be delivered at least once.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

/// The work queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Batches of leads (`lead_batch.v1`). Durable everywhere: the only copy until they are stored.
    LeadsIngest,
    /// Free slots to fill (`fill_slot.v1`).
    Dial,
    /// Verified callbacks (`call_event.v1`). Durable everywhere: the carrier was told "received".
    CallEvents,
    /// Announced recordings (`recording_event.v1`). Durable everywhere, for the same reason.
    Media,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 4] = [Self::LeadsIngest, Self::Dial, Self::CallEvents, Self::Media];

    /// The queue's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LeadsIngest => "leads.ingest",
            Self::Dial => "dial",
            Self::CallEvents => "call.events",
            Self::Media => "media",
        }
    }
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub topic: Topic,
    /// Identifies the message for people who look at the broker; repeated on redelivery.
    pub id: String,
    /// The schema, such as `fill_slot.v1`.
    pub kind: &'static str,
    /// JSON.
    pub body: Bytes,
    /// Trace context and the like.
    pub headers: BTreeMap<String, String>,
}

/// Why a publish failed.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The broker cannot be reached or refused; the message was not taken.
    #[error("the broker did not take the message: {0}")]
    Refused(String),
    /// There is no room for it, and the message was not taken: a sentence for whoever sent it.
    #[error("{0}")]
    NoRoom(String),
    /// No confirmation came in time; the message may have been taken.
    #[error("the broker did not confirm in time")]
    Unconfirmed,
}

/// A message that must be settled exactly once; settling takes it by value.
pub struct Delivery {
    /// Its id, if the publisher gave one.
    pub id: Option<String>,
    /// The schema, if the publisher said so.
    pub kind: Option<String>,
    /// JSON, hopefully.
    pub body: Bytes,
    /// Trace context and the like.
    pub headers: BTreeMap<String, String>,
    /// It was delivered before.
    pub redelivered: bool,
    /// The adapter's handle.
    pub handle: Box<dyn Settle>,
}

impl Delivery {
    /// The work is durable: forget the message.
    pub async fn ack(self) {
        self.handle.ack().await;
    }

    /// The message can never be processed: keep it aside with the reason, then forget it.
    pub async fn park(self, reason: &str) {
        self.handle.park(reason).await;
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// How an adapter settles a delivery. A settlement that fails is followed by a redelivery, which
/// is harmless, so nothing is returned.
#[async_trait]
pub trait Settle: Send + Sync {
    /// Forget it.
    async fn ack(self: Box<Self>);
    /// Publish it to the parked queue with the reason, then forget it.
    async fn park(self: Box<Self>, reason: &str);
}

/// A subscription. It survives reconnections; deliveries from before one are dead and come again.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for at least one delivery, then returns what is ready, at most `max`. Cancel-safe: a
    /// dropped wait loses nothing. `None` when the queue was closed for good.
    async fn next(&mut self, max: usize) -> Option<Vec<Delivery>>;
}

/// A subscription to `control`: every process hears every message sent while it listens.
#[async_trait]
pub trait ControlListener: Send {
    /// The next message; `None` when the queue was closed for good. Cancel-safe. After a gap
    /// (reconnection, overflow) an empty message is returned: forget every cache.
    async fn next(&mut self) -> Option<Bytes>;
}

/// The queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Publishes, with confirmation; the answers have the order of the input.
    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), PublishError>>;
    /// Subscribes with at most `prefetch` unsettled deliveries.
    async fn consume(&self, topic: Topic, prefetch: u16)
    -> Result<Box<dyn Consumer>, PublishError>;
    /// Sends to every listener.
    async fn broadcast(&self, body: Bytes) -> Result<(), PublishError>;
    /// Listens.
    async fn listen(&self) -> Result<Box<dyn ControlListener>, PublishError>;
    /// Messages waiting, per topic, and parked ones last.
    async fn depths(&self) -> Result<Vec<(&'static str, u64)>, PublishError>;
    /// Whether the broker can be reached now.
    async fn ping(&self) -> Result<(), PublishError>;
}
