//! What must exist at the broker, as data. Declared again on every new channel that needs it:
//! declaring is idempotent, and a queue somebody deleted comes back.
//!
//! Every option is written out: defaults differ between RabbitMQ 3.10 and 4. Only features of 3.10
//! are used, and never a queue per campaign or a delayed message.

use dialfleet_engine::port::queue::Topic;
use lapin::options::{
    BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use super::AmqpError;

/// Where invalid and poisonous messages are kept.
pub(super) const PARKED: &str = "parked";

/// Customers publish batches of leads here, with any routing key.
const LEADS: &str = "leads";

/// Every process hears what is sent here.
const CONTROL: &str = "control";

/// How often a message may come back after a crash before the broker parks it.
const DELIVERY_LIMIT: i32 = 20;

/// Parked messages are read by people, each time as a delivery: in effect no limit, where leaving
/// it out means 20, then dropped, on RabbitMQ 4.
const PARKED_DELIVERY_LIMIT: i32 = 1_000_000;

/// Control messages a listener may be behind; older ones are dropped and it is told of the gap.
const CONTROL_BACKLOG: i32 = 1_024;

/// Control messages that are sent ahead of their acknowledgement.
const CONTROL_PREFETCH: u16 = 64;

/// The names at the broker: ours, with the prefix of this installation.
#[derive(Debug, Clone)]
pub(super) struct Topology {
    prefix: String,
}

impl Topology {
    /// `prefix` goes before every name, so that tests and installations share a broker.
    pub(super) fn new(prefix: &str) -> Result<Self, AmqpError> {
        // Names are at most 255 bytes, and the longest suffix of ours is far below 100.
        if prefix.len() > 100 {
            return Err(AmqpError::Config(
                "the prefix is longer than 100 bytes".into(),
            ));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
        })
    }

    /// The full name of a queue or exchange.
    pub(super) fn name(&self, name: &str) -> ShortString {
        // The prefix is limited above.
        format!("{}{name}", self.prefix).into()
    }

    /// The queue of a topic.
    pub(super) fn queue(&self, topic: Topic) -> ShortString {
        self.name(topic.name())
    }

    /// The exchange every process listens to.
    pub(super) fn control(&self) -> ShortString {
        self.name(CONTROL)
    }

    /// Declares everything shared. Fails for good when something is there with other options.
    pub(super) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        self.declare_queue(channel, PARKED, parked_options())
            .await?;
        for topic in Topic::ALL {
            self.declare_queue(channel, topic.name(), self.work_options())
                .await?;
        }
        // A topic exchange with the binding `#`: no routing key a customer may choose loses leads.
        self.declare_exchange(channel, LEADS, ExchangeKind::Topic)
            .await?;
        channel
            .queue_bind(
                self.queue(Topic::LeadsIngest),
                self.name(LEADS),
                "#".into(),
                QueueBindOptions { nowait: false },
                FieldTable::default(),
            )
            .await?;
        self.declare_exchange(channel, CONTROL, ExchangeKind::Fanout)
            .await
    }

    async fn declare_queue(
        &self,
        channel: &Channel,
        name: &str,
        arguments: FieldTable,
    ) -> lapin::Result<()> {
        let options = QueueDeclareOptions {
            passive: false,
            durable: true,
            exclusive: false,
            auto_delete: false,
            nowait: false,
        };
        channel
            .queue_declare(self.name(name), options, arguments)
            .await
            .map(drop)
    }

    async fn declare_exchange(
        &self,
        channel: &Channel,
        name: &str,
        kind: ExchangeKind,
    ) -> lapin::Result<()> {
        let options = ExchangeDeclareOptions {
            passive: false,
            durable: true,
            auto_delete: false,
            internal: false,
            nowait: false,
        };
        channel
            .exchange_declare(self.name(name), kind, options, FieldTable::default())
            .await
    }

    /// A quorum queue that parks what it may not deliver any more. At least once: the source keeps
    /// the message until `parked` has it, which needs `reject-publish`.
    fn work_options(&self) -> FieldTable {
        table([
            ("x-queue-type", text("quorum")),
            ("x-delivery-limit", AMQPValue::LongInt(DELIVERY_LIMIT)),
            ("x-overflow", text("reject-publish")),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-dead-letter-exchange", text("")),
            (
                "x-dead-letter-routing-key",
                text(self.name(PARKED).as_str()),
            ),
        ])
    }

    /// How many messages wait in a queue. An unknown queue closes the channel.
    pub(super) async fn depth(&self, channel: &Channel, name: &str) -> lapin::Result<u64> {
        let options = QueueDeclareOptions {
            passive: true,
            durable: true,
            exclusive: false,
            auto_delete: false,
            nowait: false,
        };
        let queue = channel
            .queue_declare(self.name(name), options, FieldTable::default())
            .await?;
        Ok(u64::from(queue.message_count()))
    }

    /// Declares the two queues of a control listener and returns their names: its copy of every
    /// message, and one that gets a message when the first was full and the oldest was dropped.
    /// Both are gone with the connection.
    pub(super) async fn declare_listener(
        &self,
        channel: &Channel,
    ) -> lapin::Result<(ShortString, ShortString)> {
        let qos = BasicQosOptions { global: false };
        channel.basic_qos(CONTROL_PREFETCH, qos).await?;
        let options = QueueDeclareOptions {
            passive: false,
            durable: false,
            exclusive: true,
            auto_delete: true,
            nowait: false,
        };
        // One message says it all: further ones push it out.
        let gap = table([
            ("x-queue-type", text("classic")),
            ("x-max-length", AMQPValue::LongInt(1)),
            ("x-overflow", text("drop-head")),
        ]);
        // Without a name the broker makes up a unique one.
        let gap = channel
            .queue_declare("".into(), options, gap)
            .await?
            .name()
            .clone();
        let copy = table([
            ("x-queue-type", text("classic")),
            ("x-max-length", AMQPValue::LongInt(CONTROL_BACKLOG)),
            ("x-overflow", text("drop-head")),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text(gap.as_str())),
        ]);
        let copy = channel
            .queue_declare("".into(), options, copy)
            .await?
            .name()
            .clone();
        channel
            .queue_bind(
                copy.clone(),
                self.control(),
                "".into(),
                QueueBindOptions { nowait: false },
                FieldTable::default(),
            )
            .await?;
        Ok((copy, gap))
    }
}

fn parked_options() -> FieldTable {
    table([
        ("x-queue-type", text("quorum")),
        (
            "x-delivery-limit",
            AMQPValue::LongInt(PARKED_DELIVERY_LIMIT),
        ),
        ("x-overflow", text("reject-publish")),
    ])
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert(key.into(), value);
    }
    table
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
