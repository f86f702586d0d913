//! The one callback after a call: from an address that may send it, and what it says. Nobody signs it;
//! that its path is one of ours, that its attempt is still open and that the call is that attempt's is
//! checked by the engine (`receive`), for every carrier that does not sign.

use std::collections::BTreeMap;

use dialfleet_domain::call::Ending;
use dialfleet_engine::port::carrier::{CallStatus, CallbackNews, CallbackRefused, RawCallback};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::dial::call_id;
use super::error::{plain, value_of};
use crate::carrier::source::Sources;

/// Reads callbacks.
pub(super) struct Reader {
    pub(super) sources: Sources,
    /// Words the configuration adds, plain.
    pub(super) dispositions: BTreeMap<String, Ending>,
}

impl Reader {
    pub(super) fn new(sources: Sources, dispositions: &BTreeMap<String, Ending>) -> Self {
        let words = dispositions
            .iter()
            .map(|(word, ending)| (squeezed(word), *ending));
        Self {
            sources,
            dispositions: words.collect(),
        }
    }

    pub(super) fn read(&self, raw: &RawCallback) -> Result<CallbackNews, CallbackRefused> {
        if !self.sources.admits(raw) {
            let client = self.sources.client(raw);
            tracing::warn!(?client, peer = ?raw.peer, "a callback came from an address that is not in callback_sources");
            return Err(CallbackRefused::Forged);
        }
        let unreadable = |why: &str| CallbackRefused::Unreadable(why.to_owned());
        let body: Value =
            serde_json::from_slice(&raw.body).map_err(|_| unreadable("the body is not JSON"))?;
        let theirs = value_of(&body, &["linkedid", "callid", "call_id"])
            .ok_or_else(|| unreadable("Linkedid is missing"))?;
        let call_id = call_id(&theirs).ok_or_else(|| unreadable("Linkedid is not usable"))?;
        let word = value_of(&body, &["disposition"])
            .ok_or_else(|| unreadable("disposition is missing"))?;
        let cause = value_of(&body, &["hangupcause", "hangup_cause", "sip_code", "cause"])
            .and_then(|text| Cause::read(&text));
        let ending = self.ending(&word, cause);
        if ending.is_none() {
            tracing::warn!(call.id = %call_id, disposition = %word.escape_debug(), "SansPBX reported a disposition that we do not know; ignored, and the call stays open (add it to dispositions)");
        }
        let duration_s = value_of(&body, &["billsec"]).and_then(|seconds| seconds.parse().ok());
        let sip = cause.and_then(Cause::sip);
        let ended = ending.map(|ending| CallStatus::Ended {
            ending,
            duration_s,
            sip,
        });
        Ok(CallbackNews {
            // It has neither number nor time: the same bytes are the same event.
            event_key: format!("body:{}", hex::encode(Sha256::digest(&raw.body))),
            recording: None,
            call_id,
            statuses: ended.into_iter().collect(),
        })
    }

    /// How a call ended. Asterisk's words, and `None` for others: one that we do not know must never
    /// be taken for an end.
    fn ending(&self, word: &str, cause: Option<Cause>) -> Option<Ending> {
        let word = squeezed(word);
        if let Some(ending) = self.dispositions.get(&word) {
            return Some(*ending);
        }
        let ending = match word.as_str() {
            "answer" | "answered" => Ending::Completed,
            "busy" => cause.and_then(Cause::declined).unwrap_or(Ending::Busy),
            "noanswer" => cause.and_then(Cause::declined).unwrap_or(Ending::NoAnswer),
            "cancel" | "canceled" | "cancelled" => Ending::Canceled,
            "congestion" => Ending::Congestion,
            // Declined, no such number and no circuit are all `failed`. Without a cause it counts as
            // an attempt, to be repeated only hours later.
            "failed" | "fail" | "chanunavail" => cause.map_or(Ending::Unreachable, Cause::ending),
            _ => return None,
        };
        Some(ending)
    }
}

/// `NO ANSWER`, `NoAnswer` and `no-answer` are one word.
fn squeezed(word: &str) -> String {
    plain(word).replace(' ', "")
}

/// Why a call ended, as far as a number says: Q.850 has causes to 127, SIP responses from 300.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Q850(u8),
    Sip(u16),
}

impl Cause {
    fn read(text: &str) -> Option<Self> {
        match text.trim().parse::<u16>().ok()? {
            code @ 300..=699 => Some(Self::Sip(code)),
            cause @ 1..=127 => u8::try_from(cause).ok().map(Self::Q850),
            _ => None,
        }
    }

    /// For a call that was not answered.
    const fn ending(self) -> Ending {
        match self {
            Self::Q850(cause) => Ending::from_q850(cause, false),
            // 487 is the ring time-out: nobody but the exchange ends a call before its answer, and we
            // are told of the end of those that we ended like of any other.
            Self::Sip(code) => Ending::from_sip(code, true),
        }
    }

    /// The callee, or an analytics engine for it, said no.
    fn declined(self) -> Option<Ending> {
        Some(self.ending()).filter(|ending| {
            matches!(
                ending,
                Ending::Declined | Ending::Unwanted | Ending::Blocked
            )
        })
    }

    const fn sip(self) -> Option<u16> {
        match self {
            Self::Q850(_) => None,
            Self::Sip(code) => Some(code),
        }
    }
}

#[cfg(test)]
#[path = "callback_tests.rs"]
mod tests;
