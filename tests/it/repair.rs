//! Repair, by the engine's own loops: virtual time, the embedded store, the in-process queue and a
//! carrier that says what the test wants. Needs no service.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use dialfleet_adapters::local::LocalQueue;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_domain::call::{Attempt, CallEvent, CallState};
use dialfleet_domain::id::{CarrierCallId, CarrierId, WorkerId};
use dialfleet_domain::lead::Lead;
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::dialer::Dialer;
use dialfleet_engine::fleet::{Fleet, Settings};
use dialfleet_engine::message::{CallEventMessage, Payload};
use dialfleet_engine::pace::Pace;
use dialfleet_engine::port::carrier::{
    CallRecord, CallStatus, CallbackNews, CallbackRefused, Capabilities, CarrierError,
    CarrierProfile, CommandStyle, DialAnswer, DialRequest, RawCallback,
};
use dialfleet_engine::port::store::{IntentAnswer, SaveAttempt};
use dialfleet_engine::port::{Carrier, Clock, Store};
use dialfleet_engine::routes::Routes;
use dialfleet_engine::time::FleetClock;
use dialfleet_engine::token::CallbackKeys;
use dialfleet_engine::{Role, role};
use dialfleet_runtime::metrics::Metrics;
use dialfleet_tests::clock::SeededEntropy;
use dialfleet_tests::sample;
use dialfleet_tests::wait::until;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod absence;
mod calls;
mod corrupt;
mod dialing;
mod imports;

/// Tokio's paused clock, from the samples' date on.
struct Paused {
    began: Instant,
    /// How far it is ahead of the store's, ms.
    ahead_ms: AtomicU64,
}

impl Paused {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            ahead_ms: AtomicU64::new(0),
        }
    }
}

#[async_trait]
impl Clock for Paused {
    fn now(&self) -> Timestamp {
        let ahead = Duration::from_millis(self.ahead_ms.load(Ordering::Relaxed));
        sample::T0 + self.began.elapsed() + ahead
    }

    fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

struct Rig {
    fleet: Fleet,
    /// The process's own.
    clock: Arc<Paused>,
    store: SqliteStore,
    network: Arc<Network>,
}

impl Rig {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Capabilities)) -> Self {
        let clock = Arc::new(Paused::new());
        let store = SqliteStore::in_memory(Arc::new(Paused::new())).unwrap();
        let network = Arc::new(Network::new(change));
        let id = network.profile.id.clone();
        let fleet = Fleet {
            media: dialfleet_engine::media::MediaRoom::none(),
            store: Arc::new(store.clone()),
            queue: Arc::new(LocalQueue::new(None).await.unwrap()),
            routes: Routes::new([(&network.profile, None)]),
            carriers: BTreeMap::from([(id.clone(), network.clone() as Arc<dyn Carrier>)]),
            clock: FleetClock::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(1)),
            metrics: Metrics::new(),
            settings: Settings {
                worker: WorkerId::parse("wrk_test").unwrap(),
                tenant: sample::tenant(),
                public_url: "https://dial.example".to_owned(),
                speed: 1.0,
            },
            keys: CallbackKeys::new(&[CallbackKeys::mint(&[7; 32])]).unwrap(),
            pace: Pace::new(clock.clone(), [(id.clone(), 1.0)]),
            opt_outs: dialfleet_engine::opt_out::OptOuts::default(),
            dialer: Some(Dialer::new([&id])),
            stopping: CancellationToken::new(),
        };
        Self {
            fleet,
            clock,
            store,
            network,
        }
    }

    /// A role, until `look` finds what it wants.
    async fn run<T, F: Future<Output = Result<T, String>>>(
        &self,
        role: Role,
        what: &str,
        bound: Duration,
        look: impl FnMut() -> F,
    ) -> T {
        tokio::select! {
            found = until(what, bound, look) => found,
            () = role::run(&self.fleet, role) => panic!("the role ended"),
        }
    }

    /// A role, for so long.
    async fn run_for(&self, role: Role, time: Duration) {
        tokio::select! {
            () = self.fleet.clock.sleep(time) => {}
            () = role::run(&self.fleet, role) => panic!("the role ended"),
        }
    }

    /// Campaign `name` with `n` leads, each with an intent in its slot.
    async fn intents(&self, name: &str, n: u32) -> Vec<Attempt> {
        let campaign = sample::campaign(name);
        self.store().insert_campaign(&campaign).await.unwrap();
        let leads: Vec<Lead> = (0..n).map(|i| sample::lead(&campaign.id, i)).collect();
        self.store().insert_leads(&leads).await.unwrap();
        let slots = leads.iter().zip(0..);
        let intents: Vec<Attempt> = slots.map(|(l, slot)| sample::attempt(l, 1, slot)).collect();
        let answers = self.store().insert_attempts(&intents).await;
        assert!(answers.iter().all(|a| *a == IntentAnswer::Acknowledged));
        intents
    }

    /// The next attempt at the lead of one that has ended.
    async fn again(&self, earlier: &Attempt) -> Attempt {
        let id = std::slice::from_ref(&earlier.lead);
        let lead = self.store().leads(id).await.unwrap().remove(0).unwrap();
        let attempt = sample::attempt(&lead, earlier.n + 1, 0);
        let answers = self
            .store()
            .insert_attempts(std::slice::from_ref(&attempt))
            .await;
        assert_eq!(answers, [IntentAnswer::Acknowledged]);
        attempt
    }

    fn store(&self) -> &dyn Store {
        &*self.fleet.store
    }

    /// Something happens to an attempt; commands that follow are left to the sweeper.
    async fn happen(&self, attempt: &Attempt, events: &[CallEvent]) {
        let mut changed = self.read(attempt).await;
        let expected = changed.version;
        for event in events {
            changed.apply(event, self.fleet.clock.now());
        }
        let save = SaveAttempt {
            attempt: changed,
            expected,
        };
        self.store().save_attempts(&[save]).await.unwrap();
    }

    async fn read(&self, attempt: &Attempt) -> Attempt {
        let found = self.fleet.attempt(&attempt.id).await.unwrap();
        found.expect("it was written")
    }

    /// `Ok` once an attempt is in that state.
    async fn in_state(&self, attempt: &Attempt, state: CallState) -> Result<Attempt, String> {
        let now = self.read(attempt).await;
        if now.state == state {
            Ok(now)
        } else {
            Err(format!("{} is {}", now.id, now.state.name()))
        }
    }

    /// A carrier reports.
    async fn report(&self, attempt: &Attempt, call: &str, statuses: &[CallStatus]) {
        let event = CallEventMessage {
            carrier: sample::carrier(),
            attempt: attempt.id.clone(),
            leg: 0,
            call_id: call_id(call),
            event_key: format!("{call}-{statuses:?}").chars().take(90).collect(),
            statuses: statuses.to_vec(),
            received_at: self.fleet.clock.now(),
            raw: String::new(),
            headers: BTreeMap::new(),
        };
        let sent = self
            .fleet
            .queue
            .publish(vec![event.message("m".to_owned())]);
        assert!(sent.await.iter().all(Result::is_ok));
    }

    /// How often an alarm rang.
    fn alarms(&self, kind: &str) -> u64 {
        let text = self.fleet.metrics.render();
        let line = format!("dialfleet_invariant_violations_total{{kind=\"{kind}\"}} ");
        let count = text.lines().find_map(|l| l.strip_prefix(&line));
        count.map_or(0, |n| n.parse().unwrap())
    }

    fn elapsed(&self) -> Duration {
        self.fleet.clock.now().since(sample::T0)
    }
}

fn call_id(name: &str) -> CarrierCallId {
    CarrierCallId::parse(name).unwrap()
}

/// What the carrier says.
#[derive(Default)]
struct Says {
    /// By call.
    records: BTreeMap<String, CallRecord>,
    /// Its lists cannot be read.
    no_lists: bool,
    /// Its records cannot be read.
    no_records: bool,
    /// It does not hang up.
    no_hang_ups: bool,
    /// It does not even answer.
    hangs: bool,
    /// It takes calls, of which it never says anything.
    takes_calls: bool,
    taken: u32,
    hung_up: Vec<String>,
    looks: u32,
}

struct Network {
    profile: CarrierProfile,
    says: Mutex<Says>,
}

impl Network {
    fn new(change: impl FnOnce(&mut Capabilities)) -> Self {
        let mut capabilities = Capabilities {
            pollable: true,
            ringing_event: true,
            longest_call: None,
            signed_callbacks: true,
            commands: CommandStyle::Document,
            queue_bound: Duration::ZERO,
            cannot: &[],
        };
        change(&mut capabilities);
        Self {
            profile: CarrierProfile {
                id: CarrierId::parse("sample").unwrap(),
                kind: "fake",
                cps: 1.0,
                channels: None,
                caller_ids: vec![E164::parse("+442079460000", None).unwrap()],
                weight: 1,
                capabilities,
            },
            says: Mutex::default(),
        }
    }

    fn says(&self) -> MutexGuard<'_, Says> {
        self.says.lock().unwrap()
    }

    /// The carrier has a call of this attempt.
    fn has(&self, call: &str, attempt: &Attempt, status: CallStatus) {
        let leg = attempt.legs.last().unwrap();
        let record = CallRecord {
            call_id: call_id(call),
            to: attempt.phone.as_str().to_owned(),
            from: leg.from.as_str().to_owned(),
            created_at: Some(leg.intent_at),
            status,
        };
        self.says().records.insert(call.to_owned(), record);
    }

    /// Its clock said something else when the call began.
    fn dates(&self, call: &str, at: Timestamp) {
        let mut says = self.says();
        let record = says.records.get_mut(call).expect("it has the call");
        record.created_at = Some(at);
    }

    fn hung_up(&self) -> Vec<String> {
        self.says().hung_up.clone()
    }
}

fn out<T>() -> Result<T, CarrierError> {
    Err(CarrierError::Unavailable("out".to_owned()))
}

#[async_trait]
impl Carrier for Network {
    fn profile(&self) -> &CarrierProfile {
        &self.profile
    }

    async fn dial(&self, _: &DialRequest) -> DialAnswer {
        let mut says = self.says();
        assert!(says.takes_calls, "repair never rings a telephone");
        says.taken += 1;
        DialAnswer::Accepted {
            call_id: call_id(&format!("CA{}", says.taken)),
            queued_for: Duration::ZERO,
        }
    }

    async fn hang_up(&self, call: &CarrierCallId) -> Result<(), CarrierError> {
        if self.says().hangs {
            std::future::pending::<()>().await;
        }
        let mut says = self.says();
        if says.no_hang_ups {
            return out();
        }
        says.hung_up.push(call.as_str().to_owned());
        Ok(())
    }

    async fn look(&self, call: &CarrierCallId) -> Result<CallRecord, CarrierError> {
        let mut says = self.says();
        says.looks += 1;
        if says.no_records {
            return out();
        }
        let found = says.records.get(call.as_str()).cloned();
        found.ok_or(CarrierError::NotFound)
    }

    async fn find(&self, to: &E164, _: &E164) -> Result<Vec<CallRecord>, CarrierError> {
        let says = self.says();
        if says.no_lists {
            return out();
        }
        let to = says.records.values().filter(|r| r.to == to.as_str());
        Ok(to.cloned().collect())
    }

    async fn live(&self) -> Result<Vec<CallRecord>, CarrierError> {
        let says = self.says();
        if says.no_lists {
            return out();
        }
        let live = |r: &&CallRecord| !matches!(r.status, CallStatus::Ended { .. });
        Ok(says.records.values().filter(live).cloned().collect())
    }

    fn read_callback(&self, _: &RawCallback) -> Result<CallbackNews, CallbackRefused> {
        Err(CallbackRefused::Forged)
    }
}
