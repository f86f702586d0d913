//! What is said on a call: Twilio's questions over real sockets, signed as it signs them, and what
//! we tell it unasked. Needs no service.

mod machine;
mod start;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dialfleet_adapters::carrier::Secret;
use dialfleet_adapters::carrier::twilio::{KIND, Twilio, TwilioConfig};
use dialfleet_adapters::local::LocalQueue;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::flow::Flow;
use dialfleet_domain::id::{CarrierCallId, CarrierId, WorkerId};
use dialfleet_engine::apply_events::apply_events;
use dialfleet_engine::fleet::{Fleet, Settings};
use dialfleet_engine::message::CallEventMessage;
use dialfleet_engine::opt_out::OptOuts;
use dialfleet_engine::pace::Pace;
use dialfleet_engine::port::Carrier;
use dialfleet_engine::port::carrier::CallStatus;
use dialfleet_engine::role;
use dialfleet_engine::routes::Routes;
use dialfleet_engine::time::FleetClock;
use dialfleet_engine::token::CallbackKeys;
use dialfleet_http::{ApiKey, ApiState, Readiness};
use dialfleet_runtime::metrics::Metrics;
use dialfleet_runtime::service;
use dialfleet_tests::clock::{ManualClock, SeededEntropy};
use dialfleet_tests::sample;
use dialfleet_tests::wait::until;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha1::Sha1;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const PUBLIC_URL: &str = "https://dial.example";
const TOKEN: &str = "t0ken";
const CALL: &str = "CA1";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

struct Rig {
    fleet: Arc<Fleet>,
    addr: std::net::SocketAddr,
    client: reqwest::Client,
    /// What Twilio was told: path and body.
    told: Arc<Mutex<Vec<(String, String)>>>,
    _servers: [AbortOnDropHandle<std::io::Result<()>>; 2],
}

type Told = Arc<Mutex<Vec<(String, String)>>>;

async fn take(
    State(told): State<Told>,
    uri: axum::http::Uri,
    body: String,
) -> (axum::http::StatusCode, &'static str) {
    told.lock().unwrap().push((uri.path().to_owned(), body));
    (axum::http::StatusCode::OK, "{}")
}

impl Rig {
    async fn new() -> Self {
        let told = Told::default();
        let twilio = axum::Router::new()
            .fallback(take)
            .with_state(Arc::clone(&told));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let there = service::spawn(async move { axum::serve(listener, twilio).await });
        let carrier = Twilio::new(TwilioConfig {
            id: sample::carrier(),
            cps: 1.0,
            channels: None,
            caller_ids: vec![sample::phone(9_999)],
            weight: 1,
            account_sid: "AC1".to_owned(),
            auth_token: Secret::new(TOKEN),
            api_key: None,
            base_url,
        })
        .unwrap();
        let clock = Arc::new(ManualClock::new(sample::T0));
        let id = sample::carrier();
        let fleet = Arc::new(Fleet {
            store: Arc::new(SqliteStore::in_memory(clock.clone()).unwrap()),
            queue: Arc::new(LocalQueue::new(None).await.unwrap()),
            routes: Routes::new([(carrier.profile(), None)]),
            carriers: BTreeMap::from([(id.clone(), Arc::new(carrier) as Arc<dyn Carrier>)]),
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
            opt_outs: OptOuts::default(),
            media: dialfleet_engine::media::MediaRoom::none(),
            dialer: None,
            stopping: CancellationToken::new(),
        });
        let readiness = Readiness::new();
        readiness.set_started();
        let state = ApiState::new(fleet.clone(), ApiKey::new(["key"]), readiness);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let here = service::spawn(dialfleet_http::serve(
            listener,
            state,
            CancellationToken::new(),
        ));
        Self {
            fleet,
            addr,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            told,
            _servers: [there, here],
        }
    }

    /// A call of a campaign with this flow, placed.
    async fn call(&self, flow: serde_json::Value, change: impl Fn(&mut Campaign)) -> Attempt {
        let mut campaign = sample::campaign("c");
        campaign.flow = Flow::read(&flow).unwrap();
        campaign.flow.check().unwrap();
        change(&mut campaign);
        let mut lead = sample::lead(&campaign.id, 1);
        lead.vars
            .insert("First Name".to_owned(), "Ann <&>".to_owned());
        let store = &self.fleet.store;
        store.insert_campaign(&campaign).await.unwrap();
        store.insert_leads(&[lead.clone()]).await.unwrap();
        let mut attempt = sample::attempt(&lead, 1, 0);
        attempt.legs[0].carrier = sample::carrier();
        store.insert_attempts(&[attempt.clone()]).await;
        attempt
    }

    async fn read(&self, attempt: &Attempt) -> Attempt {
        self.fleet.attempt(&attempt.id).await.unwrap().unwrap()
    }

    /// The address of the first question.
    fn first(&self, attempt: &Attempt) -> String {
        let id: CarrierId = sample::carrier();
        let keys = &self.fleet.keys;
        let url = keys.callback_url(PUBLIC_URL, KIND, &id, &attempt.id, 0);
        format!("{url}/flow?t=0&l=en-GB")
    }

    /// Asks as Twilio does; returns the status and the document.
    async fn ask(&self, url: &str, more: &[(&str, &str)]) -> (u16, String) {
        let mut fields = BTreeMap::from([
            ("AccountSid", "AC1"),
            ("CallSid", CALL),
            ("CallStatus", "in-progress"),
            ("To", "+15550100001"),
        ]);
        fields.extend(more.iter().copied());
        let text = fields
            .iter()
            .fold(url.to_owned(), |text, (key, value)| text + key + value);
        let mac = Hmac::<Sha1>::new_from_slice(TOKEN.as_bytes())
            .unwrap()
            .chain_update(text);
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        self.ask_signed(url, &fields, &signature).await
    }

    async fn ask_signed(
        &self,
        url: &str,
        fields: &BTreeMap<&str, &str>,
        signature: &str,
    ) -> (u16, String) {
        let path = url.strip_prefix(PUBLIC_URL).unwrap();
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let response = self
            .client
            .post(format!("http://{}{path}", self.addr))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-twilio-signature", signature)
            .body(body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.text().await.unwrap())
    }

    /// A page, and where it says to ask next.
    async fn page(&self, url: &str, more: &[(&str, &str)]) -> (String, String) {
        let (status, text) = self.ask(url, more).await;
        assert_eq!(status, 200, "{text}");
        let next = text
            .split_once("action=\"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(url, _)| url)
            .or_else(|| {
                let (_, rest) = text.split_once("<Redirect method=\"POST\">")?;
                Some(rest.split_once('<')?.0)
            });
        let next = next.unwrap_or_default().replace("&amp;", "&");
        (text, next)
    }

    async fn happens(&self, attempt: &Attempt, key: &str, statuses: Vec<CallStatus>) {
        let event = CallEventMessage {
            carrier: sample::carrier(),
            attempt: attempt.id.clone(),
            leg: 0,
            call_id: CarrierCallId::parse(CALL).unwrap(),
            event_key: key.to_owned(),
            statuses,
            received_at: self.fleet.clock.now(),
            raw: String::new(),
            headers: BTreeMap::new(),
        };
        apply_events(&self.fleet, vec![event]).await.unwrap();
    }

    fn told(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    async fn is_listed(&self, attempt: &Attempt) -> bool {
        let phones = std::slice::from_ref(&attempt.phone);
        let listed = self.fleet.store.do_not_call(&attempt.tenant, phones).await;
        listed.unwrap()[0]
    }
}

fn menu() -> serde_json::Value {
    json!({
        "language": "en-GB",
        "steps": [
            {"do": "menu", "set": "choice",
             "prompt": [{"do": "say", "text": "Hello {{ first_name }}"}],
             "options": {
                "1": [{"do": "say", "text": "Thank you"}],
                "2": [{"do": "transfer", "to": {"number": "+442079460000"}, "failed": [{"do": "say", "text": "Nobody"}]}],
                "9": [{"do": "say", "text": "All right"}, {"do": "opt_out"}]}}
        ]
    })
}

#[tokio::test]
async fn a_call_asks_and_is_answered_alike_when_it_asks_again() {
    let rig = Rig::new().await;
    let attempt = rig.call(menu(), |_| {}).await;
    let first = rig.first(&attempt);
    let (text, next) = rig.page(&first, &[]).await;
    assert!(
        text.contains("<Gather action=") && text.contains("Hello Ann &lt;&amp;&gt;"),
        "{text}"
    );
    assert_eq!(rig.read(&attempt).await.state.name(), "answered");
    assert_eq!(rig.page(&first, &[]).await, (text, next.clone()), "again");
    let (text, _) = rig.page(&next, &[("Digits", "1")]).await;
    assert_eq!(
        text,
        "<Response><Say language=\"en-GB\">Thank you</Say><Hangup/></Response>"
    );
    // Another answer to the same question comes too late.
    assert_eq!(rig.page(&next, &[("Digits", "9")]).await.0, text);
    let after = rig.read(&attempt).await;
    let session = after.session.unwrap();
    assert_eq!(session.turn, 2);
    assert_eq!(session.vars()["choice"], "1");
    assert!(!rig.is_listed(&attempt).await);
    // When the call is over there is nothing more to say.
    let over = rig.page(&next, &[("CallStatus", "completed")]).await.0;
    assert_eq!(over, "<Response><Hangup/></Response>");
}

#[tokio::test]
async fn only_genuine_questions_are_answered() {
    let rig = Rig::new().await;
    let attempt = rig.call(menu(), |_| {}).await;
    let first = rig.first(&attempt);
    let fields = BTreeMap::from([("AccountSid", "AC1"), ("CallSid", CALL)]);
    assert_eq!(rig.ask_signed(&first, &fields, "x").await.0, 403);
    let other = first.replace("/0/", "/1/");
    assert_eq!(rig.ask(&other, &[]).await.0, 404);
    assert_eq!(rig.read(&attempt).await.version, 0, "nothing was changed");
}

#[tokio::test]
async fn a_transfer_that_nobody_takes_comes_back() {
    let rig = Rig::new().await;
    let attempt = rig.call(menu(), |_| {}).await;
    let (_, next) = rig.page(&rig.first(&attempt), &[]).await;
    let (text, next) = rig.page(&next, &[("Digits", "2")]).await;
    assert!(
        text.contains("<Dial ") && text.contains("<Number>+442079460000</Number>"),
        "{text}"
    );
    let (text, _) = rig.page(&next, &[("DialCallStatus", "no-answer")]).await;
    assert_eq!(
        text,
        "<Response><Say language=\"en-GB\">Nobody</Say><Hangup/></Response>"
    );
}

#[tokio::test]
async fn an_opt_out_is_written_before_it_is_confirmed() {
    let rig = Rig::new().await;
    let attempt = rig.call(menu(), |_| {}).await;
    let (_, next) = rig.page(&rig.first(&attempt), &[]).await;
    assert!(!rig.is_listed(&attempt).await);
    let (text, _) = rig.page(&next, &[("Digits", "9")]).await;
    assert!(rig.is_listed(&attempt).await);
    let said = "<Response><Say language=\"en-GB\">All right</Say>\
                <Say language=\"en-GB\">You will not be called again. Goodbye.</Say><Hangup/></Response>";
    assert_eq!(text, said);
    let after = rig.read(&attempt).await;
    assert!(after.todo.is_empty() && !after.hang_up, "{:?}", after.todo);
    assert!(rig.told().is_empty(), "the call goes on to its own end");
    // Asked again it says no less.
    let (again, _) = rig.page(&next, &[("Digits", "9")]).await;
    assert!(again.contains("You will not be called again"), "{again}");
}

#[tokio::test]
async fn what_cannot_be_answered_is_an_apology_and_an_opt_out_is_kept() {
    let rig = Rig::new().await;
    // Nobody has heard of this call, as if the store had lost it.
    let lead = sample::lead(&sample::campaign_id("gone"), 1);
    let attempt = sample::attempt(&lead, 1, 0);
    let first = rig.first(&attempt);
    let (text, _) = rig.page(&first, &[]).await;
    assert!(
        text.contains("something went wrong") && text.ends_with("<Hangup/></Response>"),
        "{text}"
    );
    assert!(rig.fleet.opt_outs.is_empty());
    let at = format!("{first}&o=9");
    let (text, _) = rig.page(&at, &[("Digits", "1")]).await;
    assert!(text.contains("something went wrong"), "{text}");
    let (text, _) = rig.page(&at, &[("Digits", "9")]).await;
    assert!(text.contains("could not record it yet"), "{text}");
    assert!(!rig.fleet.opt_outs.is_empty(), "nobody is dialed meanwhile");
    tokio::select! {
        () = role::keep_time(&rig.fleet) => panic!("it goes on"),
        () = until("the opt-out is written", PATIENCE, async || {
            if rig.fleet.opt_outs.is_empty() { Ok(()) } else { Err("kept".to_owned()) }
        }) => {}
    }
    assert!(rig.is_listed(&attempt).await);
}

#[tokio::test]
async fn a_stream_carries_a_token_that_names_its_call() {
    let rig = Rig::new().await;
    let flow = json!({"steps": [{"do": "stream", "url": "wss://a.example/x", "params": {"name": "{{ first_name }}"}}]});
    let attempt = rig.call(flow, |_| {}).await;
    let (text, next) = rig.page(&rig.first(&attempt), &[]).await;
    assert!(
        text.contains("<Parameter name=\"name\" value=\"Ann &lt;&amp;&gt;\"/>"),
        "{text}"
    );
    let (_, rest) = text
        .split_once("<Parameter name=\"token\" value=\"")
        .unwrap();
    let token = rest.split_once('"').unwrap().0;
    let now = rig.fleet.clock.now();
    let keys = &rig.fleet.keys;
    assert_eq!(keys.verify_stream(token, now), Ok(attempt.id.clone()));
    let late = rig.read(&attempt).await.hard_end;
    assert!(keys.verify_stream(token, late).is_err());
    assert!(keys.verify_stream(&token.replace('.', ".1"), now).is_err());
    let (text, _) = rig.page(&next, &[]).await;
    assert_eq!(text, "<Response><Hangup/></Response>");
}
