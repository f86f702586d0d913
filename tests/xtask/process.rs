//! One started service: its process, its log, and the bounded wait until it answers.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::keeper::Keeper;

/// How often a service that is starting is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Last lines of a log that are worth printing when a service fails.
const TAIL_LINES: usize = 40;

/// A running service, ended by its [`Keeper`].
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts `command` in its own process group, with both outputs in `log`, and gives it to the keeper.
    pub fn spawn(
        name: &'static str,
        command: &mut Command,
        log: PathBuf,
        keeper: &Keeper,
    ) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0)
            .spawn()
            .with_context(|| {
                format!("cannot start {name} ({})", command.get_program().display())
            })?;
        keeper.adopt(&child)?;
        Ok(Self { name, child, log })
    }

    /// Waits until `answers` says yes, for at most `bound`. Fails at once when the process ends before that.
    ///
    /// `answers` returns `Ok(false)` or an error while the service is not ready; the last error is part of ours.
    pub fn wait_ready(
        &mut self,
        bound: Duration,
        mut answers: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let start = Instant::now();
        loop {
            let last = match answers() {
                Ok(true) => return Ok(()),
                Ok(false) => "it answers, but is not ready".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            self.check()?;
            if start.elapsed() > bound {
                bail!(
                    "{} was not ready after {} s: {last}\n{}",
                    self.name,
                    bound.as_secs(),
                    tail(&self.log)
                );
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// An error, with the end of the log, when the process has ended.
    pub fn check(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("cannot watch {}", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended by itself ({status})\n{}",
                self.name,
                tail(&self.log)
            ),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Killed here already so that it can be reaped; the keeper then ends the rest of its group.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `N` different ports of 127.0.0.1 that nobody listens on now. Somebody else may take one before its service does:
/// callers try again with others.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// The address of a port on this machine.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn tail(log: &Path) -> String {
    let text = match std::fs::read(log) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return "(it wrote no log)".to_owned(),
        Err(error) => return format!("(cannot read {}: {error})", log.display()),
    };
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!(
        "last {} lines of its log:\n  {}",
        shown.len(),
        shown.join("\n  ")
    )
}
