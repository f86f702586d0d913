//! Telnyx's interface, over real HTTP.

mod calls;
mod events;
mod prompts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{CALLER, PATIENCE};
use crate::{Account, Faults, Simulator, SimulatorConfig, TelnyxAccount};

const KEY: &str = "KEY123";
pub(super) const CONNECTION: &str = "1293384261075731461";
pub(super) const STATE: &str = "aGV5";

#[derive(Clone)]
struct Receiver {
    public_key: String,
    pub(super) refuse: Arc<AtomicU32>,
    pub(super) received: mpsc::Sender<(String, Value)>,
}

/// Takes a webhook whose signature verifies; the first few are answered 503 when told so.
async fn receive(
    State(receiver): State<Receiver>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let at = header("telnyx-timestamp");
    let signature = STANDARD.decode(header("telnyx-signature-ed25519")).unwrap();
    let key = STANDARD.decode(&receiver.public_key).unwrap();
    let signed = [at.as_bytes(), b"|", &body].concat();
    let key = UnparsedPublicKey::new(&ED25519, key);
    if key.verify(&signed, &signature).is_err() {
        return StatusCode::FORBIDDEN;
    }
    let less = |left: u32| left.checked_sub(1);
    let refused = receiver
        .refuse
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok();
    let event = serde_json::from_slice(&body).unwrap();
    let row = (uri.path().to_owned(), event);
    receiver.received.send(row).await.unwrap();
    if refused {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    }
}

pub(super) struct World {
    pub(super) sim: Simulator,
    pub(super) http: reqwest::Client,
    origin: String,
    pub(super) refuse: Arc<AtomicU32>,
    received: mpsc::Receiver<(String, Value)>,
    _stop: DropGuard,
}

impl World {
    pub(super) async fn new(faults: Faults) -> Self {
        Self::with(faults, |_| ()).await
    }

    pub(super) async fn at_speed(speed: f64) -> Self {
        Self::start(Faults::default(), speed, |_| ()).await
    }

    pub(super) async fn with(faults: Faults, change: impl FnOnce(&mut TelnyxAccount)) -> Self {
        Self::start(faults, 1_000.0, change).await
    }

    async fn start(faults: Faults, speed: f64, change: impl FnOnce(&mut TelnyxAccount)) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = mpsc::channel(1_000);
        let refuse = Arc::new(AtomicU32::new(0));
        let mut account = TelnyxAccount::new(KEY, CONNECTION);
        account.failover_url = Some(format!("{origin}/failover"));
        change(&mut account);
        let state = Receiver {
            public_key: account.public_key(),
            refuse: refuse.clone(),
            received: sender,
        };
        let app = Router::new().fallback(receive).with_state(state);
        let stop = CancellationToken::new();
        let server =
            axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
        TaskTracker::new().spawn(async move { server.await.unwrap() });
        let config = SimulatorConfig {
            speed,
            faults,
            ..SimulatorConfig::with([Account::Telnyx(account)])
        };
        Self {
            sim: Simulator::start(config).await.unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            origin,
            refuse,
            received,
            _stop: stop.drop_guard(),
        }
    }

    pub(super) fn body(&self, to: &str, attempt: &str) -> Value {
        let attempt = URL_SAFE_NO_PAD.encode(attempt);
        json!({
            "connection_id": CONNECTION,
            "to": to,
            "from": CALLER,
            "retry_on_timeout": false,
            "client_state": STATE,
            "webhook_url": format!("{}/webhooks/telnyx/sim/{attempt}/0/mac", self.origin),
        })
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> reqwest::Result<(u16, Value)> {
        let url = format!("{}/v2/{path}", self.sim.base_url());
        let request = self.http.post(url).bearer_auth(KEY).json(body);
        let response = request.timeout(PATIENCE).send().await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    pub(super) async fn dial(&self, to: &str, attempt: &str) -> String {
        let body = self.body(to, attempt);
        let (status, call) = self.post("calls", &body).await.unwrap();
        assert_eq!(
            (status, &call["data"]["is_alive"]),
            (200, &json!(false)),
            "{call}"
        );
        call["data"]["call_control_id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn act(&self, call: &str, action: &str, body: &Value) -> (u16, Value) {
        let path = format!("calls/{call}/actions/{action}");
        self.post(&path, body).await.unwrap()
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}/v2/{path}", self.sim.base_url());
        let request = self.http.get(url).bearer_auth(KEY);
        let response = request.timeout(PATIENCE).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    pub(super) async fn next(&mut self) -> (String, Value) {
        let next = timeout(PATIENCE, self.received.recv()).await;
        next.expect("a webhook in time").unwrap()
    }

    /// The next event of that type; others are dropped.
    pub(super) async fn event(&mut self, kind: &str) -> Value {
        loop {
            let (_, event) = self.next().await;
            if event["data"]["event_type"] == kind {
                return event["data"]["payload"].clone();
            }
        }
    }
}

pub(super) fn code(answer: &Value) -> &str {
    answer["errors"][0]["code"].as_str().unwrap()
}

#[tokio::test]
async fn every_script_from_end_to_end() {
    let mut world = World::new(Faults::default()).await;
    let table = [
        ("+15550100000", true, "normal_clearing", "200"),
        ("+15550100200", false, "user_busy", "486"),
        ("+15550100300", false, "no_answer", "487"),
        ("+15550100401", false, "not_found", "404"),
        ("+15550100500", false, "unspecified", "503"),
        ("+15550100600", false, "call_rejected", "603"),
        ("+15550100700", false, "originator_cancel", "487"),
        ("+15550100900", true, "time_limit", "200"),
    ];
    for (n, (to, answered, cause, sip)) in table.into_iter().enumerate() {
        let mut body = world.body(to, &format!("camp:lead{n}:1"));
        body["time_limit_secs"] = json!(120);
        let (_, call) = world.post("calls", &body).await.unwrap();
        let mut events = BTreeMap::new();
        while events.len() < 2 + usize::from(answered) {
            let (path, event) = world.next().await;
            let payload = event["data"]["payload"].clone();
            assert_eq!(payload["call_control_id"], call["data"]["call_control_id"]);
            assert_eq!(payload["call_leg_id"], call["data"]["call_leg_id"]);
            assert_eq!(
                (&payload["client_state"], &payload["to"]),
                (&json!(STATE), &json!(to))
            );
            assert_eq!(payload["connection_id"], CONNECTION);
            assert_eq!(event["meta"]["attempt"], 1);
            assert!(path.starts_with("/webhooks/telnyx/sim/"));
            let kind = event["data"]["event_type"].as_str().unwrap().to_owned();
            events.insert(kind, payload);
        }
        assert!(events.contains_key("call.initiated"), "{to}");
        assert_eq!(events.contains_key("call.answered"), answered, "{to}");
        let end = &events["call.hangup"];
        assert_eq!(
            (&end["hangup_cause"], &end["sip_hangup_cause"]),
            (&json!(cause), &json!(sip)),
            "{to}"
        );
        let control = call["data"]["call_control_id"].as_str().unwrap();
        let (_, status) = world.get(&format!("calls/{control}")).await;
        assert_eq!(status["data"]["is_alive"], false);
        assert!(status["data"]["end_time"].is_string(), "{status}");
        assert!(status["data"].get("hangup_cause").is_none());
    }
    let body = world.body("+15550100400", "camp:no:1");
    let (status, refusal) = world.post("calls", &body).await.unwrap();
    assert_eq!((status, code(&refusal)), (422, "10002"));
    assert_eq!(refusal["errors"][0]["source"]["pointer"], "/to");
    let ledger = world.sim.network().ledger();
    let count = ledger.carriers["telnyx"];
    assert_eq!((count.creates, count.placed, count.answered), (9, 8, 2));
    assert_eq!((ledger.max_live["camp"], ledger.violations_total), (1, 0));
}

#[tokio::test]
async fn an_answered_call_has_its_price_if_the_application_wants_it() {
    let mut world = World::with(Faults::default(), |account| account.says_cost = true).await;
    let call = world.dial("+15550100000", "camp:a:1").await;
    let cost = world.event("call.cost").await;
    assert_eq!(
        (
            &cost["call_control_id"],
            &cost["client_state"],
            cost.get("to")
        ),
        (&json!(call), &json!(STATE), None)
    );
    let minutes = world.sim.network().ledger().carriers["telnyx"].minutes;
    assert_eq!(cost["billed_duration_secs"], minutes * 60);
    let parts = cost["cost_parts"].as_array().unwrap().iter();
    let sum: f64 = parts.map(|part| part["cost"].as_f64().unwrap()).sum();
    assert!(
        (sum - cost["total_cost"].as_f64().unwrap()).abs() < 1e-9,
        "{cost}"
    );
    // Nobody answers.
    world.dial("+15550100600", "camp:b:1").await;
    world.event("call.hangup").await;
    let seen = world.sim.network().ledger();
    assert_eq!(seen.carriers["telnyx"].answered, 1);
    // Somebody does, and nothing else was billed before.
    let call = world.dial("+15550100000", "camp:c:1").await;
    let cost = world.event("call.cost").await;
    assert_eq!(cost["call_control_id"], call);
}

#[tokio::test]
async fn a_command_is_executed_once_a_minute() {
    let world = World::new(Faults::default()).await;
    let mut body = world.body("+15550100900", "camp:a:1");
    body["command_id"] = json!("c-1");
    let first = world.post("calls", &body).await.unwrap();
    assert_eq!(world.post("calls", &body).await.unwrap(), first);
    assert_eq!(world.sim.network().ledger().placed, 1);
    assert_eq!(world.sim.network().ledger().creates, 2);
    body["command_id"] = json!("c-2");
    assert_ne!(world.post("calls", &body).await.unwrap(), first);

    // What came to nothing may be tried again.
    let faults = Faults {
        create_500_before: 1.0,
        ..Faults::default()
    };
    world.sim.faults().set_for("telnyx", faults);
    let mut body = world.body("+15550100800", "camp:b:1");
    body["command_id"] = json!("c-3");
    let (status, failed) = world.post("calls", &body).await.unwrap();
    assert_eq!((status, code(&failed)), (500, "10007"));
    world.sim.faults().set_for("telnyx", Faults::default());
    assert_eq!(world.post("calls", &body).await.unwrap().0, 200);
    // What was placed, though the answer was an error, may not.
    let faults = Faults {
        create_500_after: 1.0,
        ..Faults::default()
    };
    world.sim.faults().set(faults);
    let mut body = world.body("+15550100801", "camp:c:1");
    body["command_id"] = json!("c-4");
    assert_eq!(world.post("calls", &body).await.unwrap().0, 500);
    world.sim.faults().set(Faults::default());
    let placed = world.sim.network().ledger().placed;
    assert_eq!(world.post("calls", &body).await.unwrap().0, 200);
    assert_eq!(world.sim.network().ledger().placed, placed);
}

#[tokio::test]
async fn requests_are_checked() {
    let world = World::new(Faults::default()).await;
    let good = world.body("+15550100000", "camp:a:1");
    let table = [
        ("to", json!("15550100000"), 422, "10016"),
        ("from", json!("x"), 422, "10016"),
        ("connection_id", json!("1"), 422, "10015"),
        ("timeout_secs", json!(4), 422, "10015"),
        ("timeout_secs", json!("30"), 422, "10015"),
        ("time_limit_secs", json!(29), 422, "10015"),
        ("client_state", json!("not base64!"), 422, "10015"),
        ("webhook_url", json!("ftp://x"), 422, "10015"),
        (
            "webhook_retries_policies",
            json!({"call.hangup": {"retries_ms": [1, 1, 1, 1, 1, 1]}}),
            422,
            "10015",
        ),
        (
            "webhook_retries_policies",
            json!({"call.hangup": {"retries_ms": [60_001]}}),
            422,
            "10015",
        ),
        ("answering_machine_detection", json!("yes"), 422, "10015"),
        ("timeout", json!(30), 422, "10015"),
    ];
    for (field, value, status, expected) in table {
        let mut body = good.clone();
        body[field] = value.clone();
        let (got, refusal) = world.post("calls", &body).await.unwrap();
        assert_eq!((got, code(&refusal)), (status, expected), "{field} {value}");
    }
    let url = format!("{}/v2/calls", world.sim.base_url());
    let stranger = world
        .http
        .post(&url)
        .bearer_auth("KEY9")
        .json(&good)
        .send()
        .await
        .unwrap();
    assert_eq!(stranger.status(), 401);
    let refusal: Value = stranger.json().await.unwrap();
    assert_eq!(code(&refusal), "10009");
    assert_eq!(world.sim.network().ledger().placed, 0);
    for (path, status, expected) in [
        ("calls/v3:none", 404, "10005"),
        ("calls/none", 422, "90015"),
        ("connections/1/active_calls", 404, "10005"),
    ] {
        let (got, refusal) = world.get(path).await;
        assert_eq!((got, code(&refusal)), (status, expected), "{path}");
    }
}

#[tokio::test]
async fn more_dials_than_the_account_has_are_refused() {
    let world = World::with(Faults::default(), |account| account.dps = 1).await;
    let mut answers = Vec::new();
    for n in 0..7 {
        let body = world.body("+15550100800", &format!("camp:{n}:1"));
        answers.push(world.post("calls", &body).await.unwrap());
    }
    assert!(answers[..5].iter().all(|(status, _)| *status == 200));
    assert_eq!((answers[5].0, code(&answers[5].1)), (429, "90103"));
    let faults = Faults {
        create_refused: 1.0,
        ..Faults::default()
    };
    let world = World::new(faults).await;
    let (status, refusal) = world
        .post("calls", &world.body("+15550100800", "c:a:1"))
        .await
        .unwrap();
    assert_eq!((status, code(&refusal)), (403, "10010"));
    assert!(
        refusal["errors"][0]["detail"]
            .as_str()
            .unwrap()
            .ends_with(" D40")
    );
}
