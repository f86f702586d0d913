//! Status and detection callbacks: is it genuine, and what does it say?

use dialfleet_domain::flow::{Input, Keys};
use dialfleet_domain::id::CarrierCallId;
use dialfleet_domain::phone::E164;
use dialfleet_engine::port::carrier::{
    CallStatus, CallbackNews, CallbackRefused, Question, RawCallback,
};
use sha2::{Digest, Sha256};

use super::record;
use super::signature::{Fields, form_is_signed, json_is_signed};
use crate::carrier::secret::Secret;

/// Keys become part of a document id; a longer one is replaced by its hash.
const MAX_KEY: usize = 100;

/// Verifies `raw` and reads it.
pub(super) fn read(
    account_sid: &str,
    token: &Secret,
    raw: &RawCallback,
) -> Result<CallbackNews, CallbackRefused> {
    let (call_id, fields) = genuine(account_sid, token, raw)?;
    if fields.get("CallStatus").is_none() && fields.get("AnsweredBy").is_none() {
        return Err(CallbackRefused::Unreadable(
            "it has neither CallStatus nor AnsweredBy".to_owned(),
        ));
    }
    Ok(CallbackNews {
        event_key: event_key(&call_id, &fields, raw),
        statuses: statuses(&call_id, &fields),
        call_id,
    })
}

/// Verifies the question what to do next, and reads it.
pub(super) fn question(
    account_sid: &str,
    token: &Secret,
    raw: &RawCallback,
) -> Result<Question, CallbackRefused> {
    let (call_id, fields) = genuine(account_sid, token, raw)?;
    let state = fields
        .get("CallStatus")
        .and_then(|word| record::status(word, None, None));
    let mut statuses = Vec::new();
    if let Some(CallStatus::Answered) = state {
        statuses.push(CallStatus::Answered);
    }
    // Detection was waited for.
    if let Some(word) = fields.get("AnsweredBy") {
        statuses.push(CallStatus::detected(record::detected(word)));
    }
    let input = if let Some(status) = fields.get("DialCallStatus") {
        Input::Transferred {
            connected: matches!(status, "completed" | "answered"),
        }
    } else if let Some(result) = fields.get("QueueResult") {
        Input::Transferred {
            connected: matches!(result, "bridged" | "redirected-from-bridged"),
        }
    } else {
        let keys = fields.get("Digits").and_then(Keys::parse);
        keys.map_or(Input::Done, |keys| Input::Keys { keys })
    };
    Ok(Question {
        to: fields
            .get("To")
            .and_then(|number| E164::parse(number, None).ok()),
        over: matches!(state, Some(CallStatus::Ended { .. })),
        call_id,
        input,
        statuses,
    })
}

/// The fields of a genuine request about a call of this account.
fn genuine(
    account_sid: &str,
    token: &Secret,
    raw: &RawCallback,
) -> Result<(CarrierCallId, Fields), CallbackRefused> {
    let signature = raw
        .headers
        .get("x-twilio-signature")
        .ok_or(CallbackRefused::Forged)?;
    let token = token.expose();
    if is_json(raw) {
        return Err(if json_is_signed(token, signature, &raw.url, &raw.body) {
            CallbackRefused::Unreadable("calls are reported as forms, not as JSON".to_owned())
        } else {
            CallbackRefused::Forged
        });
    }
    let fields = Fields::parse(&raw.body);
    if !form_is_signed(token, signature, &raw.url, &fields) {
        return Err(CallbackRefused::Forged);
    }
    // The token proves who signed; the call must also be of the account that we dial from.
    if fields.get("AccountSid") != Some(account_sid) {
        return Err(CallbackRefused::Forged);
    }
    let unreadable = |why: &str| CallbackRefused::Unreadable(why.to_owned());
    let call_id = fields
        .get("CallSid")
        .ok_or_else(|| unreadable("CallSid is missing"))?;
    let call_id = CarrierCallId::parse(call_id).map_err(|error| unreadable(&error.to_string()))?;
    Ok((call_id, fields))
}

fn is_json(raw: &RawCallback) -> bool {
    let kind = raw.headers.get("content-type").map_or("", String::as_str);
    let kind = kind.split(';').next().unwrap_or(kind).trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// The same on a repeated delivery, and of no other event: the number of the event in its call;
/// for what has none (detection) Twilio's token of the delivery, else the body.
///
/// The token is a header and so not signed: a forger cannot use it without a signed body, and
/// repeating one under a new token does no more than repeating it does.
fn event_key(call_id: &CarrierCallId, fields: &Fields, raw: &RawCallback) -> String {
    let key = if let Some(sequence) = fields.get("SequenceNumber") {
        format!(
            "{call_id}:{sequence}:{}",
            fields.get("CallStatus").unwrap_or_default()
        )
    } else if let Some(token) = raw.headers.get("i-twilio-idempotency-token") {
        format!("{call_id}:token:{token}")
    } else {
        format!("{call_id}:body:{}", hash(&raw.body))
    };
    if key.len() <= MAX_KEY && key.bytes().all(|b| b.is_ascii_graphic()) {
        key
    } else {
        hash(key.as_bytes())
    }
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What it says, in order. The party comes before an end, so that the outcome is made knowing it.
fn statuses(call_id: &CarrierCallId, fields: &Fields) -> Vec<CallStatus> {
    let party = fields
        .get("AnsweredBy")
        .map(|word| CallStatus::detected(record::detected(word)));
    let duration_s = fields
        .get("CallDuration")
        .and_then(|seconds| seconds.parse().ok());
    let sip = fields.get("SipResponseCode").and_then(record::sip);
    let word = fields.get("CallStatus");
    let state = word.and_then(|word| record::status(word, sip, duration_s));
    if let (Some(word), None) = (word, state) {
        tracing::warn!(call.id = %call_id, status = %word.escape_debug(), "Twilio reported a status that we do not know; ignored");
    }
    match state {
        // A detection result may come after the end and then names it, without duration or cause.
        // The status callback of the end has both; it must not find the call ended already.
        Some(CallStatus::Ended { .. })
            if party.is_some() && fields.get("SequenceNumber").is_none() =>
        {
            party.into_iter().collect()
        }
        Some(CallStatus::Ended { .. }) => party.into_iter().chain(state).collect(),
        _ => state.into_iter().chain(party).collect(),
    }
}

#[cfg(test)]
#[path = "callback_tests.rs"]
mod tests;
