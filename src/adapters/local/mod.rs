//! The queue of a process that works alone: first in, first out, in memory, with the same promises
//! as a broker's. What was taken and not settled comes back; a consumer has at most its prefetch;
//! several consumers of a topic share it; a full topic refuses instead of growing.
//!
//! Topics that are durable everywhere (`leads.ingest`, `call.events`) are written to the store's
//! journal before `publish` returns, and come back from it at the next start. `dial` is not: the
//! planner finds every free slot again.
//!
//! No task is spawned and no clock is read: the same calls in the same order have the same result.

mod backlog;
mod consumer;
mod spool;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_engine::port::queue::{
    Consumer, ControlListener, Message, PublishError, Queue, Topic,
};
use dialfleet_engine::port::store::{Answer, StoreError};
use tokio::sync::{Notify, broadcast};

use crate::sqlite::{Entry, SqliteStore};
use backlog::{Item, State};
pub use backlog::{MAX_BYTES, MAX_MESSAGES};
use consumer::{Listener, Subscription};
pub use spool::FileSpool;

/// Control messages a slow listener may be behind before it is told to forget its caches.
pub const CONTROL_DEPTH: usize = 1_024;

/// The in-process queue. Dropping it closes it: consumers and listeners are told `None`.
pub struct LocalQueue {
    shared: Arc<Shared>,
    control: broadcast::Sender<Bytes>,
}

/// What the queue, its consumers and their deliveries have in common.
struct Shared {
    state: Mutex<State>,
    /// One per topic: something came, was settled, or the queue was closed.
    news: [Notify; Topic::ALL.len()],
    journal: Option<SqliteStore>,
}

impl std::fmt::Debug for LocalQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalQueue")
            .field("journal", &self.shared.journal)
            .finish_non_exhaustive()
    }
}

impl LocalQueue {
    /// A queue with what the journal still holds, marked as redelivered. Without a journal nothing
    /// outlives the process.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn new(journal: Option<SqliteStore>) -> Answer<Self> {
        let mut state = State::default();
        if let Some(store) = &journal {
            for topic in Topic::ALL.into_iter().filter(|topic| is_durable(*topic)) {
                for left in store.journal_load(topic.name()).await? {
                    state.push(topic, Item::journaled(left));
                }
            }
        }
        let shared = Shared {
            state: Mutex::new(state),
            news: std::array::from_fn(|_| Notify::new()),
            journal,
        };
        Ok(Self {
            shared: Arc::new(shared),
            control: broadcast::channel(CONTROL_DEPTH).0,
        })
    }
}

impl Drop for LocalQueue {
    fn drop(&mut self) {
        self.shared.state().close();
        for news in &self.shared.news {
            news.notify_waiters();
        }
    }
}

/// Whether a topic's messages must outlive the process.
const fn is_durable(topic: Topic) -> bool {
    match topic {
        Topic::LeadsIngest | Topic::CallEvents => true,
        Topic::Dial => false,
    }
}

const fn index(topic: Topic) -> usize {
    match topic {
        Topic::LeadsIngest => 0,
        Topic::Dial => 1,
        Topic::CallEvents => 2,
    }
}

impl Shared {
    /// The lock is held for a few moves of pointers, never across a wait; what a panicking holder
    /// left behind is whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, topic: Topic) {
        self.news[index(topic)].notify_waiters();
    }

    /// Writes the durable ones of `admitted` to the journal; fills in their places.
    async fn journal(&self, admitted: &mut [(usize, Topic, Item)]) -> Answer<()> {
        let Some(store) = &self.journal else {
            return Ok(());
        };
        let durable = || admitted.iter().filter(|(_, topic, _)| is_durable(*topic));
        let entries: Vec<Entry> = durable()
            .map(|(_, topic, item)| item.entry(*topic))
            .collect();
        if entries.is_empty() {
            return Ok(());
        }
        let places = store.journal_append(entries).await?;
        let items = admitted
            .iter_mut()
            .filter(|(_, topic, _)| is_durable(*topic));
        for ((_, _, item), place) in items.zip(places) {
            item.journaled = Some(place);
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for LocalQueue {
    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), PublishError>> {
        let mut answers: Vec<Result<(), PublishError>> = Vec::with_capacity(messages.len());
        let mut admitted = Vec::with_capacity(messages.len());
        {
            let state = self.shared.state();
            let mut room = state.room();
            for (at, message) in messages.into_iter().enumerate() {
                let (topic, item) = (message.topic, Item::published(message));
                answers.push(room.take(topic, &item));
                if answers.last().is_some_and(Result::is_ok) {
                    admitted.push((at, topic, item));
                }
            }
        }
        if let Err(error) = self.shared.journal(&mut admitted).await {
            for (at, topic, _) in &admitted {
                if is_durable(*topic) {
                    answers[*at] = Err(not_taken(&error));
                }
            }
            admitted.retain(|(_, topic, _)| !is_durable(*topic));
        }
        let mut touched = [false; Topic::ALL.len()];
        {
            let mut state = self.shared.state();
            for (_, topic, item) in admitted {
                state.push(topic, item);
                touched[index(topic)] = true;
            }
        }
        for topic in Topic::ALL
            .into_iter()
            .filter(|topic| touched[index(*topic)])
        {
            self.shared.tell(topic);
        }
        answers
    }

    async fn consume(
        &self,
        topic: Topic,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, PublishError> {
        Ok(Box::new(Subscription::new(
            Arc::clone(&self.shared),
            topic,
            prefetch,
        )))
    }

    async fn broadcast(&self, body: Bytes) -> Result<(), PublishError> {
        // An error means that nobody listens, which is nobody's fault.
        let _ = self.control.send(body);
        Ok(())
    }

    async fn listen(&self) -> Result<Box<dyn ControlListener>, PublishError> {
        Ok(Box::new(Listener(self.control.subscribe())))
    }

    async fn depths(&self) -> Result<Vec<(&'static str, u64)>, PublishError> {
        let (mut depths, kept) = {
            let state = self.shared.state();
            (
                Topic::ALL
                    .map(|topic| (topic.name(), state.waiting(topic)))
                    .to_vec(),
                state.parked(),
            )
        };
        let parked = match &self.shared.journal {
            Some(store) => store
                .parked_count()
                .await
                .map_err(|error| not_taken(&error))?,
            None => kept,
        };
        depths.push(("parked", parked));
        Ok(depths)
    }

    async fn ping(&self) -> Result<(), PublishError> {
        Ok(())
    }
}

fn not_taken(error: &StoreError) -> PublishError {
    match error {
        StoreError::Unclear(_) => PublishError::Unconfirmed,
        StoreError::Unavailable(source) => PublishError::Refused(format!("{error}: {source}")),
        StoreError::NoRoom(why) => PublishError::NoRoom(why.clone()),
        StoreError::Corrupt { .. } | StoreError::Refused(_) | StoreError::BadCursor => {
            PublishError::Refused(error.to_string())
        }
    }
}
