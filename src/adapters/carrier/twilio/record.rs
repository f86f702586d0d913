//! Twilio's words for the state of a call, and its call records.

use chrono::DateTime;
use dialfleet_domain::call::{Detected, Ending};
use dialfleet_domain::id::CarrierCallId;
use dialfleet_domain::money::Money;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::carrier::{CallRecord, CallStatus};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The state a `CallStatus` word stands for; `None` for a word we do not know, which must never be
/// taken for an end.
pub(super) fn status(word: &str, sip: Option<u16>, duration_s: Option<u32>) -> Option<CallStatus> {
    let ending = match word {
        "queued" | "initiated" => return Some(CallStatus::Initiated),
        "ringing" => return Some(CallStatus::Ringing),
        "in-progress" => return Some(CallStatus::Answered),
        "completed" => Ending::Completed,
        "canceled" => Ending::Canceled,
        "busy" => declined(sip).unwrap_or(Ending::Busy),
        "no-answer" => declined(sip).unwrap_or(Ending::NoAnswer),
        "failed" => failed(sip),
        _ => return None,
    };
    Some(CallStatus::Ended {
        ending,
        duration_s,
        sip,
    })
}

/// Whether the callee, or an analytics engine for it, said no: Twilio has no word for that and
/// reports it as `failed`, `busy` or `no-answer`.
fn declined(sip: Option<u16>) -> Option<Ending> {
    sip.filter(|sip| matches!(sip, 603 | 607 | 608))
        .map(|sip| Ending::from_sip(sip, false))
}

/// `failed` says nothing by itself: a declined call is one that rang. Without a cause (records have
/// none) or with a contradiction it counts as an attempt, to be repeated only hours later. 487 is
/// our own `Timeout`, as documented.
fn failed(sip: Option<u16>) -> Ending {
    match sip {
        Some(sip @ 300..) => Ending::from_sip(sip, true),
        Some(_) | None => Ending::Unreachable,
    }
}

/// What `AnsweredBy` says; a word we do not know is taken for doubt.
pub(super) fn detected(word: &str) -> Detected {
    match word {
        "human" => Detected::Human,
        "fax" => Detected::Fax,
        "machine_end_beep" => Detected::MachineEndBeep,
        "machine_end_silence" => Detected::MachineEndSilence,
        "machine_end_other" => Detected::MachineEndOther,
        // `machine_start`, or a new word of theirs.
        machine if machine.starts_with("machine") => Detected::MachineStart,
        _ => Detected::NotSure,
    }
}

/// A SIP final response, if that is what it is.
pub(super) fn sip(text: &str) -> Option<u16> {
    text.parse().ok().filter(|code| (200..=699).contains(code))
}

/// A call as the REST interface writes it. All values are strings or null; numbers are taken, too.
#[derive(Debug, Deserialize)]
pub(super) struct CallJson {
    pub(super) sid: String,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    from: Option<String>,
    status: String,
    #[serde(default)]
    date_created: Option<String>,
    #[serde(default, deserialize_with = "number")]
    duration: Option<u64>,
    /// Negative, as text; null until Twilio has worked it out, minutes after the end.
    #[serde(default)]
    price: Option<Value>,
    #[serde(default)]
    price_unit: Option<Value>,
    /// Milliseconds Twilio means to hold the call back.
    #[serde(default, deserialize_with = "number")]
    pub(super) queue_time: Option<u64>,
}

/// A whole number, as a string or not. Anything else is none: no answer is refused for the sake of
/// a number.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64(),
        _ => None,
    })
}

impl CallJson {
    /// What it cost, if Twilio knows already. Not in it: detection, recordings, streams.
    pub(super) fn price(&self) -> Option<Money> {
        let amount = match self.price.as_ref()? {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Money::parse(&amount, self.price_unit.as_ref()?.as_str()?).ok()
    }

    /// The record, or a sentence about what cannot be read.
    pub(super) fn record(self) -> Result<CallRecord, String> {
        let call_id = CarrierCallId::parse(self.sid).map_err(|error| error.to_string())?;
        let created_at = match self.date_created.as_deref() {
            None => None,
            Some(text) => match DateTime::parse_from_rfc2822(text) {
                Ok(at) => Some(Timestamp::from_millis(at.timestamp_millis())),
                // Proof of absence compares this date: a guess will not do.
                Err(_) => return Err(format!("date_created of {call_id} cannot be read")),
            },
        };
        let duration_s = self
            .duration
            .and_then(|seconds| u32::try_from(seconds).ok());
        let status = status(&self.status, None, duration_s).unwrap_or_else(|| {
            tracing::warn!(call.id = %call_id, status = %self.status.escape_debug(), "Twilio's record has a status that we do not know; taken for a call in progress");
            CallStatus::Initiated
        });
        Ok(CallRecord {
            call_id,
            to: self.to.unwrap_or_default(),
            from: self.from.unwrap_or_default(),
            created_at,
            status,
        })
    }
}

/// One page of a list. Both fields must be there: what lacks them is no page, and an empty list is
/// a claim that calls do not exist.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) calls: Vec<CallJson>,
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) next_page_uri: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(ending: Ending, sip: Option<u16>) -> Option<CallStatus> {
        Some(CallStatus::Ended {
            ending,
            duration_s: None,
            sip,
        })
    }

    #[test]
    fn words_and_sip_codes_make_the_ending() {
        let table = [
            ("completed", Some(200), Ending::Completed),
            ("completed", None, Ending::Completed),
            ("completed", Some(603), Ending::Completed),
            ("busy", Some(486), Ending::Busy),
            ("busy", None, Ending::Busy),
            ("busy", Some(603), Ending::Declined),
            ("no-answer", Some(487), Ending::NoAnswer),
            ("no-answer", Some(480), Ending::NoAnswer),
            ("no-answer", None, Ending::NoAnswer),
            ("no-answer", Some(603), Ending::Declined),
            ("canceled", Some(487), Ending::Canceled),
            ("canceled", None, Ending::Canceled),
            ("failed", Some(404), Ending::InvalidNumber),
            ("failed", Some(484), Ending::InvalidNumber),
            ("failed", Some(604), Ending::InvalidNumber),
            ("failed", Some(603), Ending::Declined),
            ("failed", Some(607), Ending::Unwanted),
            ("failed", Some(608), Ending::Blocked),
            ("failed", Some(480), Ending::Unreachable),
            ("failed", Some(486), Ending::Busy),
            ("failed", Some(487), Ending::NoAnswer),
            ("failed", Some(403), Ending::ConfigFault),
            ("failed", Some(503), Ending::Congestion),
            ("failed", Some(500), Ending::CarrierError),
            ("failed", Some(200), Ending::Unreachable),
            ("failed", None, Ending::Unreachable),
        ];
        for (word, sip, ending) in table {
            assert_eq!(
                status(word, sip, None),
                ended(ending, sip),
                "{word} {sip:?}"
            );
        }
    }

    #[test]
    fn states_before_the_end_and_words_we_do_not_know() {
        assert_eq!(status("queued", None, None), Some(CallStatus::Initiated));
        assert_eq!(status("initiated", None, None), Some(CallStatus::Initiated));
        assert_eq!(status("ringing", None, None), Some(CallStatus::Ringing));
        assert_eq!(
            status("in-progress", Some(200), Some(1)),
            Some(CallStatus::Answered)
        );
        for word in ["", "Completed", "cancelled", "on-hold"] {
            assert_eq!(status(word, Some(404), None), None, "{word}");
        }
    }

    #[test]
    fn detections() {
        let table = [
            ("human", Detected::Human),
            ("machine_start", Detected::MachineStart),
            ("machine_end_beep", Detected::MachineEndBeep),
            ("machine_end_silence", Detected::MachineEndSilence),
            ("machine_end_other", Detected::MachineEndOther),
            ("machine_something", Detected::MachineStart),
            ("fax", Detected::Fax),
            ("unknown", Detected::NotSure),
            ("alien", Detected::NotSure),
        ];
        for (word, what) in table {
            assert_eq!(detected(word), what, "{word}");
        }
    }

    fn record(json: &str) -> Result<CallRecord, String> {
        serde_json::from_str::<CallJson>(json)
            .map_err(|e| e.to_string())?
            .record()
    }

    #[test]
    fn a_record_is_read() {
        let read = record(
            r#"{"sid":"CA1","to":"+15550100123","from":"+15550109999","status":"completed","duration":"42",
                "date_created":"Sat, 21 Nov 2026 04:15:09 +0000","price":null,"queue_time":"0","annotation":null}"#,
        );
        let expected = CallRecord {
            call_id: CarrierCallId::parse("CA1").unwrap(),
            to: "+15550100123".to_owned(),
            from: "+15550109999".to_owned(),
            created_at: Some(Timestamp::parse_rfc3339("2026-11-21T04:15:09Z").unwrap()),
            status: CallStatus::Ended {
                ending: Ending::Completed,
                duration_s: Some(42),
                sip: None,
            },
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn the_price_is_read_when_it_is_there() {
        let price = |fields: &str| {
            let json = format!(r#"{{"sid":"CA1","status":"completed",{fields}}}"#);
            let call: CallJson = serde_json::from_str(&json).unwrap();
            call.price().map(|money| money.to_string())
        };
        let usd = Some("-0.014 USD".to_owned());
        assert_eq!(price(r#""price":"-0.01400","price_unit":"USD""#), usd);
        assert_eq!(price(r#""price":-0.014,"price_unit":"usd""#), usd);
        for unknown in [
            r#""price":null,"price_unit":"USD""#,
            r#""price":"-0.01400","price_unit":null"#,
            r#""price":"soon","price_unit":"USD""#,
            r#""price":[],"price_unit":{}"#,
        ] {
            assert_eq!(price(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn weak_records_are_read_and_bad_ones_are_not() {
        let weak = record(r#"{"sid":"CA1","status":"on-hold","duration":7,"to":null}"#).unwrap();
        assert_eq!(
            (weak.status, weak.created_at),
            (CallStatus::Initiated, None)
        );
        for json in [
            "{}",
            r#"{"sid":"","status":"queued"}"#,
            r#"{"sid":"CA1"}"#,
            r#"{"sid":"CA1","status":"queued","date_created":"2026-11-21"}"#,
        ] {
            assert!(record(json).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<Page>(r#"{"calls":[]}"#).is_err());
        assert!(serde_json::from_str::<Page>(r#"{"next_page_uri":null}"#).is_err());
        assert!(serde_json::from_str::<Page>(r#"{"calls":[],"next_page_uri":null}"#).is_ok());
    }
}
