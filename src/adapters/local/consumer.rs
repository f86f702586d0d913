//! Subscriptions and their deliveries.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_engine::port::queue::{Consumer, ControlListener, Delivery, Settle, Topic};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Shared;
use super::backlog::{Found, Item};

/// One consumer of a topic. Dropping it gives back what it did not settle.
pub(super) struct Subscription {
    shared: Arc<Shared>,
    topic: Topic,
    consumer: u64,
}

impl Subscription {
    pub(super) fn new(shared: Arc<Shared>, topic: Topic, prefetch: u16) -> Self {
        let consumer = shared.state().join(topic, usize::from(prefetch.max(1)));
        Self {
            shared,
            topic,
            consumer,
        }
    }

    fn delivery(&self, tag: u64, item: Item) -> Delivery {
        Delivery {
            id: Some(item.id),
            kind: Some(item.kind.into_owned()),
            body: item.body,
            headers: item.headers,
            redelivered: item.redelivered,
            handle: Box::new(Handle {
                shared: Arc::clone(&self.shared),
                topic: self.topic,
                consumer: self.consumer,
                tag,
                settled: false,
            }),
        }
    }
}

#[async_trait]
impl Consumer for Subscription {
    async fn next(&mut self, max: usize) -> Option<Vec<Delivery>> {
        let shared = Arc::clone(&self.shared);
        loop {
            // Hears everything from here on, so nothing that comes after the look is missed.
            let news = shared.news[super::index(self.topic)].notified();
            let found = shared.state().take(self.consumer, max.max(1));
            match found {
                Found::Some(taken) => {
                    return Some(
                        taken
                            .into_iter()
                            .map(|(tag, item)| self.delivery(tag, item))
                            .collect(),
                    );
                }
                Found::Nothing => news.await,
                Found::Closed => return None,
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.state().leave(self.consumer);
        self.shared.tell(self.topic);
    }
}

/// One unsettled delivery. Dropped without a settlement, its message goes back.
struct Handle {
    shared: Arc<Shared>,
    topic: Topic,
    consumer: u64,
    tag: u64,
    settled: bool,
}

#[async_trait]
impl Settle for Handle {
    async fn ack(mut self: Box<Self>) {
        self.settled = true;
        let Some(item) = self.shared.state().settle(self.consumer, self.tag) else {
            return;
        };
        self.shared.tell(self.topic);
        if let (Some(store), Some(seq)) = (&self.shared.journal, item.journaled)
            && let Err(error) = store.journal_delete(seq).await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                message.id = %item.id,
                "a settled message could not be removed from the journal and will come again at the next start"
            );
        }
    }

    async fn park(mut self: Box<Self>, reason: &str) {
        let Some(item) = self.shared.state().peek(self.consumer, self.tag) else {
            self.settled = true;
            return;
        };
        let entry = item.entry(self.topic);
        match &self.shared.journal {
            Some(store) => {
                if let Err(error) = store.park(entry, reason.to_owned(), item.journaled).await {
                    // Not forgotten, and not handed round in circles either: it stays with this
                    // consumer until that ends.
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        message.id = %item.id,
                        "a message could not be parked and is held"
                    );
                    self.settled = true;
                    return;
                }
            }
            None => self.shared.state().park(entry, reason.to_owned()),
        }
        self.settled = true;
        self.shared.state().settle(self.consumer, self.tag);
        self.shared.tell(self.topic);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.settled {
            self.shared.state().give_back(self.consumer, self.tag);
            self.shared.tell(self.topic);
        }
    }
}

/// A listener on `control`.
pub(super) struct Listener(pub(super) broadcast::Receiver<Bytes>);

#[async_trait]
impl ControlListener for Listener {
    async fn next(&mut self) -> Option<Bytes> {
        match self.0.recv().await {
            Ok(body) => Some(body),
            // It fell behind: what it missed is unknown.
            Err(RecvError::Lagged(_)) => Some(Bytes::new()),
            Err(RecvError::Closed) => None,
        }
    }
}
