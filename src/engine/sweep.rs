//! Repair by time: attempts whose next look is due, commands nobody executed, claims nobody ended.
//! Input-free: every turn reads the present state and makes it right.

use std::time::Duration;

use dialfleet_domain::call::attempt::PLACED_CHECK;
use dialfleet_domain::call::{Attempt, CallEvent, CallState, Verdict};
use dialfleet_domain::id::{AttemptId, CarrierCallId};
use dialfleet_domain::lead::{Lead, LeadState};
use dialfleet_domain::time::Timestamp;

use crate::apply_events::apply_status;
use crate::fleet::Fleet;
use crate::port::Carrier;
use crate::port::carrier::{CallRecord, CallStatus, CarrierError};
use crate::port::store::{Answer, Cas, Release, SaveAttempt};
use crate::todo;

/// Attempts, or claims, looked at in one turn.
const TURN: usize = 64;
/// Commands older than this have lost their executor.
const TODO_LOST: Duration = Duration::from_secs(2);
/// Claims older than this without a live attempt have lost their holder.
const CLAIM_LOST: Duration = Duration::from_secs(30);
/// When a call that was looked up and goes on is looked up again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// When the carrier could not be asked.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A request cannot leave later than this after its intent: fence 3 s, request 6 s, slack.
const SENT_BY_NOW: Duration = Duration::from_secs(10);
/// Between the two empty looks that prove absence.
const PROOF_GAP: Duration = Duration::from_secs(30);
/// The youngest an attempt can be proven absent.
const PROOF_AGE: Duration = Duration::from_secs(60);
/// A record older than the intent by more than this is another call's; carriers write whole seconds.
const RECORD_SLACK: Duration = Duration::from_secs(5);

/// One turn: due attempts, then lost commands, then lost claims. Returns how many there were.
///
/// # Errors
/// The store failed.
pub async fn sweep(fleet: &Fleet) -> Answer<usize> {
    let now = fleet.store.clock().await?;
    let due = fleet.store.due_checks(now, TURN).await?;
    let lost = fleet.store.due_todos(now - TODO_LOST, TURN).await?;
    let stale = fleet.store.stale_claims(now - CLAIM_LOST, TURN).await?;
    let n = due.len() + lost.len() + stale.len();
    // Side by side: one carrier that hangs must not keep the others' calls waiting.
    let checks = due.into_iter().map(|attempt| check(fleet, attempt, now));
    for checked in futures_util::future::join_all(checks).await {
        if let Err(error) = checked {
            tracing::warn!(%error, "an attempt could not be looked at");
        }
    }
    for attempt in lost {
        fleet.metrics.sweep("todo");
        todo::execute(fleet, attempt, None).await;
    }
    for lead in stale {
        settle_claim(fleet, &lead, now).await?;
    }
    Ok(n)
}

/// Looks at one live attempt whose `check_at` has passed.
async fn check(fleet: &Fleet, attempt: Attempt, now: Timestamp) -> Answer<()> {
    if attempt.state == CallState::Intent {
        // A holder that was only slow has moved it on in the meantime, and the version tells.
        fleet.metrics.sweep("intent_stale");
        return apply(fleet, attempt, &CallEvent::IntentStale, now).await;
    }
    // One process asks the carrier, not all of them.
    let Some(attempt) = claim(fleet, attempt, now).await? else {
        return Ok(());
    };
    match attempt.state {
        CallState::Unknown => look_for(fleet, attempt, now).await,
        CallState::Placed | CallState::Ringing | CallState::Answered => {
            ask(fleet, attempt, now).await
        }
        CallState::Intent | CallState::Ended => Ok(()),
    }
}

/// Takes an attempt for this turn: whoever moves its `check_at` first.
async fn claim(fleet: &Fleet, mut attempt: Attempt, now: Timestamp) -> Answer<Option<Attempt>> {
    let expected = attempt.version;
    attempt.check_again(now + LOOK_AGAIN);
    let save = SaveAttempt {
        attempt: attempt.clone(),
        expected,
    };
    let won = fleet.store.save_attempts(&[save]).await?.first() == Some(&Cas::Won);
    Ok(won.then_some(attempt))
}

async fn apply(fleet: &Fleet, attempt: Attempt, event: &CallEvent, now: Timestamp) -> Answer<()> {
    if let Some((attempt, _)) = fleet.amend(attempt, |a| a.apply(event, now)).await? {
        todo::execute(fleet, attempt, None).await;
    }
    Ok(())
}

async fn check_again(fleet: &Fleet, attempt: Attempt, at: Timestamp) -> Answer<()> {
    fleet.amend(attempt, |a| a.check_again(at)).await?;
    Ok(())
}

fn carrier_of<'a>(fleet: &'a Fleet, attempt: &Attempt) -> Option<&'a dyn Carrier> {
    attempt
        .legs
        .last()
        .and_then(|leg| fleet.carriers.get(&leg.carrier))
        .map(AsRef::as_ref)
}

/// A call we know by name is silent: ask the carrier what became of it.
async fn ask(fleet: &Fleet, attempt: Attempt, now: Timestamp) -> Answer<()> {
    fleet.metrics.sweep("ask");
    let call_id = attempt.legs.last().and_then(|leg| leg.call_id.clone());
    let (Some(carrier), Some(call_id)) = (carrier_of(fleet, &attempt), call_id) else {
        tracing::error!(attempt = %attempt.id, "a live call whose carrier this process does not know");
        return check_again(fleet, attempt, now + PLACED_CHECK).await;
    };
    let looked = carrier.look(&call_id).await;
    if let Ok(record) = &looked {
        let before = attempt.state;
        let attempt = learn(fleet, attempt, record, now).await?;
        let Some(attempt) = attempt else {
            return Ok(());
        };
        if attempt.state != before {
            return Ok(());
        }
        if now >= attempt.hard_end {
            return end_by_force(fleet, attempt, carrier, &call_id, now).await;
        }
        return check_again(fleet, attempt, now + LOOK_AGAIN).await;
    }
    if now >= attempt.hard_end {
        return end_by_force(fleet, attempt, carrier, &call_id, now).await;
    }
    // Not even "no such call" ends a call that had a name.
    if let Err(error) = looked {
        tracing::warn!(%error, attempt = %attempt.id, "the carrier could not be asked");
    }
    check_again(fleet, attempt, now + ASK_AGAIN).await
}

/// Past the hard end: hang up; the slot is freed only when the carrier confirms.
async fn end_by_force(
    fleet: &Fleet,
    attempt: Attempt,
    carrier: &dyn Carrier,
    call_id: &CarrierCallId,
    now: Timestamp,
) -> Answer<()> {
    fleet.metrics.sweep("hard_end");
    tracing::warn!(attempt = %attempt.id, "a call is past its hard end: hanging up");
    match carrier.hang_up(call_id).await {
        Err(CarrierError::AlreadyEnded) => {
            if let Ok(record) = carrier.look(call_id).await
                && matches!(record.status, CallStatus::Ended { .. })
            {
                learn(fleet, attempt, &record, now).await?;
                return Ok(());
            }
            apply(fleet, attempt, &CallEvent::HardEndConfirmed, now).await
        }
        // Ending: its record or its callback says so at the next look.
        Ok(()) => check_again(fleet, attempt, now + ASK_AGAIN).await,
        Err(
            error @ (CarrierError::Unauthorized(_)
            | CarrierError::Unavailable(_)
            | CarrierError::NotFound
            | CarrierError::Unsupported),
        ) => {
            fleet.metrics.violation("hard_end_unconfirmed");
            tracing::error!(%error, attempt = %attempt.id, "a call past its hard end could not be hung up; its slot stays held");
            check_again(fleet, attempt, now + PLACED_CHECK).await
        }
    }
}

/// Applies what the carrier's record says. Returns the attempt as it is now.
pub(crate) async fn learn(
    fleet: &Fleet,
    attempt: Attempt,
    record: &CallRecord,
    now: Timestamp,
) -> Answer<Option<Attempt>> {
    let Some((leg, _)) = attempt.current_leg() else {
        return Ok(None);
    };
    let written = fleet
        .amend(attempt, |a| {
            apply_status(fleet, a, leg, &record.call_id, record.status, now)
        })
        .await?;
    let Some((attempt, verdict)) = written else {
        return Ok(None);
    };
    if verdict != Verdict::Ignore {
        todo::execute(fleet, attempt.clone(), None).await;
    }
    Ok(Some(attempt))
}

/// Nobody knows whether the call was placed: look for it in the carrier's list. Two complete, empty
/// lists, far enough apart and late enough, prove that it was not; a third, at the end of the
/// cool-off, unlocks the person.
async fn look_for(fleet: &Fleet, attempt: Attempt, now: Timestamp) -> Answer<()> {
    fleet.metrics.sweep("look_for");
    let (Some(carrier), Some((_, leg))) = (carrier_of(fleet, &attempt), attempt.current_leg())
    else {
        fleet.metrics.violation("carrier_unknown");
        tracing::error!(attempt = %attempt.id, "an unclear call whose carrier this process does not know");
        return check_again(fleet, attempt, now + PLACED_CHECK).await;
    };
    let (began, from) = (leg.intent_at, leg.from.clone());
    if !carrier.profile().capabilities.pollable {
        // It cannot be asked. The end by time is the only proof there is, and it counts as a call.
        return if now >= attempt.hard_end {
            apply(fleet, attempt, &CallEvent::HardEndConfirmed, now).await
        } else {
            let at = attempt.hard_end;
            check_again(fleet, attempt, at).await
        };
    }
    // This turn may have begun long ago. The list is as old as the question or as young as its
    // answer: a first look counts from its answer, a second one from its question.
    let asked_at = fleet.store.clock().await?;
    let looked = carrier.find(&attempt.phone, &from).await;
    let now = fleet.store.clock().await?;
    let found = match looked {
        Ok(records) => find_ours(fleet, &attempt, &records, began).await?,
        Err(error) => {
            tracing::warn!(%error, attempt = %attempt.id, "the carrier's list could not be read");
            let next = attempt.next_look(now);
            fleet.amend(attempt, |a| a.looked(false, next, now)).await?;
            return Ok(());
        }
    };
    if let Some(record) = found {
        tracing::info!(attempt = %attempt.id, "an unclear call was found at the carrier");
        // The record proves that the carrier has it, whatever its state.
        let placed = CallRecord {
            status: CallStatus::Initiated,
            ..record.clone()
        };
        if let Some(attempt) = learn(fleet, attempt, &placed, now).await? {
            learn(fleet, attempt, &record, now).await?;
        }
        return Ok(());
    }
    if attempt.is_cooling() {
        // A last look before anybody may ring that person again.
        fleet.metrics.sweep("cooled_off");
        return apply(fleet, attempt, &CallEvent::CooledOff, now).await;
    }
    let counts = asked_at >= began + SENT_BY_NOW;
    let bound = carrier.profile().capabilities.queue_bound.max(PROOF_AGE);
    let first = attempt.empty_looks.first().copied();
    if counts
        && first.is_some_and(|first| asked_at.since(first) >= PROOF_GAP)
        && asked_at.since(began) > bound
    {
        fleet.metrics.sweep("proven_absent");
        tracing::warn!(attempt = %attempt.id, "proven not placed: the slot is free, the person stays locked for the cool-off");
        return apply(fleet, attempt, &CallEvent::ProvenAbsent, now).await;
    }
    let next = attempt.next_look(now);
    fleet
        .amend(attempt, |a| a.looked(counts, next, now))
        .await?;
    Ok(())
}

/// The record that is this attempt's: the right numbers, not older than the intent, and not another
/// attempt's.
async fn find_ours(
    fleet: &Fleet,
    attempt: &Attempt,
    records: &[CallRecord],
    began: Timestamp,
) -> Answer<Option<CallRecord>> {
    let candidates: Vec<&CallRecord> = records
        .iter()
        .filter(|r| r.to == attempt.phone.as_str())
        .filter(|r| r.created_at.is_none_or(|at| at + RECORD_SLACK >= began))
        .collect();
    let Some(leg) = attempt.legs.last() else {
        return Ok(None);
    };
    let ids: Vec<CarrierCallId> = candidates.iter().map(|r| r.call_id.clone()).collect();
    let owners = fleet.store.attempts_by_call(&leg.carrier, &ids).await?;
    let mut free = candidates
        .into_iter()
        .zip(owners)
        .filter(|(_, owner)| owner.as_ref().is_none_or(|o| o.id == attempt.id));
    Ok(free.next().map(|(record, _)| record.clone()))
}

/// A claim that is older than any honest one: carry over its attempt's outcome, or let it go.
async fn settle_claim(fleet: &Fleet, lead: &Lead, now: Timestamp) -> Answer<()> {
    let Some(claim) = lead.claim.clone() else {
        return Ok(());
    };
    match fleet.attempt(&AttemptId::new(&lead.id, lead.n + 1)).await? {
        Some(attempt) if attempt.outcome.is_some() => {
            fleet.metrics.sweep("lead_projected");
            todo::catch_up(fleet, &lead.id).await
        }
        Some(_) => {
            fleet
                .store
                .renew_claim(&lead.id, lead.n, &claim, now)
                .await?;
            Ok(())
        }
        None => {
            fleet.metrics.sweep("claim_released");
            let release = Release {
                lead: lead.id.clone(),
                n: lead.n,
                claim,
                state: LeadState::Ready,
                due_at: None,
                reason: None,
            };
            fleet.store.release_claims(&[release]).await?;
            fleet.store.wake(&[(lead.campaign.clone(), now)]).await
        }
    }
}
