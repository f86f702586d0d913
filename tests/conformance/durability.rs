//! What was acknowledged is there, whatever happens to the process.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::slice;

use dialfleet_adapters::local::LocalQueue;
use dialfleet_adapters::sqlite::{OpenError, SqliteStore};
use dialfleet_domain::id::{AttemptId, LeadId};
use dialfleet_engine::port::Queue;
use dialfleet_engine::port::queue::Topic;
use dialfleet_engine::port::store::{AttemptStore, LeadInserted, LeadStore};
use dialfleet_tests::sample::{attempt, campaign_id, lead};
use futures_util::future::join_all;
use tempfile::TempDir;

use crate::queue::{publish, take};
use crate::sqlite::clock;

/// Acknowledged writes before the process is killed: many groups.
const WRITES: usize = 600;

/// Killed when it is dropped, so that a failed test leaves nothing behind.
struct Victim(Child);

impl Victim {
    fn start(dir: &TempDir) -> (Self, BufReader<std::process::ChildStdout>) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_store-victim"))
            .arg(dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        (Self(child), out)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn everything_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let (victim, mut out) = Victim::start(&dir);
    let mut lines = Vec::new();
    while lines.len() < WRITES {
        let mut line = String::new();
        assert!(
            out.read_line(&mut line).unwrap() > 0,
            "it goes on until it is killed"
        );
        lines.push(line);
    }
    drop(victim);
    // What it had printed by then counts too; only a whole line is a promise.
    lines.extend(out.lines().map_while(Result::ok).map(|line| line + "\n"));

    let store = SqliteStore::open(dir.path(), clock()).unwrap();
    let promised = |what: &str| {
        lines
            .iter()
            .filter_map(|line| {
                line.strip_suffix('\n')?
                    .strip_prefix(what)?
                    .strip_prefix(' ')
            })
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let leads: Vec<_> = promised("lead")
        .into_iter()
        .map(|id| LeadId::parse(id).unwrap())
        .collect();
    let attempts: Vec<_> = promised("attempt")
        .into_iter()
        .map(|id| AttemptId::parse(id).unwrap())
        .collect();
    let messages = promised("message");
    assert!(leads.len() > 100 && attempts.len() > 100 && messages.len() > 100);
    assert!(
        store
            .leads(&leads)
            .await
            .unwrap()
            .iter()
            .all(Option::is_some)
    );
    assert!(
        store
            .attempts(&attempts)
            .await
            .unwrap()
            .iter()
            .all(Option::is_some)
    );

    let queue = LocalQueue::new(Some(store.clone())).await.unwrap();
    let waiting = usize::try_from(queue.depths().await.unwrap()[2].1).unwrap();
    let mut consumer = queue.consume(Topic::CallEvents, u16::MAX).await.unwrap();
    let there: BTreeSet<String> = take(&mut *consumer, waiting)
        .await
        .into_iter()
        .filter_map(|d| d.id.clone())
        .collect();
    assert!(messages.iter().all(|id| there.contains(id)));

    // And the indexes still guard what is there.
    let stored = store.leads(&leads[..1]).await.unwrap().remove(0).unwrap();
    let again = store.insert_leads(&[stored]).await.unwrap();
    assert_eq!(again, [LeadInserted::SameRef { same_source: true }]);
}

#[tokio::test]
async fn a_second_process_is_told_that_the_folder_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let (victim, mut out) = Victim::start(&dir);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let error = SqliteStore::open(dir.path(), clock()).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error:?}");
    assert!(error.to_string().contains("another process"), "{error}");
    drop(victim);
    SqliteStore::open(dir.path(), clock()).expect("a killed process holds nothing");
}

#[tokio::test]
async fn a_store_that_was_closed_can_be_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    // Folders that are not there are made.
    let data = dir.path().join("a/b");
    let person = lead(&campaign_id("a"), 1);
    let intent = attempt(&person, 1, 0);
    {
        let store = SqliteStore::open(&data, clock()).unwrap();
        store.insert_leads(slice::from_ref(&person)).await.unwrap();
        store.insert_attempts(slice::from_ref(&intent)).await;
        let queue = LocalQueue::new(Some(store)).await.unwrap();
        publish(&queue, Topic::LeadsIngest, &["1", "2"]).await;
        let mut consumer = queue.consume(Topic::LeadsIngest, 4).await.unwrap();
        take(&mut *consumer, 1).await.remove(0).ack().await;
    }
    let store = SqliteStore::open(&data, clock()).unwrap();
    assert_eq!(
        store.leads(slice::from_ref(&person.id)).await.unwrap(),
        [Some(person)]
    );
    assert_eq!(
        store.attempts(slice::from_ref(&intent.id)).await.unwrap(),
        [Some(intent)]
    );
    let queue = LocalQueue::new(Some(store)).await.unwrap();
    assert_eq!(
        queue.depths().await.unwrap()[0],
        ("leads.ingest", 1),
        "an acknowledgement is kept, too"
    );
}

#[tokio::test]
async fn a_write_whose_caller_went_away_is_whole_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), clock()).unwrap();
    let camp = campaign_id("a");
    let batches: Vec<Vec<_>> = (0..8)
        .map(|b| (0..50).map(|i| lead(&camp, b * 50 + i)).collect())
        .collect();
    for batch in &batches {
        let mut write = Box::pin(store.insert_leads(batch));
        // Polled once: handed to the writing thread, and then abandoned.
        drop(futures_util::poll!(&mut write));
    }
    drop(store);
    let store = SqliteStore::open(dir.path(), clock()).unwrap();
    for batch in &batches {
        let ids: Vec<_> = batch.iter().map(|l| l.id.clone()).collect();
        let there = store
            .leads(&ids)
            .await
            .unwrap()
            .iter()
            .filter(|l| l.is_some())
            .count();
        assert!(
            there == 0 || there == batch.len(),
            "{there} of {}",
            batch.len()
        );
    }
}

#[tokio::test]
async fn a_write_that_is_answered_is_seen_by_the_next_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), clock()).unwrap();
    let camp = campaign_id("a");
    join_all((0..64).map(async |i| {
        let person = lead(&camp, i);
        store.insert_leads(slice::from_ref(&person)).await.unwrap();
        assert_eq!(
            store.leads(slice::from_ref(&person.id)).await.unwrap(),
            [Some(person)]
        );
    }))
    .await;
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let error = SqliteStore::open(&file, clock()).unwrap_err();
    assert!(
        error.to_string().contains(file.to_str().unwrap()),
        "{error}"
    );
    assert!(error.source().is_some());

    let damaged = dir.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::write(
        damaged.join("dialfleet.db"),
        "this is not a database, and long enough to be seen as none",
    )
    .unwrap();
    let error = SqliteStore::open(&damaged, clock()).unwrap_err();
    assert!(matches!(error, OpenError::Database(_)), "{error:?}");
}
