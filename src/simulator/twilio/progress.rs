//! What the client is told about its call, and when.

use std::sync::Arc;
use std::time::Duration;

use super::Front;
use super::callback::{self, Fields};
use super::request::CallRequest;
use super::wire::{API_VERSION, answered_by, rfc2822};
use crate::courier::Courier;
use crate::office::Teller;
use crate::timetable::{CallStatus, NetEvent, Party};

/// Network time that detection listens to a voice.
const DETECTION: [(Party, Duration); 2] = [
    (Party::Human, Duration::from_millis(2_400)),
    (Party::Machine, Duration::from_millis(3_600)),
];

/// Who tells the client about a placed call.
pub(super) fn teller(
    front: Arc<Front>,
    call_id: String,
    request: CallRequest,
    key: String,
) -> impl Teller {
    let (office, name) = (front.office.clone(), front.name.clone());
    let courier = Courier::new(office, name, request.dial.to.clone(), key, true);
    Following {
        front,
        call_id,
        request,
        courier,
    }
}

struct Following {
    front: Arc<Front>,
    call_id: String,
    request: CallRequest,
    courier: Courier,
}

impl Teller for Following {
    fn tell(&mut self, event: NetEvent) {
        let status = event.status();
        if let Some(url) = self.request.status_callback.clone()
            && self.request.wants(status)
        {
            let fields = self.status_fields(event);
            let (front, sid) = (self.front.clone(), &self.call_id);
            self.courier.send(status, |seq| {
                callback::status(front, &url, sid, seq, fields)
            });
        }
        if let NetEvent::Answered { party } = event
            && let Some(url) = &self.request.amd_callback
        {
            self.tell_detection(url, party);
        }
    }

    fn vanished(&mut self) {
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
            if let Some(by) = call.as_ref().and_then(answered_by) {
                fields.push(("AnsweredBy", by.to_owned()));
            }
        }
        fields
    }

    fn tell_detection(&self, url: &str, party: Party) {
        let call = self.front.office.network.call(&self.call_id);
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
        let wait = listening.div_f64(self.front.office.network.speed());
        let parcel = callback::detection(self.front.clone(), url, &self.call_id, fields);
        let status = CallStatus::InProgress;
        self.courier
            .send_aside(status, callback::DETECTION_SEQ, wait, parcel);
    }
}
