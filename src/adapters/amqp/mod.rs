//! The queue on RabbitMQ 3.10 or newer, over AMQP 0-9-1.
//!
//! Publishing and consuming have a connection each: a broker short of memory blocks connections
//! that publish, and consumers must go on acknowledging then. Whatever breaks is made anew until
//! its owner is dropped (module `connection`); nothing is ever negatively acknowledged, because every
//! return to the queue counts towards a message's delivery limit. A delivery that is dropped
//! unsettled comes again when its channel closes, at the latest when the process ends.
//!
//! TLS (`amqps://`) needs [`dialfleet_runtime::tls::install`] before the first connection.

mod connection;
mod consumer;
mod listener;
mod publisher;
mod topology;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_engine::port::queue::{
    Consumer, ControlListener, Message, PublishError, Queue, Topic,
};
use dialfleet_runtime::retry::{Failure, retry};
use lapin::Channel;
use lapin::types::ShortString;
use thiserror::Error;
use tokio::sync::Mutex;

use connection::{Link, ask};
use consumer::{AmqpConsumer, Desk};
use listener::AmqpListener;
use publisher::{Outbound, Publisher};
use topology::{PARKED, Topology};

/// A probe must not hang when the broker does.
const PING_WITHIN: Duration = Duration::from_secs(1);

/// How to reach the broker.
#[derive(Clone)]
pub struct AmqpConfig {
    /// `amqp://user:password@host:port/vhost`, or `amqps://`.
    pub url: String,
    /// Goes before every name at the broker; empty in production, random in tests. At most 100 bytes.
    pub prefix: String,
    /// Shown at the broker, such as the worker's id.
    pub connection_name: String,
    /// A publish that is not confirmed within this is [`PublishError::Unconfirmed`].
    pub confirm_timeout: Duration,
}

impl fmt::Debug for AmqpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds a password.
        f.debug_struct("AmqpConfig")
            .field("prefix", &self.prefix)
            .field("connection_name", &self.connection_name)
            .field("confirm_timeout", &self.confirm_timeout)
            .finish_non_exhaustive()
    }
}

/// Why the broker cannot be used.
#[derive(Debug, Error)]
pub enum AmqpError {
    /// Trying again does not help: the URL, the password, or a queue that has other options.
    #[error("the broker does not accept us: {0}")]
    Config(String),
    /// It cannot be reached or does not do what was asked now.
    #[error("the broker is not available: {0}")]
    Unreachable(String),
}

impl From<AmqpError> for PublishError {
    fn from(error: AmqpError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The queue on RabbitMQ.
#[derive(Debug)]
pub struct AmqpQueue {
    publishing: Arc<Link>,
    consuming: Arc<Link>,
    topology: Arc<Topology>,
    desk: Arc<Desk>,
    /// For questions. Apart from the others: a question about a missing queue closes its channel.
    questions: Mutex<Option<Channel>>,
}

impl AmqpQueue {
    /// Connects and declares everything. One try.
    ///
    /// # Errors
    /// [`AmqpError::Config`] for what an operator must change, else [`AmqpError::Unreachable`].
    pub async fn connect(config: AmqpConfig) -> Result<Self, AmqpError> {
        let AmqpConfig {
            url,
            prefix,
            connection_name,
            confirm_timeout,
        } = config;
        let link = |role| Link::new(&url, format!("{connection_name} {role}")).map(Arc::new);
        let (publishing, consuming) = (link("publishing")?, link("consuming")?);
        let topology = Arc::new(Topology::new(&prefix)?);
        let publisher = Publisher::start(
            Arc::clone(&publishing),
            Arc::clone(&topology),
            confirm_timeout,
        );
        let desk = Arc::new(Desk {
            publisher: Arc::new(publisher.await?),
            topology: Arc::clone(&topology),
            dead: AtomicU64::new(0),
        });
        Ok(Self {
            publishing,
            consuming,
            topology,
            desk,
            questions: Mutex::new(None),
        })
    }

    /// Connects to a broker that may still be starting, for up to `patience`.
    ///
    /// # Errors
    /// As [`AmqpQueue::connect`]; an error that will not go away ends the wait.
    pub async fn connect_within(config: AmqpConfig, patience: Duration) -> Result<Self, AmqpError> {
        let tries = retry(
            "connecting to the broker",
            connection::backoff(),
            u32::MAX,
            || async {
                Self::connect(config.clone())
                    .await
                    .map_err(|error| match error {
                        AmqpError::Config(_) => Failure::Stop(error),
                        AmqpError::Unreachable(_) => Failure::Again(error),
                    })
            },
        );
        match tokio::time::timeout(patience, tries).await {
            Ok(connected) => connected,
            Err(_) => Err(AmqpError::Unreachable(format!("not within {patience:?}"))),
        }
    }

    /// How many settlements came too late: their delivery had died with its channel. Each such
    /// message is delivered again.
    #[must_use]
    pub fn dead_settlements(&self) -> u64 {
        self.desk.dead.load(Ordering::Relaxed)
    }

    /// Closes both connections; unsettled deliveries come again elsewhere at once. Drop consumers
    /// and listeners first: they would come back.
    pub async fn close(&self) {
        *self.questions.lock().await = None;
        tokio::join!(self.consuming.close(), self.publishing.close());
    }

    async fn depth(&self, name: &str) -> Result<u64, AmqpError> {
        let mut channel = self.questions.lock().await;
        // Taken out: if the question fails or is given up, the channel is not used again.
        let asked = match channel
            .take()
            .filter(|channel| channel.status().connected())
        {
            Some(channel) => channel,
            None => self.publishing.open().await?.0,
        };
        let depth = ask(self.topology.depth(&asked, name)).await?;
        *channel = Some(asked);
        Ok(depth)
    }
}

#[async_trait]
impl Queue for AmqpQueue {
    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), PublishError>> {
        let outbound = |message: Message| Outbound {
            exchange: ShortString::default(),
            routing_key: self.topology.queue(message.topic),
            durable: true,
            id: Some(message.id),
            kind: Some(message.kind.to_owned()),
            headers: message.headers,
            body: message.body,
        };
        self.desk
            .publisher
            .publish(messages.into_iter().map(outbound).collect())
            .await
    }

    async fn consume(
        &self,
        topic: Topic,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, PublishError> {
        let (link, desk) = (Arc::clone(&self.consuming), Arc::clone(&self.desk));
        Ok(Box::new(
            AmqpConsumer::start(link, desk, topic, prefetch).await?,
        ))
    }

    async fn broadcast(&self, body: Bytes) -> Result<(), PublishError> {
        let message = Outbound {
            exchange: self.topology.control(),
            routing_key: ShortString::default(),
            // Listeners that are away forget their caches anyway, and there may be none.
            durable: false,
            id: None,
            kind: None,
            headers: std::collections::BTreeMap::new(),
            body,
        };
        let answers = self.desk.publisher.publish(vec![message]).await;
        answers
            .into_iter()
            .next()
            .unwrap_or(Err(PublishError::Unconfirmed))
    }

    async fn listen(&self) -> Result<Box<dyn ControlListener>, PublishError> {
        let (link, topology) = (Arc::clone(&self.consuming), Arc::clone(&self.topology));
        Ok(Box::new(AmqpListener::start(link, topology).await?))
    }

    async fn depths(&self) -> Result<Vec<(&'static str, u64)>, PublishError> {
        let mut depths = Vec::with_capacity(Topic::ALL.len() + 1);
        for name in Topic::ALL.map(Topic::name).into_iter().chain([PARKED]) {
            depths.push((name, self.depth(name).await?));
        }
        Ok(depths)
    }

    async fn ping(&self) -> Result<(), PublishError> {
        match tokio::time::timeout(PING_WITHIN, self.depth(Topic::Dial.name())).await {
            Ok(answered) => Ok(answered.map(drop)?),
            Err(_) => Err(PublishError::Refused("no answer in time".into())),
        }
    }
}
