//! What the client is told about its call, and when. There is no event for ringing.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::conversation::Conversation;
use super::detection::{self, Told};
use super::wire::{cost, hangup_cause, iso8601};
use super::{Front, recordings};
use crate::office::Teller;
use crate::timetable::{CallStatus, NetEvent};

/// Commands that wait for their turn on one call.
const COMMANDS: usize = 64;

pub(super) struct Following {
    pub(super) front: Arc<Front>,
    pub(super) call_id: String,
}

impl Teller for Following {
    fn tell(&mut self, event: NetEvent) {
        let status = event.status();
        match event {
            NetEvent::Initiated => {
                let extra = json!({"direction": "outgoing", "state": "bridging"});
                self.send(("call.initiated", status), &extra);
            }
            NetEvent::Ringing => {}
            NetEvent::Answered { .. } => {
                let extra = json!({"state": "answered", "start_time": self.started_at()});
                self.send(("call.answered", status), &extra);
                self.begin();
            }
            NetEvent::Ended { .. } => {
                self.stop();
                recordings::complete_all(&self.front, &self.call_id);
                let extra = self.end();
                self.send(("call.hangup", status), &extra);
                self.bill(status);
                self.front.lines().ended(&self.call_id);
            }
        }
    }

    fn vanished(&mut self) {
        self.front.lines().vanished(&self.call_id);
    }
}

impl Following {
    fn send(&self, event: (&str, CallStatus), extra: &Value) {
        if let Some(line) = self.front.lines().get_mut(&self.call_id) {
            line.tell(&self.front, event, None, extra);
        }
    }

    fn started_at(&self) -> Option<String> {
        let call = self.front.office.network.call(&self.call_id)?;
        call.started_at.map(iso8601)
    }

    fn end(&self) -> Value {
        let Some(call) = self.front.office.network.call(&self.call_id) else {
            return json!({});
        };
        let (retry, by_us) = match self.front.lines().get(&self.call_id) {
            Some(line) => (line.request.retry_on_timeout, line.hung_up),
            None => (true, false),
        };
        let (cause, source) = hangup_cause(&call, retry, by_us);
        json!({
            "state": "hangup",
            "start_time": self.started_at(),
            "hangup_cause": cause,
            "hangup_source": source,
            "sip_hangup_cause": call.sip.map(|code| code.to_string()),
            "tags": [],
        })
    }

    /// The real one says it some time after the end, and only to an application that wants it.
    fn bill(&self, status: CallStatus) {
        let call = self.front.office.network.call(&self.call_id);
        let cost = call
            .filter(|_| self.front.says_cost)
            .as_ref()
            .and_then(cost);
        if let Some(cost) = cost {
            self.send(("call.cost", status), &cost);
        }
    }

    /// Somebody answered: the recording, the detection and the conversation begin.
    fn begin(&self) {
        let (front, office) = (self.front.clone(), self.front.office.clone());
        let (Some(call), Some(person)) = (
            office.network.call(&self.call_id),
            office.network.person(&self.call_id),
        ) else {
            return;
        };
        let (sender, tasks) = mpsc::channel(COMMANDS);
        let (over, mode, plan) = {
            let mut lines = front.lines();
            let Some(line) = lines.get_mut(&self.call_id) else {
                return;
            };
            line.tasks = Some(sender);
            let request = &line.request;
            (line.over.clone(), request.detection(), request.recording())
        };
        if let Some(plan) = plan {
            // It cannot fail: the call has just been answered.
            let _ = recordings::start(&front, &call, plan);
        }
        self.detect(detection::events(mode, person.who), over.clone());
        let conversation = Conversation {
            front,
            call_id: self.call_id.clone(),
            person,
            over,
            prompts: 0,
        };
        let stop = office.stop.clone();
        office.tasks.spawn(async move {
            stop.run_until_cancelled(conversation.run(tasks)).await;
        });
    }

    /// Detection listens, and tells what it hears while the call lives.
    fn detect(&self, events: Vec<Told>, over: CancellationToken) {
        let (front, call_id) = (self.front.clone(), self.call_id.clone());
        let (tasks, stop) = (front.office.tasks.clone(), front.office.stop.clone());
        let begun = Instant::now();
        let work = async move {
            for (after, name, result) in events {
                sleep_until(begun + front.office.scaled(after)).await;
                if let Some(line) = front.lines().get_mut(&call_id) {
                    let event = (name, CallStatus::InProgress);
                    line.tell(&front, event, None, &json!({ "result": result }));
                }
            }
        };
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = over.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Nothing more is heard.
    fn stop(&self) {
        if let Some(line) = self.front.lines().get_mut(&self.call_id) {
            line.tasks = None;
            line.over.cancel();
        }
    }
}
