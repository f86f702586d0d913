//! The processes of a run, each in its seat: killed and started again, as a platform would.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dialfleet_xtask::keeper::Keeper;

use super::process::Process;
use super::wires::{Party, Wires};
use super::witness::lock;

/// After which one that ended by itself is started again.
const AGAIN: Duration = Duration::from_secs(1);
/// One that ends sooner than this by itself never got its services: it is right to give up.
const STARTING: Duration = Duration::from_secs(15);

type Make = Box<dyn Fn() -> Command + Send + Sync>;

struct Seat {
    make: Make,
    process: Option<Process>,
    started_at: Instant,
    /// When it is started again.
    due_at: Instant,
    starts: u32,
}

/// All seats.
pub(super) struct Seats {
    keeper: Arc<Keeper>,
    logs: PathBuf,
    wires: Arc<Wires>,
    seats: Mutex<BTreeMap<Party, Seat>>,
    /// Processes that ended by themselves after they had been up.
    deserted: Mutex<Vec<String>>,
}

impl Seats {
    pub(super) fn new(keeper: Arc<Keeper>, logs: PathBuf, wires: Arc<Wires>) -> Self {
        Self {
            keeper,
            logs,
            wires,
            seats: Mutex::default(),
            deserted: Mutex::default(),
        }
    }

    /// Starts a party's first process.
    pub(super) fn add(
        &self,
        party: Party,
        make: impl Fn() -> Command + Send + Sync + 'static,
    ) -> Result<()> {
        let now = Instant::now();
        let mut seat = Seat {
            make: Box::new(make),
            process: None,
            started_at: now,
            due_at: now,
            starts: 0,
        };
        self.start(party, &mut seat)?;
        lock(&self.seats).insert(party, seat);
        Ok(())
    }

    fn start(&self, party: Party, seat: &mut Seat) -> Result<()> {
        let log = self.logs.join(format!("{party}.log"));
        let process = Process::start(&mut (seat.make)(), &log, &self.keeper)
            .with_context(|| format!("{party}"))?;
        self.wires.enroll(process.pid(), party);
        seat.process = Some(process);
        seat.started_at = Instant::now();
        seat.starts += 1;
        Ok(())
    }

    /// `kill -9`, and a start after `down`.
    pub(super) fn kill(&self, party: Party, down: Duration) {
        if let Some(seat) = lock(&self.seats).get_mut(&party)
            && let Some(process) = seat.process.take()
        {
            self.wires.dismiss(process.pid());
            drop(process);
            seat.due_at = Instant::now() + down;
        }
    }

    /// SIGSTOP, or the end of it.
    pub(super) fn freeze(&self, party: Party, frozen: bool) {
        if let Some(seat) = lock(&self.seats).get(&party)
            && let Some(process) = &seat.process
        {
            if frozen {
                process.freeze();
            } else {
                process.thaw();
            }
        }
    }

    /// Whether it has a process.
    pub(super) fn is_up(&self, party: Party) -> bool {
        lock(&self.seats)
            .get(&party)
            .is_some_and(|seat| seat.process.is_some())
    }

    /// Which process of this party it is: the first, the second, …
    pub(super) fn starts(&self, party: Party) -> u32 {
        lock(&self.seats).get(&party).map_or(0, |seat| seat.starts)
    }

    /// Starts everything that should run and does not.
    pub(super) fn supervise(&self) -> Result<()> {
        for (party, seat) in lock(&self.seats).iter_mut() {
            if let Some(process) = &mut seat.process
                && let Some(status) = process.ended()
            {
                self.wires.dismiss(process.pid());
                seat.process = None;
                seat.due_at = Instant::now() + AGAIN;
                if seat.started_at.elapsed() > STARTING {
                    lock(&self.deserted).push(format!("{party} ended by itself: {status}"));
                }
            }
            if seat.process.is_none() && seat.due_at <= Instant::now() {
                self.start(*party, seat)?;
            }
        }
        Ok(())
    }

    /// Who ended without being told to.
    pub(super) fn deserted(&self) -> Vec<String> {
        lock(&self.deserted).clone()
    }
}
