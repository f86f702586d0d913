//! How jobs reach a connection: inline for the store in memory, by one thread each for reading and
//! writing a file. The writing thread takes everything that waits, runs it in one transaction (each
//! job under its own savepoint), commits, and only then answers: one disk flush for all of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, JoinHandle};

use dialfleet_engine::port::store::{Answer, StoreError};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::error::{Failure, Fault};

/// Jobs that may wait for a thread; more callers wait in `send`.
const DEPTH: usize = 1_024;
/// Jobs in one transaction at most: bounds the time until the first of them is answered.
const GROUP: usize = 256;

/// A job that was run, and how to tell its caller once the fate of the transaction is known.
pub(super) struct Ran {
    keep: bool,
    tell: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

type Run = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Ran + Send>;

/// A job. Given an error instead of a connection, it fails with that.
pub(super) struct Job {
    run: Run,
    /// The commit must be on the disk before the answer.
    durable: bool,
}

impl Job {
    fn new<T, F>(durable: bool, run: F, tell: impl FnOnce(Answer<T>) + Send + 'static) -> Self
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        Self {
            run: Box::new(move |conn| {
                let result = conn.and_then(|conn| {
                    // A bug in one job must not end the thread that everybody needs.
                    let caught = catch_unwind(AssertUnwindSafe(|| run(conn)));
                    caught
                        .unwrap_or(Err(Fault::Panicked))
                        .map_err(StoreError::from)
                });
                Ran {
                    keep: result.is_ok(),
                    tell: Box::new(move |end| tell(result.and_then(|value| end.map(|()| value)))),
                }
            }),
            durable,
        }
    }
}

/// A thread with a connection. Dropping it lets the thread finish what waits, then joins it.
pub(super) struct Lane {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// A lane that runs `work` until every sender is gone.
    pub(super) fn start(
        name: &str,
        conn: Connection,
        work: fn(&Connection, mpsc::Receiver<Job>),
    ) -> Result<Self, std::io::Error> {
        let (jobs, waiting) = mpsc::channel(DEPTH);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&conn, waiting))?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Runs a job and waits for its answer. `lost` says what a vanished answer means.
    pub(super) async fn run<T, F>(&self, run: F, lost: fn() -> StoreError) -> Answer<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        // A caller that went away no longer wants the answer.
        self.send(Job::new(true, run, move |answer| drop(tell.send(answer))))
            .await?;
        told.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Runs a job some time later, without a flush of its own. Nobody hears of a failure but the log.
    pub(super) async fn run_later<F>(&self, run: F) -> Answer<()>
    where
        F: FnOnce(&Connection) -> Result<(), Fault> + Send + 'static,
    {
        let job = Job::new(false, run, |answer: Answer<()>| {
            if let Err(error) = answer {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a write that can wait was lost"
                );
            }
        });
        self.send(job).await
    }

    async fn send(&self, job: Job) -> Answer<()> {
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(job).await.map_err(|_| ended())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Jobs cannot panic it; if it did, it has said so already.
            let _ = thread.join();
        }
    }
}

/// The thread is gone.
pub(super) fn ended() -> StoreError {
    StoreError::Unavailable("the database thread has ended".into())
}

/// The thread took the write and never answered.
pub(super) fn unanswered() -> StoreError {
    StoreError::Unclear("the database thread ended before it answered".into())
}

/// The reading thread: every job sees one committed state.
pub(super) fn read(conn: &Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(job) = jobs.blocking_recv() {
        let begun = step(conn, "BEGIN").map_err(|error| Failure::before_commit(&error).error());
        let ran = (job.run)(begun.map(|()| conn));
        // Nothing was written: there is nothing to lose at the end of it.
        let _ = step(conn, "ROLLBACK");
        (ran.tell)(Ok(()));
    }
}

/// The writing thread.
pub(super) fn write(conn: &Connection, mut jobs: mpsc::Receiver<Job>) {
    let mut flushing = true;
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = jobs.try_recv()
        {
            group.push(next);
        }
        let durable = group.iter().any(|job| job.durable);
        if durable != flushing && flush_at_commit(conn, durable).is_ok() {
            flushing = durable;
        }
        run_group(conn, group);
    }
}

fn flush_at_commit(conn: &Connection, on: bool) -> rusqlite::Result<()> {
    conn.execute_batch(if on {
        "PRAGMA synchronous = FULL"
    } else {
        "PRAGMA synchronous = NORMAL"
    })
}

/// Runs the group in one transaction, or in several when SQLite rolled one back half-way.
fn run_group(conn: &Connection, group: Vec<Job>) {
    let mut group = group.into_iter();
    while group.len() > 0 {
        let mut ran = Vec::with_capacity(group.len());
        let end = transaction(conn, &mut group, &mut ran);
        for job in ran {
            (job.tell)(end.as_ref().map_err(Failure::error).copied());
        }
    }
}

/// Takes jobs from `group` into `ran` until all are done or the transaction is gone.
fn transaction(
    conn: &Connection,
    group: &mut std::vec::IntoIter<Job>,
    ran: &mut Vec<Ran>,
) -> Result<(), Failure> {
    if let Err(error) = step(conn, "BEGIN IMMEDIATE") {
        let why = Failure::before_commit(&error);
        ran.extend(group.map(|job| (job.run)(Err(why.error()))));
        return Err(why);
    }
    for job in group {
        let kept = in_savepoint(conn, job, ran);
        // A full disk or an I/O error may take the whole transaction with it.
        if conn.is_autocommit() {
            return Err(Failure::Undone(
                "a write of the same group failed and took the others with it".to_owned(),
            ));
        }
        if let Err(error) = kept {
            let _ = step(conn, "ROLLBACK");
            return Err(Failure::before_commit(&error));
        }
    }
    step(conn, "COMMIT").map_err(|error| {
        if !conn.is_autocommit() {
            let _ = step(conn, "ROLLBACK");
        }
        Failure::at_commit(&error)
    })
}

fn in_savepoint(conn: &Connection, job: Job, ran: &mut Vec<Ran>) -> rusqlite::Result<()> {
    if let Err(error) = step(conn, "SAVEPOINT job") {
        ran.push((job.run)(Err(Failure::before_commit(&error).error())));
        return Err(error);
    }
    let done = (job.run)(Ok(conn));
    let keep = done.keep;
    ran.push(done);
    if !keep && !conn.is_autocommit() {
        step(conn, "ROLLBACK TO job")?;
    }
    if conn.is_autocommit() {
        Ok(())
    } else {
        step(conn, "RELEASE job")
    }
}

/// Runs a job on the caller's thread, all of it or nothing.
pub(super) fn inline<T>(
    conn: &Connection,
    run: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Answer<T> {
    step(conn, "BEGIN").map_err(Fault::from)?;
    let result = run(conn).and_then(|value| Ok(step(conn, "COMMIT").map(|()| value)?));
    if result.is_err() && !conn.is_autocommit() {
        // In memory there is no log that could still hold it.
        let _ = step(conn, "ROLLBACK");
    }
    Ok(result?)
}

fn step(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([]).map(drop)
}
