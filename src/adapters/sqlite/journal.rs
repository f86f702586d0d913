//! A durable journal for the in-process queue: messages that were promised and not yet settled, and
//! messages that were put aside because nobody can process them.

use std::collections::BTreeMap;

use bytes::Bytes;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::Answer;
use rusqlite::{Connection, Row, params};

use super::error::Fault;
use super::{SqliteStore, execute, rows, to_doc};

const WHAT: &str = "message";

/// A message as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The queue's name.
    pub topic: String,
    /// The message's id.
    pub id: String,
    /// The schema.
    pub kind: String,
    /// The body.
    pub body: Bytes,
    /// The headers.
    pub headers: BTreeMap<String, String>,
}

/// A message with its place in the journal; places only grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journaled {
    /// The place.
    pub seq: i64,
    /// The message.
    pub entry: Entry,
}

/// A message that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Its place among the parked ones.
    pub seq: i64,
    /// The message.
    pub entry: Entry,
    /// Why nobody can process it.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

impl SqliteStore {
    /// Adds messages; returns their places. `Ok` means committed.
    ///
    /// # Errors
    /// The store failed.
    pub async fn journal_append(&self, entries: Vec<Entry>) -> Answer<Vec<i64>> {
        self.write(move |conn| entries.iter().map(|entry| append(conn, entry)).collect())
            .await
    }

    /// Forgets a message, soon: one that comes back after a crash does no harm.
    ///
    /// # Errors
    /// The store failed.
    pub async fn journal_delete(&self, seq: i64) -> Answer<()> {
        self.write_later(move |conn| delete(conn, seq)).await
    }

    /// What is left of a topic, in the order it came.
    ///
    /// # Errors
    /// The store failed.
    pub async fn journal_load(&self, topic: &'static str) -> Answer<Vec<Journaled>> {
        self.read(move |conn| {
            let mut query =
                conn.prepare_cached("SELECT seq, topic, id, kind, body, headers FROM messages WHERE topic = ?1 ORDER BY seq")?;
            let mut found = query.query([topic])?;
            let mut left = Vec::new();
            while let Some(row) = found.next()? {
                left.push(Journaled { seq: row.get(0)?, entry: entry(row)? });
            }
            Ok(left)
        })
        .await
    }

    /// Puts a message aside and forgets its journal entry, if it has one, in one commit.
    ///
    /// # Errors
    /// The store failed.
    pub async fn park(&self, entry: Entry, reason: String, journaled: Option<i64>) -> Answer<()> {
        let at = self.clock().now();
        self.write(move |conn| {
            execute(
                conn,
                "INSERT INTO parked (topic, id, kind, body, headers, reason, parked_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    entry.topic,
                    entry.id,
                    entry.kind,
                    &entry.body[..],
                    to_doc(WHAT, &entry.headers)?,
                    reason,
                    at.millis()
                ],
            )?;
            journaled.map_or(Ok(()), |seq| delete(conn, seq))
        })
        .await
    }

    /// Parked messages after the place `after`, in the order they were put aside.
    ///
    /// # Errors
    /// The store failed.
    pub async fn parked(&self, after: i64, limit: usize) -> Answer<Vec<Parked>> {
        self.read(move |conn| {
            let mut query = conn.prepare_cached(
                "SELECT seq, topic, id, kind, body, headers, reason, parked_at FROM parked
                 WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )?;
            let mut found = query.query(params![after, rows(limit)])?;
            let mut parked = Vec::new();
            while let Some(row) = found.next()? {
                parked.push(Parked {
                    seq: row.get(0)?,
                    entry: entry(row)?,
                    reason: row.get(6)?,
                    at: Timestamp::from_millis(row.get(7)?),
                });
            }
            Ok(parked)
        })
        .await
    }

    /// How many messages are parked.
    ///
    /// # Errors
    /// The store failed.
    pub async fn parked_count(&self) -> Answer<u64> {
        let count: i64 = self
            .read(|conn| {
                Ok(conn
                    .prepare_cached("SELECT COUNT(*) FROM parked")?
                    .query_row([], |row| row.get(0))?)
            })
            .await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

fn append(conn: &Connection, entry: &Entry) -> Result<i64, Fault> {
    execute(
        conn,
        "INSERT INTO messages (topic, id, kind, body, headers) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            entry.topic,
            entry.id,
            entry.kind,
            &entry.body[..],
            to_doc(WHAT, &entry.headers)?
        ],
    )?;
    Ok(conn.last_insert_rowid())
}

fn delete(conn: &Connection, seq: i64) -> Result<(), Fault> {
    execute(conn, "DELETE FROM messages WHERE seq = ?1", [seq]).map(drop)
}

/// Columns 1 to 5: topic, id, kind, body, headers.
fn entry(row: &Row<'_>) -> Result<Entry, Fault> {
    let headers: String = row.get(5)?;
    Ok(Entry {
        topic: row.get(1)?,
        id: row.get(2)?,
        kind: row.get(3)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        // Trace context and the like: the message is worth more than that.
        headers: serde_json::from_str(&headers).unwrap_or_default(),
    })
}
