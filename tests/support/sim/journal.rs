//! What happened, in order: the last lines for people, a hash over everything for machines.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chance::fnv;
use super::time::SimTime;

/// The log of one world.
pub(super) struct Journal {
    time: SimTime,
    keep: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    lines: VecDeque<String>,
    hash: u64,
}

impl Journal {
    pub(super) fn new(time: SimTime, keep: usize) -> Self {
        Self {
            time,
            keep,
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened: it is part of the hash and of the trace.
    pub(super) fn line(&self, who: &str, what: fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {who:<7} {what}", self.time.elapsed().as_secs_f64());
        let mut inner = self.inner();
        inner.hash = fnv(inner.hash, line.as_bytes());
        push(&mut inner.lines, self.keep, line);
    }

    /// A port was called: part of the hash only.
    pub(super) fn mix(&self, who: &str, what: &str) {
        let at = u64::try_from(self.time.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.inner();
        let hash = fnv(inner.hash, &at.to_le_bytes());
        inner.hash = fnv(fnv(hash, who.as_bytes()), what.as_bytes());
    }

    /// Somebody said something: part of the trace only.
    pub(super) fn note(&self, what: &str) {
        let line = format!("{:>9.3}   | {what}", self.time.elapsed().as_secs_f64());
        push(&mut self.inner().lines, self.keep, line);
    }

    pub(super) fn hash(&self) -> u64 {
        self.inner().hash
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.inner().lines.iter().cloned().collect()
    }
}

fn push(lines: &mut VecDeque<String>, keep: usize, line: String) {
    if keep == 0 {
        return;
    }
    if lines.len() >= keep {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// Lets the engine's own log appear in the trace.
pub(super) struct Ear(pub(super) Arc<Journal>);

impl std::io::Write for Ear {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        for line in String::from_utf8_lossy(buf)
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            self.0.note(line);
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
