//! Processes of the fleet: the real engine with every role, over faulty ports; hired, killed, frozen
//! and hired again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialfleet_adapters::local::LocalQueue;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_domain::id::{CarrierId, TenantId, WorkerId};
use dialfleet_domain::rates::RateDeck;
use dialfleet_engine::dialer::Dialer;
use dialfleet_engine::opt_out::OptOuts;
use dialfleet_engine::pace::Pace;
use dialfleet_engine::port::carrier::CarrierProfile;
use dialfleet_engine::port::{Carrier, Clock};
use dialfleet_engine::routes::Routes;
use dialfleet_engine::time::FleetClock;
use dialfleet_engine::token::CallbackKeys;
use dialfleet_engine::{Fleet, Role, Settings, role};
use dialfleet_runtime::metrics::Metrics;
use dialfleet_simulator::Network;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::carrier::SimCarrier;
use super::chance::{Kind, SeededEntropy};
use super::checks::Checks;
use super::desk::{self, Desk};
use super::door::{self, Knock};
use super::exchange::Exchange;
use super::faults::FREEZE_MAX_S;
use super::folder::Folders;
use super::gate::{Blow, Exit, Gate, Shell, Trap};
use super::mutant::Mutant;
use super::places::{PLACES, SORE};
use super::queue::FaultyQueue;
use super::store::{FaultyStore, outage_end};
use super::time::OwnClock;
use super::weather::Weather;

/// How long the system waits for a process that was told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What processes are made of.
pub(super) struct Company {
    pub(super) weather: Arc<Weather>,
    pub(super) store: SqliteStore,
    pub(super) broker: Arc<LocalQueue>,
    pub(super) exchange: Arc<Exchange>,
    pub(super) checks: Arc<Checks>,
    pub(super) profiles: Vec<CarrierProfile>,
    /// What they bill, where that is known.
    pub(super) decks: BTreeMap<CarrierId, Arc<RateDeck>>,
    pub(super) tenant: TenantId,
    pub(super) keys: CallbackKeys,
    pub(super) metrics: Metrics,
    pub(super) desk: Desk,
    pub(super) folders: Folders,
    pub(super) staff: Mutex<BTreeMap<String, Process>>,
    pub(super) tally: Mutex<Tally>,
}

/// What happened to processes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) crashes: u64,
    pub(super) restarts: u64,
}

/// The process that serves the API, and nothing else.
pub(super) const API: &str = "api";

/// A process that is up.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) gate: Arc<Gate>,
    pub(super) fleet: Arc<Fleet>,
}

impl Company {
    /// Of a world in which these carriers can be asked.
    pub(super) async fn found(
        weather: &Arc<Weather>,
        checks: Arc<Checks>,
        network: Network,
        profiles: Vec<CarrierProfile>,
        decks: BTreeMap<CarrierId, Arc<RateDeck>>,
        mutant: Option<Mutant>,
    ) -> Result<Arc<Self>, String> {
        let store = SqliteStore::in_memory(Arc::new(weather.time)).map_err(|e| e.to_string())?;
        if let Some(mutant) = mutant {
            mutant.taken_from_store(&store).await;
        }
        let exchange = Arc::new(Exchange::new(
            network,
            Arc::clone(weather),
            Arc::clone(&checks),
            store.clone(),
        ));
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&weather.seed.to_le_bytes());
        Ok(Arc::new(Self {
            weather: Arc::clone(weather),
            store,
            broker: Arc::new(LocalQueue::new(None).await.map_err(|e| e.to_string())?),
            exchange,
            checks,
            profiles,
            decks,
            tenant: TenantId::parse("ten_sim").map_err(|e| e.to_string())?,
            keys: CallbackKeys::new(&[CallbackKeys::mint(&secret)]).map_err(|e| e.to_string())?,
            metrics: Metrics::new(),
            staff: Mutex::default(),
            desk: Desk::default(),
            folders: Folders::default(),
            tally: Mutex::default(),
        }))
    }

    /// Starts a process, without running it.
    pub(super) fn hire(&self, who: &str, dials: bool) -> (Process, mpsc::Receiver<Knock>) {
        let gate = Arc::new(Gate::new(who.to_owned(), Arc::clone(&self.weather)));
        let weather = &self.weather;
        let clock: Arc<dyn Clock> = Arc::new(OwnClock::new(weather.time, Arc::clone(&gate)));
        let carrier = |profile: &CarrierProfile| -> (CarrierId, Arc<dyn Carrier>) {
            let carrier = SimCarrier {
                profile: profile.clone(),
                exchange: Arc::clone(&self.exchange),
                gate: Arc::clone(&gate),
                weather: Arc::clone(weather),
            };
            (profile.id.clone(), Arc::new(carrier))
        };
        let carriers: BTreeMap<_, _> = self.profiles.iter().map(carrier).collect();
        let rates = self.profiles.iter().map(|p| (p.id.clone(), p.cps));
        let fleet = Fleet {
            media: dialfleet_engine::media::MediaRoom::none(),
            store: Arc::new(FaultyStore {
                inner: self.store.clone(),
                gate: Arc::clone(&gate),
                weather: Arc::clone(weather),
                checks: Arc::clone(&self.checks),
            }),
            queue: Arc::new(FaultyQueue {
                broker: Arc::clone(&self.broker),
                gate: Arc::clone(&gate),
                weather: Arc::clone(weather),
            }),
            pace: Pace::new(Arc::clone(&clock), rates),
            routes: Routes::new(
                self.profiles
                    .iter()
                    .map(|profile| (profile, self.decks.get(&profile.id).cloned())),
            ),
            opt_outs: OptOuts::with(self.folders.of(who)).expect("it is in memory"),
            dialer: dials.then(|| Dialer::new(carriers.keys())),
            carriers,
            clock: FleetClock::new(clock),
            entropy: Arc::new(SeededEntropy::new(weather.seed, who)),
            metrics: self.metrics.clone(),
            settings: Settings {
                worker: WorkerId::parse(format!("wrk_{who}")).expect("a short name is an id"),
                tenant: self.tenant.clone(),
                public_url: "https://sim.example".to_owned(),
                speed: 1.0,
            },
            keys: self.keys.clone(),
            stopping: CancellationToken::new(),
        };
        if !weather.is_calm() {
            // Before its first call already.
            self.aim(&gate);
        }
        let knocks = self.exchange.doors.add(who);
        (
            Process {
                gate,
                fleet: Arc::new(fleet),
            },
            knocks,
        )
    }

    /// Keeps a place in the fleet filled for ever: a worker's, or the API's.
    pub(super) async fn employ(self: Arc<Self>, place: String) {
        let dials = place != API;
        for life in 0.. {
            let who = format!("{place}.{life}");
            let (process, knocks) = self.hire(&who, dials);
            self.staff().insert(who.clone(), process.clone());
            self.weather.journal.line(&who, format_args!("up"));
            let fleet = Arc::clone(&process.fleet);
            let work = if dials {
                work(fleet, knocks)
            } else {
                let (desk, requests) = (Arc::clone(&fleet), self.desk.open());
                let serve = async move {
                    let doors = door::serve(&fleet, knocks);
                    futures_util::join!(
                        doors,
                        desk::serve(desk, requests),
                        role::keep_time(&fleet)
                    );
                };
                serve.boxed_local()
            };
            let exit = Shell::new(Arc::clone(&process.gate), work).await;
            self.staff().remove(&who);
            self.exchange.doors.remove(&who);
            self.weather
                .journal
                .line(&who, format_args!("{exit:?} after"));
            {
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                match exit {
                    Exit::Crashed => tally.crashes += 1,
                    Exit::Stopped => tally.restarts += 1,
                }
            }
            tokio::time::sleep(self.absence()).await;
        }
    }

    /// How long the place of a process that ended stays empty.
    fn absence(&self) -> Duration {
        let w = &self.weather;
        let (low, high) = if w.is_calm() {
            (100, 200)
        } else if w.hits(Kind::Process, w.faults.absences) {
            (15_000, 90_000)
        } else {
            (100, 15_000)
        };
        w.chance.ms(Kind::Process, low, high)
    }

    pub(super) fn staff(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Process>> {
        self.staff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One second of bad luck for every process.
    pub(super) fn misfortune(&self) {
        let (w, f) = (&self.weather, &self.weather.faults);
        let hits = |rate: f64| w.hits(Kind::Process, rate / 60.0);
        let no_store = hits(f.store_outages).then(|| outage_end(w));
        let no_broker = hits(f.broker_outages).then(|| outage_end(w));
        let staff: Vec<Process> = self.staff().values().cloned().collect();
        for Process { gate, fleet } in staff {
            let log = |what: std::fmt::Arguments<'_>| w.journal.line(&gate.who, what);
            if let Some(until) = no_store.or_else(|| hits(f.store_outages).then(|| outage_end(w))) {
                let s = until.as_secs_f64();
                log(format_args!("has no store until {s:.1}"));
                gate.store_out(until);
            }
            if let Some(until) = no_broker.or_else(|| hits(f.broker_outages).then(|| outage_end(w)))
            {
                let s = until.as_secs_f64();
                log(format_args!("has no broker until {s:.1}"));
                gate.broker_out(until);
            }
            if w.aim.is_some() {
                self.aim(&gate);
            } else if hits(f.crashes) {
                if w.chance.hits(Kind::Process, 0.2) {
                    gate.sever();
                } else {
                    gate.set_trap(Some(self.trap(Blow::Crash)));
                }
                log(format_args!("is going to crash"));
            }
            if hits(f.freezes) {
                let time = w.chance.ms(Kind::Process, 100, FREEZE_MAX_S * 1000);
                if w.chance.hits(Kind::Process, 0.2) {
                    log(format_args!("frozen for {:.1} s", time.as_secs_f64()));
                    gate.freeze_for(time);
                } else {
                    gate.set_trap(Some(self.trap(Blow::Freeze(time))));
                }
            }
            if hits(f.restarts) {
                log(format_args!("told to stop"));
                fleet.stopping.cancel();
                let gate = Arc::clone(&gate);
                w.spawn(async move {
                    tokio::time::sleep(STOP_PATIENCE).await;
                    gate.sever();
                });
            }
            self.mishandle_clock(&gate);
        }
    }

    /// Has a process killed at the place that this world is about.
    fn aim(&self, gate: &Gate) {
        let w = &self.weather;
        if let (Some(place), false) = (w.aim, gate.has_trap()) {
            let left = w.chance.between(Kind::Process, 0, 3);
            let (at, blow) = (Some(place), Blow::Crash);
            gate.set_trap(Some(Trap { at, left, blow }));
        }
    }

    /// Where it happens: at any port call some time from now, at one that hurts, or at a certain one.
    fn trap(&self, blow: Blow) -> Trap {
        let chance = &self.weather.chance;
        let pick = |places: &[&'static str]| places[chance.index(Kind::Process, places.len())];
        let at = match chance.between(Kind::Process, 0, 5) {
            0 | 1 => None,
            2 | 3 => Some(pick(&SORE)),
            _ => Some(pick(&PLACES)),
        };
        let most = if at.is_some() { 3 } else { 150 };
        let left = chance.between(Kind::Process, 0, most);
        Trap { at, left, blow }
    }

    fn mishandle_clock(&self, gate: &Arc<Gate>) {
        let (w, f) = (&self.weather, &self.weather.faults);
        let jump = if w.hits(Kind::Process, f.clock_jumps / 60.0) {
            Some(w.chance.between(Kind::Process, 0, 600_000).cast_signed() - 300_000)
        } else if w.hits(Kind::Process, f.clock_drifts / 60.0) {
            Some(w.chance.between(Kind::Process, 0, 3_000).cast_signed() - 1_500)
        } else {
            None
        };
        let Some(off) = jump else { return };
        w.journal
            .line(&gate.who, format_args!("clock off by {off} ms"));
        gate.off_ms.store(off, Ordering::Relaxed);
        let (gate, time) = (Arc::clone(gate), w.chance.ms(Kind::Process, 1_000, 40_000));
        w.spawn(async move {
            tokio::time::sleep(time).await;
            gate.off_ms.store(0, Ordering::Relaxed);
        });
    }

    /// Everything that was done to the processes is undone.
    pub(super) fn recover(&self) {
        for Process { gate, .. } in self.staff().values() {
            gate.freeze(false);
            gate.set_trap(None);
            gate.store_out(Duration::ZERO);
            gate.broker_out(Duration::ZERO);
            gate.off_ms.store(0, Ordering::Relaxed);
        }
    }
}

/// What a process does: every role, the heartbeat and the door, side by side.
fn work(fleet: Arc<Fleet>, knocks: mpsc::Receiver<Knock>) -> LocalBoxFuture<'static, ()> {
    async move {
        let fleet = &*fleet;
        let parts: FuturesUnordered<LocalBoxFuture<'_, ()>> = Role::ALL
            .into_iter()
            .map(|role| role::run(fleet, role).boxed_local())
            .collect();
        parts.push(role::heartbeat(fleet, &Role::ALL).boxed_local());
        parts.push(door::serve(fleet, knocks).boxed_local());
        parts.for_each(|()| async {}).await;
    }
    .boxed_local()
}
