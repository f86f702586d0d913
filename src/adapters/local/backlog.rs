//! What waits, what is out with consumers, and what was put aside. Plain data under one lock.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use dialfleet_engine::port::queue::{Message, PublishError, Topic};

use super::index;
use crate::sqlite::{Entry, Journaled};

/// Messages a topic may have, waiting or out; more are refused.
pub const MAX_MESSAGES: usize = 100_000;
/// Bytes of bodies a topic may have, waiting or out; more are refused.
pub const MAX_BYTES: usize = 256 << 20;
/// Parked messages kept when there is no store to keep them: the newest.
const MAX_PARKED: usize = 1_000;

/// A message inside the queue.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) kind: Cow<'static, str>,
    pub(super) body: Bytes,
    pub(super) headers: BTreeMap<String, String>,
    /// Its place in the journal, if it has one.
    pub(super) journaled: Option<i64>,
    pub(super) redelivered: bool,
    /// Its place in the topic: given once, kept when it comes back.
    seq: u64,
}

impl Item {
    pub(super) fn published(message: Message) -> Self {
        Self {
            id: message.id,
            kind: Cow::Borrowed(message.kind),
            body: message.body,
            headers: message.headers,
            journaled: None,
            redelivered: false,
            seq: 0,
        }
    }

    /// One that an earlier process left: it may have been delivered then.
    pub(super) fn journaled(left: Journaled) -> Self {
        Self {
            id: left.entry.id,
            kind: Cow::Owned(left.entry.kind),
            body: left.entry.body,
            headers: left.entry.headers,
            journaled: Some(left.seq),
            redelivered: true,
            seq: 0,
        }
    }

    pub(super) fn entry(&self, topic: Topic) -> Entry {
        Entry {
            topic: topic.name().to_owned(),
            id: self.id.clone(),
            kind: self.kind.clone().into_owned(),
            body: self.body.clone(),
            headers: self.headers.clone(),
        }
    }
}

/// Everything under the lock.
#[derive(Debug, Default)]
pub(super) struct State {
    closed: bool,
    next_seq: u64,
    next_consumer: u64,
    topics: [Backlog; Topic::ALL.len()],
    /// Unsettled messages by consumer, then by place.
    consumers: BTreeMap<u64, Unsettled>,
    parked: VecDeque<(Entry, String)>,
}

#[derive(Debug, Default)]
struct Backlog {
    /// In order of `seq`, so that one that comes back finds its old place.
    waiting: VecDeque<Item>,
    /// Waiting and out.
    messages: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Unsettled {
    topic: Topic,
    prefetch: usize,
    items: BTreeMap<u64, Item>,
}

/// What a consumer finds.
#[derive(Debug)]
pub(super) enum Found {
    /// Messages, each with its tag.
    Some(Vec<(u64, Item)>),
    /// Nothing, or the prefetch is used up.
    Nothing,
    /// The queue was closed.
    Closed,
}

/// How much each topic can still take, while a batch is being looked at.
#[derive(Debug)]
pub(super) struct Room {
    closed: bool,
    messages: [usize; Topic::ALL.len()],
    bytes: [usize; Topic::ALL.len()],
}

impl Room {
    pub(super) fn take(&mut self, topic: Topic, item: &Item) -> Result<(), PublishError> {
        if self.closed {
            return Err(PublishError::Refused("the queue is closed".to_owned()));
        }
        let (messages, bytes) = (
            &mut self.messages[index(topic)],
            &mut self.bytes[index(topic)],
        );
        let (Some(fewer), Some(less)) =
            (messages.checked_sub(1), bytes.checked_sub(item.body.len()))
        else {
            return Err(PublishError::Refused(format!(
                "the queue {} is full",
                topic.name()
            )));
        };
        (*messages, *bytes) = (fewer, less);
        Ok(())
    }
}

impl State {
    pub(super) fn room(&self) -> Room {
        Room {
            closed: self.closed,
            messages: self
                .topics
                .each_ref()
                .map(|t| MAX_MESSAGES.saturating_sub(t.messages)),
            bytes: self
                .topics
                .each_ref()
                .map(|t| MAX_BYTES.saturating_sub(t.bytes)),
        }
    }

    /// Adds at the end.
    pub(super) fn push(&mut self, topic: Topic, mut item: Item) {
        item.seq = self.next_seq;
        self.next_seq += 1;
        let backlog = &mut self.topics[index(topic)];
        backlog.messages += 1;
        backlog.bytes += item.body.len();
        backlog.waiting.push_back(item);
    }

    pub(super) fn waiting(&self, topic: Topic) -> u64 {
        u64::try_from(self.topics[index(topic)].waiting.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Adds a consumer; returns its number.
    pub(super) fn join(&mut self, topic: Topic, prefetch: usize) -> u64 {
        let consumer = self.next_consumer;
        self.next_consumer += 1;
        self.consumers.insert(
            consumer,
            Unsettled {
                topic,
                prefetch,
                items: BTreeMap::new(),
            },
        );
        consumer
    }

    /// Removes a consumer; what it had not settled goes back to where it was.
    pub(super) fn leave(&mut self, consumer: u64) {
        if let Some(left) = self.consumers.remove(&consumer) {
            for item in left.items.into_values() {
                self.put_back(left.topic, item);
            }
        }
    }

    /// Hands out what waits, as far as the prefetch goes.
    pub(super) fn take(&mut self, consumer: u64, max: usize) -> Found {
        if self.closed {
            return Found::Closed;
        }
        let Some(unsettled) = self.consumers.get_mut(&consumer) else {
            return Found::Closed;
        };
        let waiting = &mut self.topics[index(unsettled.topic)].waiting;
        let free = unsettled.prefetch.saturating_sub(unsettled.items.len());
        let count = max.min(free).min(waiting.len());
        if count == 0 {
            return Found::Nothing;
        }
        let taken: Vec<_> = waiting
            .drain(..count)
            .map(|item| (item.seq, item))
            .collect();
        unsettled.items.extend(taken.iter().cloned());
        Found::Some(taken)
    }

    /// A copy of an unsettled message; `None` when its consumer is gone: somebody else has it.
    pub(super) fn peek(&self, consumer: u64, tag: u64) -> Option<Item> {
        self.consumers.get(&consumer)?.items.get(&tag).cloned()
    }

    /// Forgets an unsettled message.
    pub(super) fn settle(&mut self, consumer: u64, tag: u64) -> Option<Item> {
        let unsettled = self.consumers.get_mut(&consumer)?;
        let item = unsettled.items.remove(&tag)?;
        let backlog = &mut self.topics[index(unsettled.topic)];
        backlog.messages = backlog.messages.saturating_sub(1);
        backlog.bytes = backlog.bytes.saturating_sub(item.body.len());
        Some(item)
    }

    /// Gives one unsettled message back.
    pub(super) fn give_back(&mut self, consumer: u64, tag: u64) {
        if let Some(unsettled) = self.consumers.get_mut(&consumer)
            && let Some(item) = unsettled.items.remove(&tag)
        {
            let topic = unsettled.topic;
            self.put_back(topic, item);
        }
    }

    fn put_back(&mut self, topic: Topic, mut item: Item) {
        item.redelivered = true;
        let waiting = &mut self.topics[index(topic)].waiting;
        let place = waiting.partition_point(|other| other.seq < item.seq);
        waiting.insert(place, item);
    }

    /// Keeps a parked message in memory, for want of a store.
    pub(super) fn park(&mut self, entry: Entry, reason: String) {
        if self.parked.len() == MAX_PARKED {
            self.parked.pop_front();
        }
        self.parked.push_back((entry, reason));
    }

    pub(super) fn parked(&self) -> u64 {
        u64::try_from(self.parked.len()).unwrap_or(u64::MAX)
    }
}
