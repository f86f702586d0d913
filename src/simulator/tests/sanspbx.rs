use axum::extract::State;
use axum::routing::post;
use reqwest::RequestBuilder;
use serde_json::json;

use super::*;
use crate::serve::Account;
use crate::{SansPbxAccount, Script};

/// The keys of account `a`.
const KEYS: (&str, &str) = ("static-a", "key-a");
const TALKS: Script = Script::Human {
    ring_ms: 2_000,
    talk_ms: 30_000,
};
const TALKS_LONG: Script = Script::Human {
    ring_ms: 1_000,
    talk_ms: 3_600_000,
};

struct Exchange {
    sim: Simulator,
    http: reqwest::Client,
    callback: String,
    received: mpsc::Receiver<(String, HeaderMap, Value)>,
    _stop: DropGuard,
}

async fn take(
    State(received): State<mpsc::Sender<(String, HeaderMap, Value)>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let body = serde_json::from_slice(&body).unwrap();
    received
        .send((uri.path().to_owned(), headers, body))
        .await
        .unwrap();
    StatusCode::NO_CONTENT
}

impl Exchange {
    async fn start(change: impl FnOnce(&mut SansPbxAccount, &mut SimulatorConfig)) -> Self {
        let (sender, received) = mpsc::channel(100);
        let app = Router::new()
            .route("/{*path}", post(take))
            .with_state(sender);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let callback = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let server =
            axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
        TaskTracker::new().spawn(async move { server.await.unwrap() });
        let mut account = SansPbxAccount::new("a", KEYS.0, KEYS.1);
        let other = SansPbxAccount::new("b", "static-b", "key-b");
        let mut config = SimulatorConfig::with([]);
        config.speed = 1_000.0;
        change(&mut account, &mut config);
        config.accounts = vec![Account::SansPbx(account), Account::SansPbx(other)];
        Self {
            sim: Simulator::start(config).await.unwrap(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            callback,
            received,
            _stop: stop.drop_guard(),
        }
    }

    fn post(&self, what: &str, body: &Value) -> RequestBuilder {
        let url = format!("{}/pbxadmin/sanpbxapi/{what}", self.sim.base_url());
        self.http.post(url).json(body)
    }

    async fn token(&self, keys: (&str, &str)) -> String {
        let request = self.post("gentoken", &json!({"access_key": keys.1}));
        let (status, body) = answer(request.header("Accesstoken", keys.0)).await;
        assert_eq!(
            (status, &body["status"]),
            (200, &json!("success")),
            "{body}"
        );
        body["Apitoken"].as_str().unwrap().to_owned()
    }

    fn dial(&self, token: &str, call_to: &str, attempt: &str) -> RequestBuilder {
        let attempt = URL_SAFE_NO_PAD.encode(attempt);
        let url = format!("{}/webhooks/sanspbx/a/{attempt}/0/m", self.callback);
        let body = json!({
            "appid": 2, "call_to": call_to, "caller_id": "1140001234", "status_callback": url,
            "custom_field": {"attempt": "x"},
        });
        self.post("dialcall", &body).header("Apitoken", token)
    }

    async fn hang_up(&self, token: &str, callid: &str) -> (u16, Value) {
        let request = self.post("calldisconnect", &json!({"callid": callid}));
        answer(request.header("Apitoken", token)).await
    }

    async fn callback(&mut self) -> (String, HeaderMap, Value) {
        timeout(PATIENCE, self.received.recv())
            .await
            .unwrap()
            .unwrap()
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn callid(body: &Value) -> String {
    let id = body["data"]["msg"]["callid"].as_str();
    id.unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[tokio::test]
async fn a_call_is_reported_once_and_without_a_signature() {
    let mut exchange = Exchange::start(|_, _| ()).await;
    exchange.sim.network().set_script("+919876543210", TALKS);
    let token = exchange.token(KEYS).await;
    let (status, body) = answer(exchange.dial(&token, "09876543210", "c:r:1")).await;
    assert_eq!((status, &body["status"]), (200, &json!("success")));
    let id = callid(&body);
    assert!(id.starts_with("api-2-09876543210-"), "{id}");

    let (path, headers, report) = exchange.callback().await;
    assert!(path.starts_with("/webhooks/sanspbx/a/"), "{path}");
    assert!(
        headers
            .keys()
            .all(|name| !name.as_str().contains("signature")),
        "{headers:?}"
    );
    let expected = json!({
        "Linkedid": id, "disposition": "ANSWERED", "did": "1140001234", "call_to": "09876543210",
        "custom_field": {"attempt": "x"}, "rec_path": format!("/recordings/{id}.wav"),
    });
    assert_eq!(report, expected);
    let ledger = exchange.sim.network().ledger();
    assert_eq!(ledger.rings["+919876543210"], 1);
    assert_eq!((ledger.max_live["c"], ledger.carriers["a"].placed), (1, 1));

    // The end is all there is to hear: the next callback is the next call's.
    exchange
        .sim
        .network()
        .set_script("+919876543211", Script::Busy);
    answer(exchange.dial(&token, "9876543211", "c:s:1")).await;
    let (_, _, report) = exchange.callback().await;
    assert_eq!(
        (&report["disposition"], &report["rec_path"]),
        (&json!("BUSY"), &Value::Null)
    );
}

#[tokio::test]
async fn every_end_has_its_word() {
    let mut exchange = Exchange::start(|_, _| ()).await;
    let token = exchange.token(KEYS).await;
    let table = [
        (Script::NoAnswer, "NO ANSWER"),
        (Script::Invalid { refused: false }, "FAILED"),
        (Script::Congestion, "FAILED"),
        (Script::Declined { ring_ms: 500 }, "FAILED"),
        (Script::RingsThenCancels { ring_ms: 500 }, "NO ANSWER"),
    ];
    for (n, (script, word)) in table.into_iter().enumerate() {
        exchange
            .sim
            .network()
            .set_script(format!("+91987654320{n}"), script.clone());
        answer(exchange.dial(&token, &format!("0987654320{n}"), &format!("c:{n}:1"))).await;
        let (_, _, report) = exchange.callback().await;
        assert_eq!(report["disposition"], word, "{script:?}");
    }
}

#[tokio::test]
async fn a_call_is_ended_by_its_account_and_no_other() {
    let mut exchange = Exchange::start(|_, _| ()).await;
    exchange
        .sim
        .network()
        .set_script("+919876543210", TALKS_LONG);
    let (token, other) = (
        exchange.token(KEYS).await,
        exchange.token(("static-b", "key-b")).await,
    );
    let id = callid(
        &answer(exchange.dial(&token, "09876543210", "c:r:1"))
            .await
            .1,
    );
    assert_eq!(exchange.hang_up(&other, &id).await.0, 404);
    let (status, body) = exchange.hang_up(&token, &id).await;
    assert_eq!((status, &body["status"]), (200, &json!("success")));
    let (_, _, report) = exchange.callback().await;
    assert_eq!(report["Linkedid"], id.as_str());
    let (status, body) = exchange.hang_up(&token, &id).await;
    assert_eq!(
        (status, &body["msg"]),
        (200, &json!("Call is already disconnected"))
    );
    assert_eq!(exchange.hang_up(&token, "api-2-1-1").await.0, 404);
}

#[tokio::test]
async fn tokens_are_asked_for_with_both_keys_and_expire() {
    let exchange = Exchange::start(|account, _| account.token_lifetime = Duration::ZERO).await;
    for (access_token, access_key) in [("static-a", "key-b"), ("static-b", "key-a"), ("", "key-a")]
    {
        let request = exchange.post("gentoken", &json!({"access_key": access_key}));
        let (status, body) = answer(request.header("Accesstoken", access_token)).await;
        assert_eq!((status, &body["status"]), (401, &json!("error")));
    }
    let request = exchange.post("gentoken", &json!({"access_key": KEYS.1}));
    assert_eq!(answer(request).await.0, 401);
    let request = exchange.post("gentoken", &json!({}));
    assert_eq!(answer(request.header("Accesstoken", KEYS.0)).await.0, 400);

    let token = exchange.token(KEYS).await;
    assert_eq!(token.split('.').count(), 3);
    for token in [token.as_str(), "made.up.token", ""] {
        let (status, body) = answer(exchange.dial(token, "09876543210", "c:r:1")).await;
        assert_eq!((status, &body["status"]), (401, &json!("error")), "{token}");
        assert_eq!(exchange.hang_up(token, "api-2-1-1").await.0, 401);
    }
    assert_eq!(exchange.sim.network().ledger().creates, 0);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said() {
    let exchange = Exchange::start(|_, _| ()).await;
    let token = exchange.token(KEYS).await;
    let table = [
        ("appid", json!(3), "Invalid appid"),
        ("call_to", json!("12"), "Invalid call_to"),
        ("call_to", json!(12), "Missing parameter"),
        ("caller_id", json!(""), "Invalid caller_id"),
        (
            "status_callback",
            json!("ftp://x"),
            "Invalid parameter status_callback",
        ),
    ];
    for (field, value, msg) in table {
        let mut body = json!({"appid": 2, "call_to": "09876543210", "caller_id": "1140001234"});
        body[field] = value;
        let request = exchange.post("dialcall", &body).header("Apitoken", &token);
        let (status, answer) = answer(request).await;
        assert_eq!((status, &answer["msg"]), (400, &json!(msg)));
    }
}

#[tokio::test]
async fn it_misbehaves_when_told() {
    let set = |exchange: &Exchange, change: fn(&mut Faults)| {
        let mut faults = Faults::default();
        change(&mut faults);
        exchange.sim.faults().set_for("a", faults);
    };
    let mut exchange = Exchange::start(|_, _| ()).await;
    let token = exchange.token(KEYS).await;
    type Case = (fn(&mut Faults), u16, u64);
    let statuses: [Case; 4] = [
        (|f| f.create_429 = 1.0, 429, 0),
        (|f| f.create_refused = 1.0, 200, 0),
        (|f| f.create_500_before = 1.0, 500, 0),
        (|f| f.create_500_after = 1.0, 500, 1),
    ];
    for (n, (change, status, placed)) in statuses.into_iter().enumerate() {
        set(&exchange, change);
        let request = exchange.dial(&token, &format!("0987654330{n}"), &format!("c:{n}:1"));
        let (was, body) = answer(request).await;
        assert_eq!((was, &body["status"]), (status, &json!("error")), "{body}");
        assert_eq!(exchange.sim.network().ledger().placed, placed);
    }
    exchange.callback().await;

    set(&exchange, |f| f.callback_duplicated = 1.0);
    answer(exchange.dial(&token, "09876543310", "c:dup:1")).await;
    assert_eq!(
        exchange.callback().await.2,
        exchange.callback().await.2,
        "byte for byte"
    );
    set(&exchange, |f| f.callback_lost = 1.0);
    answer(exchange.dial(&token, "09876543311", "c:lost:1")).await;
    set(&exchange, |f| f.read_500 = 1.0);
    let request = exchange.post("gentoken", &json!({"access_key": KEYS.1}));
    assert_eq!(answer(request.header("Accesstoken", KEYS.0)).await.0, 500);
}
