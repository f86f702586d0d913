//! Whether an unclear call was placed: looking for it, and the proof that it was not.

use std::time::Duration;

use dialfleet_domain::call::attempt::PLACED_CHECK;
use dialfleet_domain::call::{Attempt, CallEvent, Leg};
use dialfleet_domain::id::CarrierCallId;
use dialfleet_domain::time::Timestamp;

use super::{apply, carrier_of, check_again, learn_all};
use crate::fleet::Fleet;
use crate::mutant::{Part, lacks};
use crate::port::carrier::{CallRecord, CallStatus};
use crate::port::store::Answer;

/// A request cannot leave later than this after its intent: fence 3 s, request 6 s, slack.
const SENT_BY_NOW: Duration = Duration::from_secs(10);
/// Between the two empty looks that prove absence.
const PROOF_GAP: Duration = Duration::from_secs(30);
/// The youngest an attempt can be proven absent.
const PROOF_AGE: Duration = Duration::from_secs(60);
/// A record older than the intent by more than this is another call's; carriers write whole seconds.
const RECORD_SLACK: Duration = Duration::from_secs(5);
/// The same when there is nothing else, before absence is taken for proven: the intent is dated by the
/// store's clock, and the record by the carrier's, and if the store's is ahead a call looks older than
/// its own intent. One that nobody here owns, to the same person from the same number within this time,
/// is better taken for ours than made once more.
const CLOCKS_APART: Duration = Duration::from_secs(120);

/// Nobody knows whether the call was placed: look for it in the carrier's list. Two complete, empty
/// lists, far enough apart and late enough, prove that it was not; a third, at the end of the
/// cool-off, unlocks the person.
pub(super) async fn look_for(fleet: &Fleet, attempt: Attempt, now: Timestamp) -> Answer<()> {
    fleet.metrics.sweep("look_for");
    let (Some(carrier), Some((_, leg))) = (carrier_of(fleet, &attempt), attempt.current_leg())
    else {
        fleet.metrics.violation("carrier_unknown");
        tracing::error!(attempt = %attempt.id, "an unclear call whose carrier this process does not know");
        return check_again(fleet, attempt, now + PLACED_CHECK).await;
    };
    let (began, from) = (leg.intent_at, leg.from.clone());
    if !carrier.profile().capabilities.pollable {
        // It cannot be asked. By time it is over some day; it counts as a call, and nobody is called
        // again because of it.
        if now < attempt.hard_end {
            let at = attempt.hard_end;
            return check_again(fleet, attempt, at).await;
        }
        fleet.metrics.sweep("unresolved");
        tracing::warn!(attempt = %attempt.id, "nobody can say whether this call was placed: it counts as one");
        return apply(fleet, attempt, &CallEvent::Unresolved, now).await;
    }
    // This turn may have begun long ago. The list is as old as the question or as young as its
    // answer: a first look counts from its answer, a second one from its question.
    let asked_at = fleet.store.clock().await?;
    let looked = carrier.find(&attempt.phone, &from).await;
    let now = fleet.store.clock().await?;
    let counts = asked_at >= began + SENT_BY_NOW;
    let bound = carrier.profile().capabilities.queue_bound.max(PROOF_AGE);
    let first = attempt.empty_looks.first().copied();
    let proven = counts
        && first.is_some_and(|first| asked_at.since(first) >= PROOF_GAP)
        && asked_at.since(began) > bound;
    let ours = match looked {
        Ok(records) => {
            let slack = if proven || attempt.is_cooling() {
                CLOCKS_APART
            } else {
                RECORD_SLACK
            };
            find_ours(fleet, &attempt, &records, slack).await?
        }
        Err(error) => {
            tracing::warn!(%error, attempt = %attempt.id, "the carrier's list could not be read");
            if attempt.slot.is_some() && now >= attempt.hard_end {
                fleet.metrics.violation("hard_end_unconfirmed");
                tracing::error!(attempt = %attempt.id, "an unclear call is past its hard end, and its carrier says nothing; its slot stays held");
            }
            let next = attempt.next_look(now);
            fleet.amend(attempt, |a| a.looked(false, next, now)).await?;
            return Ok(());
        }
    };
    if let Some(record) = ours {
        tracing::info!(attempt = %attempt.id, "an unclear call was found at the carrier");
        return found(fleet, attempt, &record, now).await;
    }
    if attempt.is_cooling() {
        // A last look before anybody may ring that person again.
        fleet.metrics.sweep("cooled_off");
        return apply(fleet, attempt, &CallEvent::CooledOff, now).await;
    }
    if proven || lacks(Part::Proof) {
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

/// The record of an unclear call was found: it proves that the carrier has it, whatever its state.
pub(crate) async fn found(
    fleet: &Fleet,
    attempt: Attempt,
    record: &CallRecord,
    now: Timestamp,
) -> Answer<()> {
    let statuses = [CallStatus::Initiated, record.status];
    learn_all(fleet, attempt, &record.call_id, &statuses, now).await?;
    Ok(())
}

/// Whether a record may be of this attempt's call: the right person, and not older than the intent.
pub(crate) fn is_it(attempt: &Attempt, leg: &Leg, record: &CallRecord) -> bool {
    may_be(attempt, leg, record, RECORD_SLACK)
}

fn may_be(attempt: &Attempt, leg: &Leg, record: &CallRecord, slack: Duration) -> bool {
    let began = leg.intent_at;
    let young = |at: Timestamp| at + slack >= began;
    record.to == attempt.phone.as_str() && record.created_at.is_none_or(young)
}

/// The record that is this attempt's, and not another's.
async fn find_ours(
    fleet: &Fleet,
    attempt: &Attempt,
    records: &[CallRecord],
    slack: Duration,
) -> Answer<Option<CallRecord>> {
    let Some(leg) = attempt.legs.last() else {
        return Ok(None);
    };
    let ours = |r: &&CallRecord| may_be(attempt, leg, r, slack);
    let candidates: Vec<&CallRecord> = records.iter().filter(ours).collect();
    let ids: Vec<CarrierCallId> = candidates.iter().map(|r| r.call_id.clone()).collect();
    let owners = fleet.store.attempts_by_call(&leg.carrier, &ids).await?;
    // Newest first: whatever the clocks say, nobody has called this person since.
    let free = candidates
        .into_iter()
        .zip(owners)
        .filter(|(_, owner)| owner.as_ref().is_none_or(|o| o.id == attempt.id))
        .map(|(record, _)| record)
        .filter(|record| !is_of_earlier_leg(attempt, record));
    Ok(free.max_by_key(|record| record.created_at).cloned())
}

fn is_of_earlier_leg(attempt: &Attempt, record: &CallRecord) -> bool {
    let earlier = attempt.legs.split_last().map_or(&[][..], |(_, legs)| legs);
    earlier
        .iter()
        .any(|leg| leg.call_id.as_ref() == Some(&record.call_id))
}
