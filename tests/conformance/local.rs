//! The in-process queue: the common behaviour, and what only it promises.

use std::collections::BTreeMap;

use bytes::Bytes;
use dialfleet_adapters::local::{CONTROL_DEPTH, LocalQueue, MAX_BYTES, MAX_MESSAGES};
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_engine::port::Queue;
use dialfleet_engine::port::queue::{Message, PublishError, Topic};
use dialfleet_tests::sample::T0;
use tempfile::TempDir;

use crate::queue::{ids, message, next, publish, queue_conformance, take};
use crate::sqlite::{in_a_file, in_memory};

async fn alone() -> ((), LocalQueue) {
    ((), LocalQueue::new(None).await.unwrap())
}

async fn journaled() -> ((), LocalQueue) {
    let ((), store) = in_memory().await;
    ((), LocalQueue::new(Some(store)).await.unwrap())
}

async fn journaled_in_a_file() -> (TempDir, LocalQueue) {
    let (dir, store) = in_a_file().await;
    (dir, LocalQueue::new(Some(store)).await.unwrap())
}

queue_conformance!(local, crate::local::alone);
queue_conformance!(local_journaled, crate::local::journaled);
queue_conformance!(local_journaled_in_a_file, crate::local::journaled_in_a_file);

async fn store() -> SqliteStore {
    in_memory().await.1
}

#[tokio::test]
async fn a_new_queue_finds_what_an_earlier_one_did_not_settle() {
    let store = store().await;
    let queue = LocalQueue::new(Some(store.clone())).await.unwrap();
    let mut sent = message(Topic::CallEvents, "first");
    sent.headers = BTreeMap::from([("traceparent".to_owned(), "00-1-2-01".to_owned())]);
    sent.body = Bytes::from_static(b"\x00\xff not JSON");
    queue.publish(vec![sent.clone()]).await.remove(0).unwrap();
    publish(&queue, Topic::CallEvents, &["settled", "waiting", "parked"]).await;
    publish(&queue, Topic::LeadsIngest, &["batch"]).await;
    publish(&queue, Topic::Dial, &["slot"]).await;
    let mut consumer = queue.consume(Topic::CallEvents, 8).await.unwrap();
    let mut held = take(&mut *consumer, 4).await;
    held.remove(3).park("unreadable").await;
    held.remove(1).ack().await;
    drop((queue, consumer, held));

    let queue = LocalQueue::new(Some(store)).await.unwrap();
    let depths: Vec<_> = queue.depths().await.unwrap();
    assert_eq!(
        depths,
        [
            ("leads.ingest", 1),
            ("dial", 0),
            ("call.events", 2),
            ("media", 0),
            ("parked", 1)
        ],
        "dial is planned anew"
    );
    let mut consumer = queue.consume(Topic::CallEvents, 8).await.unwrap();
    let got = take(&mut *consumer, 2).await;
    assert_eq!(ids(&got), ["first", "waiting"]);
    assert!(
        got.iter().all(|d| d.redelivered),
        "it may have been delivered before"
    );
    assert_eq!((&got[0].body, &got[0].headers), (&sent.body, &sent.headers));
    assert_eq!(got[0].kind.as_deref(), Some("sample.v1"));
}

#[tokio::test]
async fn parked_messages_are_kept_with_their_reason() {
    let store = store().await;
    let queue = LocalQueue::new(Some(store.clone())).await.unwrap();
    for (topic, id) in [
        (Topic::Dial, "1"),
        (Topic::LeadsIngest, "2"),
        (Topic::CallEvents, "3"),
    ] {
        publish(&queue, topic, &[id]).await;
        let mut consumer = queue.consume(topic, 1).await.unwrap();
        next(&mut *consumer, 1)
            .await
            .remove(0)
            .park(&format!("reason {id}"))
            .await;
    }
    let parked = store.parked(0, 2).await.unwrap();
    let seen: Vec<_> = parked
        .iter()
        .map(|p| {
            (
                p.entry.topic.as_str(),
                p.entry.id.as_str(),
                p.reason.as_str(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [("dial", "1", "reason 1"), ("leads.ingest", "2", "reason 2")]
    );
    assert!(
        parked
            .iter()
            .all(|p| p.at == T0 && p.entry.body.starts_with(b"{\"id\":"))
    );
    let rest = store.parked(parked[1].seq, 9).await.unwrap();
    assert_eq!(
        rest.iter().map(|p| p.entry.id.as_str()).collect::<Vec<_>>(),
        ["3"]
    );
}

#[tokio::test]
async fn a_dropped_delivery_comes_again_first_and_at_once() {
    let (_, queue) = alone().await;
    let mut consumer = queue.consume(Topic::Dial, 4).await.unwrap();
    publish(&queue, Topic::Dial, &["1", "2", "3", "4"]).await;
    let mut held = take(&mut *consumer, 3).await;
    drop(held.remove(2));
    drop(held.remove(0));
    let got = take(&mut *consumer, 3).await;
    assert_eq!(
        ids(&got),
        ["1", "3", "4"],
        "in their old places, before what was never out"
    );
    assert_eq!(
        got.iter().map(|d| d.redelivered).collect::<Vec<_>>(),
        [true, true, false]
    );
}

#[tokio::test]
async fn a_message_given_back_wakes_whoever_waits() {
    let (_, queue) = alone().await;
    let mut first = queue.consume(Topic::Dial, 1).await.unwrap();
    let mut second = queue.consume(Topic::Dial, 1).await.unwrap();
    publish(&queue, Topic::Dial, &["1"]).await;
    let held = take(&mut *first, 1).await;
    let (got, ()) = tokio::join!(next(&mut *second, 1), async move { drop(held) });
    assert_eq!(ids(&got), ["1"]);
    let (again, ()) = tokio::join!(next(&mut *first, 1), async move { drop((second, got)) });
    assert_eq!(ids(&again), ["1"]);
}

#[tokio::test]
async fn a_full_topic_refuses_and_takes_again_after_a_settlement() {
    let (_, queue) = alone().await;
    let many: Vec<Message> = (0..=MAX_MESSAGES)
        .map(|i| message(Topic::Dial, &i.to_string()))
        .collect();
    let answers = queue.publish(many).await;
    let refused: Vec<_> = answers
        .iter()
        .enumerate()
        .filter(|(_, answer)| answer.is_err())
        .map(|(i, _)| i)
        .collect();
    assert_eq!(refused, [MAX_MESSAGES], "the last one, and only that");
    let Err(PublishError::Refused(why)) = &answers[MAX_MESSAGES] else {
        panic!("{:?}", answers[MAX_MESSAGES])
    };
    assert_eq!(why, "the queue dial is full");
    publish(&queue, Topic::CallEvents, &["other topics have room"]).await;

    let mut consumer = queue.consume(Topic::Dial, 2).await.unwrap();
    let mut held = take(&mut *consumer, 2).await;
    assert!(
        queue.publish(vec![message(Topic::Dial, "x")]).await[0].is_err(),
        "one that is out is not gone"
    );
    held.remove(0).ack().await;
    publish(&queue, Topic::Dial, &["x"]).await;
    assert!(queue.publish(vec![message(Topic::Dial, "y")]).await[0].is_err());
}

#[tokio::test]
async fn large_bodies_fill_a_topic_too() {
    let (_, queue) = alone().await;
    let body = Bytes::from(vec![b' '; MAX_BYTES / 4]);
    let messages = (0..5).map(|i| Message {
        body: body.clone(),
        ..message(Topic::CallEvents, &i.to_string())
    });
    let answers = queue.publish(messages.collect()).await;
    assert_eq!(
        answers.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, true, true, true, false]
    );
}

#[tokio::test]
async fn a_listener_that_falls_behind_is_told_to_forget_everything() {
    let (_, queue) = alone().await;
    let mut listener = queue.listen().await.unwrap();
    for _ in 0..CONTROL_DEPTH {
        queue.broadcast(Bytes::from_static(b"{}")).await.unwrap();
    }
    assert_eq!(listener.next().await.unwrap(), "{}", "this many are kept");
    for _ in 0..2 {
        queue.broadcast(Bytes::from_static(b"{}")).await.unwrap();
    }
    assert_eq!(listener.next().await.unwrap(), "", "one was lost");
    for _ in 0..CONTROL_DEPTH {
        assert_eq!(listener.next().await.unwrap(), "{}");
    }
}

#[tokio::test]
async fn dropping_the_queue_closes_it() {
    let (_, queue) = alone().await;
    let mut consumer = queue.consume(Topic::Dial, 4).await.unwrap();
    let mut listener = queue.listen().await.unwrap();
    publish(&queue, Topic::Dial, &["1", "2"]).await;
    let held = next(&mut *consumer, 1).await;
    drop(queue);
    assert!(consumer.next(4).await.is_none());
    assert!(listener.next().await.is_none());
    // What is settled late settles nothing and harms nobody.
    for delivery in held {
        delivery.ack().await;
    }
}

#[tokio::test]
async fn dropping_the_queue_wakes_who_waits() {
    let (_, queue) = alone().await;
    let mut consumer = queue.consume(Topic::Dial, 4).await.unwrap();
    let (got, ()) = tokio::join!(consumer.next(4), async move { drop(queue) });
    assert!(got.is_none());
}
