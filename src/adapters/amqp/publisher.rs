//! Publishing with confirmation: `Ok` means the broker has the message on disk and will deliver it.
//!
//! One task owns the channel and everything that is not confirmed yet, for two reasons. lapin hands
//! out delivery tags before it queues the frames, so two callers on one channel could get each
//! other's confirmation. And it gives a returned (unroutable) message to whichever confirmation
//! comes next, which need not be its own when the broker confirms several at once: after the first
//! return all answers wait until nothing is in flight, and each message is told its own fate.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialfleet_engine::port::queue::PublishError;
use dialfleet_runtime::service;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

use super::AmqpError;
use super::connection::{Link, ask, backoff};
use super::topology::Topology;

/// Messages between callers and the channel.
const WAITING: usize = 1_024;

/// Messages sent and not confirmed. Beyond that callers wait, and time out.
const IN_FLIGHT: usize = 4_096;

/// How often a silent channel is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// A lost channel usually comes back within this; until then callers wait instead of being refused.
const GRACE: Duration = Duration::from_secs(1);

/// How long a channel that is not used any more is waited for.
const DRAIN: Duration = Duration::from_millis(500);

type Answer = Result<(), PublishError>;

/// A message on its way out.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    /// Empty for a queue by its name.
    pub(super) exchange: ShortString,
    /// The queue's name, or empty for a fan-out.
    pub(super) routing_key: ShortString,
    /// Survives a restart of the broker, and must reach a queue.
    pub(super) durable: bool,
    /// For people who look at the broker.
    pub(super) id: Option<String>,
    /// The schema.
    pub(super) kind: Option<String>,
    /// Trace context and the like.
    pub(super) headers: BTreeMap<String, String>,
    /// JSON.
    pub(super) body: Bytes,
}

struct Request {
    message: Outbound,
    answer: oneshot::Sender<Answer>,
}

/// The way out. Its task ends when it is dropped; what is in flight then has no answer.
#[derive(Debug)]
pub(super) struct Publisher {
    requests: mpsc::Sender<Request>,
    confirm_timeout: Duration,
    _task: AbortOnDropHandle<()>,
}

impl Publisher {
    /// Starts on a first channel.
    pub(super) async fn start(
        link: Arc<Link>,
        topology: Arc<Topology>,
        confirm_timeout: Duration,
    ) -> Result<Self, AmqpError> {
        let outlet = Outlet { link, topology };
        let first = outlet.open().await?;
        let (requests, received) = mpsc::channel(WAITING);
        let task = service::spawn(run(outlet, first, received));
        Ok(Self {
            requests,
            confirm_timeout,
            _task: task,
        })
    }

    /// Publishes all, then waits for all confirmations; the answers have the order of the input.
    pub(super) async fn publish(&self, messages: Vec<Outbound>) -> Vec<Answer> {
        let deadline = Instant::now() + self.confirm_timeout;
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            sent.push(self.send(message, deadline).await);
        }
        let mut answers = Vec::with_capacity(sent.len());
        for sent in sent {
            answers.push(match sent {
                Err(error) => Err(error),
                Ok(answer) => match tokio::time::timeout_at(deadline, answer).await {
                    Ok(Ok(answer)) => answer,
                    // No confirmation in time, or the task ended with the message in its hands.
                    Ok(Err(_)) | Err(_) => Err(PublishError::Unconfirmed),
                },
            });
        }
        answers
    }

    async fn send(
        &self,
        message: Outbound,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Answer>, PublishError> {
        let full = |_| PublishError::Refused("too many messages wait for the broker".into());
        let place = tokio::time::timeout_at(deadline, self.requests.reserve())
            .await
            .map_err(full)?;
        let place = place.map_err(|_| PublishError::Refused("the publisher has ended".into()))?;
        let (answer, receiver) = oneshot::channel();
        place.send(Request { message, answer });
        Ok(receiver)
    }
}

/// Makes channels to publish on.
struct Outlet {
    link: Arc<Link>,
    topology: Arc<Topology>,
}

struct Open {
    channel: Arc<Channel>,
    connection: Arc<Connection>,
}

impl Outlet {
    async fn open(&self) -> Result<Open, AmqpError> {
        let (channel, connection) = self.link.open().await?;
        ask(self.topology.declare(&channel)).await?;
        ask(channel.confirm_select(ConfirmSelectOptions { nowait: false })).await?;
        Ok(Open {
            channel: Arc::new(channel),
            connection,
        })
    }

    /// Opens a channel, for as long as it takes. `None` when nobody publishes any more.
    async fn reopen(&self, requests: &mut mpsc::Receiver<Request>) -> Option<Open> {
        let mut reason = match tokio::time::timeout(GRACE, self.open()).await {
            Ok(Ok(open)) => return Some(open),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(error = reason, "publishing is interrupted; coming back");
        let mut backoff = backoff();
        loop {
            let retry = async {
                tokio::time::sleep(backoff.next_delay()).await;
                self.open().await
            };
            tokio::pin!(retry);
            let tried = loop {
                tokio::select! {
                    tried = &mut retry => break tried,
                    request = requests.recv() => {
                        let refused = PublishError::Refused(reason.clone());
                        // A caller who gave up does not mind.
                        let _ = request?.answer.send(Err(refused));
                    }
                }
            };
            match tried {
                Ok(open) => {
                    tracing::info!("publishing is possible again");
                    return Some(open);
                }
                Err(error) => reason = error.to_string(),
            }
        }
    }
}

async fn run(outlet: Outlet, first: Open, mut requests: mpsc::Receiver<Request>) {
    let mut open = first;
    loop {
        Sending::new(open).run(&mut requests).await;
        match outlet.reopen(&mut requests).await {
            Some(next) => open = next,
            None => return,
        }
    }
}

/// What became of one message.
struct Settled {
    sequence: u64,
    answer: oneshot::Sender<Answer>,
    result: lapin::Result<Confirmation>,
}

/// One channel's life.
struct Sending {
    open: Open,
    sequence: u64,
    in_flight: FuturesUnordered<BoxFuture<'static, Settled>>,
    /// Sequences of returned messages. Once there is one, no more are sent here.
    returned: HashSet<u64>,
    /// Answers that wait for it to be known which messages were returned.
    held: Vec<(u64, oneshot::Sender<Answer>, Answer)>,
}

impl Sending {
    fn new(open: Open) -> Self {
        Self {
            open,
            sequence: 0,
            in_flight: FuturesUnordered::new(),
            returned: HashSet::new(),
            held: Vec::new(),
        }
    }

    /// Sends what comes until the channel is unusable, then settles what is in flight.
    async fn run(mut self, requests: &mut mpsc::Receiver<Request>) {
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.usable() {
            let room = self.in_flight.len() < IN_FLIGHT;
            tokio::select! {
                Some(settled) = self.in_flight.next() => self.settle(settled),
                // Even when nothing comes: confirmations may be lost together with the channel.
                _ = check.tick() => {}
                request = requests.recv(), if room => match request {
                    Some(request) => self.send(request),
                    None => break,
                },
            }
        }
        // A live connection confirms what is left, a dead one fails it, but not always: a frame that
        // meets the end of its connection may never be answered by lapin. Who is then without an
        // answer learns that from the dropped sender.
        let drained = async {
            while let Some(settled) = self.in_flight.next().await {
                self.settle(settled);
            }
        };
        let all_known = tokio::time::timeout(DRAIN, drained).await.is_ok();
        for (sequence, answer, verdict) in self.held {
            let verdict = if self.returned.contains(&sequence) {
                Err(unroutable())
            } else if all_known {
                verdict
            } else {
                // Its own return may be with one that is still in flight.
                verdict.and(Err(PublishError::Unconfirmed))
            };
            let _ = answer.send(verdict);
        }
    }

    fn usable(&self) -> bool {
        self.returned.is_empty() && self.open.channel.status().connected()
    }

    fn send(&mut self, Request { message, answer }: Request) {
        // A caller who left was told "unconfirmed"; not sending it keeps that true.
        if answer.is_closed() {
            return;
        }
        if self.open.connection.status().blocked() {
            let why = "the broker is short of memory or disk space";
            let _ = answer.send(Err(PublishError::Refused(why.into())));
            return;
        }
        self.sequence += 1;
        let sequence = self.sequence;
        let properties = match properties(&message, sequence) {
            Ok(properties) => properties,
            Err(error) => {
                let _ = answer.send(Err(error));
                return;
            }
        };
        let channel = Arc::clone(&self.open.channel);
        self.in_flight.push(Box::pin(async move {
            let options = BasicPublishOptions {
                mandatory: message.durable,
                immediate: false,
            };
            let Outbound {
                exchange,
                routing_key,
                body,
                ..
            } = message;
            let sent = channel
                .basic_publish(exchange, routing_key, options, &body, properties)
                .await;
            let result = match sent {
                Ok(confirmation) => confirmation.await,
                Err(error) => Err(error),
            };
            Settled {
                sequence,
                answer,
                result,
            }
        }));
    }

    fn settle(&mut self, settled: Settled) {
        let Settled {
            sequence,
            answer,
            result,
        } = settled;
        let verdict = match result {
            Ok(Confirmation::Ack(returned)) => {
                if let Some(returned) = returned {
                    let id = returned.properties.correlation_id();
                    self.returned
                        .extend(id.as_ref().and_then(|id| id.as_str().parse::<u64>().ok()));
                    // Not one of ours, or unreadable: then it may be this one.
                    if self.returned.is_empty() {
                        self.returned.insert(sequence);
                    }
                }
                Ok(())
            }
            Ok(Confirmation::Nack(_)) => Err(PublishError::Refused("the broker said no".into())),
            // Sent or not, nobody knows; and without confirm mode nobody would ever know.
            Ok(Confirmation::NotRequested) | Err(_) => Err(PublishError::Unconfirmed),
        };
        if self.returned.is_empty() {
            let _ = answer.send(verdict);
        } else {
            self.held.push((sequence, answer, verdict));
        }
    }
}

fn unroutable() -> PublishError {
    PublishError::Refused("there is no such queue".into())
}

/// The message's properties. The correlation id tells returned messages apart.
fn properties(message: &Outbound, sequence: u64) -> Result<BasicProperties, PublishError> {
    let short = |text: &str| {
        ShortString::try_new(text)
            .map_err(|_| PublishError::Refused("a name is longer than 255 bytes".into()))
    };
    let mut headers = FieldTable::default();
    for (key, value) in &message.headers {
        headers.insert(short(key)?, AMQPValue::LongString(value.as_str().into()));
    }
    let mut properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_delivery_mode(if message.durable { 2 } else { 1 })
        .with_correlation_id(sequence.to_string().into())
        .with_app_id("dialfleet".into())
        .with_headers(headers);
    if let Some(id) = &message.id {
        properties = properties.with_message_id(short(id)?);
    }
    if let Some(kind) = &message.kind {
        properties = properties.with_type(short(kind)?);
    }
    Ok(properties)
}
