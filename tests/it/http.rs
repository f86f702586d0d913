//! The HTTP side over real sockets, with the embedded store, the in-process queue and a carrier that
//! only reads callbacks. Needs no service.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_adapters::local::LocalQueue;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::{CarrierCallId, CarrierId, WorkerId};
use dialfleet_domain::phone::E164;
use dialfleet_engine::fleet::{Fleet, Settings};
use dialfleet_engine::ingest::{Ingested, ingest};
use dialfleet_engine::message::LeadBatch;
use dialfleet_engine::pace::Pace;
use dialfleet_engine::port::carrier::{
    CallRecord, CallStatus, CallbackNews, CallbackRefused, Capabilities, CarrierError,
    CarrierProfile, CommandStyle, DialAnswer, DialRequest, RawCallback,
};
use dialfleet_engine::port::queue::{Consumer, ControlListener, Message, PublishError, Topic};
use dialfleet_engine::port::{Carrier, Queue, Store};
use dialfleet_engine::routes::Routes;
use dialfleet_engine::time::FleetClock;
use dialfleet_engine::token::CallbackKeys;
use dialfleet_http::{ApiKey, ApiState, Readiness};
use dialfleet_runtime::metrics::Metrics;
use dialfleet_runtime::service;
use dialfleet_tests::clock::{ManualClock, SeededEntropy};
use dialfleet_tests::sample;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

mod campaigns;
mod imports;
mod probes;
mod problems;
mod records;
mod webhooks;

const KEY: &str = "test-key";
/// What carriers call; not where the server listens, as behind a proxy.
const PUBLIC_URL: &str = "https://dial.example";
const PROBLEM: &str = "application/problem+json";

/// A server with everything behind it.
struct Rig {
    addr: std::net::SocketAddr,
    client: reqwest::Client,
    fleet: Arc<Fleet>,
    clock: Arc<ManualClock>,
    queue: Arc<Switch>,
    carrier: Arc<Listener>,
    readiness: Readiness,
    shutdown: CancellationToken,
    server: AbortOnDropHandle<std::io::Result<()>>,
}

impl Rig {
    /// Started and ready.
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::new(sample::T0));
        let store = SqliteStore::in_memory(clock.clone()).unwrap();
        let queue = Arc::new(Switch {
            inner: LocalQueue::new(None).await.unwrap(),
            down: AtomicBool::new(false),
        });
        let carrier = Arc::new(Listener::new());
        let id = carrier.profile.id.clone();
        let fleet = Arc::new(Fleet {
            store: Arc::new(store),
            queue: queue.clone(),
            routes: Routes::new([(&carrier.profile, None)]),
            carriers: BTreeMap::from([(id.clone(), carrier.clone() as Arc<dyn Carrier>)]),
            clock: FleetClock::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(1)),
            metrics: Metrics::new(),
            settings: Settings {
                worker: WorkerId::parse("wrk_test").unwrap(),
                tenant: sample::tenant(),
                public_url: PUBLIC_URL.to_owned(),
                speed: 1.0,
            },
            keys: CallbackKeys::new(&[CallbackKeys::mint(&[7; 32])]).unwrap(),
            pace: Pace::new(clock.clone(), [(id, 1.0)]),
            opt_outs: dialfleet_engine::opt_out::OptOuts::default(),
            dialer: None,
            stopping: CancellationToken::new(),
        });
        let readiness = Readiness::new();
        readiness.set_started();
        let state = ApiState::new(fleet.clone(), ApiKey::new([KEY]), readiness.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = service::spawn(dialfleet_http::serve(listener, state, shutdown.clone()));
        Self {
            addr,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            fleet,
            clock,
            queue,
            carrier,
            readiness,
            shutdown,
            server,
        }
    }

    /// A request without a key.
    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path}", self.addr))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.bare(Method::GET, path).bearer_auth(KEY)
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.bare(Method::POST, path).bearer_auth(KEY)
    }

    fn store(&self) -> &dyn Store {
        &*self.fleet.store
    }

    /// A campaign made behind the API's back.
    async fn campaign(&self, name: &str, state: CampaignState) -> Campaign {
        let campaign = Campaign {
            state,
            ..sample::campaign(name)
        };
        self.store().insert_campaign(&campaign).await.unwrap();
        campaign
    }

    /// Does what the role `ingest` does, for everything that is queued.
    async fn ingest(&self, batches: usize) {
        let mut consumer = self.queue.consume(Topic::LeadsIngest, 64).await.unwrap();
        let mut left = batches;
        while left > 0 {
            for delivery in consumer.next(left).await.unwrap() {
                let batch: LeadBatch = serde_json::from_slice(&delivery.body).unwrap();
                let done = ingest(&self.fleet, &batch, "message").await.unwrap();
                assert!(matches!(done, Ingested::Done(_)), "{done:?}");
                delivery.ack().await;
                left -= 1;
            }
        }
    }
}

/// Sends, checks the status, and reads the JSON.
async fn answer(request: RequestBuilder, status: u16) -> Value {
    let response = request.send().await.unwrap();
    let was = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(was, status, "{text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// Sends, checks that the answer is a well-formed problem, and returns its code and the document.
async fn problem(request: RequestBuilder, status: u16) -> (String, Value) {
    problem_of(request.send().await.unwrap(), status).await
}

async fn problem_of(response: Response, status: u16) -> (String, Value) {
    let headers = response.headers().clone();
    let was = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(was, status, "{text}");
    assert_eq!(headers["content-type"], PROBLEM, "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["status"], status);
    assert_eq!(
        document["request_id"],
        headers["request-id"].to_str().unwrap()
    );
    for member in ["title", "detail"] {
        assert!(
            document[member].as_str().is_some_and(|s| !s.is_empty()),
            "{member}: {text}"
        );
    }
    let code = document["code"].as_str().unwrap().to_owned();
    assert_eq!(document["type"], format!("urn:dialfleet:problem:{code}"));
    (code, document)
}

/// The one field that a problem names, and its code.
fn field(document: &Value) -> (&str, &str) {
    let errors = document["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{document}");
    let text = |member: &str| errors[0][member].as_str().unwrap();
    (text("pointer"), text("code"))
}

/// An id in a path.
fn encoded(id: &str) -> String {
    id.bytes().map(|b| format!("%{b:02X}")).collect()
}

/// A queue that can be out.
struct Switch {
    inner: LocalQueue,
    down: AtomicBool,
}

impl Switch {
    fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn up(&self) -> Result<(), PublishError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(PublishError::Refused("switched off".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for Switch {
    async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), PublishError>> {
        match self.up() {
            Ok(()) => self.inner.publish(messages).await,
            Err(_) => messages.iter().map(|_| self.up()).collect(),
        }
    }

    async fn consume(
        &self,
        topic: Topic,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, PublishError> {
        self.up()?;
        self.inner.consume(topic, prefetch).await
    }

    async fn broadcast(&self, body: Bytes) -> Result<(), PublishError> {
        self.up()?;
        self.inner.broadcast(body).await
    }

    async fn listen(&self) -> Result<Box<dyn ControlListener>, PublishError> {
        self.up()?;
        self.inner.listen().await
    }

    async fn depths(&self) -> Result<Vec<(&'static str, u64)>, PublishError> {
        self.up()?;
        self.inner.depths().await
    }

    async fn ping(&self) -> Result<(), PublishError> {
        self.up()?;
        self.inner.ping().await
    }
}

/// A carrier that reads callbacks: genuine are those whose `x-signature` is the URL they were sent
/// to. The body is the event's key.
struct Listener {
    profile: CarrierProfile,
    heard: Mutex<Vec<RawCallback>>,
}

impl Listener {
    fn new() -> Self {
        let capabilities = Capabilities {
            pollable: true,
            ringing_event: true,
            longest_call: None,
            signed_callbacks: true,
            commands: CommandStyle::Document,
            queue_bound: std::time::Duration::ZERO,
            cannot: &[],
        };
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
            heard: Mutex::new(Vec::new()),
        }
    }
}

#[async_trait]
impl Carrier for Listener {
    fn profile(&self) -> &CarrierProfile {
        &self.profile
    }

    async fn dial(&self, _: &DialRequest) -> DialAnswer {
        panic!("nothing here may ring a telephone")
    }

    async fn hang_up(&self, _: &CarrierCallId) -> Result<(), CarrierError> {
        Ok(())
    }

    async fn look(&self, _: &CarrierCallId) -> Result<CallRecord, CarrierError> {
        Err(CarrierError::NotFound)
    }

    async fn find(&self, _: &E164, _: &E164) -> Result<Vec<CallRecord>, CarrierError> {
        Ok(Vec::new())
    }

    async fn live(&self) -> Result<Vec<CallRecord>, CarrierError> {
        Ok(Vec::new())
    }

    fn read_callback(&self, raw: &RawCallback) -> Result<CallbackNews, CallbackRefused> {
        self.heard.lock().unwrap().push(raw.clone());
        if raw.headers.get("x-signature") != Some(&raw.url) {
            return Err(CallbackRefused::Forged);
        }
        let event_key = String::from_utf8(raw.body.to_vec()).unwrap();
        match event_key.as_str() {
            "garbage" => Err(CallbackRefused::Unreadable("no status in it".to_owned())),
            "panic" => panic!("a bug, on purpose"),
            _ => Ok(CallbackNews {
                event_key,
                call_id: CarrierCallId::parse("CA1").unwrap(),
                statuses: vec![CallStatus::Ringing],
            }),
        }
    }
}
