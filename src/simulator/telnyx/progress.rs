//! What the client is told about its call, and when. There is no event for ringing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::Front;
use super::request::Detection;
use super::wire::{hangup_cause, iso8601};
use crate::office::Teller;
use crate::timetable::{CallStatus, NetEvent, Party};

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
            NetEvent::Answered { party } => {
                let extra = json!({"state": "answered", "start_time": self.started_at()});
                self.send(("call.answered", status), &extra);
                self.detect(party);
            }
            NetEvent::Ended { .. } => {
                let extra = self.end();
                self.send(("call.hangup", status), &extra);
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

    /// Detection listens for a while and tells the result, if the call still lives.
    fn detect(&self, party: Party) {
        let detection = {
            let lines = self.front.lines();
            let line = lines.get(&self.call_id);
            line.map_or(Detection::Disabled, |line| line.request.detection())
        };
        let (event, human) = match detection {
            Detection::Disabled => return,
            Detection::Premium => ("call.machine.premium.detection.ended", "human_residence"),
            Detection::Detect
            | Detection::DetectBeep
            | Detection::DetectWords
            | Detection::GreetingEnd => ("call.machine.detection.ended", "human"),
        };
        let (result, listening) = match party {
            Party::Human => (human, 1_500),
            Party::Machine => ("machine", 3_500),
            Party::Fax => ("fax_detected", 2_000),
            Party::Silence => ("silence", 3_500),
        };
        let wait = Duration::from_millis(listening).div_f64(self.front.office.network.speed());
        let (front, call_id) = (self.front.clone(), self.call_id.clone());
        let tasks = front.office.tasks.clone();
        tasks.spawn(async move {
            let stop = front.office.stop.clone();
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
            let call = front.office.network.call(&call_id);
            if call.is_some_and(|call| !call.status.is_terminal())
                && let Some(line) = front.lines().get_mut(&call_id)
            {
                let event = (event, CallStatus::InProgress);
                line.tell(&front, event, None, &json!({ "result": result }));
            }
        });
    }
}
