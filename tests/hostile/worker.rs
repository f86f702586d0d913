//! A worker that is fed messages, and says what became of each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::WorkerId;
use dialfleet_engine::dialer::Dialer;
use dialfleet_engine::fleet::Settings;
use dialfleet_engine::pace::Pace;
use dialfleet_engine::port::queue::{
    Consumer, ControlListener, Delivery, Message, PublishError, Settle, Topic,
};
use dialfleet_engine::port::{Carrier, Queue};
use dialfleet_engine::role::run;
use dialfleet_engine::routes::Routes;
use dialfleet_engine::time::FleetClock;
use dialfleet_engine::token::CallbackKeys;
use dialfleet_engine::{Fleet, Role};
use dialfleet_runtime::metrics::Metrics;
use dialfleet_tests::clock::{ManualClock, SeededEntropy};
use dialfleet_tests::sample;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::rig::{NOWHERE, twilio};

/// Longer than any batch takes; a message that is tried for ever takes longer.
const BOUND: Duration = Duration::from_secs(10);

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    Acked,
    Parked(String),
    /// Not settled: it would come again.
    Dropped,
}

/// A message as a publisher made it.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) id: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            id: None,
            kind: None,
            body: body.into(),
        }
    }
}

/// A queue that delivers what it is fed, and notes what became of it.
#[derive(Default)]
struct Feed {
    next: Mutex<VecDeque<(usize, Raw)>>,
    fed: Notify,
    settled: Mutex<Vec<Vec<Settled>>>,
    news: Notify,
}

impl Feed {
    fn note(&self, index: usize, what: Settled) {
        self.settled.lock().unwrap()[index].push(what);
        self.news.notify_one();
    }
}

struct Handle(Arc<Feed>, usize, bool);

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.2 {
            self.0.note(self.1, Settled::Dropped);
        }
    }
}

#[async_trait]
impl Settle for Handle {
    async fn ack(mut self: Box<Self>) {
        self.2 = true;
        self.0.note(self.1, Settled::Acked);
    }

    async fn park(mut self: Box<Self>, reason: &str) {
        self.2 = true;
        self.0.note(self.1, Settled::Parked(reason.to_owned()));
    }
}

struct Fed(Arc<Feed>);

#[async_trait]
impl Consumer for Fed {
    async fn next(&mut self, max: usize) -> Option<Vec<Delivery>> {
        loop {
            let fed = self.0.fed.notified();
            let taken: Vec<_> = {
                let mut next = self.0.next.lock().unwrap();
                let many = max.min(next.len());
                next.drain(..many).collect()
            };
            if taken.is_empty() {
                fed.await;
                continue;
            }
            let delivery = |(index, raw): (usize, Raw)| Delivery {
                id: raw.id,
                kind: raw.kind,
                body: raw.body.into(),
                headers: BTreeMap::new(),
                redelivered: false,
                handle: Box::new(Handle(self.0.clone(), index, false)),
            };
            return Some(taken.into_iter().map(delivery).collect());
        }
    }
}

struct FeedQueue(Arc<Feed>);

#[async_trait]
impl Queue for FeedQueue {
    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), PublishError>> {
        messages.iter().map(|_| Ok(())).collect()
    }

    async fn consume(&self, _: Topic, _: u16) -> Result<Box<dyn Consumer>, PublishError> {
        Ok(Box::new(Fed(self.0.clone())))
    }

    async fn broadcast(&self, _: Bytes) -> Result<(), PublishError> {
        Ok(())
    }

    async fn listen(&self) -> Result<Box<dyn ControlListener>, PublishError> {
        Err(PublishError::Refused("nobody speaks".to_owned()))
    }

    async fn depths(&self) -> Result<Vec<(&'static str, u64)>, PublishError> {
        Ok(Vec::new())
    }

    async fn ping(&self) -> Result<(), PublishError> {
        Ok(())
    }
}

/// A worker that is fed messages.
pub(crate) struct Worker {
    pub(crate) runtime: Runtime,
    feed: Arc<Feed>,
    pub(crate) fleet: Fleet,
    pub(crate) campaign: Campaign,
    attempt: Attempt,
}

impl Worker {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let feed = Arc::new(Feed::default());
        let clock = Arc::new(ManualClock::new(sample::T0));
        let carrier: Arc<dyn Carrier> = Arc::new(twilio(NOWHERE));
        let id = sample::carrier();
        let fleet = Fleet {
            store: Arc::new(SqliteStore::in_memory(clock.clone()).unwrap()),
            queue: Arc::new(FeedQueue(feed.clone())),
            routes: Routes::new([(carrier.profile(), None)]),
            carriers: BTreeMap::from([(id.clone(), carrier)]),
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
            pace: Pace::new(clock, [(id.clone(), 1.0)]),
            opt_outs: dialfleet_engine::opt_out::OptOuts::default(),
            dialer: Some(Dialer::new([&id])),
            stopping: CancellationToken::new(),
        };
        let campaign = sample::campaign("a");
        let lead = sample::lead(&campaign.id, 0);
        let attempt = sample::attempt(&lead, 1, 0);
        let mut import = sample::import(&campaign.id, "mine");
        import.batches = Some(1);
        runtime.block_on(async {
            let other = sample::campaign("b");
            for campaign in [&campaign, &other] {
                fleet.store.insert_campaign(campaign).await.unwrap();
            }
            let theirs = sample::import(&other.id, "theirs");
            for import in [&import, &theirs] {
                fleet.store.insert_import(import).await.unwrap();
            }
            fleet.store.insert_leads(&[lead]).await.unwrap();
            fleet
                .store
                .insert_attempts(std::slice::from_ref(&attempt))
                .await;
        });
        Self {
            runtime,
            feed,
            fleet,
            campaign,
            attempt,
        }
    }

    /// Feeds messages to a role, and says what became of each.
    pub(crate) fn work(&self, role: Role, messages: &[Raw]) -> Vec<Settled> {
        self.feed.settled.lock().unwrap().clear();
        self.feed
            .settled
            .lock()
            .unwrap()
            .resize(messages.len(), Vec::new());
        self.feed
            .next
            .lock()
            .unwrap()
            .extend(messages.iter().cloned().enumerate());
        self.feed.fed.notify_one();
        let all = async {
            while self.feed.settled.lock().unwrap().iter().any(Vec::is_empty) {
                self.feed.news.notified().await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                () = run(&self.fleet, role) => panic!("the role ended by itself"),
                done = tokio::time::timeout(BOUND, all) => {
                    assert!(done.is_ok(), "held for ever: {:?}", self.feed.settled.lock().unwrap());
                }
            }
        });
        let settled = self.feed.settled.lock().unwrap().clone();
        settled
            .into_iter()
            .map(|mut once| {
                assert_eq!(once.len(), 1, "settled more than once: {once:?}");
                once.pop().unwrap()
            })
            .collect()
    }

    pub(crate) fn lead_batch(&self) -> Value {
        json!({
            "campaign": self.campaign.id,
            "leads": [
                { "phone": "+442079460119", "ref": "a", "timezone": "Europe/London", "priority": 7, "vars": { "x": "y" }, "line": 3 },
                { "phone": "+442079460120", "priority": "7" },
                { "phone": "12" },
            ],
        })
    }

    pub(crate) fn call_event(&self) -> Value {
        json!({
            "carrier": sample::carrier(),
            "attempt": self.attempt.id,
            "leg": 0,
            "call_id": "CA1",
            "event_key": "CA1:0:ringing",
            "statuses": [{ "is": "ringing" }, { "is": "party", "party": "human" }],
            "received_at": 1_795_251_600_000_i64,
            "raw": "CallSid=CA1",
            "headers": { "user-agent": "x" },
        })
    }

    pub(crate) fn fill_slot(&self) -> Value {
        json!({ "campaign": self.campaign.id, "slot": 1, "gen": 1, "freed_at": 1_795_251_600_000_i64 })
    }
}
