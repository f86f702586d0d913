//! What every carrier's front needs and none owns: the network, the faults, the clock, and the one
//! way in which a create request becomes a call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialfleet_domain::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::faults::{CreateFault, FaultPlan};
use crate::fuse::Fuse;
use crate::heard::Sound;
use crate::network::{CallView, Dial, HangUp, Network, Refused, Step};
use crate::takes::Takes;
use crate::timetable::NetEvent;

/// One for the whole simulator.
pub(crate) struct Office {
    pub(crate) network: Arc<Network>,
    pub(crate) faults: Arc<FaultPlan>,
    pub(crate) http: reqwest::Client,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// See [`crate::SimulatorConfig::forgot`].
    pub(crate) forgot: bool,
    /// `http://…`: where the simulator itself is.
    pub(crate) origin: String,
    clock: Clock,
    reads: AtomicU64,
    /// Wakes the task of a call that was hung up.
    wakes: Mutex<BTreeMap<String, Arc<Notify>>>,
    takes: Mutex<Takes>,
}

/// Why a create request comes to nothing, or seems to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotPlaced {
    /// 429.
    TooMany,
    /// A refusal documented as the carrier's own.
    Refused,
    /// The number does not exist.
    NoSuchNumber,
    /// 500; the call may have been placed.
    Broken,
}

/// Tells a client about its call.
pub(crate) trait Teller: Send + 'static {
    /// Something happened to it.
    fn tell(&mut self, event: NetEvent);
    /// It vanished without an end: the network was reset.
    fn vanished(&mut self);
}

impl Office {
    pub(crate) fn new(
        network: Arc<Network>,
        faults: Arc<FaultPlan>,
        http: reqwest::Client,
        (tasks, stop): (TaskTracker, CancellationToken),
        forgot: bool,
        origin: String,
    ) -> Arc<Self> {
        Arc::new(Self {
            network,
            faults,
            http,
            tasks,
            stop,
            forgot,
            origin,
            clock: Clock::start(),
            reads: AtomicU64::new(0),
            wakes: Mutex::default(),
            takes: Mutex::default(),
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Every recording of every account.
    pub(crate) fn takes(&self) -> MutexGuard<'_, Takes> {
        self.takes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is heard on a call from now on; see [`Network::hear`].
    pub(crate) fn hear(&self, call_id: &str, sound: Sound) -> Option<usize> {
        self.network.hear(call_id, sound, self.now())
    }

    /// So long in real time.
    pub(crate) fn scaled(&self, network: Duration) -> Duration {
        network.div_f64(self.network.speed())
    }

    /// Whether a look-up of `what` at `carrier` is struck by its fault.
    pub(crate) fn read_fails(&self, carrier: &str, what: &str) -> bool {
        let nth = self.reads.fetch_add(1, Ordering::Relaxed);
        self.faults.read_fails(carrier, what, nth)
    }

    /// The caller hangs up.
    pub(crate) fn hang_up(&self, call_id: &str) -> HangUp {
        let answer = self.network.hang_up(call_id, self.now());
        if answer == HangUp::Cut
            && let Some(wake) = self.wakes().get(call_id)
        {
            wake.notify_one();
        }
        answer
    }

    /// Places a call as the fault plan has it, and follows it from there. `teller` is made from the
    /// network's id of the call and the key of its faults; `answer` writes the body that tells the
    /// client, which the connection's `fuse` may cut short.
    ///
    /// To be run as a task of its own: a client that hangs up while we are slow does not undo its
    /// call.
    pub(crate) async fn place<T: Teller>(
        self: Arc<Self>,
        dial: Dial,
        fuse: Fuse,
        teller: impl FnOnce(String, String) -> T + Send,
        answer: impl FnOnce(&CallView) -> String + Send,
    ) -> Result<String, NotPlaced> {
        let key = format!("{}/{}", dial.attempt_key, dial.leg);
        let nth = self.network.create_seen(&dial.carrier, &key, self.now());
        let (fault, slowness) = self.faults.create(&dial.carrier, &dial.to, &key, nth);
        self.stop.run_until_cancelled(sleep(slowness.before)).await;
        match fault {
            CreateFault::TooMany => return Err(NotPlaced::TooMany),
            CreateFault::Refused => return Err(NotPlaced::Refused),
            CreateFault::ErrorBefore => return Err(NotPlaced::Broken),
            CreateFault::ResetBefore => {
                fuse.light(0);
                return Err(NotPlaced::Broken);
            }
            CreateFault::None | CreateFault::ErrorAfter | CreateFault::ResetAfter(_) => {}
        }
        let placed = match self.network.place(dial, self.now()) {
            Ok(placed) => placed,
            Err(Refused::InvalidNumber) => return Err(NotPlaced::NoSuchNumber),
        };
        let call = self
            .network
            .call(&placed.call_id)
            .ok_or(NotPlaced::Broken)?;
        let answer = answer(&call);
        let teller = teller(placed.call_id.clone(), format!("{key}#{nth}"));
        self.follow(placed.call_id, teller);
        self.stop.run_until_cancelled(sleep(slowness.after)).await;
        match fault {
            CreateFault::ErrorAfter => return Err(NotPlaced::Broken),
            CreateFault::ResetAfter(roll) => {
                // The head of the answer is longer than 100 bytes, so this is always short of the end.
                let bytes = u64::try_from(answer.len() + 100).unwrap_or(1);
                fuse.light(roll % bytes);
            }
            CreateFault::None
            | CreateFault::TooMany
            | CreateFault::Refused
            | CreateFault::ErrorBefore
            | CreateFault::ResetBefore => {}
        }
        Ok(answer)
    }

    /// One task for each call: sleeps until the next event is due and tells the client about it.
    fn follow(self: &Arc<Self>, call_id: String, mut teller: impl Teller) {
        let wake = Arc::new(Notify::new());
        self.wakes().insert(call_id.clone(), wake.clone());
        let office = self.clone();
        self.tasks.spawn(async move {
            let run = office.run(&call_id, &mut teller, &wake);
            office.stop.run_until_cancelled(run).await;
            office.wakes().remove(&call_id);
        });
    }

    async fn run(&self, call_id: &str, teller: &mut impl Teller, wake: &Notify) {
        loop {
            match self.network.step(call_id, self.now()) {
                Step::Wait(long) => tokio::select! {
                    () = sleep(long) => {}
                    () = wake.notified() => {}
                },
                Step::Event(event) => {
                    teller.tell(event);
                    if let NetEvent::Ended { .. } = event {
                        return;
                    }
                }
                Step::Done => return teller.vanished(),
            }
        }
    }

    fn wakes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Notify>>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
