//! A carrier between the simulated network and our own door: what the network calls back goes through
//! HTTP and the engine into a store, at once, because the queue is out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_adapters::system::{SystemClock, SystemEntropy};
use dialfleet_domain::call::{Attempt, CallState};
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::flow::{Action, Step};
use dialfleet_domain::id::WorkerId;
use dialfleet_engine::fleet::{Fleet, Settings};
use dialfleet_engine::pace::Pace;
use dialfleet_engine::port::carrier::{DialAnswer, DialRequest};
use dialfleet_engine::port::queue::{Consumer, ControlListener, Message, PublishError, Topic};
use dialfleet_engine::port::{Carrier, Clock, Queue};
use dialfleet_engine::routes::Routes;
use dialfleet_engine::time::FleetClock;
use dialfleet_engine::token::CallbackKeys;
use dialfleet_http::{ApiKey, ApiState, Readiness};
use dialfleet_runtime::metrics::Metrics;
use dialfleet_runtime::service;
use dialfleet_simulator::{Faults, Simulator, SimulatorConfig};
use dialfleet_tests::sample;
use dialfleet_tests::wait::until;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::subjects::Subject;

/// People by the outcome of calls to them: the last four digits of their numbers.
pub(super) const HUMAN: u32 = 10;
pub(super) const BUSY: u32 = 210;
pub(super) const NOBODY: u32 = 310;
pub(super) const NO_SUCH_NUMBER: u32 = 411;
pub(super) const CONGESTED: u32 = 510;
pub(super) const DECLINES: u32 = 610;
pub(super) const TALKS_FOR_AN_HOUR: u32 = 910;

/// How much faster than life the network is.
const SPEED: f64 = 200.0;
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Rig {
    pub(super) simulator: Simulator,
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) fleet: Arc<Fleet>,
    http: reqwest::Client,
    _server: AbortOnDropHandle<std::io::Result<()>>,
    _stop: DropGuard,
}

impl Rig {
    pub(super) async fn new(subject: &Subject) -> Self {
        let mut config = SimulatorConfig::with([subject.account.clone()]);
        config.speed = SPEED;
        let simulator = Simulator::start(config).await.unwrap();
        let carrier = (subject.carrier)(&simulator.base_url());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public_url = format!("http://{}", listener.local_addr().unwrap());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let id = carrier.profile().id.clone();
        let stopping = CancellationToken::new();
        let fleet = Arc::new(Fleet {
            store: Arc::new(SqliteStore::in_memory(clock.clone()).unwrap()),
            queue: Arc::new(Out),
            routes: Routes::new([(carrier.profile(), None)]),
            carriers: BTreeMap::from([(id.clone(), carrier.clone())]),
            entropy: Arc::new(SystemEntropy),
            metrics: Metrics::new(),
            settings: Settings {
                worker: WorkerId::parse("wrk_test").unwrap(),
                tenant: sample::tenant(),
                public_url,
                speed: SPEED,
            },
            keys: CallbackKeys::new(&[CallbackKeys::mint(&[7; 32])]).unwrap(),
            pace: Pace::new(clock.clone(), [(id, 1.0)]),
            clock: FleetClock::new(clock),
            opt_outs: dialfleet_engine::opt_out::OptOuts::default(),
            dialer: None,
            stopping: stopping.clone(),
        });
        let campaign = campaign();
        fleet.store.insert_campaign(&campaign).await.unwrap();
        let state = ApiState::new(fleet.clone(), ApiKey::new(["key"]), Readiness::new());
        let server = dialfleet_http::serve(listener, state, stopping.clone());
        Self {
            simulator,
            carrier,
            fleet,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            _server: service::spawn(server),
            _stop: stopping.drop_guard(),
        }
    }

    /// What goes wrong from now on, and nothing else.
    pub(super) fn break_things(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = Faults::default();
        change(&mut faults);
        self.simulator.faults().set(faults);
    }

    /// An intent to ring a person, written down.
    pub(super) async fn intend(&self, phone: u32) -> Attempt {
        let lead = sample::lead(&sample::campaign_id("c"), phone);
        let leads = std::slice::from_ref(&lead);
        self.fleet.store.insert_leads(leads).await.unwrap();
        let mut attempt = sample::attempt(&lead, 1, phone);
        attempt.legs[0].carrier = self.carrier.profile().id.clone();
        let written = std::slice::from_ref(&attempt);
        self.fleet.store.insert_attempts(written).await;
        attempt
    }

    pub(super) fn request(&self, attempt: &Attempt) -> DialRequest {
        let profile = self.carrier.profile();
        DialRequest {
            attempt: attempt.id.clone(),
            leg: 0,
            to: attempt.phone.clone(),
            from: attempt.legs[0].from.clone(),
            ring_timeout_s: 30,
            max_duration_s: 600,
            opening: Some(vec![Action::Pause { seconds: 600 }; 6]),
            flow_url: String::new(),
            amd: dialfleet_domain::amd::Amd::default(),
            leaves_message: false,
            callback_url: self.fleet.keys.callback_url(
                &self.fleet.settings.public_url,
                profile.kind,
                &profile.id,
                &attempt.id,
                0,
            ),
        }
    }

    pub(super) async fn dial(&self, attempt: &Attempt) -> DialAnswer {
        self.carrier.dial(&self.request(attempt)).await
    }

    pub(super) async fn attempt(&self, attempt: &Attempt) -> Attempt {
        let found = self.fleet.attempt(&attempt.id).await.unwrap();
        found.unwrap()
    }

    /// Waits for the end.
    pub(super) async fn ended(&self, attempt: &Attempt) -> Attempt {
        until("the call has ended", PATIENCE, async || {
            let attempt = self.attempt(attempt).await;
            if attempt.state == CallState::Ended {
                Ok(attempt)
            } else {
                Err(format!("{:?} {:?}", attempt.state, attempt.timeline))
            }
        })
        .await
    }

    /// Calls back, as anybody could; returns the status.
    pub(super) async fn post(&self, url: &str, kind: &str, body: String) -> u16 {
        let request = self.http.post(url).header("content-type", kind).body(body);
        request.send().await.unwrap().status().as_u16()
    }
}

/// Nobody of ours ends a call: after the answer there are ten minutes of silence, six times.
fn campaign() -> Campaign {
    let mut campaign = sample::campaign("c");
    campaign.flow.steps = vec![Step::Pause { seconds: 600 }; 6];
    campaign
}

/// A queue that is out.
struct Out;

fn out() -> PublishError {
    PublishError::Refused("out".to_owned())
}

#[async_trait]
impl Queue for Out {
    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), PublishError>> {
        messages.iter().map(|_| Err(out())).collect()
    }

    async fn consume(&self, _: Topic, _: u16) -> Result<Box<dyn Consumer>, PublishError> {
        Err(out())
    }

    async fn broadcast(&self, _: Bytes) -> Result<(), PublishError> {
        Err(out())
    }

    async fn listen(&self) -> Result<Box<dyn ControlListener>, PublishError> {
        Err(out())
    }

    async fn depths(&self) -> Result<Vec<(&'static str, u64)>, PublishError> {
        Err(out())
    }

    async fn ping(&self) -> Result<(), PublishError> {
        Err(out())
    }
}
