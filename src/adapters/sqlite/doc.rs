//! Documents in and out of rows. Every query for documents selects the row's id and the document.

use std::sync::Arc;

use dialfleet_engine::port::store::Answer;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SqliteStore;
use super::error::Fault;
use crate::page::Newest;
use crate::unreadable::Unreadable;

/// A document as it is stored.
pub(super) struct Doc {
    id: String,
    text: String,
}

fn doc(row: &Row<'_>) -> rusqlite::Result<Doc> {
    Ok(Doc {
        id: row.get(0)?,
        // Not a text: not a document either, which is for its reader to say.
        text: row.get_ref(1)?.as_str().unwrap_or_default().to_owned(),
    })
}

/// The only document a query finds.
pub(super) fn one_doc(
    conn: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Option<Doc>, Fault> {
    Ok(conn
        .prepare_cached(sql)?
        .query_row(params, doc)
        .optional()?)
}

/// The documents of `ids`, in their order, with gaps.
pub(super) fn docs_by_id<'a>(
    conn: &Connection,
    sql: &str,
    ids: impl Iterator<Item = &'a str>,
) -> Result<Vec<Option<Doc>>, Fault> {
    ids.map(|id| one_doc(conn, sql, [id])).collect()
}

/// All documents a query finds.
pub(super) fn docs(conn: &Connection, sql: &str, params: impl Params) -> Result<Vec<Doc>, Fault> {
    let mut query = conn.prepare_cached(sql)?;
    let rows = query.query_map(params, doc)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// All texts a query finds.
pub(super) fn texts(
    conn: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<String>, Fault> {
    let mut query = conn.prepare_cached(sql)?;
    let rows = query.query_map(params, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn from_doc<T: DeserializeOwned>(what: &'static str, doc: &Doc) -> Result<T, Fault> {
    serde_json::from_str(&doc.text).map_err(|source| Fault::Shape {
        what,
        id: doc.id.clone(),
        source,
    })
}

pub(super) fn to_doc<T: Serialize>(what: &'static str, value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|source| Fault::Shape {
        what,
        id: String::new(),
        source,
    })
}

/// Where a list that is sorted newest first goes on: after this time and id. Without them,
/// everything is after it.
#[derive(Clone)]
pub(super) struct After {
    pub(super) at: i64,
    pub(super) id: String,
}

impl After {
    pub(super) fn new(last: Option<Newest>) -> Self {
        let (at, id) = last.map_or((i64::MAX, String::new()), |(at, id)| (at.millis(), id));
        Self { at, id }
    }
}

impl SqliteStore {
    /// For jobs, which outlive a borrow.
    pub(super) fn unreadable_docs(&self) -> Arc<Unreadable> {
        Arc::clone(&self.inner.unreadable)
    }

    /// Reads documents on the caller's side, so that the database threads do not spend their time
    /// on it. One that cannot be read is left out.
    pub(super) fn readable<T: DeserializeOwned>(&self, what: &'static str, docs: &[Doc]) -> Vec<T> {
        let read = docs.iter().map(|doc| Ok(from_doc(what, doc)?));
        self.inner.unreadable.readable(read)
    }

    /// As [`Self::readable`], with gaps; one that cannot be read is an error.
    pub(super) fn each<T: DeserializeOwned>(
        &self,
        what: &'static str,
        docs: &[Option<Doc>],
    ) -> Answer<Vec<Option<T>>> {
        let read = docs
            .iter()
            .map(|doc| Ok(doc.as_ref().map(|doc| from_doc(what, doc)).transpose()?))
            .collect();
        self.heard(read)
    }

    /// The first `limit` readable documents of a list; `query` gets how many it may find.
    pub(super) async fn list<T, Q>(
        &self,
        what: &'static str,
        limit: usize,
        query: Q,
    ) -> Answer<Vec<T>>
    where
        T: DeserializeOwned,
        Q: Fn(&Connection, i64) -> Result<Vec<Doc>, Fault> + Clone + Send + 'static,
    {
        let mut most = limit;
        loop {
            let query = query.clone();
            let found = self.read(move |conn| query(conn, rows(most))).await?;
            let mut items = self.readable(what, &found);
            if items.len() >= limit || found.len() < most {
                items.truncate(limit);
                return Ok(items);
            }
            most = limit + (found.len() - items.len());
        }
    }
}

/// A `LIMIT`.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
