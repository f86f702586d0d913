//! The form that creates a call.

use dialfleet_domain::campaign::AmdMode;
use dialfleet_engine::port::carrier::DialRequest;
use form_urlencoded::Serializer;

use super::recording;
use super::twiml::{self, TwimlError};

/// Connection overrides, read by Twilio from the callback URL's fragment: three retries of any
/// failure. The default is one retry of connect failures; either way all is over after 15 s.
pub(super) const OVERRIDES: &str = "#rc=3&rp=all";
/// Without these only `completed` is reported.
const EVENTS: [&str; 4] = ["initiated", "ringing", "answered", "completed"];

/// The body of a create request, form-encoded (Twilio takes no JSON).
///
/// The document goes inline: a `Url` would be one more request that can fail while a person
/// listens to silence. Twilio may add 5 s to `Timeout`.
pub(super) fn create_form(request: &DialRequest) -> Result<String, TwimlError> {
    let callback = format!("{}{OVERRIDES}", request.callback_url);
    let mut form = Serializer::new(String::new());
    form.append_pair("To", request.to.as_str())
        .append_pair("From", request.from.as_str())
        .append_pair("Twiml", &twiml::document(&request.flow)?)
        .append_pair("Timeout", &request.ring_timeout_s.to_string())
        .append_pair("TimeLimit", &request.max_duration_s.to_string())
        .append_pair("StatusCallback", &callback)
        .append_pair("StatusCallbackMethod", "POST");
    for event in EVENTS {
        form.append_pair("StatusCallbackEvent", event);
    }
    if let Some(channels) = request.record {
        form.append_pair("Record", "true");
        recording::ask(&mut form, channels, &request.callback_url);
    }
    match request.amd {
        AmdMode::Off => {}
        // The verdict comes with the status callbacks.
        AmdMode::Sync => {
            form.append_pair("MachineDetection", "Enable")
                .append_pair("AsyncAmd", "false");
        }
        AmdMode::Async => {
            form.append_pair("MachineDetection", "Enable")
                .append_pair("AsyncAmd", "true")
                .append_pair("AsyncAmdStatusCallback", &callback)
                .append_pair("AsyncAmdStatusCallbackMethod", "POST");
        }
    }
    Ok(form.finish())
}

#[cfg(test)]
mod tests {
    use dialfleet_domain::recording::Channels;

    use super::super::tests::dial_request;
    use super::*;

    const GOLDEN: &str = "To=%2B15550100123&From=%2B15550109999\
        &Twiml=%3CResponse%3E%3CSay%3EHello.+This+call+was+placed+by+Dialfleet.+Goodbye.%3C%2FSay%3E%3CHangup%2F%3E%3C%2FResponse%3E\
        &Timeout=30&TimeLimit=600\
        &StatusCallback=https%3A%2F%2Fd.example%2Fwebhooks%2Ftwilio%2Ft1%2FYTpiOjE%2F0%2Fm-c_%23rc%3D3%26rp%3Dall\
        &StatusCallbackMethod=POST\
        &StatusCallbackEvent=initiated&StatusCallbackEvent=ringing&StatusCallbackEvent=answered&StatusCallbackEvent=completed";

    #[test]
    fn the_form_is_the_golden_one() {
        let mut request = dial_request();
        assert_eq!(create_form(&request).unwrap(), GOLDEN);
        request.amd = AmdMode::Sync;
        let sync = format!("{GOLDEN}&MachineDetection=Enable&AsyncAmd=false");
        assert_eq!(create_form(&request).unwrap(), sync);
        request.amd = AmdMode::Async;
        let asynchronous = format!(
            "{GOLDEN}&MachineDetection=Enable&AsyncAmd=true\
             &AsyncAmdStatusCallback=https%3A%2F%2Fd.example%2Fwebhooks%2Ftwilio%2Ft1%2FYTpiOjE%2F0%2Fm-c_%23rc%3D3%26rp%3Dall\
             &AsyncAmdStatusCallbackMethod=POST"
        );
        assert_eq!(create_form(&request).unwrap(), asynchronous);
        (request.amd, request.record) = (AmdMode::Off, Some(Channels::Dual));
        let recorded = format!(
            "{GOLDEN}&Record=true&RecordingChannels=dual&Trim=do-not-trim\
             &RecordingStatusCallback=https%3A%2F%2Fd.example%2Fwebhooks%2Ftwilio%2Ft1%2FYTpiOjE%2F0%2Fm-c_%23rc%3D3%26rp%3Dall\
             &RecordingStatusCallbackMethod=POST&RecordingStatusCallbackEvent=completed"
        );
        assert_eq!(create_form(&request).unwrap(), recorded);
    }
}
