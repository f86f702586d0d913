//! Faults: one every few seconds, dealt by the seed from a deck in which every kind is, each undone
//! after a while.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use dialfleet_simulator::Faults;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::Options;
use super::fleet::{APIS, Fleet, WORKERS};
use super::store::MEMBERS;
use super::wires::Party;
use super::witness::{Ms, now};
use crate::proxy::Line;

/// What can be done to a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    KillWorker,
    KillApi,
    KillBroker,
    KillPrimary,
    FreezeWorker,
    Cut,
    Stall,
    Reset,
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::KillWorker,
        Self::KillApi,
        Self::KillBroker,
        Self::KillPrimary,
        Self::FreezeWorker,
        Self::Cut,
        Self::Stall,
        Self::Reset,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillWorker => "kill -9 of a worker",
            Self::KillApi => "kill -9 of an API",
            Self::KillBroker => "kill -9 of the broker",
            Self::KillPrimary => "kill -9 of the MongoDB primary",
            Self::FreezeWorker => "SIGSTOP of a worker",
            Self::Cut => "connection cut",
            Self::Stall => "connection stalled",
            Self::Reset => "connection reset",
        })
    }
}

/// A fault that was done.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// To whom.
    pub(super) whom: String,
    pub(super) at: Ms,
    /// When what was hit was back.
    pub(super) back_at: Option<Ms>,
    /// Store, broker or all workers were out for everybody.
    pub(super) outage: bool,
}

/// What undoes a fault that does not undo itself.
#[derive(Debug)]
enum Undo {
    /// With the place of its fault.
    Heal(usize, Vec<Line>),
    Thaw(usize),
}

/// What the carrier does all the time, in parts of all calls: callbacks lost, repeated, late and out
/// of order; requests answered with an error, reset or held, before and after the call was placed.
pub(super) fn carrier_faults() -> Faults {
    Faults {
        callback_lost: 0.02,
        callback_duplicated: 0.03,
        callback_late: 0.03,
        callback_late_max_ms: 5_000,
        callback_reordered: 0.02,
        create_429: 0.005,
        create_500_before: 0.002,
        create_500_after: 0.02,
        create_reset_before: 0.002,
        create_reset_after: 0.005,
        create_slow: 0.01,
        // Longer than a client waits.
        create_slow_max_ms: 9_000,
        read_500: 0.01,
        list_lag_ms: 500,
        ..Faults::default()
    }
}

/// Deals the faults.
pub(super) struct Wrecker<'a> {
    fleet: &'a Fleet,
    rng: StdRng,
    deck: Vec<Kind>,
    freeze: Duration,
    /// A frozen worker.
    frozen: Option<usize>,
    undo: Vec<(Instant, Undo)>,
    pub(super) done: Vec<Fault>,
}

impl<'a> Wrecker<'a> {
    pub(super) fn new(fleet: &'a Fleet, options: &Options) -> Self {
        Self {
            fleet,
            rng: StdRng::seed_from_u64(options.seed),
            deck: Vec::new(),
            freeze: options.freeze,
            frozen: None,
            undo: Vec::new(),
            done: Vec::new(),
        }
    }

    /// Does the next fault that is possible now, if one is.
    pub(super) async fn strike(&mut self) -> Result<Option<&Fault>> {
        if self.deck.is_empty() {
            self.deck.extend(Kind::ALL);
            self.deck.shuffle(&mut self.rng);
        }
        for i in 0..self.deck.len() {
            if self.is_possible(self.deck[i]).await {
                let kind = self.deck.remove(i);
                self.inflict(kind).await?;
                return Ok(self.done.last());
            }
        }
        Ok(None)
    }

    /// Two outages at once would be one that no promise covers.
    async fn is_possible(&self, kind: Kind) -> bool {
        match kind {
            Kind::KillBroker => self.fleet.broker_is_up().await,
            Kind::KillPrimary => self.fleet.store.is_whole().await,
            Kind::FreezeWorker => self.frozen.is_none(),
            Kind::KillWorker | Kind::KillApi | Kind::Cut | Kind::Stall | Kind::Reset => true,
        }
    }

    async fn inflict(&mut self, kind: Kind) -> Result<()> {
        let seats = &self.fleet.seats;
        let down = Duration::from_millis(self.rng.random_range(1_000..5_000));
        let at = now();
        let mut outage = false;
        let whom = match kind {
            Kind::KillWorker => {
                let worker = Party::Worker(self.pick_worker());
                seats.kill(worker, down);
                worker.to_string()
            }
            Kind::KillApi => {
                let api = Party::Api(self.rng.random_range(0..APIS));
                seats.kill(api, down);
                api.to_string()
            }
            Kind::KillBroker => {
                outage = true;
                seats.kill(Party::Broker, down);
                Party::Broker.to_string()
            }
            Kind::KillPrimary => {
                let primary = self.primary().await;
                outage = true;
                seats.kill(Party::Mongo(primary), down);
                Party::Mongo(primary).to_string()
            }
            Kind::FreezeWorker => {
                let worker = self.pick_worker();
                seats.freeze(Party::Worker(worker), true);
                self.frozen = Some(worker);
                self.undo
                    .push((Instant::now() + self.freeze, Undo::Thaw(worker)));
                Party::Worker(worker).to_string()
            }
            Kind::Cut | Kind::Stall | Kind::Reset => {
                let (pairs, name, all) = self.pick_wires().await;
                outage = all && kind != Kind::Reset;
                let wires = &self.fleet.wires;
                let lines: Vec<Line> = pairs.iter().map(|(a, b)| wires.line(*a, *b)).collect();
                for line in &lines {
                    match kind {
                        Kind::Cut => line.cut(),
                        Kind::Stall => line.stall(),
                        _ => line.reset(),
                    }
                }
                let time = Duration::from_millis(self.rng.random_range(2_000..9_000));
                let heal = Undo::Heal(self.done.len(), lines);
                self.undo.push((Instant::now() + time, heal));
                name
            }
        };
        self.done.push(Fault {
            kind,
            whom,
            at,
            back_at: None,
            outage,
        });
        Ok(())
    }

    /// One that is neither frozen nor down.
    fn pick_worker(&mut self) -> usize {
        let able: Vec<usize> = (0..WORKERS)
            .filter(|i| self.frozen != Some(*i) && self.fleet.seats.is_up(Party::Worker(*i)))
            .collect();
        let i = self.rng.random_range(0..able.len().max(1));
        able.get(i).copied().unwrap_or(0)
    }

    async fn primary(&self) -> usize {
        self.fleet.store.primary().await.unwrap_or(0)
    }

    /// Whose wires, in words, and whether that takes the store or the carrier from everybody.
    async fn pick_wires(&mut self) -> (Vec<(Party, Party)>, String, bool) {
        let primary = self.primary().await;
        let worker = Party::Worker(self.pick_worker());
        let api = Party::Api(self.rng.random_range(0..APIS));
        let member = Party::Mongo(self.rng.random_range(0..MEMBERS));
        let one = |a: Party, b: Party| (vec![(a, b)], format!("{a} - {b}"), false);
        match self.rng.random_range(0..9) {
            0 | 1 => one(worker, Party::Mongo(primary)),
            2 => one(worker, Party::Broker),
            3 => one(worker, Party::Carrier),
            4 => one(api, Party::Mongo(primary)),
            5 => one(api, Party::Broker),
            6 => {
                let callbacks = (0..APIS).map(|i| (Party::Carrier, Party::Api(i))).collect();
                (callbacks, "carrier - both APIs".to_owned(), false)
            }
            7 => {
                let others = (0..MEMBERS).filter(|i| *i != primary);
                let pairs = others.map(|i| (Party::Mongo(primary), Party::Mongo(i)));
                let name = format!("primary mongod-{primary} - the other members");
                (pairs.collect(), name, true)
            }
            _ => {
                let other = Party::Mongo((primary + 1) % MEMBERS);
                if member == Party::Mongo(primary) {
                    let (pairs, name, _) = one(member, other);
                    (pairs, name, true)
                } else {
                    one(worker, member)
                }
            }
        }
    }

    /// Undoes what is due, and notes what is back.
    pub(super) async fn mend(&mut self) {
        let now_at = Instant::now();
        let (due, later) = std::mem::take(&mut self.undo)
            .into_iter()
            .partition(|(at, _)| *at <= now_at);
        self.undo = later;
        for (_, undo) in due {
            self.undo(undo);
        }
        for i in 0..self.done.len() {
            if self.done[i].back_at.is_none() && self.is_back(&self.done[i]).await {
                self.done[i].back_at = Some(now());
            }
        }
    }

    async fn is_back(&self, fault: &Fault) -> bool {
        match fault.kind {
            Kind::KillBroker => self.fleet.broker_is_up().await,
            Kind::KillPrimary => self.fleet.store.primary().await.is_some(),
            // Noted when they are undone, if that matters.
            Kind::Cut | Kind::Stall => !fault.outage,
            Kind::KillWorker | Kind::KillApi | Kind::FreezeWorker | Kind::Reset => true,
        }
    }

    /// The end of all faults: everything is let through, thawed and started.
    pub(super) fn stop(&mut self) {
        for (_, undo) in std::mem::take(&mut self.undo) {
            self.undo(undo);
        }
        self.fleet.wires.heal();
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Heal(fault, lines) => {
                lines.iter().for_each(Line::heal);
                if let Some(fault) = self.done.get_mut(fault) {
                    fault.back_at = Some(now());
                }
            }
            Undo::Thaw(worker) => {
                self.fleet.seats.freeze(Party::Worker(worker), false);
                self.frozen = None;
            }
        }
    }
}
