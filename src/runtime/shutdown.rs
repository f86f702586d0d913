//! An orderly stop: one signal begins it, everything has one deadline, a second signal ends it at
//! once. A platform such as Cloud Run kills 10 s after its signal; a stop takes 8 s at most:
//!
//! | phase | what happens | until |
//! |---|---|---|
//! | [`Phase::Draining`] | readiness is off at once; nothing new is taken; what waits goes back to the queue; intents that were not sent are withdrawn; requests under way finish (6 s at most) and their results are written, or `unknown` | all work has ended, or 6.4 s |
//! | [`Phase::Closing`] | HTTP takes no more connections; requests in progress are answered; services that do not end are named and given up | all services have ended, or 7 s |
//! | [`Phase::Flushing`] | the last logs and traces | 1 s more |
//!
//! Nothing depends on it: a process killed at any point loses nothing, it is only slower to replace.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::service;

/// Of the 8 s, the last one is for [`Phase::Flushing`].
const DEADLINE: Duration = Duration::from_secs(7);
/// What is left for [`Phase::Closing`] at least.
const CLOSING: Duration = Duration::from_millis(600);
/// What serves others ends so long before the deadline.
const LAST_MOMENT: Duration = Duration::from_millis(200);
/// After a signal HTTP answers for so long at least, even if there is no work to wait for: whoever
/// sends traffic needs a moment to see that this process is not ready any more.
const LINGER: Duration = Duration::from_secs(1);

/// Where a stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Work ends; HTTP still answers, and says that this process is not ready.
    Draining,
    /// HTTP ends.
    Closing,
    /// Logs and traces leave; then the process exits.
    Flushing,
}

impl Phase {
    /// The name used in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Flushing => "flushing",
        }
    }
}

/// Says when to stop. Clones are the same.
#[derive(Debug, Clone)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stopping: CancellationToken,
    closing: CancellationToken,
    allowed: Duration,
    begun: OnceLock<Begun>,
}

#[derive(Debug)]
struct Begun {
    at: Instant,
    linger: Duration,
}

impl Shutdown {
    /// A stop may take 8 s.
    #[must_use]
    pub fn new() -> Self {
        Self::within(DEADLINE)
    }

    /// A stop may take `allowed`, up to its last phase.
    #[must_use]
    pub fn within(allowed: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                stopping: CancellationToken::new(),
                closing: CancellationToken::new(),
                allowed,
                begun: OnceLock::new(),
            }),
        }
    }

    /// Cancelled when the stop begins ([`Phase::Draining`]): take no new work from then on.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stopping.clone()
    }

    /// Cancelled when the work has ended ([`Phase::Closing`]): what serves others ends then.
    #[must_use]
    pub fn closing(&self) -> CancellationToken {
        self.inner.closing.clone()
    }

    /// Whether the stop has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.is_cancelled()
    }

    /// Begins the stop, once; later calls change nothing.
    pub fn stop(&self, why: &str) {
        self.begin(why, Duration::ZERO);
    }

    fn begin(&self, why: &str, linger: Duration) {
        let mut first = false;
        self.inner.begun.get_or_init(|| {
            first = true;
            let at = Instant::now();
            Begun { at, linger }
        });
        if first {
            self.enter(Phase::Draining, why);
        }
        self.inner.stopping.cancel();
    }

    /// Goes on to [`Phase::Closing`], once.
    pub(crate) fn close(&self, why: &str) {
        if !self.inner.closing.is_cancelled() {
            self.enter(Phase::Closing, why);
            self.inner.closing.cancel();
        }
    }

    fn enter(&self, phase: Phase, why: &str) {
        let left_ms = u64::try_from(self.remaining().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(phase = phase.name(), reason = why, left_ms, "stopping");
    }

    /// Says that everything has ended and only logs and traces are left. The caller flushes them and
    /// exits.
    pub fn flushing(&self) {
        if self.is_stopping() {
            self.enter(Phase::Flushing, "everything has ended");
        }
    }

    /// How much of the time for the stop is left; all of it before it begins.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.left_of(self.inner.allowed)
    }

    fn left_of(&self, allowed: Duration) -> Duration {
        self.inner
            .begun
            .get()
            .map_or(allowed, |begun| allowed.saturating_sub(begun.at.elapsed()))
    }

    /// Waits until the time for the stop is over. Never returns before it began.
    pub async fn deadline(&self) {
        self.pass(self.inner.allowed).await;
    }

    /// Waits until a moment before the deadline: what serves others drops what is not answered by
    /// then, rather than being found still running.
    pub async fn last_moment(&self) {
        self.pass(self.inner.allowed.saturating_sub(LAST_MOMENT))
            .await;
    }

    /// Waits until work has had its time, and [`Phase::Closing`] must begin.
    pub(crate) async fn drained(&self) {
        self.pass(self.inner.allowed.saturating_sub(CLOSING)).await;
    }

    /// Waits until closing may begin, if there is no work.
    pub(crate) async fn lingered(&self) {
        self.inner.stopping.cancelled().await;
        let linger = self.inner.begun.get().map_or(Duration::ZERO, |b| b.linger);
        self.pass(linger.min(self.inner.allowed)).await;
    }

    async fn pass(&self, time: Duration) {
        self.inner.stopping.cancelled().await;
        // Set before the token is cancelled, so this counts from the beginning of the stop.
        tokio::time::sleep(self.left_of(time)).await;
    }

    /// Begins the stop on SIGTERM or SIGINT. Any signal after that ends the process at once, with
    /// the shell's exit code for it: 143 or 130. Listens as long as the process lives, because the
    /// handlers stay: also while the last telemetry is sent.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        let listening = service::spawn(async move {
            loop {
                let (name, code) = tokio::select! {
                    _ = terminate.recv() => ("SIGTERM", 143),
                    _ = interrupt.recv() => ("SIGINT", 130),
                };
                if shutdown.is_stopping() {
                    tracing::warn!(signal = name, "a second signal: ending at once");
                    std::process::exit(code);
                }
                shutdown.begin(name, LINGER);
            }
        });
        listening.detach();
        Ok(())
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_counts_from_the_first_stop() {
        let shutdown = Shutdown::within(Duration::from_secs(8));
        let stopping = shutdown.stopping();
        assert!(!shutdown.is_stopping() && !stopping.is_cancelled());
        assert_eq!(shutdown.remaining(), Duration::from_secs(8));

        let started = Instant::now();
        shutdown.clone().stop("first");
        assert!(shutdown.is_stopping() && stopping.is_cancelled());
        assert!(!shutdown.closing().is_cancelled());
        tokio::time::advance(Duration::from_secs(3)).await;
        shutdown.stop("second");
        assert_eq!(shutdown.remaining(), Duration::from_secs(5));
        shutdown.deadline().await;
        let waited = started.elapsed();
        assert!(
            waited >= Duration::from_secs(8) && waited < Duration::from_millis(8_100),
            "{waited:?}"
        );
        assert_eq!(shutdown.remaining(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_signal_begins_the_stop() {
        let shutdown = Shutdown::new();
        shutdown.listen().unwrap();
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::TERM).unwrap();
        tokio::time::timeout(Duration::from_secs(5), shutdown.stopping().cancelled())
            .await
            .unwrap();
    }
}
