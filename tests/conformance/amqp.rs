//! The queue on a real RabbitMQ: the common behaviour. What only it does is in `it/amqp.rs`.

use std::time::Duration;

use dialfleet_adapters::amqp::{AmqpConfig, AmqpQueue};
use dialfleet_runtime::clock::fill_random;

use crate::queue::queue_conformance;

/// Names of its own for each check, so that they share a broker and run side by side.
async fn make() -> ((), AmqpQueue) {
    let url = std::env::var("AMQP_URL")
        .expect("AMQP_URL names the RabbitMQ to test against (`cargo xtask services` starts one)");
    let mut random = [0; 8];
    fill_random(&mut random);
    let config = AmqpConfig {
        url,
        prefix: format!("test-{:016x}.", u64::from_le_bytes(random)),
        connection_name: "conformance".to_owned(),
        confirm_timeout: Duration::from_secs(10),
    };
    ((), AmqpQueue::connect(config).await.unwrap())
}

queue_conformance!(rabbitmq, crate::amqp::make);
