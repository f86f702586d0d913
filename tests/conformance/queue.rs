//! What every queue must do. Each check gets an empty queue of its own.
//!
//! To put another queue through all of them:
//!
//! ```ignore
//! async fn make() -> (Guard, impl Queue) { … }   // an empty one; the guard is dropped after it
//! queue_conformance!(amqp, crate::amqp::make);
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use dialfleet_engine::port::Queue;
use dialfleet_engine::port::queue::{Consumer, Delivery, Message, Topic};
use tokio::time::timeout;

/// Runs every check against queues that `$make` makes, as tests under the module `$name`.
macro_rules! queue_conformance {
    ($name:ident, $make:path) => {
        queue_conformance! { @ $name, $make;
            delivered_in_the_order_of_publishing
            everything_about_a_message_arrives
            topics_are_apart
            a_waiting_consumer_is_woken
            an_abandoned_wait_loses_nothing
            an_acknowledged_message_is_gone
            a_parked_message_is_counted_and_gone
            a_dropped_delivery_comes_again
            a_dropped_consumer_gives_back_what_it_did_not_settle
            a_consumer_has_at_most_its_prefetch
            consumers_of_a_topic_share_it
            depths_count_what_waits
            every_listener_hears_every_broadcast
            nobody_has_to_listen
            a_queue_that_works_answers_a_ping
        }
    };
    (@ $name:ident, $make:path; $($check:ident)*) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $check() {
                    let (_guard, queue) = $make().await;
                    $crate::queue::$check(&queue).await;
                }
            )*
        }
    };
}
pub(crate) use queue_conformance;

/// Nothing here takes this long; what hangs fails with a message instead.
const BOUND: Duration = Duration::from_secs(20);

pub(crate) fn message(topic: Topic, id: &str) -> Message {
    Message {
        topic,
        id: id.to_owned(),
        kind: "sample.v1",
        body: Bytes::from(format!("{{\"id\":\"{id}\"}}")),
        headers: BTreeMap::new(),
    }
}

pub(crate) async fn publish(queue: &dyn Queue, topic: Topic, ids: &[&str]) {
    for answer in queue
        .publish(ids.iter().map(|id| message(topic, id)).collect())
        .await
    {
        answer.unwrap();
    }
}

pub(crate) async fn next(consumer: &mut dyn Consumer, max: usize) -> Vec<Delivery> {
    let got = timeout(BOUND, consumer.next(max))
        .await
        .expect("a delivery comes")
        .expect("the queue is open");
    assert!(!got.is_empty() && got.len() <= max);
    got
}

/// Takes exactly `count` deliveries, however many come at a time.
pub(crate) async fn take(consumer: &mut dyn Consumer, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(next(consumer, count - all.len()).await);
    }
    all
}

pub(crate) fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries
        .iter()
        .map(|d| d.id.as_deref().unwrap())
        .collect()
}

/// Where a broker is free to give back in another order.
fn sorted(deliveries: &[Delivery]) -> Vec<&str> {
    let mut ids = ids(deliveries);
    ids.sort_unstable();
    ids
}

async fn ack_all(deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        delivery.ack().await;
    }
}

/// Waits until the depths are as expected; a broker's numbers may lag behind.
async fn depths_become(queue: &dyn Queue, expected: [(&str, u64); 5]) {
    let mut last = Vec::new();
    let settled = timeout(BOUND, async {
        loop {
            last = queue.depths().await.unwrap();
            if last == expected {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(settled.await.is_ok(), "{last:?} never became {expected:?}");
}

fn depths(ingest: u64, dial: u64, events: u64, parked: u64) -> [(&'static str, u64); 5] {
    [
        ("leads.ingest", ingest),
        ("dial", dial),
        ("call.events", events),
        ("media", 0),
        ("parked", parked),
    ]
}

pub(crate) async fn delivered_in_the_order_of_publishing(queue: &dyn Queue) {
    let mut consumer = queue.consume(Topic::Dial, 64).await.unwrap();
    publish(queue, Topic::Dial, &["1", "2", "3"]).await;
    publish(queue, Topic::Dial, &["4"]).await;
    publish(queue, Topic::Dial, &["5", "6"]).await;
    assert!(queue.publish(Vec::new()).await.is_empty());
    let got = take(&mut *consumer, 6).await;
    assert_eq!(ids(&got), ["1", "2", "3", "4", "5", "6"]);
    assert!(got.iter().all(|d| !d.redelivered));
    ack_all(got).await;
}

pub(crate) async fn everything_about_a_message_arrives(queue: &dyn Queue) {
    for topic in Topic::ALL {
        let mut sent = message(topic, "one");
        sent.body = Bytes::from_static("{\"text\":\"Größe \u{1F4DE} \\\" '\"}".as_bytes());
        sent.headers = BTreeMap::from([
            (
                "traceparent".to_owned(),
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            ),
            ("x-note".to_owned(), "a b=c".to_owned()),
        ]);
        let mut consumer = queue.consume(topic, 4).await.unwrap();
        queue.publish(vec![sent.clone()]).await.remove(0).unwrap();
        let mut got = next(&mut *consumer, 4).await.remove(0);
        assert_eq!(got.id.as_deref(), Some("one"));
        assert_eq!(got.kind.as_deref(), Some("sample.v1"));
        assert_eq!((&got.body, got.redelivered), (&sent.body, false));
        // A broker may add headers of its own.
        got.headers
            .retain(|name, _| sent.headers.contains_key(name));
        assert_eq!(got.headers, sent.headers);
        got.ack().await;
    }
}

pub(crate) async fn topics_are_apart(queue: &dyn Queue) {
    let mut consumers = Vec::new();
    for topic in Topic::ALL {
        consumers.push(queue.consume(topic, 4).await.unwrap());
    }
    let messages = Topic::ALL
        .map(|topic| message(topic, topic.name()))
        .into_iter()
        .rev()
        .collect();
    assert!(queue.publish(messages).await.iter().all(Result::is_ok));
    for (topic, consumer) in Topic::ALL.into_iter().zip(&mut consumers) {
        let got = next(&mut **consumer, 4).await;
        assert_eq!(ids(&got), [topic.name()]);
        ack_all(got).await;
    }
}

pub(crate) async fn a_waiting_consumer_is_woken(queue: &dyn Queue) {
    let mut consumer = queue.consume(Topic::CallEvents, 4).await.unwrap();
    let (got, ()) = tokio::join!(
        next(&mut *consumer, 4),
        publish(queue, Topic::CallEvents, &["1"])
    );
    assert_eq!(ids(&got), ["1"]);
    ack_all(got).await;
}

pub(crate) async fn an_abandoned_wait_loses_nothing(queue: &dyn Queue) {
    let mut consumer = queue.consume(Topic::Dial, 4).await.unwrap();
    for i in 0..8 {
        let id = format!("{i}");
        let sent = [id.as_str()];
        // Whichever is ready first: a wait may be dropped just as something comes.
        let early = tokio::select! {
            biased;
            got = consumer.next(4) => got.unwrap(),
            () = publish(queue, Topic::Dial, &sent) => Vec::new(),
        };
        let got = if early.is_empty() {
            next(&mut *consumer, 4).await
        } else {
            early
        };
        assert_eq!(ids(&got), sent);
        ack_all(got).await;
    }
}

pub(crate) async fn an_acknowledged_message_is_gone(queue: &dyn Queue) {
    let mut consumer = queue.consume(Topic::LeadsIngest, 4).await.unwrap();
    publish(queue, Topic::LeadsIngest, &["1", "2"]).await;
    let mut got = take(&mut *consumer, 2).await;
    got.remove(0).ack().await;
    drop(got);
    drop(consumer);
    let mut consumer = queue.consume(Topic::LeadsIngest, 4).await.unwrap();
    publish(queue, Topic::LeadsIngest, &["3"]).await;
    let got = take(&mut *consumer, 2).await;
    assert_eq!(sorted(&got), ["2", "3"]);
    ack_all(got).await;
    drop(consumer);
    depths_become(queue, depths(0, 0, 0, 0)).await;
}

pub(crate) async fn a_parked_message_is_counted_and_gone(queue: &dyn Queue) {
    for topic in Topic::ALL {
        let mut consumer = queue.consume(topic, 4).await.unwrap();
        publish(queue, topic, &["bad", "good"]).await;
        for delivery in take(&mut *consumer, 2).await {
            if delivery.id.as_deref() == Some("bad") {
                delivery
                    .park("the body is not JSON: \"expected value\" at line 1")
                    .await;
            } else {
                delivery.ack().await;
            }
        }
    }
    depths_become(queue, depths(0, 0, 0, 4)).await;
}

pub(crate) async fn a_dropped_delivery_comes_again(queue: &dyn Queue) {
    let mut consumer = queue.consume(Topic::CallEvents, 4).await.unwrap();
    publish(queue, Topic::CallEvents, &["1"]).await;
    drop(next(&mut *consumer, 4).await);
    // A broker gives it back when the consumer ends, this process's own queue at once.
    drop(consumer);
    let mut consumer = queue.consume(Topic::CallEvents, 4).await.unwrap();
    let got = next(&mut *consumer, 4).await;
    assert_eq!(ids(&got), ["1"]);
    assert!(got[0].redelivered);
    ack_all(got).await;
}

pub(crate) async fn a_dropped_consumer_gives_back_what_it_did_not_settle(queue: &dyn Queue) {
    let mut first = queue.consume(Topic::Dial, 4).await.unwrap();
    publish(queue, Topic::Dial, &["1", "2", "3"]).await;
    let mut held = take(&mut *first, 3).await;
    held.remove(1).ack().await;
    drop(first);
    let mut second = queue.consume(Topic::Dial, 4).await.unwrap();
    let got = take(&mut *second, 2).await;
    assert_eq!(sorted(&got), ["1", "3"]);
    assert!(got.iter().all(|d| d.redelivered));
    // A settlement that comes too late settles nothing: the message is somebody else's by now.
    held.remove(0).ack().await;
    held.remove(0).park("too late").await;
    drop(got);
    drop(second);
    let mut third = queue.consume(Topic::Dial, 4).await.unwrap();
    let got = take(&mut *third, 2).await;
    assert_eq!(sorted(&got), ["1", "3"]);
    ack_all(got).await;
}

pub(crate) async fn a_consumer_has_at_most_its_prefetch(queue: &dyn Queue) {
    let mut consumer = queue.consume(Topic::Dial, 2).await.unwrap();
    publish(queue, Topic::Dial, &["1", "2", "3", "4"]).await;
    let mut held = take(&mut *consumer, 2).await;
    assert_eq!(ids(&held), ["1", "2"]);
    // No more until one is settled: what waits is what was not handed out.
    depths_become(queue, depths(0, 2, 0, 0)).await;
    let waiting = futures_util::poll!(consumer.next(9));
    assert!(waiting.is_pending());
    held.remove(0).ack().await;
    let third = next(&mut *consumer, 9).await;
    assert_eq!(ids(&third), ["3"]);
    assert!(futures_util::poll!(consumer.next(9)).is_pending());
    ack_all(held).await;
    ack_all(third).await;
    let fourth = next(&mut *consumer, 9).await;
    assert_eq!(ids(&fourth), ["4"]);
    ack_all(fourth).await;
}

pub(crate) async fn consumers_of_a_topic_share_it(queue: &dyn Queue) {
    let mut a = queue.consume(Topic::CallEvents, 3).await.unwrap();
    let mut b = queue.consume(Topic::CallEvents, 3).await.unwrap();
    publish(queue, Topic::CallEvents, &["1", "2", "3", "4", "5", "6"]).await;
    let mut got = take(&mut *a, 3).await;
    got.extend(take(&mut *b, 3).await);
    assert_eq!(
        sorted(&got),
        ["1", "2", "3", "4", "5", "6"],
        "each went to one of them"
    );
    ack_all(got).await;
}

pub(crate) async fn depths_count_what_waits(queue: &dyn Queue) {
    depths_become(queue, depths(0, 0, 0, 0)).await;
    publish(queue, Topic::LeadsIngest, &["1", "2"]).await;
    publish(queue, Topic::CallEvents, &["1", "2", "3"]).await;
    depths_become(queue, depths(2, 0, 3, 0)).await;
    let mut consumer = queue.consume(Topic::CallEvents, 8).await.unwrap();
    ack_all(take(&mut *consumer, 3).await).await;
    depths_become(queue, depths(2, 0, 0, 0)).await;
}

pub(crate) async fn every_listener_hears_every_broadcast(queue: &dyn Queue) {
    let mut listeners = [queue.listen().await.unwrap(), queue.listen().await.unwrap()];
    queue
        .broadcast(Bytes::from_static(b"{\"n\":1}"))
        .await
        .unwrap();
    queue
        .broadcast(Bytes::from_static(b"{\"n\":2}"))
        .await
        .unwrap();
    for listener in &mut listeners {
        for expected in ["{\"n\":1}", "{\"n\":2}"] {
            let heard = timeout(BOUND, listener.next())
                .await
                .expect("it is heard")
                .expect("the queue is open");
            assert_eq!(heard, expected);
        }
    }
}

pub(crate) async fn nobody_has_to_listen(queue: &dyn Queue) {
    queue.broadcast(Bytes::from_static(b"{}")).await.unwrap();
    drop(queue.listen().await.unwrap());
    queue.broadcast(Bytes::from_static(b"{}")).await.unwrap();
}

pub(crate) async fn a_queue_that_works_answers_a_ping(queue: &dyn Queue) {
    queue.ping().await.unwrap();
}
