//! The queue on a real RabbitMQ, beyond what every queue promises: lost connections, missing
//! queues, poison, parking, customers who publish straight to the exchange.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use dialfleet_adapters::amqp::{AmqpConfig, AmqpError, AmqpQueue};
use dialfleet_engine::port::queue::{Consumer, Delivery, Message, PublishError, Queue, Topic};
use dialfleet_runtime::clock::fill_random;
use dialfleet_runtime::retry::Backoff;
use dialfleet_tests::fleet::service;
use dialfleet_tests::proxy::Proxy;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::time::timeout;

/// Longer than anything here takes; a test that needs it has failed.
const BOUND: Duration = Duration::from_secs(60);

/// A broker, a set of names on it for one test, and a second way in.
struct Rig {
    url: String,
    prefix: String,
    raw: Channel,
    _connection: Connection,
}

impl Rig {
    async fn new() -> Self {
        let url = service("AMQP_URL");
        let mut random = [0; 8];
        fill_random(&mut random);
        let prefix = format!("test-{:016x}.", u64::from_le_bytes(random));
        let connection = Connection::connect(&url, ConnectionProperties::default())
            .await
            .unwrap();
        let raw = connection.create_channel().await.unwrap();
        raw.confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        Self {
            url,
            prefix,
            raw,
            _connection: connection,
        }
    }

    fn config(&self) -> AmqpConfig {
        AmqpConfig {
            url: self.url.clone(),
            prefix: self.prefix.clone(),
            connection_name: "test".into(),
            confirm_timeout: Duration::from_secs(10),
        }
    }

    async fn queue(&self) -> AmqpQueue {
        AmqpQueue::connect(self.config()).await.unwrap()
    }

    /// A queue whose connections go through `proxy`.
    async fn queue_through(&self, proxy: &Proxy) -> AmqpQueue {
        let mut config = self.config();
        config.url = proxy.url(&self.url);
        AmqpQueue::connect(config).await.unwrap()
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn delete(&self, queue: &str) {
        let name = self.named(queue).into();
        self.raw
            .queue_delete(name, QueueDeleteOptions::default())
            .await
            .unwrap();
    }

    /// Leaves nothing on a broker that is not ours alone.
    async fn clean(self) {
        for name in ["leads.ingest", "dial", "call.events", "media", "parked"] {
            self.delete(name).await;
        }
        for name in ["leads", "control"] {
            let name = self.named(name).into();
            self.raw
                .exchange_delete(name, Default::default())
                .await
                .unwrap();
        }
    }
}

fn message(topic: Topic, id: impl ToString) -> Message {
    Message {
        topic,
        id: id.to_string(),
        kind: "test.v1",
        body: Bytes::from(format!("{{\"id\":\"{}\"}}", id.to_string())),
        headers: BTreeMap::from([("traceparent".into(), "00-1-2-01".into())]),
    }
}

async fn publish_all(queue: &AmqpQueue, topic: Topic, ids: impl Iterator<Item = u32>) {
    for answer in queue
        .publish(ids.map(|id| message(topic, id)).collect())
        .await
    {
        answer.unwrap();
    }
}

async fn next(consumer: &mut Box<dyn Consumer>, max: usize) -> Vec<Delivery> {
    timeout(BOUND, consumer.next(max))
        .await
        .expect("deliveries")
        .expect("never closed for good")
}

/// Asks until the answer is yes.
async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(100));
    let asking = async {
        while !ask().await {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    };
    timeout(BOUND, asking)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

async fn depth(queue: &AmqpQueue, name: &str) -> u64 {
    let depths = queue.depths().await.unwrap();
    depths.iter().find(|(queue, _)| *queue == name).unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_for_a_missing_queue_is_refused_and_the_queue_comes_back() {
    let rig = Rig::new().await;
    let queue = rig.queue().await;
    rig.delete("dial").await;
    let mut batch = vec![];
    for n in 0..50 {
        batch.push(message(Topic::Dial, n));
        batch.push(message(Topic::CallEvents, n));
    }
    let answers = queue.publish(batch).await;
    let ok = |of: &[&Result<(), PublishError>]| of.iter().filter(|answer| answer.is_ok()).count();
    let (dial, events): (Vec<_>, Vec<_>) = answers.chunks(2).map(|p| (&p[0], &p[1])).unzip();
    assert!(
        matches!(dial[0], Err(PublishError::Refused(why)) if why == "there is no such queue"),
        "{:?}",
        dial[0]
    );
    assert_eq!(ok(&events), 50);
    // The queue may be back before the last of the batch; then those are in it, and no others.
    let taken = u64::try_from(ok(&dial)).unwrap();
    publish_all(&queue, Topic::Dial, 0..3).await;
    let depths = [
        ("leads.ingest", 0),
        ("dial", taken + 3),
        ("call.events", 50),
        ("media", 0),
        ("parked", 0),
    ];
    until("counted", async || queue.depths().await.unwrap() == depths).await;
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_message_carries_its_reason() {
    let rig = Rig::new().await;
    let queue = rig.queue().await;
    publish_all(&queue, Topic::LeadsIngest, 7..8).await;
    let mut consumer = queue.consume(Topic::LeadsIngest, 8).await.unwrap();
    let delivery = next(&mut consumer, 8).await.pop().unwrap();
    assert!(!delivery.redelivered);
    delivery
        .park(&format!("row 3: {}", "é".repeat(2_000)))
        .await;
    until("parked", async || depth(&queue, "parked").await == 1).await;
    assert_eq!(depth(&queue, "leads.ingest").await, 0);

    let parked = rig
        .raw
        .basic_get(rig.named("parked").into(), BasicGetOptions { no_ack: true });
    let parked = parked.await.unwrap().expect("one message").delivery;
    let text = |key: &str| match parked
        .properties
        .headers()
        .as_ref()
        .unwrap()
        .inner()
        .get(key)
    {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{key}: {other:?}"),
    };
    assert!(text("parked-reason").starts_with("row 3: é") && text("parked-reason").len() <= 1_024);
    assert_eq!(text("parked-from"), "leads.ingest");
    assert_eq!(text("traceparent"), "00-1-2-01");
    assert_eq!(
        parked.properties.message_id().as_ref().unwrap().as_str(),
        "7"
    );
    assert_eq!(
        parked.properties.kind().as_ref().unwrap().as_str(),
        "test.v1"
    );
    assert_eq!(parked.data, b"{\"id\":\"7\"}");
    drop(consumer);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_publishes_to_the_exchange_with_any_key() {
    let rig = Rig::new().await;
    let queue = rig.queue().await;
    let mut consumer = queue.consume(Topic::LeadsIngest, 8).await.unwrap();
    for key in ["", "acme.spring", "leads"] {
        let exchange = rig.named("leads").into();
        let mut headers = FieldTable::default();
        headers.insert("n".into(), AMQPValue::LongInt(7));
        headers.insert("x-delivery-count".into(), AMQPValue::LongInt(7));
        headers.insert("list".into(), AMQPValue::FieldArray(Default::default()));
        let properties = BasicProperties::default().with_headers(headers);
        let options = BasicPublishOptions {
            mandatory: true,
            immediate: false,
        };
        let sent = rig
            .raw
            .basic_publish(exchange, key.into(), options, b"[]", properties)
            .await;
        assert!(
            matches!(sent.unwrap().await, Ok(lapin::Confirmation::Ack(None))),
            "key {key:?}"
        );
        let delivery = next(&mut consumer, 8).await.pop().unwrap();
        assert_eq!(
            (&delivery.id, &delivery.kind, &delivery.body[..]),
            (&None, &None, &b"[]"[..])
        );
        assert_eq!(
            delivery.headers,
            BTreeMap::from([("n".to_owned(), "7".to_owned())])
        );
        delivery.ack().await;
    }
    drop(consumer);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_parked_by_the_broker() {
    let rig = Rig::new().await;
    let queue = rig.queue().await;
    publish_all(&queue, Topic::CallEvents, 0..1).await;
    // The first delivery, then as many again as may follow a crash.
    for n in 0..=20 {
        let mut consumer = queue.consume(Topic::CallEvents, 1).await.unwrap();
        let delivery = next(&mut consumer, 1).await.pop().unwrap();
        assert_eq!(delivery.redelivered, n > 0);
    }
    until("parked", async || depth(&queue, "parked").await == 1).await;
    assert_eq!(depth(&queue, "call.events").await, 0);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_survives_the_deletion_of_its_queue() {
    let rig = Rig::new().await;
    let queue = rig.queue().await;
    let mut consumer = queue.consume(Topic::Dial, 4).await.unwrap();
    rig.delete("dial").await;
    let asking = async {
        let delivery = next(&mut consumer, 4).await.pop().unwrap();
        assert_eq!(delivery.id.as_deref(), Some("9"));
        delivery.ack().await;
    };
    let publishing = until("published", async || {
        queue.publish(vec![message(Topic::Dial, 9)]).await[0].is_ok()
    });
    tokio::join!(asking, publishing);
    drop(consumer);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cut_consumers_go_on_and_old_deliveries_are_dead() {
    let rig = Rig::new().await;
    let proxy = Proxy::to(&rig.url).await;
    let queue = rig.queue_through(&proxy).await;
    let mut consumer = queue.consume(Topic::Dial, 4).await.unwrap();
    let mut listener = queue.listen().await.unwrap();
    publish_all(&queue, Topic::Dial, 0..10).await;
    let mut old = next(&mut consumer, 1).await;
    queue.ping().await.unwrap();

    proxy.cut();
    queue.ping().await.unwrap_err();
    until("the publisher sees it", async || {
        queue.publish(vec![message(Topic::CallEvents, 0)]).await[0].is_err()
    })
    .await;
    // A wait that is given up again and again must not keep the consumer from coming back.
    for _ in 0..10 {
        let _ = timeout(Duration::from_millis(20), consumer.next(4)).await;
    }

    proxy.heal();
    let mut seen = BTreeSet::new();
    while seen.len() < 10 {
        for delivery in next(&mut consumer, 3).await {
            let id = delivery.id.clone().unwrap();
            delivery.ack().await;
            // It came again, so the first one died with its channel.
            if let Some(old) = old.pop_if(|old| old.id.as_ref() == Some(&id)) {
                let dead = queue.dead_settlements();
                old.ack().await;
                assert_eq!(queue.dead_settlements(), dead + 1);
            }
            seen.insert(id);
        }
    }
    until("publishing again", async || {
        queue.publish(vec![message(Topic::CallEvents, 1)]).await[0].is_ok()
    })
    .await;
    let heard = timeout(BOUND, listener.next()).await.unwrap().unwrap();
    assert!(heard.is_empty(), "a listener that was away is told so");
    queue.broadcast(Bytes::from_static(b"again")).await.unwrap();
    assert_eq!(
        timeout(BOUND, listener.next()).await.unwrap().unwrap(),
        "again"
    );
    queue.ping().await.unwrap();
    until("all settled", async || depth(&queue, "dial").await == 0).await;
    drop((consumer, listener));
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_connections_break() {
    let rig = Rig::new().await;
    let proxy = Proxy::to(&rig.url).await;
    let queue = rig.queue_through(&proxy).await;
    let mut consumer = queue.consume(Topic::CallEvents, 16).await.unwrap();
    let (mut confirmed, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..6_u32 {
        let ids: Vec<u32> = (round * 200..(round + 1) * 200).collect();
        let publishing = async {
            let batches = ids.chunks(20).map(|batch| {
                queue.publish(
                    batch
                        .iter()
                        .map(|id| message(Topic::CallEvents, id))
                        .collect(),
                )
            });
            futures_util::future::join_all(batches)
                .await
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
        };
        // Some way into the stream of bytes, so that frames are cut in the middle too.
        let breaking = async {
            if round > 0 {
                proxy.cut_after(u64::from(round) * 4_000).await;
                proxy.heal();
            }
        };
        let consuming = async {
            for delivery in next(&mut consumer, 16).await {
                let id = delivery.id.clone().unwrap();
                delivery.ack().await;
                seen.insert(id);
            }
        };
        let (answers, (), ()) = tokio::join!(publishing, breaking, consuming);
        for (id, answer) in ids.iter().zip(&answers) {
            if answer.is_ok() {
                confirmed.insert(id.to_string());
            }
        }
        until("publishing again", async || {
            queue.publish(vec![message(Topic::Dial, 0)]).await[0].is_ok()
        })
        .await;
    }
    assert!(confirmed.len() >= 200, "the first round is undisturbed");
    while !confirmed.is_subset(&seen) {
        for delivery in next(&mut consumer, 16).await {
            let id = delivery.id.clone().unwrap();
            delivery.ack().await;
            seen.insert(id);
        }
    }
    drop(consumer);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_broker_leaves_publishes_unconfirmed_and_fails_the_ping() {
    let rig = Rig::new().await;
    let proxy = Proxy::to(&rig.url).await;
    let mut config = rig.config();
    config.url = proxy.url(&rig.url);
    config.confirm_timeout = Duration::from_millis(300);
    let queue = AmqpQueue::connect(config).await.unwrap();
    proxy.stall();
    let answers = queue
        .publish(vec![message(Topic::Dial, 1), message(Topic::Dial, 2)])
        .await;
    for answer in answers {
        assert!(
            matches!(answer, Err(PublishError::Unconfirmed)),
            "{answer:?}"
        );
    }
    assert!(matches!(queue.ping().await, Err(PublishError::Refused(_))));
    // It only was slow: what it got, it has.
    proxy.heal();
    until("delivered after all", async || {
        queue
            .depths()
            .await
            .is_ok_and(|depths| depths[1] == ("dial", 2))
    })
    .await;
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_listener_hears_and_a_slow_one_learns_of_its_gap() {
    let rig = Rig::new().await;
    let queue = rig.queue().await;
    let (mut slow, mut quick) = (queue.listen().await.unwrap(), queue.listen().await.unwrap());
    let sent = 1_300_u32;
    let sending = async {
        for n in 0..sent {
            queue.broadcast(Bytes::from(n.to_string())).await.unwrap();
        }
    };
    let hearing = async {
        for n in 0..sent {
            let heard = timeout(BOUND, quick.next()).await.unwrap().unwrap();
            assert_eq!(heard, n.to_string());
        }
    };
    tokio::join!(sending, hearing);
    let (mut heard, mut gap) = (0, false);
    loop {
        let message = timeout(BOUND, slow.next()).await.unwrap().unwrap();
        gap |= message.is_empty();
        heard += u32::from(!message.is_empty());
        if message == (sent - 1).to_string() {
            break;
        }
    }
    assert!(gap && heard < sent, "heard {heard} of {sent}");
    drop((slow, quick));
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_must_change_is_told_apart_from_an_outage() {
    let rig = Rig::new().await;
    let connect = async |url: String| {
        let config = AmqpConfig {
            url,
            ..rig.config()
        };
        // Returns long before the patience is over when waiting is pointless.
        timeout(BOUND, AmqpQueue::connect_within(config, BOUND * 10)).await
    };
    let no_url = connect("http://secret@example".into())
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(&no_url, AmqpError::Config(_)) && !no_url.to_string().contains("secret"));
    let wrong = rig
        .url
        .replace("://", "://nobody:wrong@")
        .replace("guest:guest@", "");
    let wrong = connect(wrong).await.unwrap().unwrap_err();
    assert!(matches!(wrong, AmqpError::Config(_)), "{wrong}");

    let proxy = Proxy::to(&rig.url).await;
    proxy.cut();
    let away = AmqpConfig {
        url: proxy.url(&rig.url),
        ..rig.config()
    };
    let error = AmqpQueue::connect(away.clone()).await.unwrap_err();
    assert!(matches!(error, AmqpError::Unreachable(_)), "{error}");
    let error = AmqpQueue::connect_within(away.clone(), Duration::from_millis(200)).await;
    assert!(matches!(error, Err(AmqpError::Unreachable(_))));
    let (late, ()) = tokio::join!(AmqpQueue::connect_within(away, BOUND), async {
        proxy.heal()
    });
    late.unwrap().close().await;

    rig.delete("dial").await;
    let options = QueueDeclareOptions::durable();
    rig.raw
        .queue_declare(rig.named("dial").into(), options, FieldTable::default())
        .await
        .unwrap();
    let other = AmqpQueue::connect(rig.config()).await.unwrap_err();
    assert!(
        matches!(&other, AmqpError::Config(why) if why.contains("dial")),
        "{other}"
    );
    rig.clean().await;
}
