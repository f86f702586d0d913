//! One task for each call: sleeps until the next event is due and tells the client about it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::Front;
use super::courier::{Courier, Fields};
use super::request::CallRequest;
use super::wire::{API_VERSION, answered_by, rfc2822};
use crate::network::Step;
use crate::timetable::{NetEvent, Party};

/// Network time that detection listens to a voice.
const DETECTION: [(Party, Duration); 2] = [
    (Party::Human, Duration::from_millis(2_400)),
    (Party::Machine, Duration::from_millis(3_600)),
];

/// Starts the task of a placed call.
pub(super) fn follow(front: &Arc<Front>, call_id: String, request: CallRequest, key: String) {
    let wake = Arc::new(Notify::new());
    front.wakes().insert(call_id.clone(), wake.clone());
    let courier = Courier::new(front.clone(), request.dial.to.clone(), key);
    let mut call = Following {
        front: front.clone(),
        call_id,
        request,
        courier,
    };
    front.tasks.spawn(async move {
        let stop = call.front.stop.clone();
        stop.run_until_cancelled(call.run(&wake)).await;
        call.front.wakes().remove(&call.call_id);
    });
}

struct Following {
    front: Arc<Front>,
    call_id: String,
    request: CallRequest,
    courier: Courier,
}

impl Following {
    async fn run(&mut self, wake: &Notify) {
        loop {
            match self.front.network.step(&self.call_id, self.front.now()) {
                Step::Wait(long) => tokio::select! {
                    () = sleep(long) => {}
                    () = wake.notified() => {}
                },
                Step::Event(event) => {
                    self.tell(event);
                    if let NetEvent::Ended { .. } = event {
                        return;
                    }
                }
                Step::Done => return self.courier.abandon(),
            }
        }
    }

    fn tell(&mut self, event: NetEvent) {
        let status = event.status();
        if let Some(url) = self.request.status_callback.clone()
            && self.request.wants(status)
        {
            let fields = self.status_fields(event);
            self.courier.send(&url, status, fields);
        }
        if let NetEvent::Answered { party } = event
            && let Some(url) = &self.request.amd_callback
        {
            self.tell_detection(url, party);
        }
    }

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
            ("Timestamp", rfc2822(self.front.now())),
            ("CallbackSource", "call-progress-events".to_owned()),
        ];
        if let NetEvent::Ended { sip, duration, .. } = event {
            let seconds = duration.as_secs();
            fields.push(("CallDuration", seconds.to_string()));
            fields.push(("Duration", seconds.div_ceil(60).to_string()));
            fields.push(("SipResponseCode", sip.to_string()));
            let call = self.front.network.call(&self.call_id);
            if let Some(by) = call.as_ref().and_then(answered_by) {
                fields.push(("AnsweredBy", by.to_owned()));
            }
        }
        fields
    }

    fn tell_detection(&self, url: &str, party: Party) {
        let call = self.front.network.call(&self.call_id);
        let Some(by) = call.as_ref().and_then(answered_by) else {
            return;
        };
        let listening = DETECTION
            .iter()
            .find(|(p, _)| *p == party)
            .map_or(Duration::ZERO, |d| d.1);
        let fields = vec![
            ("CallSid", self.call_id.clone()),
            ("AccountSid", self.front.account_sid.clone()),
            ("AnsweredBy", by.to_owned()),
            (
                "MachineDetectionDuration",
                listening.as_millis().to_string(),
            ),
        ];
        let wait = listening.div_f64(self.front.network.speed());
        self.courier.send_detection(url, wait, fields);
    }
}
