//! Telnyx's words for how a call ended and who answered.

use dialfleet_domain::call::{Detected, Ending};
use dialfleet_engine::port::carrier::CallStatus;
use serde::Deserialize;

/// What a `call.hangup` says of the end.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Hangup {
    #[serde(default)]
    hangup_cause: Option<String>,
    #[serde(default)]
    sip_hangup_cause: Option<String>,
}

impl Hangup {
    /// The end as a status. Telnyx reports no connected time with it: `start_time` is when the call
    /// began, not when it was answered.
    pub(super) fn status(&self) -> CallStatus {
        let sip = self.sip_hangup_cause.as_deref().and_then(sip);
        CallStatus::Ended {
            ending: ending(self.hangup_cause.as_deref().unwrap_or_default(), sip),
            duration_s: None,
            sip,
        }
    }
}

/// A SIP final response, if that is what it is; `unspecified` is what Telnyx writes when it has none.
fn sip(text: &str) -> Option<u16> {
    text.parse().ok().filter(|code| (200..=699).contains(code))
}

/// How a call ended, by its cause and the SIP final response.
///
/// `normal_clearing` is the end of a conversation, unless SIP says that there was none. A cause we do
/// not know counts as an attempt that is repeated hours later, as an end without any reason does.
fn ending(cause: &str, sip: Option<u16>) -> Ending {
    let failure = sip.filter(|code| *code >= 300);
    match cause {
        "user_busy" => Ending::Busy,
        "no_answer" | "timeout" => Ending::NoAnswer,
        "originator_cancel" => Ending::Canceled,
        "time_limit" => Ending::Completed,
        // By SIP: a 404 alone may be a gap in one carrier's routes; the retry rules ask for a second.
        "not_found" => Ending::InvalidNumber,
        "call_rejected" => match failure {
            Some(code @ (401..=403 | 407 | 486 | 600 | 607 | 608)) => Ending::from_sip(code, true),
            Some(_) | None => Ending::Declined,
        },
        "normal_clearing" => failure.map_or(Ending::Completed, |code| Ending::from_sip(code, true)),
        other => {
            if other != "unspecified" {
                tracing::warn!(cause = %other.escape_debug(), "Telnyx ended a call for a cause that we do not know");
            }
            match sip {
                Some(code) => Ending::from_sip(code, true),
                None => Ending::Unreachable,
            }
        }
    }
}

/// What a detection found, by its `result`; a word we do not know is taken for doubt.
pub(super) fn detected(result: &str) -> Detected {
    match result {
        "human" => Detected::Human,
        "human_residence" => Detected::HumanResidence,
        "human_business" => Detected::HumanBusiness,
        "machine" => Detected::MachineStart,
        "fax_detected" => Detected::Fax,
        "silence" => Detected::Silence,
        // `not_sure`.
        _ => Detected::NotSure,
    }
}

/// What the end of a greeting says: all of it about a machine.
pub(super) fn greeting(result: &str) -> Detected {
    match result {
        "beep_detected" => Detected::MachineEndBeep,
        "ended" | "no_beep_detected" => Detected::MachineEndSilence,
        // `not_sure`.
        _ => Detected::MachineEndOther,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_and_sip_codes_make_the_ending() {
        use Ending::{
            Blocked, Busy, Canceled, CarrierError, Completed, ConfigFault, Congestion, Declined,
            InvalidNumber, NoAnswer, Unreachable, Unwanted,
        };
        let table = [
            ("normal_clearing", "200", Completed),
            ("normal_clearing", "unspecified", Completed),
            ("normal_clearing", "", Completed),
            ("normal_clearing", "487", NoAnswer),
            ("normal_clearing", "480", Unreachable),
            ("normal_clearing", "486", Busy),
            ("time_limit", "200", Completed),
            ("user_busy", "486", Busy),
            ("user_busy", "600", Busy),
            ("user_busy", "unspecified", Busy),
            ("no_answer", "487", NoAnswer),
            ("no_answer", "480", NoAnswer),
            ("no_answer", "", NoAnswer),
            ("timeout", "487", NoAnswer),
            ("timeout", "408", NoAnswer),
            ("originator_cancel", "487", Canceled),
            ("originator_cancel", "", Canceled),
            ("call_rejected", "603", Declined),
            ("call_rejected", "", Declined),
            ("call_rejected", "480", Declined),
            ("call_rejected", "607", Unwanted),
            ("call_rejected", "608", Blocked),
            ("call_rejected", "403", ConfigFault),
            ("call_rejected", "486", Busy),
            ("not_found", "404", InvalidNumber),
            ("not_found", "410", InvalidNumber),
            ("not_found", "604", InvalidNumber),
            ("not_found", "unspecified", InvalidNumber),
            ("unspecified", "503", Congestion),
            ("unspecified", "500", CarrierError),
            ("unspecified", "502", CarrierError),
            ("unspecified", "504", CarrierError),
            ("unspecified", "580", CarrierError),
            ("unspecified", "404", InvalidNumber),
            ("unspecified", "484", InvalidNumber),
            ("unspecified", "485", InvalidNumber),
            ("unspecified", "408", NoAnswer),
            ("unspecified", "430", Unreachable),
            ("unspecified", "480", Unreachable),
            ("unspecified", "401", ConfigFault),
            ("unspecified", "402", ConfigFault),
            ("unspecified", "407", ConfigFault),
            ("unspecified", "488", ConfigFault),
            ("unspecified", "606", ConfigFault),
            ("unspecified", "603", Declined),
            ("unspecified", "200", Completed),
            ("unspecified", "unspecified", Unreachable),
            ("", "", Unreachable),
            ("alien", "486", Busy),
            ("alien", "", Unreachable),
        ];
        for (cause, code, expected) in table {
            let json = format!(r#"{{"hangup_cause":"{cause}","sip_hangup_cause":"{code}"}}"#);
            let hangup: Hangup = serde_json::from_str(&json).unwrap();
            let status = CallStatus::Ended {
                ending: expected,
                duration_s: None,
                sip: code.parse().ok(),
            };
            assert_eq!(hangup.status(), status, "{cause} {code}");
        }
    }

    #[test]
    fn what_is_no_final_response_is_none() {
        for text in [
            "",
            "unspecified",
            "100",
            "183",
            "700",
            "-1",
            "65536",
            "48 6",
        ] {
            assert_eq!(sip(text), None, "{text}");
        }
        assert_eq!(sip("486"), Some(486));
        let nothing: Hangup = serde_json::from_str(r#"{"hangup_cause":null}"#).unwrap();
        assert!(matches!(
            nothing.status(),
            CallStatus::Ended { sip: None, .. }
        ));
    }

    #[test]
    fn detections() {
        let table = [
            ("human", Detected::Human),
            ("human_residence", Detected::HumanResidence),
            ("human_business", Detected::HumanBusiness),
            ("machine", Detected::MachineStart),
            ("fax_detected", Detected::Fax),
            ("silence", Detected::Silence),
            ("not_sure", Detected::NotSure),
            ("alien", Detected::NotSure),
        ];
        for (word, what) in table {
            assert_eq!(detected(word), what, "{word}");
        }
        for (word, what) in [
            ("beep_detected", Detected::MachineEndBeep),
            ("ended", Detected::MachineEndSilence),
            ("no_beep_detected", Detected::MachineEndSilence),
            ("not_sure", Detected::MachineEndOther),
        ] {
            assert_eq!(greeting(word), what, "{word}");
        }
    }
}
