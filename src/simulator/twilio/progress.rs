//! What the client is told about its call, and when.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::callback::{self, Fields};
use super::conversation::Conversation;
use super::request::CallRequest;
use super::wire::{API_VERSION, rfc2822};
use super::{Front, recordings};
use crate::courier::Courier;
use crate::dice::Dice;
use crate::office::Teller;
use crate::person::Person;
use crate::timetable::{CallStatus, NetEvent};

/// Documents that a conversation has not begun with yet.
const UPDATES: usize = 16;

/// Who tells the client about a placed call.
pub(super) fn teller(
    front: Arc<Front>,
    call_id: String,
    request: CallRequest,
    key: String,
) -> impl Teller {
    let (office, name) = (front.office.clone(), front.name.clone());
    let to = request.dial.to.clone();
    let courier = Courier::new(office, name, to, key.clone(), true);
    Following {
        front,
        call_id,
        request: Arc::new(request),
        courier,
        key,
        over: CancellationToken::new(),
    }
}

struct Following {
    front: Arc<Front>,
    call_id: String,
    request: Arc<CallRequest>,
    courier: Courier,
    key: String,
    /// The call has ended.
    over: CancellationToken,
}

impl Teller for Following {
    fn tell(&mut self, event: NetEvent) {
        let status = event.status();
        if status.is_terminal() {
            self.stop();
            recordings::complete_all(&self.front, &self.call_id);
        }
        if let Some(url) = self.request.status_callback.clone()
            && self.request.wants(status)
        {
            let fields = self.status_fields(event);
            let (front, sid) = (self.front.clone(), &self.call_id);
            self.courier.send(status, |seq| {
                callback::status(front, &url, sid, seq, fields)
            });
        }
        if let NetEvent::Answered { .. } = event
            && let Some(person) = self.front.office.network.person(&self.call_id)
        {
            self.begin(person);
        }
    }

    fn vanished(&mut self) {
        self.stop();
        self.courier.abandon();
    }
}

impl Following {
    fn status_fields(&self, event: NetEvent) -> Fields {
        let dial = &self.request.dial;
        let mut fields = vec![
            ("CallSid", self.call_id.clone()),
            ("AccountSid", self.front.account_sid.clone()),
            ("From", dial.from.clone()),
            ("To", dial.to.clone()),
            ("Caller", dial.from.clone()),
            ("Called", dial.to.clone()),
            ("CallStatus", event.status().as_str().to_owned()),
            ("ApiVersion", API_VERSION.to_owned()),
            ("Direction", "outbound-api".to_owned()),
            ("Timestamp", rfc2822(self.front.office.now())),
            ("CallbackSource", "call-progress-events".to_owned()),
        ];
        if let NetEvent::Ended { sip, duration, .. } = event {
            let seconds = duration.as_secs();
            fields.push(("CallDuration", seconds.to_string()));
            fields.push(("Duration", seconds.div_ceil(60).to_string()));
            fields.push(("SipResponseCode", sip.to_string()));
            let call = self.front.office.network.call(&self.call_id);
            if let Some(by) = call.and_then(|call| call.answered_by) {
                fields.push(("AnsweredBy", by.to_owned()));
            }
            let takes = self.front.office.takes().of_call(&self.call_id);
            let own = takes.iter().find(|take| take.plan.source == "OutboundAPI");
            fields.extend(
                own.into_iter()
                    .flat_map(|take| recordings::facts(&self.front, take)),
            );
        }
        fields
    }

    /// Somebody answered: the recording, the detection and the conversation begin.
    fn begin(&self, person: Person) {
        let (front, office) = (self.front.clone(), self.front.office.clone());
        if let Some(plan) = self.request.record.clone()
            && let Some(call) = office.network.call(&self.call_id)
        {
            recordings::start(&front, &call, plan);
        }
        self.detect(&person);
        let (sender, updates) = mpsc::channel(UPDATES);
        front.conversations().insert(self.call_id.clone(), sender);
        let conversation = Conversation {
            front,
            call_id: self.call_id.clone(),
            request: self.request.clone(),
            person,
            facts: Fields::new(),
            at: None,
            prompts: 0,
        };
        let (over, stop) = (self.over.clone(), office.stop.clone());
        office.tasks.spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = stop.cancelled() => {}
                () = conversation.run(updates) => {}
            }
        });
    }

    fn stop(&self) {
        self.over.cancel();
        self.front.conversations().remove(&self.call_id);
    }

    /// Asynchronous detection listens for a while. When the call is over by then, half of the time
    /// its result is `unknown`, and half of the time there is none.
    fn detect(&self, person: &Person) {
        let Some(detection) = self.request.detection.filter(|d| !d.holds) else {
            return;
        };
        let verdict = detection.verdict(person.who);
        let (front, call_id) = (self.front.clone(), self.call_id.clone());
        let (over, key, request) = (self.over.clone(), self.key.clone(), self.request.clone());
        let stop = front.office.stop.clone();
        let wait = front.office.scaled(verdict.after);
        let tasks = front.office.tasks.clone();
        tasks.spawn(async move {
            if stop.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
            let office = front.office.clone();
            let dice = Dice::new(office.network.seed());
            let answered_by = match over.is_cancelled() {
                false => verdict.answered_by,
                true if dice.hits(0.5, "late-verdict", &key, 0) => "unknown",
                true => return,
            };
            office.network.detected(&call_id, answered_by);
            let Some(url) = &request.amd_callback else {
                return;
            };
            let fields = vec![
                ("CallSid", call_id.clone()),
                ("AccountSid", front.account_sid.clone()),
                ("AnsweredBy", answered_by.to_owned()),
                (
                    "MachineDetectionDuration",
                    verdict.after.as_millis().to_string(),
                ),
            ];
            let parcel = callback::detection(front.clone(), url, &call_id, fields);
            let (name, to) = (front.name.clone(), request.dial.to.clone());
            let courier = Courier::new(office, name, to, key, false);
            let (status, seq) = (CallStatus::InProgress, callback::DETECTION_SEQ);
            courier.send_aside(status, seq, std::time::Duration::ZERO, parcel);
        });
    }
}
