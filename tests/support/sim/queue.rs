//! The queue as a process sees it: [`LocalQueue`] as the broker, behind a network that loses,
//! repeats, delays and reorders, and confirmations that do not come.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_adapters::local::LocalQueue;
use dialfleet_engine::port::Queue;
use dialfleet_engine::port::queue::{
    Consumer, ControlListener, Delivery, Message, PublishError, Settle, Topic,
};

use super::chance::Kind;
use super::gate::Gate;
use super::weather::Weather;

/// How late a message may be, ms.
const LATE_MS: (u64, u64) = (1, 20_000);

/// One process's connection to the broker.
#[derive(Clone)]
pub(super) struct FaultyQueue {
    pub(super) broker: Arc<LocalQueue>,
    pub(super) gate: Arc<Gate>,
    pub(super) weather: Arc<Weather>,
}

impl FaultyQueue {
    async fn travel(&self, what: &'static str) {
        self.weather.journal.mix(&self.gate.who, what);
        self.gate.pass(what).await;
        if self.weather.chance.hits(Kind::Queue, 0.3) {
            tokio::time::sleep(self.weather.chance.ms(Kind::Queue, 1, 3)).await;
            self.gate.pass(what).await;
        }
    }

    fn say(&self, message: &Message, what: &str) {
        let topic = message.topic.name();
        self.weather
            .journal
            .line(&self.gate.who, format_args!("{topic}: {what}"));
    }

    /// Whether the broker cannot be reached. What was sent before that still arrives.
    fn is_out(&self) -> bool {
        !self.outage().is_zero()
    }

    fn outage(&self) -> Duration {
        let w = &self.weather;
        if w.is_calm() {
            Duration::ZERO
        } else {
            self.gate.broker_out_for(w.time.elapsed())
        }
    }

    async fn publish_one(&self, message: Message) -> Result<(), PublishError> {
        let (w, f) = (&self.weather, &self.weather.faults);
        if self.is_out() || w.hits(Kind::Queue, f.publish_refused) {
            self.say(&message, "refused");
            return Err(PublishError::Refused("simulated".to_owned()));
        }
        if w.hits(Kind::Queue, f.publish_unconfirmed) {
            let taken = w.chance.hits(Kind::Queue, 0.5);
            self.say(
                &message,
                if taken {
                    "not confirmed (taken)"
                } else {
                    "not confirmed (not taken)"
                },
            );
            if taken {
                self.broker.publish(vec![message]).await;
            }
            tokio::time::sleep(w.chance.ms(Kind::Queue, 100, 5_000)).await;
            return Err(PublishError::Unconfirmed);
        }
        // Leads exist nowhere else until they are stored: a confirmed batch is safe with the broker.
        if message.topic != Topic::LeadsIngest && w.hits(Kind::Queue, f.message_lost) {
            self.say(&message, "lost");
            return Ok(());
        }
        if w.hits(Kind::Queue, f.message_twice) {
            self.later(message.clone());
        }
        if w.hits(Kind::Queue, f.message_late) {
            self.later(message);
            return Ok(());
        }
        self.broker
            .publish(vec![message])
            .await
            .pop()
            .unwrap_or(Ok(()))
    }

    /// The broker delivers it some time later, after others that were published later.
    fn later(&self, message: Message) {
        let (broker, after) = (
            Arc::clone(&self.broker),
            self.weather.chance.ms(Kind::Queue, LATE_MS.0, LATE_MS.1),
        );
        self.weather.spawn(async move {
            tokio::time::sleep(after).await;
            broker.publish(vec![message]).await;
        });
    }
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), PublishError>> {
        self.travel("publish").await;
        let mut answers = Vec::with_capacity(messages.len());
        for message in messages {
            answers.push(self.publish_one(message).await);
        }
        self.gate.pass("publish").await;
        answers
    }

    async fn consume(
        &self,
        topic: Topic,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, PublishError> {
        self.travel("consume").await;
        if self.is_out()
            || self
                .weather
                .hits(Kind::Queue, self.weather.faults.publish_refused)
        {
            return Err(PublishError::Refused("simulated".to_owned()));
        }
        let inner = self.broker.consume(topic, prefetch).await?;
        Ok(Box::new(FaultyConsumer {
            inner,
            queue: self.clone(),
        }))
    }

    async fn broadcast(&self, body: Bytes) -> Result<(), PublishError> {
        self.travel("broadcast").await;
        if self.is_out() {
            return Err(PublishError::Refused("simulated".to_owned()));
        }
        if self
            .weather
            .hits(Kind::Queue, self.weather.faults.message_lost)
        {
            return Ok(());
        }
        self.broker.broadcast(body).await
    }

    async fn listen(&self) -> Result<Box<dyn ControlListener>, PublishError> {
        self.travel("listen").await;
        self.broker.listen().await
    }

    async fn depths(&self) -> Result<Vec<(&'static str, u64)>, PublishError> {
        self.travel("depths").await;
        self.broker.depths().await
    }

    async fn ping(&self) -> Result<(), PublishError> {
        self.travel("ping").await;
        self.broker.ping().await
    }
}

struct FaultyConsumer {
    inner: Box<dyn Consumer>,
    queue: FaultyQueue,
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn next(&mut self, max: usize) -> Option<Vec<Delivery>> {
        self.queue.gate.pass("next").await;
        // Deliveries that are dropped unsettled, here or anywhere, come again.
        let deliveries = loop {
            let outage = self.queue.outage();
            if outage.is_zero() {
                let deliveries = self.inner.next(max).await?;
                if !self.queue.is_out() {
                    break deliveries;
                }
            } else {
                tokio::time::sleep(outage).await;
            }
        };
        self.queue.gate.pass("next").await;
        let wrapped = deliveries.into_iter().map(|delivery| {
            let Delivery {
                id,
                kind,
                body,
                headers,
                redelivered,
                handle,
            } = delivery;
            let handle = Box::new(FaultySettle {
                inner: handle,
                queue: self.queue.clone(),
            });
            Delivery {
                id,
                kind,
                body,
                headers,
                redelivered,
                handle,
            }
        });
        Some(wrapped.collect())
    }
}

struct FaultySettle {
    inner: Box<dyn Settle>,
    queue: FaultyQueue,
}

#[async_trait]
impl Settle for FaultySettle {
    async fn ack(self: Box<Self>) {
        self.queue.travel("ack").await;
        if self.queue.is_out()
            || self
                .queue
                .weather
                .hits(Kind::Queue, self.queue.weather.faults.ack_lost)
        {
            // Dropped unsettled: it comes again.
            return;
        }
        self.inner.ack().await;
    }

    async fn park(self: Box<Self>, reason: &str) {
        self.queue.travel("park").await;
        if self.queue.is_out() {
            return;
        }
        self.queue
            .weather
            .journal
            .line(&self.queue.gate.who, format_args!("parked: {reason}"));
        self.inner.park(reason).await;
    }
}
