//! The embedded store: SQLite, in a file or in memory, behind the engine's store ports. It keeps the
//! same documents and the same unique indexes as the store of a fleet, so one process can be as safe
//! as many.
//!
//! * In memory ([`SqliteStore::in_memory`]) every call runs inline on the caller's thread: no
//!   thread, no waiting, the same result for the same calls in the same order. It drives the
//!   simulation.
//! * In a file ([`SqliteStore::open`]) a writing thread commits groups of writes with one disk
//!   flush and answers after it: what was acknowledged survives `kill -9` and a power cut. A reading
//!   thread answers questions meanwhile. Only one process may have the folder.
//!
//! Compare-and-set needs no trick here: there is one writer, so a job that reads and then writes is
//! alone with the data. Deliberately absent: any rule of the business.

mod attempt;
mod campaign;
mod error;
mod import;
mod journal;
mod lane;
mod lead;
mod page;
mod record;
mod schema;

use std::fs::{DirBuilder, File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dialfleet_engine::port::Clock;
use dialfleet_engine::port::store::{Answer, StoreError};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use error::Fault;
pub use error::OpenError;
pub use journal::{Entry, Journaled, Parked};
use lane::Lane;

/// The database's name in the data folder.
const FILE: &str = "dialfleet.db";
/// Locked by the process that has the folder; the system lets go of it when that process dies.
const LOCK: &str = "dialfleet.lock";
/// Other programs (a backup, a curious person) may hold the file this long.
const BUSY: Duration = Duration::from_secs(5);
/// More than there are statements.
const STATEMENTS: usize = 128;

/// The embedded store. Clones share it; the last one closes it.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    /// The process's clock is the store's clock: they are one machine.
    clock: Arc<dyn Clock>,
}

/// Fields are dropped in this order: the lock goes last.
enum Engine {
    Memory(Mutex<Connection>),
    File {
        reads: Lane,
        writes: Lane,
        _lock: File,
    },
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.inner.engine {
            Engine::Memory(_) => "SqliteStore(memory)",
            Engine::File { .. } => "SqliteStore(file)",
        })
    }
}

impl SqliteStore {
    /// An empty store in memory. It ends with its last clone.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let conn = Connection::open_in_memory()?;
        keep_statements(&conn)?;
        schema::migrate(&conn)?;
        Ok(Self {
            inner: Arc::new(Inner {
                engine: Engine::Memory(Mutex::new(conn)),
                clock,
            }),
        })
    }

    /// The store in `dir`, which is made if it is not there. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Another process has it, a newer program wrote it, or the folder cannot be used.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let folder = |source| OpenError::Folder {
            path: dir.to_owned(),
            source,
        };
        make_folder(dir).map_err(folder)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(LOCK))
            .map_err(folder)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse(dir.to_owned()),
            TryLockError::Error(source) => folder(source),
        })?;

        let path = dir.join(FILE);
        let writer = connect(&path)?;
        writer.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        writer.execute_batch("PRAGMA synchronous = FULL")?;
        schema::migrate(&writer)?;
        let reader = connect(&path)?;
        reader.execute_batch("PRAGMA query_only = ON")?;
        let engine = Engine::File {
            reads: Lane::start("store-read", reader, lane::read).map_err(folder)?,
            writes: Lane::start("store-write", writer, lane::write).map_err(folder)?,
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(Inner { engine, clock }),
        })
    }

    fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// Runs a job that only reads.
    async fn read<T, F>(&self, run: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        match &self.inner.engine {
            Engine::Memory(conn) => {
                let conn = conn.lock().map_err(|_| lane::ended())?;
                Ok(run(&conn)?)
            }
            Engine::File { reads, .. } => reads.run(run, lane::ended).await,
        }
    }

    /// Runs a job that writes, all of it or nothing; `Ok` means committed and on the disk.
    async fn write<T, F>(&self, run: F) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        match &self.inner.engine {
            Engine::Memory(conn) => {
                let conn = conn.lock().map_err(|_| lane::ended())?;
                lane::inline(&conn, run)
            }
            Engine::File { writes, .. } => writes.run(run, lane::unanswered).await,
        }
    }

    /// Runs a write that may be lost in a crash without harm; does not wait for it.
    async fn write_later<F>(&self, run: F) -> Answer<()>
    where
        F: FnOnce(&Connection) -> Result<(), Fault> + Send + 'static,
    {
        match &self.inner.engine {
            Engine::Memory(conn) => {
                let conn = conn.lock().map_err(|_| lane::ended())?;
                lane::inline(&conn, run)
            }
            Engine::File { writes, .. } => writes.run_later(run).await,
        }
    }
}

/// Makes the folder for this user only: it will hold people's phone numbers.
fn make_folder(dir: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(BUSY)?;
    keep_statements(&conn)?;
    Ok(conn)
}

/// Each statement is compiled once. Without the planner's stability guarantee SQLite compiles every
/// statement with a `LIMIT ?` anew whenever that is bound (measured: 70 % of its time).
fn keep_statements(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// The only document a query finds.
fn one_doc(conn: &Connection, sql: &str, params: impl Params) -> Result<Option<String>, Fault> {
    Ok(conn
        .prepare_cached(sql)?
        .query_row(params, |row| row.get(0))
        .optional()?)
}

/// The documents of `ids`, in their order, with gaps.
fn docs_by_id<'a>(
    conn: &Connection,
    sql: &str,
    ids: impl Iterator<Item = &'a str>,
) -> Result<Vec<Option<String>>, Fault> {
    ids.map(|id| one_doc(conn, sql, [id])).collect()
}

/// All documents (or other texts) a query finds.
fn docs(conn: &Connection, sql: &str, params: impl Params) -> Result<Vec<String>, Fault> {
    let mut query = conn.prepare_cached(sql)?;
    let rows = query.query_map(params, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Whether a query finds anything.
fn exists(conn: &Connection, sql: &str, params: impl Params) -> Result<bool, Fault> {
    Ok(conn.prepare_cached(sql)?.exists(params)?)
}

/// Runs a statement; returns how many rows it touched.
fn execute(conn: &Connection, sql: &str, params: impl Params) -> Result<usize, Fault> {
    Ok(conn.prepare_cached(sql)?.execute(params)?)
}

fn from_doc<T: DeserializeOwned>(what: &'static str, doc: &str) -> Result<T, Fault> {
    serde_json::from_str(doc).map_err(|source| Fault::Shape { what, source })
}

fn to_doc<T: Serialize>(what: &'static str, value: &T) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|source| Fault::Shape { what, source })
}

/// Reads documents on the caller's side, so that the database threads do not spend their time on it.
fn from_docs<T: DeserializeOwned>(what: &'static str, docs: &[String]) -> Answer<Vec<T>> {
    docs.iter()
        .map(|doc| from_doc(what, doc).map_err(StoreError::from))
        .collect()
}

/// As [`from_docs`], with gaps.
fn from_gappy_docs<T: DeserializeOwned>(
    what: &'static str,
    docs: &[Option<String>],
) -> Answer<Vec<Option<T>>> {
    docs.iter()
        .map(|doc| {
            doc.as_deref()
                .map(|doc| from_doc(what, doc))
                .transpose()
                .map_err(StoreError::from)
        })
        .collect()
}

/// A `LIMIT`.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A `LIMIT` of one more than asked for: whether there is a next page.
fn rows_and_one(limit: usize) -> i64 {
    rows(limit).saturating_add(1)
}

#[cfg(test)]
mod tests;
