//! A process to be killed: writes to the store in the folder it is given, many writers at a time,
//! and prints one line for each write that was acknowledged, until somebody kills it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use dialfleet_adapters::local::LocalQueue;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_engine::port::Queue;
use dialfleet_engine::port::queue::{Message, Topic};
use dialfleet_engine::port::store::{AttemptStore, IntentAnswer, LeadStore};
use dialfleet_tests::clock::ManualClock;
use dialfleet_tests::sample::{T0, attempt, campaign_id, lead};
use futures_util::future::try_join_all;

/// Writers that write at the same time: what is acknowledged was committed in groups.
const WRITERS: u32 = 16;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let dir = PathBuf::from(
        std::env::args_os()
            .nth(1)
            .context("the folder is missing")?,
    );
    let store = SqliteStore::open(&dir, Arc::new(ManualClock::new(T0)))?;
    let queue = LocalQueue::new(Some(store.clone())).await?;
    try_join_all((0..WRITERS).map(|writer| write_for_ever(&store, &queue, writer))).await?;
    Ok(())
}

async fn write_for_ever(
    store: &SqliteStore,
    queue: &LocalQueue,
    writer: u32,
) -> anyhow::Result<()> {
    let campaign = campaign_id(&format!("w{writer}"));
    for i in 0.. {
        let person = lead(&campaign, writer * 100_000 + i);
        store.insert_leads(std::slice::from_ref(&person)).await?;
        acknowledged("lead", person.id.as_str())?;
        let intent = attempt(&person, 1, i);
        if store.insert_attempts(std::slice::from_ref(&intent)).await
            == [IntentAnswer::Acknowledged]
        {
            acknowledged("attempt", intent.id.as_str())?;
        }
        let id = format!("{writer}-{i}");
        let message = Message {
            topic: Topic::CallEvents,
            id: id.clone(),
            kind: "sample.v1",
            body: "{}".into(),
            headers: std::collections::BTreeMap::new(),
        };
        for answer in queue.publish(vec![message]).await {
            answer?;
        }
        acknowledged("message", &id)?;
    }
    Ok(())
}

fn acknowledged(what: &str, id: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {id}")?;
    out.flush()
}
