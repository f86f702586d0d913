//! Consuming: a channel of its own for each subscription, so that a failure elsewhere never brings
//! its deliveries back, and the broker's prefetch as the only back-pressure (lapin's own buffer has
//! no limit).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_engine::port::queue::{Consumer, Delivery, PublishError, Settle, Topic};
use dialfleet_runtime::retry::{Backoff, Failure, retry};
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Acker, Channel};
use tokio::time::Instant;

use super::AmqpError;
use super::connection::{Link, Revived, ask};
use super::publisher::{Outbound, Publisher};
use super::topology::{PARKED, Topology};

/// Says why a message was parked.
pub(super) const REASON: &str = "parked-reason";

/// Says from which queue.
pub(super) const SOURCE: &str = "parked-from";

/// Bytes of a reason that are kept: headers must fit one frame.
const REASON_MAX: usize = 1_024;

/// Tries to park a message before it is left unsettled.
const PARK_TRIES: u32 = 5;

/// How often a subscription without deliveries is looked at: a channel that died unnoticed is
/// made anew.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A subscription that is idle for this long, with nothing unsettled, is made anew in any case:
/// RabbitMQ 3.10 does not tell the consumers of a quorum queue that it was deleted, and on the
/// queue of that name that somebody declared since, they would wait for ever.
const RENEW_IDLE: Duration = Duration::from_secs(10);

/// Consuming, never exclusive: many processes share each queue.
pub(super) const CONSUME: BasicConsumeOptions = BasicConsumeOptions {
    no_local: false,
    no_ack: false,
    exclusive: false,
    nowait: false,
};

/// What a settlement needs besides its delivery.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) publisher: Arc<Publisher>,
    pub(super) topology: Arc<Topology>,
    /// Settlements of deliveries that had died with their channel.
    pub(super) dead: AtomicU64,
}

/// A channel of its own and what comes in on it. The channel closes when this is dropped, and the
/// broker then redelivers what is unsettled: keep a consumer until its deliveries are settled.
struct Subscription {
    channel: Channel,
    deliveries: lapin::Consumer,
    /// A clone for each delivery that still exists.
    unsettled: Arc<()>,
}

/// A subscription that survives reconnections.
pub(super) struct AmqpConsumer {
    topic: Topic,
    desk: Arc<Desk>,
    subscription: Revived<Subscription>,
    /// Of the last delivery or subscription.
    active_at: Instant,
    /// Kept here, not in the wait: callers may give up waiting more often than this.
    check_at: Instant,
}

impl AmqpConsumer {
    pub(super) async fn start(
        link: Arc<Link>,
        desk: Arc<Desk>,
        topic: Topic,
        prefetch: u16,
    ) -> Result<Self, AmqpError> {
        let topology = Arc::clone(&desk.topology);
        let make = move || subscribe(Arc::clone(&link), Arc::clone(&topology), topic, prefetch);
        let what = format!("the consumer of {}", topic.name());
        let subscription = Revived::new(what, make).await?;
        let now = Instant::now();
        Ok(Self {
            topic,
            desk,
            subscription,
            active_at: now,
            check_at: now + CHECK_EVERY,
        })
    }

    /// Nothing came for a while: is there still a subscription?
    fn check(&mut self, alive: bool, settled: bool) {
        let now = Instant::now();
        self.check_at = now + CHECK_EVERY;
        if !alive {
            self.subscription.broke(&"its channel is closed");
        } else if settled && now.duration_since(self.active_at) >= RENEW_IDLE {
            self.active_at = now;
            self.subscription.renew();
        }
    }

    fn delivery(&self, unsettled: &Arc<()>, received: lapin::message::Delivery) -> Delivery {
        let lapin::message::Delivery {
            properties,
            data,
            acker,
            redelivered,
            ..
        } = received;
        let id = properties.message_id().as_ref().map(ToString::to_string);
        let kind = properties.kind().as_ref().map(ToString::to_string);
        let body = Bytes::from(data);
        let headers = properties
            .headers()
            .as_ref()
            .map(readable)
            .unwrap_or_default();
        let handle = Box::new(Handle {
            acker,
            _unsettled: Arc::clone(unsettled),
            desk: Arc::clone(&self.desk),
            parked: Outbound {
                exchange: ShortString::default(),
                routing_key: self.desk.topology.name(PARKED),
                durable: true,
                id: id.clone(),
                kind: kind.clone(),
                headers: headers.clone(),
                body: body.clone(),
            },
            topic: self.topic,
        });
        Delivery {
            id,
            kind,
            body,
            headers,
            redelivered,
            handle,
        }
    }
}

async fn subscribe(
    link: Arc<Link>,
    topology: Arc<Topology>,
    topic: Topic,
    prefetch: u16,
) -> Result<Subscription, AmqpError> {
    let (channel, _) = link.open().await?;
    ask(topology.declare(&channel)).await?;
    // Per consumer: quorum queues know no limit for a whole channel.
    ask(channel.basic_qos(prefetch, BasicQosOptions { global: false })).await?;
    let queue = topology.queue(topic);
    // Without a tag the broker makes up a unique one.
    let consume = channel.basic_consume(queue, "".into(), CONSUME, FieldTable::default());
    let deliveries = ask(consume).await?;
    Ok(Subscription {
        channel,
        deliveries,
        unsettled: Arc::new(()),
    })
}

#[async_trait]
impl Consumer for AmqpConsumer {
    async fn next(&mut self, max: usize) -> Option<Vec<Delivery>> {
        loop {
            let check_at = self.check_at;
            let subscription = self.subscription.get().await;
            // The only wait: nothing has been taken before it, and nothing is lost in it.
            let next = tokio::time::timeout_at(check_at, subscription.deliveries.next()).await;
            let broken = match next {
                Ok(Some(Ok(first))) => {
                    let mut received = vec![first];
                    while received.len() < max
                        && let Some(Some(Ok(next))) = subscription.deliveries.next().now_or_never()
                    {
                        received.push(next);
                    }
                    let unsettled = Arc::clone(&subscription.unsettled);
                    self.active_at = Instant::now();
                    self.subscription.works();
                    let deliver = |next| self.delivery(&unsettled, next);
                    return Some(received.into_iter().map(deliver).collect());
                }
                Err(_) => {
                    let alive = subscription.channel.status().connected();
                    let settled = Arc::strong_count(&subscription.unsettled) == 1;
                    self.check(alive, settled);
                    continue;
                }
                Ok(Some(Err(error))) => error.to_string(),
                Ok(None) => "cancelled by the broker".to_owned(),
            };
            self.subscription.broke(&broken);
        }
    }
}

/// Settles one delivery. Dropped unused, it does nothing: the broker redelivers the message when
/// the channel closes.
struct Handle {
    acker: Acker,
    _unsettled: Arc<()>,
    desk: Arc<Desk>,
    parked: Outbound,
    topic: Topic,
}

impl Handle {
    fn died(&self) {
        let count = self.desk.dead.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::debug!(
            queue = self.topic.name(),
            count,
            "a delivery died with its channel and comes again"
        );
    }
}

#[async_trait]
impl Settle for Handle {
    async fn ack(self: Box<Self>) {
        if !acknowledge(&self.acker).await {
            self.died();
        }
    }

    async fn park(mut self: Box<Self>, reason: &str) {
        if !self.acker.usable() {
            // Not ours any more: whoever gets it again parks it.
            return self.died();
        }
        let end = reason.floor_char_boundary(REASON_MAX);
        self.parked
            .headers
            .insert(REASON.to_owned(), reason[..end].to_owned());
        self.parked
            .headers
            .insert(SOURCE.to_owned(), self.topic.name().to_owned());
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let parked = retry("parking a message", backoff, PARK_TRIES, || async {
            let answers = self.desk.publisher.publish(vec![self.parked.clone()]).await;
            let answer = answers.into_iter().next();
            answer
                .unwrap_or(Err(PublishError::Unconfirmed))
                .map_err(Failure::Again)
        });
        match parked.await {
            Ok(()) => self.ack().await,
            // Not acknowledged, it comes again with the next channel, and is parked then.
            Err(error) => tracing::warn!(
                error = %error,
                queue = self.topic.name(),
                "an invalid message could not be parked and stays in its queue"
            ),
        }
    }
}

/// Acknowledges one delivery; whether that was sent. Bounded: an acknowledgement that meets the end
/// of its connection may never be answered by lapin.
pub(super) async fn acknowledge(acker: &Acker) -> bool {
    // Only this one: tags before it belong to other jobs.
    matches!(
        ask(acker.ack(BasicAckOptions { multiple: false })).await,
        Ok(true)
    )
}

/// Headers the broker adds. Republished, they would be taken for orders.
const BROKERS_OWN: [&str; 6] = [
    "x-delivery-count",
    "x-acquired-count",
    "x-death",
    "x-first-death-",
    "x-last-death-",
    "x-opt-",
];

/// The headers that are text or can be, without the broker's own.
fn readable(headers: &FieldTable) -> BTreeMap<String, String> {
    let own = |key: &str| BROKERS_OWN.iter().any(|prefix| key.starts_with(prefix));
    headers
        .into_iter()
        .filter(|(key, _)| !own(key.as_str()))
        .filter_map(|(key, value)| Some((key.to_string(), written(value)?)))
        .collect()
}

fn written(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::Boolean(value) => Some(value.to_string()),
        AMQPValue::LongInt(value) => Some(value.to_string()),
        AMQPValue::LongUInt(value) => Some(value.to_string()),
        AMQPValue::LongLongInt(value) => Some(value.to_string()),
        // Tables, arrays, dates and the like carry nothing for us.
        _ => None,
    }
}
