//! Whole-system simulation in virtual time, from one seed.
//!
//! The real engine runs with every role, in one to four processes that share the embedded store and
//! queue, against a simulated telephone network. Between them and the processes stand port wrappers
//! that lose, repeat, delay and refuse; processes are killed at any of their awaits, frozen and
//! restarted; operators change their minds meanwhile. Then everything heals, and the world must come
//! to its proper end. The promises are checked from outside, by what the network saw.
//!
//! Everything runs on one thread on tokio's paused clock, and every decision comes from the seed:
//! the same seed gives the same world, event for event, which [`Report::hash`] proves.
//!
//! * [`faults`]: what can go wrong. * `gate`, `process`: processes and how they die.
//! * `store`, `queue`, `carrier`: the faulty ports. * `exchange`, `door`: carriers and callbacks.
//! * `talk`: what is heard on a call, and which keys are pressed. * `folder`: a machine's disk.
//! * [`market`]: three carriers and a router, without faults.
//! * `operator`, `customer`, `desk`: people, and where they are served. * `checks`, `wishes`, `settle`: the promises. * `world`: one world's course.
#![expect(
    clippy::arc_with_non_send_sync,
    reason = "a world has one thread; its parts are shared as those of the engine are"
)]

mod carrier;
mod chance;
mod checks;
mod customer;
mod desk;
mod door;
mod exchange;
pub mod faults;
mod folder;
mod gate;
mod journal;
mod many;
pub mod market;
mod mutant;
mod operator;
mod places;
mod process;
mod queue;
mod settle;
mod store;
mod talk;
mod time;
mod weather;
mod wishes;
mod world;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use faults::Faults;
use journal::{Ear, Journal};
pub use many::{Sum, run_many};
pub use mutant::Mutant;
pub use places::{PLACES, crash_everywhere};
use time::SimTime;
use tracing_subscriber::filter::LevelFilter;
use world::World;

/// How worlds are made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What can go wrong, at most.
    pub faults: Faults,
    /// Each seed draws which of the faults are on, and how strongly; otherwise all are, fully.
    pub swarm: bool,
    /// Lines of the trace that are kept.
    pub trace: usize,
    /// The engine's own log appears in the trace. Costs time, changes nothing.
    pub engine_log: bool,
    /// How many times as long things go wrong: more attempts under faults for the time a world takes.
    pub bad_times: u32,
    /// What is missing on purpose.
    pub mutant: Option<Mutant>,
    /// Every process is killed at this one of the [`PLACES`], again and again, and nothing else happens
    /// to it.
    pub aim: Option<&'static str>,
    /// Every second person who answers presses the key that means an opt-out, and nearly everybody is on
    /// the lists of several campaigns.
    pub opt_outs: bool,
}

impl Options {
    /// Nothing goes wrong.
    #[must_use]
    pub const fn quiet() -> Self {
        Self {
            faults: Faults::NONE,
            swarm: false,
            trace: 200,
            engine_log: false,
            bad_times: 1,
            mutant: None,
            aim: None,
            opt_outs: false,
        }
    }

    /// Each seed has its own selection of faults.
    #[must_use]
    pub const fn swarm() -> Self {
        Self {
            faults: Faults::MOST,
            swarm: true,
            trace: 200,
            engine_log: false,
            bad_times: 1,
            mutant: None,
            aim: None,
            opt_outs: false,
        }
    }

    /// The same world with everything that can be said about it.
    #[must_use]
    pub const fn explained(self) -> Self {
        Self {
            trace: 20_000,
            engine_log: true,
            ..self
        }
    }
}

/// What a world did. All promises were kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Over everything that happened, in order.
    pub hash: u64,
    /// Worker processes.
    pub workers: usize,
    /// Leads delivered.
    pub leads: u64,
    /// Attempts in the store.
    pub attempts: u64,
    /// Those of them that were written down while things went wrong.
    pub faulted: u64,
    /// Calls placed, by the network's ledger.
    pub placed: u64,
    /// Times a telephone rang.
    pub rings: u64,
    /// Most live calls at any moment.
    pub max_live: u32,
    /// People who were told on the call that nobody will call them again.
    pub opt_outs: u64,
    /// Processes killed.
    pub crashes: u64,
    /// Processes that ended when they were told to.
    pub restarts: u64,
    /// Create-call requests with an unclear answer.
    pub unclear: u64,
    /// Calls that were hung up because their attempt had ended.
    pub zombies: u64,
    /// How long it took in its own time.
    pub virtual_time: Duration,
    /// From the last fault to the end of everything.
    pub settling: Duration,
    /// The [`PLACES`] at which processes were killed.
    pub struck: BTreeSet<&'static str>,
}

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed that repeats it.
    pub seed: u64,
    /// What happened.
    pub what: String,
    /// What led to it: the last lines.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

impl std::error::Error for Failure {}

/// Runs the world of `seed` to its end.
///
/// # Errors
/// A promise was broken, or the world did not come to its end.
pub fn run(seed: u64, options: &Options) -> Result<Report, Failure> {
    let fail = |what: String, trace: Vec<String>| Failure { seed, what, trace };
    on_paused_time(async |time| {
        let journal = Arc::new(Journal::new(time, options.trace));
        let _missing = options.mutant.and_then(Mutant::taken_from_engine);
        let _ear = options.engine_log.then(|| listen(&journal));
        let (world, workers) = match World::new(seed, options, time, Arc::clone(&journal)).await {
            Ok(world) => world,
            Err(what) => return Err(fail(what, journal.trace())),
        };
        match world.live(seed, workers).await {
            Ok(report) => Ok(report),
            Err(what) => {
                let mut trace = journal.trace();
                trace.extend(world.standing().await);
                let readable = |line: &String| world.with_names(line);
                Err(fail(readable(&what), trace.iter().map(readable).collect()))
            }
        }
    })
}

/// Runs something on one thread, on a clock that goes on when nothing else does.
fn on_paused_time<T>(work: impl AsyncFnOnce(SimTime) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing from the system");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async { work(SimTime::start()).await })
}

/// The engine's log goes to the trace, on this thread, until the guard is dropped.
fn listen(journal: &Arc<Journal>) -> tracing::subscriber::DefaultGuard {
    let journal = Arc::clone(journal);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .without_time()
        .with_ansi(false)
        .with_writer(move || Ear(Arc::clone(&journal)))
        .finish();
    tracing::subscriber::set_default(subscriber)
}
