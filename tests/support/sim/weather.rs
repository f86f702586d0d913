//! What every part of a world shares: time, chance, the journal, and the first broken promise.

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::Options;
use super::chance::{Chance, Kind};
use super::faults::Faults;
use super::journal::Journal;
use super::mutant::Mutant;
use super::time::SimTime;

/// See the module.
pub(super) struct Weather {
    pub(super) seed: u64,
    pub(super) time: SimTime,
    pub(super) chance: Chance,
    pub(super) journal: Arc<Journal>,
    pub(super) faults: Faults,
    /// What is missing on purpose.
    pub(super) mutant: Option<Mutant>,
    /// Where every process is killed, again and again.
    pub(super) aim: Option<&'static str>,
    /// It is about people who opt out.
    pub(super) opt_outs: bool,
    calm: AtomicBool,
    failure: Mutex<Option<String>>,
    failed: Notify,
    struck: Mutex<BTreeSet<&'static str>>,
}

impl Weather {
    pub(super) fn new(
        seed: u64,
        time: SimTime,
        chance: Chance,
        journal: Arc<Journal>,
        faults: Faults,
        options: &Options,
    ) -> Self {
        Self {
            seed,
            time,
            chance,
            journal,
            faults,
            mutant: options.mutant,
            aim: options.aim,
            opt_outs: options.opt_outs,
            calm: AtomicBool::new(true),
            failure: Mutex::new(None),
            failed: Notify::new(),
            struck: Mutex::default(),
        }
    }

    /// Whether a fault of this probability happens now.
    pub(super) fn hits(&self, kind: Kind, p: f64) -> bool {
        !self.is_calm() && self.chance.hits(kind, p)
    }

    /// Whether nothing goes wrong from now on. A world begins and ends calm.
    pub(super) fn set_calm(&self, calm: bool) {
        self.calm.store(calm, Ordering::Relaxed);
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// A process was killed at this place.
    pub(super) fn struck(&self, place: &'static str) {
        self.struck
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place);
    }

    /// Where processes were killed.
    pub(super) fn places_struck(&self) -> BTreeSet<&'static str> {
        self.struck
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A promise was broken. The first one ends the world.
    pub(super) fn fail(&self, what: String) {
        self.journal.line("FAIL", format_args!("{what}"));
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(what);
        self.failed.notify_one();
    }

    /// Waits for the first broken promise.
    pub(super) async fn failure(&self) -> String {
        loop {
            if let Some(what) = self
                .failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
            {
                return what;
            }
            self.failed.notified().await;
        }
    }

    /// The longest between the last look at a fact and the call placed on it: fence and slack, and
    /// what the faults of this world add.
    pub(super) fn slack(&self) -> Duration {
        let frozen = if self.faults.freezes > 0.0 {
            super::faults::FREEZE_MAX_S
        } else {
            0
        };
        Duration::from_secs(10 + frozen + super::faults::WIRE_MAX_S)
    }

    /// Something goes on outside the processes: a request on its way, a call, a callback.
    pub(super) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + 'static) {
        let weather = Arc::clone(self);
        tokio::task::spawn_local(async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                weather.fail(format!("a panic: {}", words(panic.as_ref())));
            }
        });
    }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
}
