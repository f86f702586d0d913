//! Real faults against real services.
//!
//! A replica set of three, a broker, four workers and two APIs run as processes; the telephone network
//! is simulated here, outside of all of them, and is the witness. Every connection between any two
//! goes through a wire that can be cut, stalled and reset ([`wires`]). While campaigns run, a fault
//! strikes every few seconds ([`wreck`]), and the carrier is unreliable all the time. Then everything
//! heals, the campaigns are paused until every slot is free, and run to their end without faults.
//!
//! What must hold is in [`verdict`]: nobody rung twice, no limit passed, no lead lost, no slot leaked.
//!
//! * [`fleet`], [`seats`], [`process`]: what runs. * [`store`]: the replica set.
//! * [`load`]: campaigns and leads. * [`orders`]: what their manager changes meanwhile. * [`desk`]: where.
//! * [`witness`], [`gauges`], [`books`]: what was seen, what was said, what was written.

mod books;
mod desk;
mod fleet;
mod gauges;
mod load;
mod orders;
mod process;
mod seats;
mod store;
mod verdict;
mod wires;
mod witness;
mod wreck;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Result, ensure};
use bson::doc;
use dialfleet_simulator::Faults;
use tokio::time::{Instant, sleep};

use desk::Desk;
use fleet::Fleet;
use gauges::Gauges;
use load::Load;
use orders::Held;
pub use verdict::Verdict;
use witness::{Ms, Witness, now};
use wreck::{Fault, Wrecker, carrier_faults};

/// How often the witness takes notes, faults are undone and leads are sent.
const LOOK: Duration = Duration::from_millis(500);
/// How often a line says how it goes.
const TELL: Duration = Duration::from_secs(10);
const TELL_MS: Ms = 10_000;
/// How long the first call may take.
const WARM: Duration = Duration::from_secs(60);
/// When every slot must be free, after the last fault.
const QUIET: Duration = Duration::from_secs(120);
/// A campaign ends so soon after its last lead.
const ENDS: Duration = Duration::from_secs(60);
/// What is left must be dialed within this, and longer when more is left.
const FINISH: Duration = Duration::from_secs(180);

/// What a run is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long faults strike.
    pub load: Duration,
    /// From one fault to the next.
    pub every: Duration,
    /// Calls a second that must be placed on average; the carrier takes three times as many.
    pub rate: u32,
    /// Decides which faults, and what the network does.
    pub seed: u64,
    /// Leads at most; otherwise as many as can be called.
    pub leads: Option<u32>,
    /// How long a worker is frozen.
    pub freeze: Duration,
}

/// What was measured.
struct Measured {
    witness: Witness,
    gauges: Gauges,
    faults: Vec<Fault>,
    orders: Vec<Held>,
    /// Of the load: from the first call to the last fault.
    from: Ms,
    to: Ms,
    /// How long after the last fault every slot was free.
    all_free: Option<Duration>,
    /// Campaigns that go on although nothing is left to do.
    restless: Vec<String>,
}

/// Runs everything, tells how it goes on standard output, and judges.
///
/// # Errors
/// Something could not be started or asked: then nothing was shown.
pub async fn run(options: &Options) -> Result<Verdict> {
    println!("chaos: seed {}; starting the fleet", options.seed);
    let fleet = Fleet::start(options).await?;
    let apis = fleet.ports.iter().filter_map(|(party, port)| match party {
        wires::Party::Api(_) => Some(*port),
        _ => None,
    });
    let desk = Desk::new(apis.collect())?;
    let network = Arc::clone(fleet.simulator.network());
    let mut load = Load::start(desk, network, options).await?;
    let mut run = Run {
        fleet: &fleet,
        options,
        began: Instant::now(),
        seen: Mutex::default(),
    };
    let measured = run.all(&mut load).await;
    let judged = match measured {
        Ok(measured) => verdict::judge(&fleet, &load, &measured, options).await,
        Err(error) => Err(error),
    };
    let passed = judged.as_ref().is_ok_and(|verdict| verdict.passed());
    if !passed {
        println!(
            "chaos: the logs are in {}",
            fleet.keep_logs(options.seed)?.display()
        );
    }
    judged
}

struct Run<'a> {
    fleet: &'a Fleet,
    options: &'a Options,
    began: Instant,
    seen: Mutex<Witness>,
}

impl Run<'_> {
    async fn all(&mut self, load: &mut Load) -> Result<Measured> {
        let mut gauges = Gauges::default();
        let phases = async {
            let (faults, orders, from, to) = self.load(load).await?;
            let all_free = self.quiet(load).await?;
            let restless = self.finish(load).await?;
            anyhow::Ok((faults, orders, from, to, all_free, restless))
        };
        let (faults, orders, from, to, all_free, restless) = tokio::select! {
            done = phases => done?,
            never = self.watch(&mut gauges) => match never {},
        };
        Ok(Measured {
            witness: std::mem::take(&mut *self.witness()),
            gauges,
            faults,
            orders,
            from,
            to,
            all_free,
            restless,
        })
    }

    /// The load, with faults.
    async fn load(&self, load: &mut Load) -> Result<(Vec<Fault>, Vec<Held>, Ms, Ms)> {
        self.fleet.simulator.faults().set(carrier_faults());
        let mut wrecker = Wrecker::new(self.fleet, self.options);
        // The first calls, before anything breaks.
        let warm = Instant::now() + WARM;
        while self.witness().calls().next().is_none() {
            ensure!(Instant::now() < warm, "no call within {} s", WARM.as_secs());
            load.feed(&self.seen).await?;
            sleep(LOOK).await;
        }
        let from = now();
        let end = Instant::now() + self.options.load;
        let long = load.campaigns.last().map(|c| c.id.clone());
        let desk = load.desk.clone();
        let faults = async {
            tokio::try_join!(self.feed(load, end), self.wreck(&mut wrecker, end))?;
            Ok(now())
        };
        let long = long.as_deref().unwrap_or_default();
        let (to, orders) = tokio::try_join!(faults, orders::give(desk, long, end))?;
        wrecker.stop();
        self.fleet.simulator.faults().set(Faults::default());
        self.fleet.is_well().await?;
        wrecker.mend().await;
        Ok((wrecker.done, orders, from, to))
    }

    async fn feed(&self, load: &mut Load, end: Instant) -> Result<()> {
        while Instant::now() < end {
            load.feed(&self.seen).await?;
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn wreck(&self, wrecker: &mut Wrecker<'_>, end: Instant) -> Result<()> {
        let mut strike_at = Instant::now() + self.options.every;
        while Instant::now() < end {
            wrecker.mend().await;
            if Instant::now() >= strike_at
                && let Some(fault) = wrecker.strike().await?
            {
                strike_at += self.options.every;
                self.tell(&format!("{}: {}", fault.kind, fault.whom));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// No new calls: how long until the last slot is free.
    async fn quiet(&self, load: &mut Load) -> Result<Option<Duration>> {
        self.tell("all faults are over; no new calls until every slot is free");
        load.order("pause").await?;
        let paused_at = Instant::now();
        while paused_at.elapsed() < QUIET * 3 / 2 {
            let held = doc! { "slot": { "$exists": true } };
            let held = self.fleet.store.count("attempts", held).await?;
            if held == 0 && self.fleet.simulator.network().ledger().total_live == 0 {
                return Ok(Some(paused_at.elapsed()));
            }
            sleep(LOOK).await;
        }
        Ok(None)
    }

    /// The rest of the leads, without faults. Returns the campaigns that do not end.
    async fn finish(&self, load: &mut Load) -> Result<Vec<String>> {
        self.tell("every lead to its end");
        load.order("resume").await?;
        let left: usize = load.campaigns.iter().map(|c| c.left(&self.witness())).sum();
        let per_s = usize::try_from(self.options.rate)?.max(1);
        let end = Instant::now() + FINISH + Duration::from_secs(u64::try_from(left / per_s)?);
        let unfinished = doc! { "state": { "$nin": ["done", "suppressed"] } };
        while Instant::now() < end && self.fleet.store.count("leads", unfinished.clone()).await? > 0
        {
            sleep(LOOK * 2).await;
        }
        let end = Instant::now() + ENDS;
        loop {
            let restless = self.restless(load).await?;
            if restless.is_empty() || Instant::now() > end {
                return Ok(restless);
            }
            sleep(LOOK * 2).await;
        }
    }

    /// Campaigns that are not done. One may wait: while the reader of a file may still be alive, more
    /// leads may come.
    async fn restless(&self, load: &mut Load) -> Result<Vec<String>> {
        let mut restless = Vec::new();
        for campaign in load.states().await? {
            let id = campaign["id"].as_str().unwrap_or_default();
            let open = doc! { "campaign": id, "state": "open" };
            if campaign["state"] != "done" && self.fleet.store.count("imports", open).await? == 0 {
                let (state, status) = (&campaign["state"], &campaign["status"]["message"]);
                restless.push(format!("{id} is {state}: {status}"));
            }
        }
        Ok(restless)
    }

    /// Takes notes, and says now and then how it goes.
    async fn watch(&self, gauges: &mut Gauges) -> Infallible {
        let mut told_at = Instant::now();
        loop {
            self.witness().look(self.fleet.simulator.network());
            gauges.look(&self.fleet.seats, &self.fleet.ports).await;
            if told_at.elapsed() >= TELL {
                told_at = Instant::now();
                let calls = self.witness().pulse().between(now() - TELL_MS, now());
                let live = self.fleet.simulator.network().ledger().total_live;
                self.tell(&format!("{} calls in 10 s, {live} live", calls));
            }
            sleep(LOOK).await;
        }
    }

    fn witness(&self) -> MutexGuard<'_, Witness> {
        witness::lock(&self.seen)
    }

    fn tell(&self, what: &str) {
        println!("{:5} s  {what}", self.began.elapsed().as_secs());
    }
}
