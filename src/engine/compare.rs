//! Both ways: what we believe is live against what the carrier says is live.

use std::collections::BTreeSet;
use std::time::Duration;

use dialfleet_domain::call::{Attempt, CallState};
use dialfleet_domain::id::{AttemptId, CarrierCallId};
use dialfleet_domain::time::Timestamp;

use crate::fleet::Fleet;
use crate::port::Carrier;
use crate::port::carrier::{CallRecord, CarrierError};
use crate::port::store::{Answer, Cas};
use crate::sweep::learn;

/// How often each carrier account is compared.
pub const PERIOD: Duration = Duration::from_secs(20);
/// Attempts read in one page.
const PAGE: usize = 500;
/// A call this young may be known to one side only.
const YOUNG: Duration = Duration::from_secs(10);
/// A stranger this old is reported.
const STRANGER: Duration = Duration::from_secs(60);

/// Compares every carrier whose duty this process holds now.
///
/// # Errors
/// The store failed.
pub async fn compare(fleet: &Fleet) -> Answer<()> {
    for carrier in fleet.carriers.values() {
        let profile = carrier.profile();
        if !profile.capabilities.pollable {
            continue;
        }
        let now = fleet.store.clock().await?;
        let duty = format!("compare/{}", profile.id);
        // Held a little less than the period, by nobody twice within it.
        let until = now + PERIOD - Duration::from_millis(500);
        if fleet
            .store
            .hold_duty(&duty, &fleet.settings.worker, now, until)
            .await?
            == Cas::Lost
        {
            continue;
        }
        match carrier.live().await {
            Ok(records) => both_ways(fleet, carrier.as_ref(), &records, now).await?,
            // Our own list tells us what should be there; without the carrier's there is nothing to say.
            Err(error) => {
                tracing::warn!(%error, carrier = %profile.id, "the carrier's live calls could not be listed")
            }
        }
    }
    Ok(())
}

async fn both_ways(
    fleet: &Fleet,
    carrier: &dyn Carrier,
    records: &[CallRecord],
    now: Timestamp,
) -> Answer<()> {
    let theirs: BTreeSet<&CarrierCallId> = records.iter().map(|r| &r.call_id).collect();
    let mut after: Option<AttemptId> = None;
    loop {
        let page = fleet
            .store
            .live_by_carrier(&carrier.profile().id, after.as_ref(), PAGE)
            .await?;
        after = page.last().map(|a| a.id.clone());
        let full = page.len() == PAGE;
        for attempt in page {
            missing_there(fleet, carrier, attempt, &theirs, now).await?;
        }
        if !full {
            break;
        }
    }
    let ids: Vec<CarrierCallId> = records.iter().map(|r| r.call_id.clone()).collect();
    let owners = fleet
        .store
        .attempts_by_call(&carrier.profile().id, &ids)
        .await?;
    for (record, owner) in records.iter().zip(owners) {
        missing_here(fleet, carrier, record, owner, now).await?;
    }
    Ok(())
}

/// Live here and not there: its terminal callback was lost.
async fn missing_there(
    fleet: &Fleet,
    carrier: &dyn Carrier,
    attempt: Attempt,
    theirs: &BTreeSet<&CarrierCallId>,
    now: Timestamp,
) -> Answer<()> {
    let known = matches!(
        attempt.state,
        CallState::Placed | CallState::Ringing | CallState::Answered
    );
    let call_id = attempt.legs.last().and_then(|leg| leg.call_id.clone());
    let Some(call_id) = call_id.filter(|id| known && !theirs.contains(id)) else {
        return Ok(());
    };
    if now.since(attempt.intent_at) < YOUNG {
        return Ok(());
    }
    if let Ok(record) = carrier.look(&call_id).await {
        fleet.metrics.sweep("found_ended");
        learn(fleet, attempt, &record, now).await?;
    }
    Ok(())
}

/// Live there: ours and ended means that somebody is on the line with nobody.
async fn missing_here(
    fleet: &Fleet,
    carrier: &dyn Carrier,
    record: &CallRecord,
    owner: Option<Attempt>,
    now: Timestamp,
) -> Answer<()> {
    match owner {
        Some(attempt) if attempt.state == CallState::Ended => {
            // It may have ended while the two lists were read.
            if attempt.ended_at.is_some_and(|at| now.since(at) < YOUNG) {
                return Ok(());
            }
            fleet.metrics.zombie();
            tracing::error!(attempt = %attempt.id, call = %record.call_id, "a call lives on after its end: hanging up");
            match carrier.hang_up(&record.call_id).await {
                Ok(()) | Err(CarrierError::AlreadyEnded | CarrierError::NotFound) => {}
                Err(error) => {
                    tracing::error!(%error, call = %record.call_id, "it could not be hung up")
                }
            }
        }
        Some(_) => {}
        None if record
            .created_at
            .is_some_and(|at| now.since(at) >= STRANGER) =>
        {
            // An unknown attempt finds its call by itself; anything else is somebody else's call on
            // this account, and none of our business to end.
            fleet.metrics.sweep("stranger");
            tracing::warn!(call = %record.call_id, carrier = %carrier.profile().id, "a live call on this account is not ours");
        }
        None => {}
    }
    Ok(())
}
