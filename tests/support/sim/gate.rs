//! The door between a process and the world. Every port call of a process passes its gate twice, so
//! a crash can be put at each of them; a severed gate lets nothing through any more, which is what
//! `kill -9` does to a process's connections.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

/// A process's connection to the world.
pub(super) struct Gate {
    /// The process's name.
    pub(super) who: String,
    /// How far its wall clock is off.
    pub(super) off_ms: Arc<AtomicI64>,
    /// Passes left until it crashes.
    fuse: AtomicU64,
    severed: AtomicBool,
    frozen: AtomicBool,
    /// Uptime, ms, until which it has no store.
    store_out_until: AtomicU64,
    trap: Mutex<Option<Trap>>,
    shell: Mutex<Option<Waker>>,
}

impl Gate {
    pub(super) fn new(who: String) -> Self {
        Self {
            who,
            off_ms: Arc::default(),
            fuse: AtomicU64::new(u64::MAX),
            severed: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            store_out_until: AtomicU64::new(0),
            trap: Mutex::new(None),
            shell: Mutex::new(None),
        }
    }

    /// Goes through, or burns here.
    pub(super) async fn pass(&self) {
        let fuse = self.fuse.load(Ordering::Relaxed);
        if fuse == 0 {
            self.severed.store(true, Ordering::Relaxed);
        } else if fuse != u64::MAX {
            self.fuse.store(fuse - 1, Ordering::Relaxed);
        }
        if self.is_severed() {
            // The shell sees it when this poll is over, and drops the process.
            std::future::pending::<()>().await;
        }
    }

    /// Crashes the process after so many more passes.
    pub(super) fn light_fuse(&self, passes: u64) {
        self.fuse.store(passes, Ordering::Relaxed);
    }

    /// Crashes the process now.
    pub(super) fn sever(&self) {
        self.severed.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(super) fn is_severed(&self) -> bool {
        self.severed.load(Ordering::Relaxed)
    }

    /// Stops the process from running, as SIGSTOP does, or lets it go on.
    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
        self.wake();
    }

    /// Takes the store away until this uptime.
    pub(super) fn store_out(&self, until: Duration) {
        let ms = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.store_out_until.store(ms, Ordering::Relaxed);
    }

    pub(super) fn has_store(&self, uptime: Duration) -> bool {
        uptime.as_millis() >= u128::from(self.store_out_until.load(Ordering::Relaxed))
    }

    /// Sets a trap for the next create-call request.
    pub(super) fn set_trap(&self, trap: Option<Trap>) {
        *self.trap.lock().unwrap_or_else(PoisonError::into_inner) = trap;
    }

    pub(super) fn spring_trap(&self) -> Option<Trap> {
        self.trap
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn wake(&self) {
        if let Some(waker) = self
            .shell
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            waker.wake();
        }
    }
}

/// What happens to a process at its next create-call request, the worst of all moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trap {
    /// It is killed before the request leaves.
    CrashBefore,
    /// It is killed when the request has left.
    CrashAfter,
    /// It is frozen, for so long, just before the request leaves.
    Freeze(Duration),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// It finished what it was doing.
    Stopped,
    /// It was killed.
    Crashed,
}

/// Runs a process as the system does: not while it is frozen, and no longer once it was killed.
pub(super) struct Shell {
    gate: Arc<Gate>,
    process: Option<LocalBoxFuture<'static, ()>>,
}

impl Shell {
    pub(super) fn new(gate: Arc<Gate>, process: LocalBoxFuture<'static, ()>) -> Self {
        Self {
            gate,
            process: Some(process),
        }
    }
}

impl Future for Shell {
    type Output = Exit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Exit> {
        let gate = Arc::clone(&self.gate);
        *gate.shell.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if !gate.is_severed() {
            if gate.frozen.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            let Some(process) = &mut self.process else {
                return Poll::Ready(Exit::Stopped);
            };
            if process.as_mut().poll(cx).is_ready() {
                self.process = None;
                return Poll::Ready(Exit::Stopped);
            }
        }
        if gate.is_severed() {
            self.process = None;
            return Poll::Ready(Exit::Crashed);
        }
        Poll::Pending
    }
}
