//! What happens on an answered call: what is heard of its flow, and which keys are pressed. A carrier
//! that reads documents asks for one after the other; another one is told one thing at a time, and says
//! when it is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dialfleet_domain::flow::sentence::Sentence;
use dialfleet_domain::flow::{Action, Codec, Flow, Input, Keys, Step, Then};
use dialfleet_engine::port::carrier::{CallStatus, CarrierError, Page, StepRequest};
use dialfleet_simulator::{CallStatus as NetStatus, CallView, Party};
use serde::{Deserialize, Serialize};

use super::chance::Kind;
use super::door::Told;
use super::exchange::{Exchange, short};

/// How long somebody takes to press a key, and how long a sentence takes, ms.
const KEY_MS: (u64, u64) = (300, 2_500);
const SENTENCE_MS: (u64, u64) = (300, 1_500);
/// How long a program talks to somebody, ms.
const TALK_MS: (u64, u64) = (500, 8_000);
/// Who does not want to be called again may not wait to hear more.
const HANGS_UP: f64 = 0.3;
/// How long the flow waits for a key.
const TIMEOUT_S: u32 = 3;

/// The flow of every campaign where people press keys. 1 leads to a program that takes so many calls.
pub(super) fn flow(capacity: Option<u32>) -> Flow {
    let say = |text: &str| Step::Say {
        text: text.to_owned(),
        language: None,
        voice: None,
        ssml: false,
    };
    let agent = Step::Stream {
        url: "wss://agent.example/".to_owned(),
        codec: Codec::default(),
        params: BTreeMap::new(),
        capacity,
    };
    let options = [("1", agent), ("9", Step::OptOut { say: None })];
    let option = |(key, step): (&str, Step)| (key.to_owned(), vec![step]);
    Flow::of(vec![Step::Menu {
        prompt: vec![say("Press 9 not to be called again.")],
        options: options.into_iter().map(option).collect::<BTreeMap<_, _>>(),
        set: None,
        timeout_s: TIMEOUT_S,
        tries: 1,
        no_input: Vec::new(),
    }])
}

/// A carrier's question on a call.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) call: String,
    pub(super) to: String,
    pub(super) input: Input,
    /// The call has ended meanwhile.
    pub(super) over: bool,
}

/// A page, as the simulated carriers read it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Sheet {
    said: Vec<String>,
    /// A program talks to the person.
    streams: bool,
    /// Keys may be pressed at its end.
    gathers: bool,
    /// Then the call ends.
    hangs_up: bool,
    /// Or this address says how it goes on.
    next: String,
}

impl Sheet {
    pub(super) fn of(page: &Page) -> Self {
        let mut sheet = Self {
            hangs_up: page.then == Then::End,
            next: page.next_url.clone(),
            ..Self::default()
        };
        for action in &page.actions {
            match action {
                Action::Say(saying) => sheet.said.push(saying.text.clone()),
                Action::Gather { .. } => sheet.gathers = true,
                Action::Hangup => sheet.hangs_up = true,
                Action::Stream { .. } => sheet.streams = true,
                // In no flow here.
                Action::Play { .. }
                | Action::Pause { .. }
                | Action::Record { .. }
                | Action::Transfer { .. } => {}
            }
        }
        sheet
    }
}

impl Exchange {
    /// A call on which somebody is.
    fn on_line(&self, call: &str) -> Option<CallView> {
        let view = self.network.call(call)?;
        (view.status == NetStatus::InProgress).then_some(view)
    }

    async fn take_time(&self, (low, high): (u64, u64)) {
        tokio::time::sleep(self.weather.chance.ms(Kind::Person, low, high)).await;
    }

    /// Asks what to do on an answered call, and does it, to its end.
    pub(super) async fn converse(self: Arc<Self>, call: String, mut url: String) {
        let mut input = Input::Done;
        loop {
            self.take_time((1, 60)).await;
            let Some(view) = self.network.call(&call) else {
                return;
            };
            let over = view.status != NetStatus::InProgress;
            // What was pressed before the end is told after it.
            if over && !input.has_keys() {
                return;
            }
            let to = view.dial.to;
            let asked = Asked {
                call: call.clone(),
                to,
                input,
                over,
            };
            let page = self.ask(&url, &asked).await;
            if over {
                return;
            }
            let Some(sheet) = page else {
                // It says so in its own words.
                self.weather
                    .journal
                    .line("carrier", format_args!("no answer on {}", short(&call)));
                self.end(&call);
                return;
            };
            match self.hear(&call, &sheet).await {
                Some(_) if sheet.hangs_up => return self.end(&call),
                Some(heard) => (input, url) = (heard, sheet.next),
                None => return,
            }
        }
    }

    /// A question, which can be lost, and its answer, which can be lost too.
    async fn ask(&self, url: &str, asked: &Asked) -> Option<Sheet> {
        let (w, f) = (&self.weather, &self.weather.faults);
        let lost = w.hits(Kind::Person, f.callback_lost / 2.0);
        if lost && w.chance.hits(Kind::Person, 0.5) {
            return None;
        }
        let body = serde_json::to_vec(asked).ok()?.into();
        match self.doors.ask(w, url, &body).await {
            Told::Page(page) if !lost => serde_json::from_str(&page).ok(),
            Told::Page(_) | Told::Nothing => None,
            Told::Refused(why) => {
                w.fail(format!("a genuine question was refused: {why}"));
                None
            }
        }
    }

    /// The caller has something done on a call.
    pub(super) fn perform(self: &Arc<Self>, step: &StepRequest) -> Result<(), CarrierError> {
        let call = step.call_id.as_str().to_owned();
        let view = self.network.call(&call).ok_or(CarrierError::NotFound)?;
        if view.status.is_terminal() {
            return Err(CarrierError::AlreadyEnded);
        }
        // Repeated, it is done once.
        if self.is_new(&call, step.step) {
            let (me, sheet, step) = (Arc::clone(self), Sheet::of(&step.page), step.step);
            self.weather.spawn(async move {
                match me.hear(&call, &sheet).await {
                    Some(_) if sheet.hangs_up => me.end(&call),
                    Some(input) => {
                        me.call_back(&call, vec![CallStatus::StepEnded { step, input }]);
                    }
                    None => {}
                }
            });
        }
        Ok(())
    }

    /// Somebody hears a page, and does something about it. `None`: the call is over by then, and nothing was
    /// done in time.
    async fn hear(self: &Arc<Self>, call: &str, sheet: &Sheet) -> Option<Input> {
        let (w, done) = (&self.weather, Sentence::OptedOut.said(None).0);
        for words in &sheet.said {
            let to = self.on_line(call)?.dial.to;
            if words == done {
                self.checks.confirmed(&to);
            } else if words == Sentence::NotYetOptedOut.said(None).0 {
                self.checks.put_off(&to);
            }
            self.take_time(SENTENCE_MS).await;
        }
        if sheet.streams {
            self.take_time(TALK_MS).await;
        }
        let view = self.on_line(call)?;
        if !sheet.gathers {
            return Some(Input::Done);
        }
        let person = view.party == Some(Party::Human);
        let key = if !person {
            ""
        } else if w.chance.hits(Kind::Person, w.faults.keys) {
            "9"
        } else if w.chance.hits(Kind::Person, 0.5) {
            "1"
        } else {
            ""
        };
        if key.is_empty() {
            tokio::time::sleep(Duration::from_secs(TIMEOUT_S.into())).await;
        } else {
            self.take_time(KEY_MS).await;
        }
        self.on_line(call)?;
        w.journal
            .line("network", format_args!("{} presses {key:?}", short(call)));
        let keys = Keys::parse(key)?;
        if key == "9" && w.chance.hits(Kind::Person, HANGS_UP) {
            w.journal
                .line("network", format_args!("{} hangs up", short(call)));
            self.end(call);
        }
        Some(Input::Keys { keys })
    }

    /// Somebody hangs up, or the call's flow is over.
    fn end(self: &Arc<Self>, call: &str) {
        self.network.hang_up(call, self.weather.time.now());
        self.advance(call);
    }
}
