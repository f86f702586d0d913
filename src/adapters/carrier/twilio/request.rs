//! The form that creates a call.

use dialfleet_domain::amd::AmdMode;
use dialfleet_domain::flow::{Action, Then};
use dialfleet_engine::port::carrier::{DialRequest, Page, StepRequest};
use form_urlencoded::Serializer;

use super::twiml;

/// Connection overrides, read by Twilio from the callback URL's fragment: three retries of any
/// failure. The default is one retry of connect failures; either way all is over after 15 s.
const OVERRIDES: &str = "#rc=3&rp=all";
/// Without these only `completed` is reported.
const EVENTS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

/// The body of a create request, form-encoded (Twilio takes no JSON).
///
/// A flow that is known to its end goes inline: a `Url` would be one more request that can fail while
/// a person listens to silence. Twilio may add 5 s to `Timeout`.
pub(super) fn create_form(request: &DialRequest) -> String {
    let callback = format!("{}{OVERRIDES}", request.callback_url);
    let mut form = Serializer::new(String::new());
    form.append_pair("To", request.to.as_str())
        .append_pair("From", request.from.as_str());
    match request.opening.as_ref().and_then(|actions| inline(actions)) {
        Some(document) => form.append_pair("Twiml", &document),
        None => form
            .append_pair("Url", &request.flow_url)
            .append_pair("Method", "POST"),
    };
    form.append_pair("Timeout", &request.ring_timeout_s.to_string())
        .append_pair("TimeLimit", &request.max_duration_s.to_string())
        .append_pair("StatusCallback", &callback)
        .append_pair("StatusCallbackMethod", "POST");
    for event in EVENTS {
        form.append_pair("StatusCallbackEvent", event);
    }
    detection(&mut form, request, &callback);
    form.finish()
}

/// The body of a request that replaces what a live call does.
pub(super) fn update_form(step: &StepRequest) -> String {
    let mut form = Serializer::new(String::new());
    match twiml::inline(&step.page) {
        Ok(document) => form.append_pair("Twiml", &document),
        Err(_) => form
            .append_pair("Url", &step.again_url)
            .append_pair("Method", "POST"),
    };
    form.finish()
}

/// `None`: it does not fit, and is fetched.
fn inline(actions: &[Action]) -> Option<String> {
    twiml::inline(&Page {
        actions: actions.to_vec(),
        then: Then::End,
        next_url: String::new(),
    })
    .ok()
}

fn detection(form: &mut Serializer<'_, String>, request: &DialRequest, callback: &str) {
    let amd = &request.amd;
    if amd.mode == AmdMode::Off {
        return;
    }
    // To leave a message the end of the greeting must be heard; otherwise who answered is enough.
    let until = if request.leaves_message {
        "DetectMessageEnd"
    } else {
        "Enable"
    };
    form.append_pair("MachineDetection", until);
    let tuning = [
        ("MachineDetectionTimeout", amd.tuning.timeout_s),
        ("MachineDetectionSpeechThreshold", amd.tuning.speech_ms),
        (
            "MachineDetectionSpeechEndThreshold",
            amd.tuning.speech_end_ms,
        ),
        ("MachineDetectionSilenceTimeout", amd.tuning.silence_ms),
    ];
    for (name, value) in tuning {
        if let Some(value) = value {
            form.append_pair(name, &value.to_string());
        }
    }
    match amd.mode {
        AmdMode::Off => {}
        // The verdict comes with the question what to do, and with the status callbacks.
        AmdMode::Sync => {
            form.append_pair("AsyncAmd", "false");
        }
        AmdMode::Async => {
            form.append_pair("AsyncAmd", "true")
                .append_pair("AsyncAmdStatusCallback", callback)
                .append_pair("AsyncAmdStatusCallbackMethod", "POST");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::dial_request;
    use super::*;

    const GOLDEN: &str = "To=%2B15550100123&From=%2B15550109999\
        &Twiml=%3CResponse%3E%3CSay%3EHello.+This+call+was+placed+by+Dialfleet.+Goodbye.%3C%2FSay%3E%3CHangup%2F%3E%3C%2FResponse%3E\
        &Timeout=30&TimeLimit=600\
        &StatusCallback=https%3A%2F%2Fd.example%2Fwebhooks%2Ftwilio%2Ft1%2FYTpiOjE%2F0%2Fm-c_%23rc%3D3%26rp%3Dall\
        &StatusCallbackMethod=POST\
        &StatusCallbackEvent=initiated&StatusCallbackEvent=ringing&StatusCallbackEvent=answered&StatusCallbackEvent=completed";

    fn tail(from: &str, form: &str) -> String {
        form[form.find(from).unwrap_or(form.len())..].to_owned()
    }

    #[test]
    fn the_form_is_the_golden_one() {
        let mut request = dial_request();
        assert_eq!(create_form(&request), GOLDEN);
        request.amd.mode = AmdMode::Sync;
        let sync = format!("{GOLDEN}&MachineDetection=Enable&AsyncAmd=false");
        assert_eq!(create_form(&request), sync);
        request.amd.mode = AmdMode::Async;
        let asynchronous = format!(
            "{GOLDEN}&MachineDetection=Enable&AsyncAmd=true\
             &AsyncAmdStatusCallback=https%3A%2F%2Fd.example%2Fwebhooks%2Ftwilio%2Ft1%2FYTpiOjE%2F0%2Fm-c_%23rc%3D3%26rp%3Dall\
             &AsyncAmdStatusCallbackMethod=POST"
        );
        assert_eq!(create_form(&request), asynchronous);
    }

    #[test]
    fn a_message_is_left_after_the_greeting_and_detection_is_tuned() {
        let mut request = dial_request();
        request.leaves_message = true;
        assert_eq!(create_form(&request), GOLDEN, "nothing is detected");
        request.amd.mode = AmdMode::Sync;
        request.amd.tuning.timeout_s = Some(20);
        request.amd.tuning.speech_ms = Some(2_000);
        request.amd.tuning.speech_end_ms = Some(900);
        request.amd.tuning.silence_ms = Some(3_000);
        assert_eq!(
            tail("&MachineDetection", &create_form(&request)),
            "&MachineDetection=DetectMessageEnd&MachineDetectionTimeout=20&MachineDetectionSpeechThreshold=2000\
             &MachineDetectionSpeechEndThreshold=900&MachineDetectionSilenceTimeout=3000&AsyncAmd=false"
        );
    }

    #[test]
    fn what_is_not_known_or_does_not_fit_is_fetched() {
        let mut request = dial_request();
        let fetched = GOLDEN.replace(
            "&Twiml=%3CResponse%3E%3CSay%3EHello.+This+call+was+placed+by+Dialfleet.+Goodbye.%3C%2FSay%3E%3CHangup%2F%3E%3C%2FResponse%3E",
            "&Url=https%3A%2F%2Fd.example%2Fwebhooks%2Ftwilio%2Ft1%2FYTpiOjE%2F0%2Fm-c_%2Fflow%3Ft%3D0&Method=POST",
        );
        request.opening = Some(vec![Action::Pause { seconds: 1 }; 250]);
        assert_eq!(create_form(&request), fetched);
        request.opening = None;
        assert_eq!(create_form(&request), fetched);
    }
}
