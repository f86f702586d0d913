//! A whole process behind its doors: the router as the server calls it, a store and a queue in memory,
//! and an account at each kind of carrier, which are nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use dialfleet_adapters::carrier::Secret;
use dialfleet_adapters::carrier::sanspbx::{self, SansPbx, SansPbxConfig};
use dialfleet_adapters::carrier::telnyx::{Telnyx, TelnyxConfig};
use dialfleet_adapters::carrier::twilio::{KIND, Twilio, TwilioConfig};
use dialfleet_adapters::local::LocalQueue;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::{CarrierId, WorkerId};
use dialfleet_engine::Fleet;
use dialfleet_engine::fleet::Settings;
use dialfleet_engine::pace::Pace;
use dialfleet_engine::port::Carrier;
use dialfleet_engine::routes::Routes;
use dialfleet_engine::time::FleetClock;
use dialfleet_engine::token::CallbackKeys;
use dialfleet_http::{ApiKey, ApiState, Readiness, router};
use dialfleet_runtime::metrics::Metrics;
use dialfleet_tests::clock::{ManualClock, SeededEntropy};
use dialfleet_tests::sample;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub(crate) const KEY: &str = "test-key";
pub(crate) const PUBLIC_URL: &str = "https://dial.example";
pub(crate) const ACCOUNT: &str = "AC1";
pub(crate) const TOKEN: &str = "t0ken-of-the-account";
/// The media type of every refusal.
const PROBLEM: &str = "application/problem+json";

/// A carrier that can be asked nothing: nobody listens there.
pub(crate) fn twilio(base_url: &str) -> Twilio {
    Twilio::new(TwilioConfig {
        id: sample::carrier(),
        cps: 1.0,
        channels: None,
        caller_ids: vec![sample::phone(9_999)],
        weight: 1,
        account_sid: ACCOUNT.to_owned(),
        auth_token: Secret::new(TOKEN),
        api_key: None,
        base_url: base_url.to_owned(),
    })
    .unwrap()
}

pub(crate) const NOWHERE: &str = "http://127.0.0.1:9";

fn telnyx(clock: Arc<ManualClock>) -> Telnyx {
    let config = TelnyxConfig {
        id: CarrierId::parse("telnyx").unwrap(),
        cps: 1.0,
        channels: None,
        caller_ids: vec![sample::phone(9_999)],
        weight: 1,
        api_key: Secret::new("k3y"),
        connection_id: "1293384261075731461".to_owned(),
        public_key: "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=".to_owned(),
        base_url: NOWHERE.to_owned(),
    };
    Telnyx::new(config, clock).unwrap()
}

/// It signs nothing: what it sends must come from its network.
fn sans_pbx() -> SansPbx {
    SansPbx::new(SansPbxConfig {
        id: CarrierId::parse("pbx").unwrap(),
        cps: 1.0,
        channels: None,
        caller_ids: vec![sample::phone(9_999)],
        weight: 1,
        base_url: NOWHERE.to_owned(),
        access_token: Secret::new("t0ken"),
        access_key: Secret::new("k3y"),
        basic: None,
        app_id: 1,
        to_format: "{cc}{national}".to_owned(),
        from_format: "{cc}{national}".to_owned(),
        country_code: "1".to_owned(),
        longest_call: sanspbx::LONGEST_CALL,
        callback_sources: vec!["203.0.113.0/24".to_owned()],
        trusted_proxies: Vec::new(),
        refusals: BTreeMap::new(),
        dispositions: BTreeMap::new(),
    })
    .unwrap()
}

pub(crate) struct Rig {
    pub(crate) runtime: Runtime,
    pub(crate) fleet: Arc<Fleet>,
    service: TowerToHyperService<Router>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let clock = Arc::new(ManualClock::new(sample::T0));
        let store = SqliteStore::in_memory(clock.clone()).unwrap();
        let queue = runtime.block_on(LocalQueue::new(None)).unwrap();
        let carriers: [Arc<dyn Carrier>; 3] = [
            Arc::new(twilio(NOWHERE)),
            Arc::new(telnyx(clock.clone())),
            Arc::new(sans_pbx()),
        ];
        let id = sample::carrier();
        let fleet = Arc::new(Fleet {
            store: Arc::new(store),
            queue: Arc::new(queue),
            routes: Routes::new(carriers.iter().map(|carrier| (carrier.profile(), None))),
            carriers: carriers
                .into_iter()
                .map(|carrier| (carrier.profile().id.clone(), carrier))
                .collect(),
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
            pace: Pace::new(clock, [(id, 1.0)]),
            opt_outs: dialfleet_engine::opt_out::OptOuts::default(),
            dialer: None,
            stopping: CancellationToken::new(),
        });
        let readiness = Readiness::new();
        readiness.set_started();
        let state = ApiState::new(fleet.clone(), ApiKey::new([KEY]), readiness);
        Self {
            runtime,
            fleet,
            service: TowerToHyperService::new(router(state)),
        }
    }

    /// Sends, and checks what every answer must be: a success, or a refusal that says why. A request
    /// can never be a server's fault here: everything the server needs is up.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        let is_head = request.method() == "HEAD";
        let response = self.service.call(request).await.unwrap();
        let status = response.status();
        let kind = response.headers().get("content-type").cloned();
        let body = to_bytes(response.into_body(), 16 * 1024 * 1024)
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(!status.is_server_error(), "{what}: {status} {text}");
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if status.is_client_error() && !is_head {
            assert_eq!(kind.unwrap(), PROBLEM, "{what}: {text}");
            assert_eq!(body["status"], status.as_u16());
            for member in ["title", "detail", "code"] {
                let said = body[member].as_str();
                assert!(said.is_some_and(|s| !s.is_empty()), "{what}: {text}");
            }
        }
        Answer { status, body }
    }

    /// A request with the key.
    pub(crate) fn request(method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {KEY}"))
    }

    /// Sends JSON with the key. `None`: the path cannot even be written in a request.
    pub(crate) async fn json(&self, method: &str, path: &str, body: Vec<u8>) -> Option<Answer> {
        let request = Self::request(method, path).header("content-type", "application/json");
        Some(self.send(request.body(body.into()).ok()?).await)
    }

    /// A running campaign made behind the API's back.
    pub(crate) async fn campaign(&self, name: &str) -> Campaign {
        let campaign = Campaign {
            state: CampaignState::Running,
            ..sample::campaign(name)
        };
        self.fleet.store.insert_campaign(&campaign).await.unwrap();
        campaign
    }

    /// An attempt that waits for its callbacks, and the path where the carrier reports them.
    pub(crate) async fn attempt(&self) -> (Attempt, String) {
        let campaign = self.campaign("callbacks").await;
        let lead = sample::lead(&campaign.id, 0);
        let leads = std::slice::from_ref(&lead);
        self.fleet.store.insert_leads(leads).await.unwrap();
        let attempt = sample::attempt(&lead, 1, 0);
        let intents = std::slice::from_ref(&attempt);
        self.fleet.store.insert_attempts(intents).await;
        let path = self
            .fleet
            .keys
            .callback_url("", KIND, &sample::carrier(), &attempt.id, 0);
        (attempt, path)
    }

    /// How many messages wait, parked ones too.
    pub(crate) async fn waiting(&self) -> u64 {
        let depths = self.fleet.queue.depths().await.unwrap();
        depths.iter().map(|(_, n)| n).sum()
    }
}
