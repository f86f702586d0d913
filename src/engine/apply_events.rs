//! Carriers' events: store the evidence, step the state machine, write, execute what follows.

use std::collections::BTreeMap;

use dialfleet_domain::call::{Attempt, CallEvent, CallState, Verdict};
use dialfleet_domain::id::{AttemptId, CallbackId, CarrierCallId};
use dialfleet_domain::time::Timestamp;

use crate::fleet::Fleet;
use crate::message::CallEventMessage;
use crate::port::carrier::CallStatus;
use crate::port::store::{Answer, Callback, Cas, Inserted, SaveAttempt};
use crate::{talk, todo};

/// An attempt as an event left it, and when that was received.
pub(crate) type Written = (Attempt, Timestamp);

/// Applies a batch of verified callbacks, and executes what follows.
///
/// # Errors
/// The store failed; nothing is lost if the batch is applied again.
pub async fn apply_events(fleet: &Fleet, events: Vec<CallEventMessage>) -> Answer<()> {
    follow(fleet, write_events(fleet, events).await?).await;
    Ok(())
}

/// Executes the commands that follow from events. They are stored with the attempts: what is not executed
/// here, the sweeper executes.
pub(crate) async fn follow(fleet: &Fleet, written: Vec<Written>) {
    let commands = written
        .into_iter()
        .map(|(attempt, at)| todo::execute(fleet, attempt, Some(at)));
    futures_util::future::join_all(commands).await;
}

/// Writes what a batch of verified callbacks says. Idempotent: a callback that was stored before is
/// applied again all the same, because whoever stored it may have died right after.
///
/// # Errors
/// The store failed; nothing is lost if the batch is written again.
pub(crate) async fn write_events(
    fleet: &Fleet,
    events: Vec<CallEventMessage>,
) -> Answer<Vec<Written>> {
    let evidence: Vec<Callback> = events.iter().filter_map(evidence).collect();
    let mut by_attempt: BTreeMap<AttemptId, Vec<CallEventMessage>> = BTreeMap::new();
    for event in events {
        by_attempt
            .entry(event.attempt.clone())
            .or_default()
            .push(event);
    }
    let ids: Vec<AttemptId> = by_attempt.keys().cloned().collect();
    // Neither needs the other; both are durable, or known, before anything is acknowledged.
    let (stored, mut attempts) = futures_util::future::try_join(
        fleet.store.insert_callbacks(&evidence),
        fleet.store.attempts(&ids),
    )
    .await?;
    for (callback, answer) in evidence.iter().zip(stored) {
        fleet.metrics.callback(
            callback.carrier.as_str(),
            match answer {
                Inserted::Fresh => "stored",
                Inserted::Present => "duplicate",
            },
        );
    }
    let mut written = Vec::new();
    let mut open: Vec<(Attempt, u64, Vec<CallEventMessage>)> = Vec::new();
    for ((id, events), found) in by_attempt.into_iter().zip(attempts.drain(..)) {
        match found {
            Some(attempt) => open.push((attempt.clone(), attempt.version, events)),
            None => {
                tracing::error!(attempt = %id, "a genuine callback for an attempt that is not in the store");
                fleet.metrics.violation("orphan_callback");
            }
        }
    }
    // One bulk compare-and-set; whoever lost reads again and takes another turn.
    while !open.is_empty() {
        let now = fleet.clock.now();
        let mut changed = Vec::new();
        for (mut attempt, expected, events) in open {
            if apply_all(fleet, &mut attempt, &events, now) {
                changed.push((attempt, expected, events));
            } else {
                written.push((attempt, received(&events)));
            }
        }
        let saves: Vec<SaveAttempt> = changed
            .iter()
            .map(|(attempt, expected, _)| SaveAttempt {
                attempt: attempt.clone(),
                expected: *expected,
            })
            .collect();
        let answers = if saves.is_empty() {
            Vec::new()
        } else {
            fleet.store.save_attempts(&saves).await?
        };
        open = Vec::new();
        for ((attempt, _, events), answer) in changed.into_iter().zip(answers) {
            match answer {
                Cas::Won => {
                    let at = received(&events);
                    fleet.metrics.event_lag(now.since(at));
                    written.push((attempt, at));
                }
                Cas::Lost => {
                    if let Some(fresh) = fleet.attempt(&attempt.id).await? {
                        let version = fresh.version;
                        open.push((fresh, version, events));
                    }
                }
            }
        }
    }
    Ok(written)
}

fn evidence(event: &CallEventMessage) -> Option<Callback> {
    Some(Callback {
        id: CallbackId::parse(format!("{}:{}", event.carrier, event.event_key)).ok()?,
        carrier: event.carrier.clone(),
        attempt: Some(event.attempt.clone()),
        raw: event.raw.clone(),
        headers: event.headers.clone(),
        received_at: event.received_at,
    })
}

/// The latest arrival of a batch: refill latency counts from the event that freed the slot.
fn received(events: &[CallEventMessage]) -> Timestamp {
    events
        .iter()
        .map(|e| e.received_at)
        .max()
        .unwrap_or_default()
}

/// Applies every status to the attempt in memory. Returns whether there is anything to write.
fn apply_all(
    fleet: &Fleet,
    attempt: &mut Attempt,
    events: &[CallEventMessage],
    now: Timestamp,
) -> bool {
    let mut changed = false;
    for event in events {
        for status in &event.statuses {
            changed |= apply_status(fleet, attempt, event.leg, &event.call_id, *status, now)
                != Verdict::Ignore;
        }
    }
    changed
}

/// Applies what a callback or a carrier's record says about a call of leg `leg`.
pub(crate) fn apply_status(
    fleet: &Fleet,
    attempt: &mut Attempt,
    leg: u8,
    call_id: &CarrierCallId,
    status: CallStatus,
    now: Timestamp,
) -> Verdict {
    let Some(event) = event_of(call_id, status) else {
        return talk::step_ended(attempt, call_id, status, now);
    };
    let current = attempt.current_leg().map(|(k, _)| k);
    let named = attempt.legs.get(usize::from(leg));
    let another = named
        .and_then(|leg| leg.call_id.as_ref())
        .is_some_and(|named| named != call_id);
    let verdict = if current == Some(leg) && !another {
        attempt.apply(&event, now)
    } else {
        attempt.apply_stray(leg, &event, now)
    };
    if another {
        fleet.metrics.violation("double_dial");
        tracing::error!(attempt = %attempt.id, call = %call_id, "a second call for one request");
    }
    let verdict = talk::follow(fleet, attempt, (call_id, status), verdict, now);
    if matches!(
        verdict,
        Verdict::Go(CallState::Ringing | CallState::Answered)
    ) {
        fleet.routes.delivered(fleet, attempt);
    }
    if verdict == Verdict::Zombie {
        fleet.metrics.zombie();
        if status == CallStatus::Answered && attempt.state == CallState::Ended {
            fleet.metrics.violation("answered_after_end");
        }
        tracing::error!(attempt = %attempt.id, event = event.name(), "a sign of life after the end: hanging up");
    }
    verdict
}

/// `None` for what does not move the call.
fn event_of(call_id: &CarrierCallId, status: CallStatus) -> Option<CallEvent> {
    let call_id = call_id.clone();
    Some(match status {
        CallStatus::StepEnded { .. } | CallStatus::OptedOut | CallStatus::Cost { .. } => {
            return None;
        }
        CallStatus::Initiated => CallEvent::Initiated { call_id },
        CallStatus::Ringing => CallEvent::Ringing { call_id },
        CallStatus::Answered => CallEvent::Answered { call_id },
        CallStatus::Party { party, .. } => CallEvent::PartyDetected(party),
        CallStatus::Ended {
            ending,
            duration_s,
            sip,
        } => CallEvent::Ended {
            call_id,
            ending,
            duration_s,
            sip,
        },
    })
}
