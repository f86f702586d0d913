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
mod board;
mod campaign;
mod cost;
mod doc;
mod error;
mod import;
mod journal;
mod lane;
mod lead;
mod record;
mod recording;
mod schema;

use std::fs::{DirBuilder, File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dialfleet_engine::port::Clock;
use dialfleet_engine::port::store::Answer;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Params};

use doc::{docs, docs_by_id, from_doc, one_doc, rows, texts, to_doc};
use error::Fault;
pub use error::OpenError;
pub use journal::{Entry, Journaled, Parked};
use lane::Lane;

use crate::unreadable::Unreadable;

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
    /// Shared with jobs on the database threads.
    unreadable: Arc<Unreadable>,
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
                unreadable: Arc::default(),
            }),
        })
    }

    /// Drops an index, to see that it is missed.
    ///
    /// # Panics
    /// There is no such index.
    #[cfg(feature = "mutants")]
    pub async fn lose_index(&self, name: &'static str) {
        let drop_it =
            move |conn: &Connection| Ok(conn.execute_batch(&format!("DROP INDEX {name}"))?);
        self.write(drop_it).await.expect("it is there");
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
        if let Err(error) = writer.execute_batch(schema::SUCCEED) {
            // They run out by themselves.
            tracing::warn!(%error, "the rights of the process before this one are still there");
        }
        let reader = connect(&path)?;
        reader.execute_batch("PRAGMA query_only = ON")?;
        let engine = Engine::File {
            reads: Lane::start("store-read", reader, lane::read).map_err(folder)?,
            writes: Lane::start("store-write", writer, lane::write).map_err(folder)?,
            _lock: lock,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                clock,
                unreadable: Arc::default(),
            }),
        })
    }

    fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// Remembers the document that an answer says cannot be read.
    fn heard<T>(&self, answer: Answer<T>) -> Answer<T> {
        answer.inspect_err(|error| self.inner.unreadable.remember(error))
    }

    /// Makes a document unreadable. For tests.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn spoil_for_tests(&self, table: &'static str, id: &str, field: &str) -> Answer<()> {
        let (id, path) = (id.to_owned(), format!("$.{field}"));
        self.write(move |conn| {
            let sql = format!("UPDATE {table} SET doc = json_set(doc, ?2, 7) WHERE id = ?1");
            execute(conn, &sql, [id, path]).map(drop)
        })
        .await
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
                self.heard(run(&conn).map_err(Into::into))
            }
            Engine::File { reads, .. } => self.heard(reads.run(run, lane::ended).await),
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
                self.heard(lane::inline(&conn, run))
            }
            Engine::File { writes, .. } => self.heard(writes.run(run, lane::unanswered).await),
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

/// Whether a query finds anything.
fn exists(conn: &Connection, sql: &str, params: impl Params) -> Result<bool, Fault> {
    Ok(conn.prepare_cached(sql)?.exists(params)?)
}

/// Runs a statement; returns how many rows it touched.
fn execute(conn: &Connection, sql: &str, params: impl Params) -> Result<usize, Fault> {
    Ok(conn.prepare_cached(sql)?.execute(params)?)
}

#[cfg(test)]
mod tests;
