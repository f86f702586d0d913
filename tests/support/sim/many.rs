//! Many worlds, on all cores: each on one thread, as deterministic as ever, and reported in the order of
//! their seeds.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::{Failure, Options, Report, run};

/// What all worlds of a run did together.
#[derive(Debug, Clone, Default)]
pub struct Sum {
    /// Worlds that came to their end.
    pub worlds: u64,
    /// Leads delivered.
    pub leads: u64,
    /// Attempts.
    pub attempts: u64,
    /// Those of them that were written down while things went wrong.
    pub faulted: u64,
    /// Calls placed.
    pub placed: u64,
    /// Rings.
    pub rings: u64,
    /// People who were told on the call that nobody will call them again.
    pub opt_outs: u64,
    /// Processes killed.
    pub crashes: u64,
    /// Processes that ended when they were told to.
    pub restarts: u64,
    /// Create-call requests with an unclear answer.
    pub unclear: u64,
    /// Calls hung up because their attempt had ended.
    pub zombies: u64,
    /// Worlds in which a promise was broken.
    pub violations: u64,
    /// The time of all worlds together.
    pub virtual_time: Duration,
    /// The longest any of them took to come to rest, and which.
    pub slowest: (Duration, u64),
}

impl Sum {
    /// Counts a world.
    pub fn add(&mut self, world: &Result<Report, Failure>) {
        let Ok(report) = world else {
            self.violations += 1;
            return;
        };
        self.worlds += 1;
        self.leads += report.leads;
        self.attempts += report.attempts;
        self.faulted += report.faulted;
        self.placed += report.placed;
        self.rings += report.rings;
        self.opt_outs += report.opt_outs;
        self.crashes += report.crashes;
        self.restarts += report.restarts;
        self.unclear += report.unclear;
        self.zombies += report.zombies;
        self.virtual_time += report.virtual_time;
        self.slowest = self.slowest.max((report.settling, report.seed));
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} worlds, {} attempts ({} under faults), {} rings, {} opt-outs, {} crashes, {} restarts, {} unclear answers, \
             {} violations, {:.1} h of virtual time",
            self.worlds,
            self.attempts,
            self.faulted,
            self.rings,
            self.opt_outs,
            self.crashes,
            self.restarts,
            self.unclear,
            self.violations,
            self.virtual_time.as_secs_f64() / 3600.0
        )
    }
}

/// Runs the worlds of `seeds` on so many threads, and tells of each in the order of their seeds, until
/// there are no more or `tell` wants no more. What is told does not depend on the number of threads.
pub fn run_many(
    seeds: Range<u64>,
    options: &Options,
    threads: NonZeroUsize,
    mut tell: impl FnMut(u64, &Result<Report, Failure>) -> ControlFlow<()>,
) -> Sum {
    let (mut sum, next) = (Sum::default(), AtomicU64::new(seeds.start));
    let (send, receive) = sync_channel(threads.get());
    thread::scope(|scope| {
        for _ in 0..threads.get() {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    // Nobody listens any more once enough was told.
                    if seed >= seeds.end || send.send((seed, survive(seed, options))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        let (mut early, mut due) = (BTreeMap::new(), seeds.start);
        for (seed, world) in &receive {
            early.insert(seed, world);
            while let Some(world) = early.remove(&due) {
                sum.add(&world);
                if tell(due, &world).is_break() {
                    drop(receive);
                    return;
                }
                due += 1;
            }
        }
    });
    sum
}

/// A world that panics broke a promise.
fn survive(seed: u64, options: &Options) -> Result<Report, Failure> {
    catch_unwind(AssertUnwindSafe(|| run(seed, options))).unwrap_or_else(|_| {
        Err(Failure {
            seed,
            what: "the world itself panicked; its words are above".to_owned(),
            trace: Vec::new(),
        })
    })
}
