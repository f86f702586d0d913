//! An orderly stop: one signal begins it, everything has one deadline, a second signal ends it at
//! once.
//!
//! The order within the deadline is the workers': stop taking work, finish or hand back what is in
//! flight, settle, flush, close. Nothing depends on it: a worker killed at any point loses nothing.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::service;

/// Cloud Run kills 10 s after its signal; the rest is for the last logs and traces.
const DEADLINE: Duration = Duration::from_secs(8);

/// Says when to stop. Clones are the same.
#[derive(Debug, Clone)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stopping: CancellationToken,
    allowed: Duration,
    deadline: OnceLock<Instant>,
}

impl Shutdown {
    /// A stop may take 8 s.
    #[must_use]
    pub fn new() -> Self {
        Self::within(DEADLINE)
    }

    /// A stop may take `allowed`.
    #[must_use]
    pub fn within(allowed: Duration) -> Self {
        let stopping = CancellationToken::new();
        Self {
            inner: Arc::new(Inner {
                stopping,
                allowed,
                deadline: OnceLock::new(),
            }),
        }
    }

    /// Cancelled when the stop begins: take no new work from then on.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stopping.clone()
    }

    /// Whether the stop has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.is_cancelled()
    }

    /// Begins the stop, once; later calls change nothing.
    pub fn stop(&self, why: &str) {
        let mut first = false;
        self.inner.deadline.get_or_init(|| {
            first = true;
            Instant::now() + self.inner.allowed
        });
        if first {
            tracing::info!(reason = why, "stopping");
        }
        self.inner.stopping.cancel();
    }

    /// How much of the time for the stop is left; all of it before it begins.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.inner.deadline.get().map_or(self.inner.allowed, |at| {
            at.saturating_duration_since(Instant::now())
        })
    }

    /// Waits until the time for the stop is over. Never returns before it began.
    pub async fn deadline(&self) {
        self.inner.stopping.cancelled().await;
        // Set before the token is cancelled, so `remaining` counts from the beginning of the stop.
        tokio::time::sleep(self.remaining()).await;
    }

    /// Begins the stop on SIGTERM or SIGINT. Any signal after that ends the process at once, with
    /// the shell's exit code for it: 143 or 130. Listens until the returned handle is dropped.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen(&self) -> io::Result<AbortOnDropHandle<()>> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        Ok(service::spawn(async move {
            loop {
                let (name, code) = tokio::select! {
                    _ = terminate.recv() => ("SIGTERM", 143),
                    _ = interrupt.recv() => ("SIGINT", 130),
                };
                if shutdown.is_stopping() {
                    tracing::warn!(signal = name, "a second signal: ending at once");
                    std::process::exit(code);
                }
                shutdown.stop(name);
            }
        }))
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
        let _listening = shutdown.listen().unwrap();
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::TERM).unwrap();
        tokio::time::timeout(Duration::from_secs(5), shutdown.stopping().cancelled())
            .await
            .unwrap();
    }
}
