//! A carrier's callback at the door: is it genuine, and is it safe with us? Only then may the
//! carrier be told so.

use dialfleet_domain::call::CallState;
use dialfleet_domain::id::{AttemptId, CarrierId};
use thiserror::Error;

use crate::apply_events::apply_events;
use crate::fleet::Fleet;
use crate::message::{CallEventMessage, MAX_HEADERS, MAX_RAW, Payload, RecordingEvent};
use crate::port::Carrier;
use crate::port::carrier::{CallbackNews, CallbackRefused, RawCallback};
use crate::record::{self, Announced};

/// Headers worth keeping as evidence.
const KEPT_HEADERS: [&str; 6] = [
    "content-type",
    "user-agent",
    "i-twilio-idempotency-token",
    "telnyx-signature-ed25519",
    "telnyx-timestamp",
    "x-forwarded-for",
];

/// Where a callback arrived: the path segments of its URL.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// `twilio`, …
    pub kind: &'a str,
    /// The carrier's id.
    pub carrier: &'a str,
    /// The attempt, base64url.
    pub attempt: &'a str,
    /// The leg.
    pub leg: &'a str,
    /// `key.mac`.
    pub token: &'a str,
}

/// Why the carrier is not told "received".
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// Not one of our addresses: 404.
    #[error("no such callback address")]
    NoSuchAddress,
    /// The signature is missing or wrong: 403.
    #[error("the signature is missing or wrong")]
    Forged,
    /// Genuine, but not understood: 400.
    #[error("{0}")]
    Unreadable(String),
    /// Unsigned, and no open call expects it: 409.
    #[error("no open call expects this callback")]
    Unexpected,
    /// Neither broker nor store took it: 503, so that the carrier tries again.
    #[error("the callback could not be kept")]
    Unavailable,
}

/// Takes a callback: once this returns `Ok`, it will be applied.
///
/// # Errors
/// See [`ReceiveError`]; nothing was changed.
pub async fn receive(
    fleet: &Fleet,
    address: Address<'_>,
    raw: &RawCallback,
) -> Result<(), ReceiveError> {
    let (carrier_id, carrier) = carrier_at(fleet, address)?;
    // The carrier's signature first: a stranger learns nothing from our addresses.
    let news = carrier
        .read_callback(raw)
        .map_err(|why| refused(fleet, &carrier_id, why))?;
    let (attempt, leg) = fleet
        .keys
        .verify(&carrier_id, address.attempt, address.leg, address.token)
        .map_err(|_| ReceiveError::NoSuchAddress)?;
    let signed = carrier.profile().capabilities.signed_callbacks;
    if !signed && !is_expected(fleet, &attempt, leg, &news).await {
        fleet.metrics.callback(carrier_id.as_str(), "unexpected");
        return Err(ReceiveError::Unexpected);
    }
    let mut end = raw.body.len().min(MAX_RAW);
    let text = String::from_utf8_lossy(&raw.body);
    end = (0..=end.min(text.len()))
        .rev()
        .find(|i| text.is_char_boundary(*i))
        .unwrap_or(0);
    let recording = news.recording.map(|recording| RecordingEvent {
        carrier: carrier_id.clone(),
        attempt: attempt.clone(),
        call_id: news.call_id.clone(),
        recording,
        received_at: fleet.clock.now(),
    });
    if let Some(recording) = recording {
        take_recording(fleet, recording).await?;
        if news.statuses.is_empty() {
            return Ok(());
        }
    }
    let event = CallEventMessage {
        carrier: carrier_id,
        attempt,
        leg,
        call_id: news.call_id,
        event_key: news.event_key,
        statuses: news.statuses,
        received_at: fleet.clock.now(),
        raw: text[..end].to_owned(),
        headers: raw
            .headers
            .iter()
            .filter(|(name, _)| KEPT_HEADERS.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.chars().take(MAX_HEADERS.1).collect()))
            .collect(),
    };
    let mut message = event.message(format!("{}:{}", event.carrier, event.event_key));
    dialfleet_runtime::telemetry::inject(&mut message.headers);
    if fleet
        .queue
        .publish(vec![message])
        .await
        .iter()
        .all(Result::is_ok)
    {
        return Ok(());
    }
    // The broker is out: do what the events worker would do.
    fleet.metrics.callback(event.carrier.as_str(), "inline");
    apply_events(fleet, vec![event]).await.map_err(|error| {
        tracing::error!(%error, "a callback could be kept neither by the broker nor by the store");
        ReceiveError::Unavailable
    })
}

/// The carrier that an address is for.
pub(crate) fn carrier_at<'a>(
    fleet: &'a Fleet,
    address: Address<'_>,
) -> Result<(CarrierId, &'a dyn Carrier), ReceiveError> {
    let id = CarrierId::parse(address.carrier).map_err(|_| ReceiveError::NoSuchAddress)?;
    let carrier = fleet.carriers.get(&id).map(AsRef::as_ref);
    let carrier = carrier.filter(|c: &&dyn Carrier| c.profile().kind == address.kind);
    Ok((id, carrier.ok_or(ReceiveError::NoSuchAddress)?))
}

/// What a carrier's request is refused for, counted.
pub(crate) fn refused(fleet: &Fleet, carrier: &CarrierId, why: CallbackRefused) -> ReceiveError {
    let (result, error) = match why {
        CallbackRefused::Forged => ("forged", ReceiveError::Forged),
        CallbackRefused::Unreadable(why) => ("unreadable", ReceiveError::Unreadable(why)),
    };
    fleet.metrics.callback(carrier.as_str(), result);
    error
}

/// Hands an announced recording on, or writes it down right here.
async fn take_recording(fleet: &Fleet, event: RecordingEvent) -> Result<(), ReceiveError> {
    let carrier = event.carrier.as_str();
    if let Err(why) = event.check() {
        fleet.metrics.callback(carrier, "unreadable");
        return Err(ReceiveError::Unreadable(why));
    }
    let mut message = event.message(format!("{carrier}:{}", event.recording.id));
    dialfleet_runtime::telemetry::inject(&mut message.headers);
    let published = fleet.queue.publish(vec![message]).await;
    if published.iter().all(Result::is_ok) {
        return Ok(());
    }
    fleet.metrics.callback(carrier, "inline");
    match record::announce(fleet, &event).await {
        Ok(Announced::Written | Announced::Orphan) => Ok(()),
        Err(error) => {
            tracing::error!(%error, "an announced recording could be kept neither by the broker nor by the store");
            Err(ReceiveError::Unavailable)
        }
    }
}

/// Whether a callback that nobody signed may be believed. Its address proves the attempt, and is used
/// up when the attempt ends; the call must be the one that the carrier named when it accepted.
async fn is_expected(fleet: &Fleet, id: &AttemptId, leg: u8, news: &CallbackNews) -> bool {
    let attempt = match fleet.attempt(id).await {
        Ok(Some(attempt)) => attempt,
        Ok(None) => return false,
        // It may be the only one there will be: keep it. After the end it changes nothing anyway.
        Err(error) => {
            tracing::warn!(%error, attempt = %id, "an unsigned callback could not be compared with its attempt");
            return true;
        }
    };
    let expected = attempt.state != CallState::Ended
        && attempt.current_leg().is_some_and(|(k, current)| {
            let named = current.call_id.as_ref();
            k == leg && named.is_none_or(|call_id| *call_id == news.call_id)
        });
    if !expected {
        tracing::warn!(attempt = %id, leg, "an unsigned callback that no open call expects was refused");
    }
    expected
}
