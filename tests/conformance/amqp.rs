//! The queue on a real RabbitMQ: the common behaviour. What only it does is in `it/amqp.rs`.

use std::time::Duration;

use dialfleet_adapters::amqp::{AmqpConfig, AmqpQueue};
use dialfleet_runtime::clock::fill_random;
use dialfleet_tests::fleet::service;
use lapin::options::QueueDeleteOptions;
use lapin::{Connection, ConnectionProperties};

use crate::queue::queue_conformance;

/// Names of its own for each check, so that they share a broker and run side by side. Gone with it.
struct Names {
    url: String,
    prefix: String,
}

async fn make() -> (Names, AmqpQueue) {
    let url = service("AMQP_URL");
    let mut random = [0; 8];
    fill_random(&mut random);
    let prefix = format!("test-{:016x}.", u64::from_le_bytes(random));
    let config = AmqpConfig {
        url: url.clone(),
        prefix: prefix.clone(),
        connection_name: "conformance".to_owned(),
        confirm_timeout: Duration::from_secs(10),
    };
    let queue = AmqpQueue::connect(config).await.unwrap();
    (Names { url, prefix }, queue)
}

impl Names {
    async fn delete(&self) -> lapin::Result<()> {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        for name in ["leads.ingest", "dial", "call.events", "media", "parked"] {
            let name = format!("{}{name}", self.prefix).into();
            channel
                .queue_delete(name, QueueDeleteOptions::default())
                .await?;
        }
        for name in ["leads", "control"] {
            let name = format!("{}{name}", self.prefix).into();
            channel.exchange_delete(name, Default::default()).await?;
        }
        Ok(())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // A runtime cannot wait inside another one: a thread with its own.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let _ = runtime.block_on(self.delete());
            });
        });
    }
}

queue_conformance!(rabbitmq, crate::amqp::make);
