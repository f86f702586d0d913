//! Notes that the fleet shares.

use async_trait::async_trait;
use dialfleet_engine::port::board::{BoardStore, Note};
use dialfleet_engine::port::store::{Answer, Cas};
use rusqlite::{OptionalExtension, Row, params};

use super::{SqliteStore, execute, rows};

fn note(row: &Row<'_>) -> rusqlite::Result<Note> {
    let version: i64 = row.get(1)?;
    Ok(Note {
        key: row.get(0)?,
        version: u64::try_from(version).unwrap_or(0),
        body: row.get(2)?,
    })
}

#[async_trait]
impl BoardStore for SqliteStore {
    async fn notes(&self, keys: &[String]) -> Answer<Vec<Option<Note>>> {
        let keys = keys.to_vec();
        self.read(move |conn| {
            let mut by_key =
                conn.prepare_cached("SELECT key, version, body FROM notes WHERE key = ?1")?;
            let mut found = Vec::with_capacity(keys.len());
            for key in &keys {
                found.push(by_key.query_row([key], note).optional()?);
            }
            Ok(found)
        })
        .await
    }

    async fn notes_with(&self, prefix: &str, limit: usize) -> Answer<Vec<Note>> {
        let prefix = prefix.to_owned();
        self.read(move |conn| {
            let mut from = conn.prepare_cached(
                "SELECT key, version, body FROM notes
                 WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 ORDER BY key LIMIT ?2",
            )?;
            let found = from.query_map(params![prefix, rows(limit)], note)?;
            Ok(found.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn save_notes(&self, notes: &[Note]) -> Answer<Vec<Cas>> {
        let notes = notes.to_vec();
        self.write(move |conn| {
            let mut answers = Vec::with_capacity(notes.len());
            for note in &notes {
                let version = i64::try_from(note.version).unwrap_or(i64::MAX);
                let written = if note.version == 1 {
                    execute(
                        conn,
                        "INSERT INTO notes (key, version, body) VALUES (?1, ?2, ?3) ON CONFLICT (key) DO NOTHING",
                        params![note.key, version, note.body],
                    )?
                } else {
                    execute(
                        conn,
                        "UPDATE notes SET version = ?2, body = ?3 WHERE key = ?1 AND version = ?2 - 1",
                        params![note.key, version, note.body],
                    )?
                };
                answers.push(if written == 1 { Cas::Won } else { Cas::Lost });
            }
            Ok(answers)
        })
        .await
    }
}
