//! A carrier account as a process sees it: requests that are lost, late, refused or unanswered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dialfleet_domain::call::{Refusal, RefusalClass};
use dialfleet_domain::id::CarrierCallId;
use dialfleet_domain::phone::E164;
use dialfleet_engine::port::Carrier;
use dialfleet_engine::port::carrier::{
    CallRecord, CallStatus, CallbackNews, CallbackRefused, CarrierError, CarrierProfile,
    DialAnswer, DialRequest, Document, Page, Question, RawCallback, StepRequest,
};
use dialfleet_simulator::{CallView, Refused, Search};
use tokio::sync::oneshot;

use super::chance::Kind;
use super::exchange::{Body, Exchange, short};
use super::faults::WIRE_MAX_S;
use super::gate::Gate;
use super::talk::{Asked, Sheet};
use super::weather::Weather;

/// The HTTP client's total time-out.
const TIME_OUT: Duration = Duration::from_secs(6);

/// What becomes of a create-call request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    Refused(RefusalClass),
    /// The connection breaks before the carrier reads the request.
    LostThere,
    /// The connection breaks before we read the answer.
    LostBack,
    /// No answer comes; placed, or not.
    Hangs {
        placed: bool,
    },
}

/// One process's connection to one account.
pub(super) struct SimCarrier {
    pub(super) profile: CarrierProfile,
    pub(super) exchange: Arc<Exchange>,
    pub(super) gate: Arc<Gate>,
    pub(super) weather: Arc<Weather>,
}

impl SimCarrier {
    fn fate(&self) -> Fate {
        let (w, f) = (&self.weather, &self.weather.faults);
        if w.hits(Kind::Carrier, f.dial_limited) {
            Fate::Refused(RefusalClass::RetryLater)
        } else if w.hits(Kind::Carrier, f.dial_refused) {
            Fate::Refused(match w.chance.between(Kind::Carrier, 0, 9) {
                0 | 1 => RefusalClass::ConfigFault,
                2 => RefusalClass::CallerIdFault,
                3 => RefusalClass::DestinationFault,
                _ => RefusalClass::Failover,
            })
        } else if w.hits(Kind::Carrier, f.dial_unclear) {
            if w.chance.hits(Kind::Carrier, 0.5) {
                Fate::LostThere
            } else {
                Fate::LostBack
            }
        } else if w.hits(Kind::Carrier, f.dial_hangs) {
            Fate::Hangs {
                placed: w.chance.hits(Kind::Carrier, 0.7),
            }
        } else {
            Fate::Fine
        }
    }

    /// One way over the network.
    fn way(&self, slowest_ms: u64) -> Duration {
        let w = &self.weather;
        let slow = w.hits(Kind::CarrierTime, w.faults.dial_slow);
        let (low, high) = if slow { (100, slowest_ms) } else { (2, 40) };
        w.chance.ms(Kind::CarrierTime, low, high)
    }

    /// The request's own life, from when it left the process: it goes on whatever becomes of that.
    fn send(&self, request: &DialRequest) -> oneshot::Receiver<DialAnswer> {
        let (tell, told) = oneshot::channel();
        let (fate, there, back) = (self.fate(), self.way(WIRE_MAX_S * 1000), self.way(4_000));
        let (exchange, weather, profile) = (
            Arc::clone(&self.exchange),
            Arc::clone(&self.weather),
            self.profile.clone(),
        );
        let carrier = profile.id.clone();
        let (who, request) = (self.gate.who.clone(), request.clone());
        weather.journal.line(
            &who,
            format_args!(
                "POST {} leg {} at {carrier}: {fate:?}, {}+{} ms",
                request.attempt,
                request.leg,
                there.as_millis(),
                back.as_millis()
            ),
        );
        let journal = Arc::clone(&weather.journal);
        weather.clone().spawn(async move {
            tokio::time::sleep(there).await;
            let key = format!("{}/{}", request.attempt.as_str(), request.leg);
            let seen = exchange
                .network
                .create_seen(carrier.as_str(), &key, weather.time.now());
            if seen > 0 {
                weather.fail(format!(
                    "two requests were sent for leg {} of {}",
                    request.leg, request.attempt
                ));
            }
            let answer = match fate {
                Fate::LostThere | Fate::Hangs { placed: false } => None,
                Fate::Refused(class) => Some(refused(class)),
                Fate::Fine | Fate::LostBack | Fate::Hangs { placed: true } => {
                    Some(match exchange.create(&profile, &request) {
                        Ok(call) => {
                            journal.line(
                                "carrier",
                                format_args!("placed {} for {}", short(&call), request.attempt),
                            );
                            accepted(call)
                        }
                        Err(Refused::InvalidNumber) => refused(RefusalClass::BadNumber),
                    })
                }
            };
            tokio::time::sleep(back).await;
            match fate {
                Fate::Hangs { .. } => tokio::time::sleep(TIME_OUT).await,
                Fate::LostThere | Fate::LostBack => {}
                Fate::Fine | Fate::Refused(_) => {
                    if let Some(answer) = answer {
                        // The process may be gone, or have given up.
                        let _ = tell.send(answer);
                    }
                }
            }
        });
        told
    }

    /// A question: the answer is what was true when the request arrived.
    async fn ask<T>(
        &self,
        name: &'static str,
        answer: impl FnOnce() -> Result<T, CarrierError> + Send,
    ) -> Result<T, CarrierError>
    where
        T: Send,
    {
        let w = &self.weather;
        w.journal.mix(&self.gate.who, name);
        self.gate.pass(name).await;
        tokio::time::sleep(self.way(3_000)).await;
        let fails = w.hits(Kind::Carrier, w.faults.ask_fails);
        let heard = !fails || w.chance.hits(Kind::Carrier, 0.5);
        let answer = if heard { Some(answer()) } else { None };
        let back = if fails && w.chance.hits(Kind::Carrier, 0.5) {
            TIME_OUT
        } else {
            self.way(3_000)
        };
        tokio::time::sleep(back).await;
        self.gate.pass(name).await;
        match answer {
            Some(answer) if !fails => answer,
            Some(_) | None => Err(CarrierError::Unavailable("simulated".to_owned())),
        }
    }

    fn pollable(&self) -> Result<(), CarrierError> {
        if self.profile.capabilities.pollable {
            Ok(())
        } else {
            Err(CarrierError::Unsupported)
        }
    }
}

#[async_trait]
impl Carrier for SimCarrier {
    fn profile(&self) -> &CarrierProfile {
        &self.profile
    }

    /// Who cannot be asked what became of a call wants a session token, too.
    async fn prepare(&self) {
        if self.pollable().is_err() {
            let _ = self.ask("prepare", || Ok(())).await;
        }
    }

    async fn dial(&self, request: &DialRequest) -> DialAnswer {
        let w = &self.weather;
        w.journal.mix(&self.gate.who, "dial");
        self.exchange.leaves(request).await;
        self.gate.pass("dial").await;
        let answer = self.send(request);
        self.gate.pass("sent").await;
        let answer = tokio::time::timeout(TIME_OUT, answer).await;
        self.gate.pass("dial").await;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => DialAnswer::Unclear("the connection broke".to_owned()),
            Err(_) => DialAnswer::Unclear("no answer in time".to_owned()),
        }
    }

    async fn hang_up(&self, call: &CarrierCallId) -> Result<(), CarrierError> {
        let (exchange, call) = (Arc::clone(&self.exchange), call.clone());
        self.ask("hang_up", move || exchange.hang_up(&call)).await
    }

    async fn perform(&self, step: &StepRequest) -> Result<(), CarrierError> {
        let (exchange, step) = (Arc::clone(&self.exchange), step.clone());
        self.ask("perform", move || exchange.perform(&step)).await
    }

    async fn look(&self, call: &CarrierCallId) -> Result<CallRecord, CarrierError> {
        self.pollable()?;
        self.ask("look", || self.exchange.look(call)).await
    }

    async fn find(&self, to: &E164, from: &E164) -> Result<Vec<CallRecord>, CarrierError> {
        self.pollable()?;
        let mut at = Duration::ZERO;
        let list = || {
            at = self.weather.time.elapsed();
            let search = Search {
                to: Some(to.as_str()),
                ..Search::default()
            };
            let ours = |view: &CallView| view.dial.from == from.as_str();
            Ok(self.exchange.list(&self.profile.id, &search, ours))
        };
        let found = self.ask("find", list).await;
        if found.is_ok() {
            self.exchange.looked(to, at);
        }
        found
    }

    async fn live(&self) -> Result<Vec<CallRecord>, CarrierError> {
        self.pollable()?;
        let search = Search {
            live: true,
            ..Search::default()
        };
        let list = || Ok(self.exchange.list(&self.profile.id, &search, |_| true));
        self.ask("live", list).await
    }

    fn read_callback(&self, raw: &RawCallback) -> Result<CallbackNews, CallbackRefused> {
        let unreadable = |why: String| CallbackRefused::Unreadable(why);
        let body: Body =
            serde_json::from_slice(&raw.body).map_err(|e| unreadable(e.to_string()))?;
        let call_id = CarrierCallId::parse(body.call).map_err(|e| unreadable(e.to_string()))?;
        Ok(CallbackNews {
            recording: None,
            event_key: body.key,
            call_id,
            statuses: body.statuses,
        })
    }

    fn read_question(&self, raw: &RawCallback) -> Result<Question, CallbackRefused> {
        let unreadable = |why: String| CallbackRefused::Unreadable(why);
        let asked: Asked =
            serde_json::from_slice(&raw.body).map_err(|e| unreadable(e.to_string()))?;
        Ok(Question {
            call_id: CarrierCallId::parse(asked.call).map_err(|e| unreadable(e.to_string()))?,
            to: E164::parse(&asked.to, None).ok(),
            input: asked.input,
            statuses: if asked.over {
                Vec::new()
            } else {
                vec![CallStatus::Answered]
            },
            over: asked.over,
        })
    }

    fn write_page(&self, page: &Page) -> Option<Document> {
        Some(Document {
            content_type: "application/json",
            body: serde_json::to_string(&Sheet::of(page)).ok()?,
        })
    }
}

fn accepted(call: String) -> DialAnswer {
    match CarrierCallId::parse(call) {
        Ok(call_id) => DialAnswer::Accepted {
            call_id,
            queued_for: Duration::ZERO,
        },
        Err(error) => DialAnswer::Unclear(error.to_string()),
    }
}

fn refused(class: RefusalClass) -> DialAnswer {
    let code = match class {
        RefusalClass::RetryLater => "429",
        RefusalClass::Failover => "503",
        RefusalClass::BadNumber => "21211",
        RefusalClass::ConfigFault => "20003",
        RefusalClass::CallerIdFault => "21210",
        RefusalClass::DestinationFault => "21215",
    };
    DialAnswer::Refused(Refusal {
        class,
        code: code.to_owned(),
        message: "simulated".to_owned(),
    })
}
