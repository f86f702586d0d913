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

use super::weather::Weather;

/// A process's connection to the world.
pub(super) struct Gate {
    /// The process's name.
    pub(super) who: String,
    /// How far its wall clock is off.
    pub(super) off_ms: AtomicI64,
    severed: AtomicBool,
    frozen: AtomicBool,
    /// Uptime, ms, until which it has no store.
    store_out_until: AtomicU64,
    /// The same for the broker.
    broker_out_until: AtomicU64,
    trap: Mutex<Option<Trap>>,
    shell: Mutex<Option<Waker>>,
    weather: Arc<Weather>,
}

impl Gate {
    pub(super) fn new(who: String, weather: Arc<Weather>) -> Self {
        Self {
            who,
            weather,
            off_ms: AtomicI64::new(0),
            severed: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            store_out_until: AtomicU64::new(0),
            broker_out_until: AtomicU64::new(0),
            trap: Mutex::new(None),
            shell: Mutex::new(None),
        }
    }

    /// Goes through a port call called `at`: once before it and once after it. A trap may be here.
    pub(super) async fn pass(self: &Arc<Self>, at: &'static str) {
        match self.spring_trap(at) {
            Some(Blow::Crash) => {
                self.say(format_args!("killed at {at}"));
                self.weather.struck(at);
                self.severed.store(true, Ordering::Relaxed);
            }
            Some(Blow::Freeze(time)) => {
                self.say(format_args!(
                    "frozen at {at} for {:.1} s",
                    time.as_secs_f64()
                ));
                self.freeze_for(time);
                // Lets go of the processor, which it will not get again before the thaw.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            None => {}
        }
        if self.is_severed() {
            // The shell sees it when this poll is over, and drops the process.
            std::future::pending::<()>().await;
        }
    }

    fn say(&self, what: std::fmt::Arguments<'_>) {
        self.weather.journal.line(&self.who, what);
    }

    /// Stops the process from running for a while, as SIGSTOP and SIGCONT do.
    pub(super) fn freeze_for(self: &Arc<Self>, time: Duration) {
        self.freeze(true);
        let gate = Arc::clone(self);
        self.weather.spawn(async move {
            tokio::time::sleep(time).await;
            gate.freeze(false);
        });
    }

    fn spring_trap(&self, at: &'static str) -> Option<Blow> {
        let mut trap = self.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let set = trap
            .as_mut()
            .filter(|trap| trap.at.is_none_or(|place| place == at))?;
        match set.left.checked_sub(1) {
            Some(left) => {
                set.left = left;
                None
            }
            None => trap.take().map(|trap| trap.blow),
        }
    }

    /// Crashes the process now.
    pub(super) fn sever(&self) {
        self.severed.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(super) fn is_severed(&self) -> bool {
        self.severed.load(Ordering::Relaxed)
    }

    /// Stops the process from running, or lets it go on.
    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
        self.wake();
    }

    /// Takes the store away until this uptime.
    pub(super) fn store_out(&self, until: Duration) {
        self.store_out_until
            .store(whole_ms(until), Ordering::Relaxed);
    }

    pub(super) fn has_store(&self, uptime: Duration) -> bool {
        whole_ms(uptime) >= self.store_out_until.load(Ordering::Relaxed)
    }

    /// Takes the broker away until this uptime.
    pub(super) fn broker_out(&self, until: Duration) {
        self.broker_out_until
            .store(whole_ms(until), Ordering::Relaxed);
    }

    /// How long it has no broker yet.
    pub(super) fn broker_out_for(&self, uptime: Duration) -> Duration {
        let until = self.broker_out_until.load(Ordering::Relaxed);
        Duration::from_millis(until.saturating_sub(whole_ms(uptime)))
    }

    pub(super) fn has_trap(&self) -> bool {
        self.trap
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    pub(super) fn set_trap(&self, trap: Option<Trap>) {
        *self.trap.lock().unwrap_or_else(PoisonError::into_inner) = trap;
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

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What can happen to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// It is killed.
    Crash,
    /// It does not run for so long.
    Freeze(Duration),
}

/// Something that happens to a process at a certain place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trap {
    /// At this port call; `None`: at any.
    pub(super) at: Option<&'static str>,
    /// Passes it lets through first.
    pub(super) left: u64,
    pub(super) blow: Blow,
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
