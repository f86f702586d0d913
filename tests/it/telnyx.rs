//! The Telnyx carrier against the simulated Telnyx, over real HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dialfleet_adapters::carrier::Secret;
use dialfleet_adapters::carrier::telnyx::{Telnyx, TelnyxConfig};
use dialfleet_adapters::system::SystemClock;
use dialfleet_domain::amd::{Amd, AmdMode};
use dialfleet_domain::call::{Ending, Party, RefusalClass};
use dialfleet_domain::flow::action::Saying;
use dialfleet_domain::flow::{Action, Then};
use dialfleet_domain::id::{AttemptId, CarrierCallId, CarrierId};
use dialfleet_domain::phone::E164;
use dialfleet_engine::port::Carrier;
use dialfleet_engine::port::carrier::{
    CallStatus, CallbackNews, CarrierError, DialAnswer, DialRequest, Page, RawCallback, StepRequest,
};
use dialfleet_simulator::{Account, Faults, Simulator, SimulatorConfig, TelnyxAccount};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_secs(30);
const HUMAN: &str = "+15550100800";
const HOUR: &str = "+15550100900";

#[derive(Clone)]
struct Receiver {
    origin: String,
    carrier: Arc<Telnyx>,
    heard: mpsc::Sender<CallbackNews>,
}

async fn receive(
    State(receiver): State<Receiver>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let texts = headers.iter().map(|(name, value)| {
        let value = value.to_str().unwrap().to_owned();
        (name.as_str().to_owned(), value)
    });
    let raw = RawCallback {
        url: format!("{}{uri}", receiver.origin),
        headers: texts.collect(),
        peer: None,
        body,
    };
    match receiver.carrier.read_callback(&raw) {
        Ok(news) => {
            receiver.heard.send(news).await.unwrap();
            StatusCode::NO_CONTENT
        }
        Err(refused) => panic!("{refused}: {:?}", raw.body),
    }
}

struct World {
    sim: Simulator,
    carrier: Arc<Telnyx>,
    origin: String,
    heard: mpsc::Receiver<CallbackNews>,
    _stop: DropGuard,
}

impl World {
    async fn new(faults: Faults) -> Self {
        let account = TelnyxAccount::new("KEY-sim", "1293384261075731461");
        let public_key = account.public_key();
        let config = SimulatorConfig {
            speed: 1_000.0,
            faults,
            ..SimulatorConfig::with([Account::Telnyx(account)])
        };
        let sim = Simulator::start(config).await.unwrap();
        let config = TelnyxConfig {
            id: CarrierId::parse("tx").unwrap(),
            cps: 30.0,
            channels: None,
            caller_ids: vec![E164::parse("+15550109999", None).unwrap()],
            weight: 1,
            api_key: Secret::new("KEY-sim"),
            connection_id: "1293384261075731461".to_owned(),
            public_key,
            base_url: sim.base_url(),
        };
        let carrier = Arc::new(Telnyx::new(config, Arc::new(SystemClock)).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (sender, heard) = mpsc::channel(1_000);
        let state = Receiver {
            origin: origin.clone(),
            carrier: carrier.clone(),
            heard: sender,
        };
        let app = Router::new().fallback(receive).with_state(state);
        let stop = CancellationToken::new();
        let server =
            axum::serve(listener, app).with_graceful_shutdown(stop.clone().cancelled_owned());
        TaskTracker::new().spawn(async move { server.await.unwrap() });
        Self {
            sim,
            carrier,
            origin,
            heard,
            _stop: stop.drop_guard(),
        }
    }

    fn request(&self, to: &str, attempt: &str) -> DialRequest {
        let path = URL_SAFE_NO_PAD.encode(attempt);
        DialRequest {
            attempt: AttemptId::parse(attempt).unwrap(),
            leg: 0,
            to: E164::parse(to, None).unwrap(),
            from: E164::parse("+15550109999", None).unwrap(),
            ring_timeout_s: 30,
            max_duration_s: 600,
            opening: Some(vec![Action::Hangup]),
            flow_url: String::new(),
            amd: Amd::default(),
            leaves_message: false,
            record: None,
            callback_url: format!("{}/webhooks/telnyx/tx/{path}/0/k.mac", self.origin),
        }
    }

    async fn place(&self, to: &str, attempt: &str) -> CarrierCallId {
        match self.carrier.dial(&self.request(to, attempt)).await {
            DialAnswer::Accepted { call_id, .. } => call_id,
            other => panic!("{other:?}"),
        }
    }

    async fn news(&mut self) -> CallbackNews {
        let news = timeout(PATIENCE, self.heard.recv()).await;
        news.expect("a webhook in time").unwrap()
    }

    /// The first status of that kind.
    async fn until(&mut self, wanted: impl Fn(&CallStatus) -> bool) -> CallStatus {
        loop {
            let news = self.news().await;
            if let Some(status) = news.statuses.into_iter().find(|s| wanted(s)) {
                return status;
            }
        }
    }

    async fn until_end(&mut self) -> Ending {
        let end = self.until(|s| matches!(s, CallStatus::Ended { .. })).await;
        match end {
            CallStatus::Ended { ending, .. } => ending,
            other => panic!("{other:?}"),
        }
    }

    fn step(&self, call_id: &CarrierCallId, request: &DialRequest, step: u32) -> StepRequest {
        StepRequest {
            attempt: request.attempt.clone(),
            leg: 0,
            call_id: call_id.clone(),
            to: request.to.clone(),
            from: request.from.clone(),
            step,
            page: Page {
                actions: vec![words(step)],
                then: Then::Ask,
                next_url: String::new(),
            },
            interrupts: false,
            again_url: String::new(),
            callback_url: String::new(),
        }
    }
}

/// One, a second of silence, two, and the end.
fn words(step: u32) -> Action {
    let say = |text: &str| {
        Action::Say(Saying {
            text: text.to_owned(),
            language: None,
            voice: None,
            ssml: false,
        })
    };
    match step {
        0 => say("One"),
        1 => Action::Pause { seconds: 1 },
        2 => say("Two"),
        _ => Action::Hangup,
    }
}

#[tokio::test]
async fn every_end_is_understood() {
    let mut world = World::new(Faults::default()).await;
    let table = [
        ("+15550100000", Ending::Completed),
        ("+15550100200", Ending::Busy),
        ("+15550100300", Ending::NoAnswer),
        ("+15550100401", Ending::InvalidNumber),
        ("+15550100500", Ending::Congestion),
        ("+15550100600", Ending::Declined),
        ("+15550100700", Ending::Canceled),
    ];
    for (n, (to, ending)) in table.into_iter().enumerate() {
        let call = world.place(to, &format!("camp:l{n}:1")).await;
        assert_eq!(world.until_end().await, ending, "{to}");
        let record = world.carrier.look(&call).await.unwrap();
        assert_eq!(record.to, to);
        assert!(
            matches!(record.status, CallStatus::Ended { ending: e, .. } if e == ending),
            "{to}: {record:?}"
        );
    }
    let request = world.request("+15550100400", "camp:no:1");
    let refused = world.carrier.dial(&request);
    assert!(
        matches!(refused.await, DialAnswer::Refused(why) if why.class == RefusalClass::BadNumber)
    );
    assert_eq!(world.sim.network().ledger().violations_total, 0);
}

#[tokio::test]
async fn a_flow_is_commanded_step_by_step_to_its_end() {
    let mut world = World::new(Faults::default()).await;
    let mut request = world.request(HOUR, "camp:flow:1");
    request.amd.mode = AmdMode::Async;
    let DialAnswer::Accepted { call_id, .. } = world.carrier.dial(&request).await else {
        panic!("not accepted")
    };
    let early = world.step(&call_id, &request, 0);
    let early = world.carrier.perform(&early).await;
    assert!(
        matches!(early, Err(CarrierError::Unavailable(_)) | Ok(())),
        "{early:?}"
    );
    let (mut commanded, mut parties) = (Vec::new(), Vec::new());
    let ending = loop {
        let next = match world.until(|_| true).await {
            CallStatus::Answered => 0,
            CallStatus::StepEnded { step, .. } => step + 1,
            CallStatus::Party { party, .. } => {
                parties.push(party);
                continue;
            }
            CallStatus::Ended { ending, .. } => break ending,
            CallStatus::Initiated
            | CallStatus::Ringing
            | CallStatus::OptedOut
            | CallStatus::Cost { .. } => continue,
        };
        commanded.push(next);
        // Twice: what a sweeper may do is heard once.
        for _ in 0..2 {
            let step = world.step(&call_id, &request, next);
            let done = world.carrier.perform(&step).await;
            assert!(
                matches!(done, Ok(()) | Err(CarrierError::AlreadyEnded)),
                "{done:?}"
            );
        }
    };
    assert_eq!((ending, commanded), (Ending::Completed, vec![0, 1, 2, 3]));
    assert!(
        parties.is_empty() || parties == [Party::Human],
        "{parties:?}"
    );
}

#[tokio::test]
async fn an_unclear_call_is_found_once_and_can_be_ended() {
    let mut world = World::new(Faults {
        create_500_after: 1.0,
        ..Faults::default()
    })
    .await;
    let request = world.request(HOUR, "camp:unclear:1");
    let unclear = world.carrier.dial(&request).await;
    assert!(matches!(unclear, DialAnswer::Unclear(_)), "{unclear:?}");
    world.until(|s| *s == CallStatus::Answered).await;
    let found = world
        .carrier
        .find(&request.to, &request.from)
        .await
        .unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let call = found[0].call_id.clone();
    assert_eq!(
        (found[0].status, found[0].to.as_str()),
        (CallStatus::Answered, HOUR)
    );
    let live = world.carrier.live().await.unwrap();
    assert_eq!(live.iter().map(|r| &r.call_id).collect::<Vec<_>>(), [&call]);
    world.carrier.hang_up(&call).await.unwrap();
    assert_eq!(world.until_end().await, Ending::Completed);
    // Within a minute the same command is ignored; the call is over either way.
    let again = world.carrier.hang_up(&call).await;
    assert!(
        matches!(again, Ok(()) | Err(CarrierError::AlreadyEnded)),
        "{again:?}"
    );
    assert!(world.carrier.live().await.unwrap().is_empty());
    let nobody = E164::parse("+15550100001", None).unwrap();
    assert!(
        world
            .carrier
            .find(&nobody, &request.from)
            .await
            .unwrap()
            .is_empty()
    );
    let stranger = CarrierCallId::parse("v3:none").unwrap();
    let missing = world.carrier.look(&stranger).await;
    assert!(
        matches!(missing, Err(CarrierError::NotFound)),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_call_whose_webhooks_are_all_lost_is_known_by_looking() {
    let world = World::new(Faults {
        callback_lost: 1.0,
        ..Faults::default()
    })
    .await;
    let call = world.place("+15550100200", "camp:lost:1").await;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let looked = async {
        loop {
            if let Ok(record) = world.carrier.look(&call).await
                && let CallStatus::Ended { ending, sip, .. } = record.status
            {
                return (ending, sip);
            }
            tick.tick().await;
        }
    };
    let end = timeout(PATIENCE, looked).await.expect("it ends");
    assert_eq!(end, (Ending::Busy, Some(486)));
}

#[tokio::test]
async fn refusals_are_told_apart_and_a_repeated_request_rings_once() {
    let world = World::new(Faults {
        create_429: 1.0,
        ..Faults::default()
    })
    .await;
    let request = world.request(HUMAN, "camp:r:1");
    let class = |answer: DialAnswer| match answer {
        DialAnswer::Refused(why) => why.class,
        other => panic!("{other:?}"),
    };
    let carrier = &world.carrier;
    assert_eq!(
        class(carrier.dial(&request).await),
        RefusalClass::RetryLater
    );
    world.sim.faults().set(Faults {
        create_refused: 1.0,
        ..Faults::default()
    });
    assert_eq!(class(carrier.dial(&request).await), RefusalClass::Failover);
    world.sim.faults().set(Faults::default());
    // The port never asks twice; should it ever happen, Telnyx tells us apart by `command_id`.
    let first = carrier.dial(&request).await;
    assert!(matches!(first, DialAnswer::Accepted { .. }), "{first:?}");
    assert_eq!(carrier.dial(&request).await, first);
    let ledger = world.sim.network().ledger();
    assert_eq!((ledger.placed, ledger.carriers["telnyx"].creates), (1, 4));
}
