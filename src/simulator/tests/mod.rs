//! A client and a receiver of callbacks around a simulator that runs a thousand times faster than
//! life, all over real HTTP.

mod detection;
mod documents;
mod faults;
mod network;
mod recordings;
mod sanspbx;
mod telnyx;
mod twilio;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::twilio::sign;
use crate::{Faults, Person, Simulator, SimulatorConfig, Who};

const SID: &str = "AC00000000000000000000000000000001";
const TOKEN: &str = "12345";
const CALLER: &str = "+15557770000";
const LONG: &str = "<Response><Pause length=\"3600\"/><Pause length=\"3600\"/></Response>";
/// Of worlds in which people listen: slow enough to act while they do.
const SPEED: f64 = 100.0;
const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who presses these keys, a string at each question.
fn person(who: Who, keys: &[&str]) -> Person {
    Person {
        who,
        keys: keys.iter().map(|k| (*k).to_owned()).collect(),
        ..Person::default()
    }
}

/// A verified callback.
#[derive(Debug, Clone)]
struct Callback {
    path: String,
    token: String,
    fields: BTreeMap<String, String>,
}

impl Callback {
    fn get(&self, key: &str) -> &str {
        self.fields.get(key).map_or("", String::as_str)
    }

    fn status(&self) -> &str {
        self.get("CallStatus")
    }

    fn is_terminal(&self) -> bool {
        self.fields.contains_key("SipResponseCode")
    }
}

#[derive(Clone)]
struct Receiver {
    origin: String,
    refuse: Arc<AtomicU32>,
    received: mpsc::Sender<Callback>,
    documents: Documents,
}

/// What is answered at a path: content type and body.
type Documents = Arc<Mutex<BTreeMap<String, (&'static str, String)>>>;

struct World {
    sim: Simulator,
    http: reqwest::Client,
    origin: String,
    /// How many callbacks to answer with 503 from now on.
    refuse: Arc<AtomicU32>,
    received: mpsc::Receiver<Callback>,
    documents: Documents,
    _stop: DropGuard,
}

async fn receive(
    State(receiver): State<Receiver>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fields: BTreeMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
    let url = format!("{}{uri}", receiver.origin);
    let pairs = fields
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let header = |name: &str| {
        headers
            .get(name)
            .map_or("", |v| v.to_str().unwrap())
            .to_owned()
    };
    if header("X-Twilio-Signature") != sign(TOKEN, &url, pairs) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let refused = receiver
        .refuse
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        })
        .is_ok();
    let path = if refused {
        "refused".to_owned()
    } else {
        uri.path().to_owned()
    };
    let token = header("I-Twilio-Idempotency-Token");
    receiver
        .received
        .send(Callback {
            path,
            token,
            fields,
        })
        .await
        .unwrap();
    let document = receiver.documents.lock().unwrap().get(uri.path()).cloned();
    match document {
        _ if refused => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some((kind, body)) => ([(CONTENT_TYPE, kind)], body).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

impl World {
    async fn new(faults: Faults) -> Self {
        let config = SimulatorConfig {
            speed: 1_000.0,
            faults,
            ..SimulatorConfig::new(SID, TOKEN)
        };
        Self::with(config).await
    }

    async fn with(config: SimulatorConfig) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = mpsc::channel(1_000);
        let refuse = Arc::new(AtomicU32::new(0));
        let documents = Documents::default();
        let state = Receiver {
            origin: origin.clone(),
            refuse: refuse.clone(),
            received: sender,
            documents: documents.clone(),
        };
        let app = Router::new().fallback(receive).with_state(state);
        let stop = CancellationToken::new();
        let server =
            axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
        TaskTracker::new().spawn(async move { server.await.unwrap() });
        let sim = Simulator::start(config).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            sim,
            http,
            origin,
            refuse,
            received,
            documents,
            _stop: stop.drop_guard(),
        }
    }

    /// Status callback URL of a leg of an attempt, as Dialfleet builds it.
    fn callback_url(&self, attempt: &str, leg: &str) -> String {
        let attempt = URL_SAFE_NO_PAD.encode(attempt);
        format!("{}/webhooks/twilio/sim/{attempt}/{leg}/mac", self.origin)
    }

    fn calls_url(&self) -> String {
        format!(
            "{}/2010-04-01/Accounts/{SID}/Calls.json",
            self.sim.base_url()
        )
    }

    fn form(&self, to: &str, attempt: &str) -> Vec<(&'static str, String)> {
        let mut form = vec![
            ("To", to.to_owned()),
            ("From", CALLER.to_owned()),
            // The callee is the one who ends it.
            ("Twiml", LONG.to_owned()),
            ("StatusCallback", self.callback_url(attempt, "0")),
        ];
        let events = ["initiated", "ringing", "answered", "completed"];
        form.extend(events.map(|event| ("StatusCallbackEvent", event.to_owned())));
        form
    }

    async fn post(&self, url: &str, form: &[(&str, String)]) -> reqwest::Result<(u16, Value)> {
        let request = self.http.post(url).basic_auth(SID, Some(TOKEN)).form(form);
        let response = request.timeout(PATIENCE).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    async fn create(&self, to: &str, attempt: &str) -> reqwest::Result<(u16, Value)> {
        self.post(&self.calls_url(), &self.form(to, attempt)).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.sim.base_url());
        let request = self.http.get(url).basic_auth(SID, Some(TOKEN));
        let response = request.timeout(PATIENCE).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn next(&mut self) -> Callback {
        timeout(PATIENCE, self.received.recv())
            .await
            .expect("a callback in time")
            .unwrap()
    }

    async fn next_n(&mut self, n: usize) -> Vec<Callback> {
        let mut all = Vec::new();
        while all.len() < n {
            all.push(self.next().await);
        }
        all
    }

    /// Callbacks up to the terminal one.
    async fn until_end(&mut self) -> Vec<Callback> {
        let mut all = vec![self.next().await];
        while !all.last().unwrap().is_terminal() {
            all.push(self.next().await);
        }
        all
    }
}

fn statuses(callbacks: &[Callback]) -> Vec<&str> {
    callbacks.iter().map(Callback::status).collect()
}
