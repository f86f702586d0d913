//! One started process: killed with its whole group, frozen, thawed, and never left behind.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use dialfleet_xtask::keeper::Keeper;
use rustix::process::{Pid, Signal, kill_process_group};

/// A running process, the leader of a group of its own. Dropping it kills the group.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    keeper: Arc<Keeper>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with both outputs at the end of `log`.
    pub(super) fn start(command: &mut Command, log: &Path, keeper: &Arc<Keeper>) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        keeper.adopt(&child)?;
        Ok(Self {
            child,
            keeper: keeper.clone(),
            ended: None,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGSTOP: alive, its connections open, and silent.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            // One that cannot be waited for is gone, too.
            let gone = |_| Some(ExitStatus::from_raw(0));
            self.ended = self.child.try_wait().unwrap_or_else(gone);
        }
        self.ended
    }

    fn signal(&self, signal: Signal) {
        // It may have ended by itself a moment ago.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once it has been waited for, its number may be somebody else's.
        if self.ended.is_none() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
        let _ = self.keeper.release(&self.child);
    }
}
