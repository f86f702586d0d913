//! Both ways: what we believe is live against what the carrier says is live. This is how the end of a
//! call is found when its callback was lost.

use std::collections::BTreeSet;
use std::time::Duration;

use dialfleet_domain::call::{Attempt, CallState};
use dialfleet_domain::id::{AttemptId, CarrierCallId, CarrierId};
use dialfleet_domain::time::Timestamp;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use crate::fleet::Fleet;
use crate::port::Carrier;
use crate::port::carrier::{CallRecord, CarrierError};
use crate::port::store::{Answer, Cas};
use crate::sweep::{found, is_it, learn};

/// How often each carrier account is compared.
pub const PERIOD: Duration = Duration::from_secs(20);
/// How often whoever does not have the duty tries to get it: so late is a dead holder succeeded.
const SUCCESSION: Duration = Duration::from_secs(5);
/// Between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);
/// Attempts read, or calls asked for, in one go.
const PAGE: usize = 500;
/// Calls looked up side by side, per carrier.
const SIDE_BY_SIDE: usize = 16;
/// Calls looked up one by one in a period while the carrier's list cannot be read. Up to three times
/// as many live calls are all seen within a minute.
const ONE_BY_ONE: usize = 256;
/// A call this young may be known to one side only.
const YOUNG: Duration = Duration::from_secs(10);
/// A stranger this old is matched, or reported.
const STRANGER: Duration = Duration::from_secs(60);

/// Where this process stands with one carrier.
#[derive(Default)]
struct Round {
    /// Not before this uptime.
    next: Duration,
    /// How far it came, one by one.
    after: Option<AttemptId>,
}

/// Compares, until this process is to stop, every carrier whose duty it holds. Carriers do not wait
/// for each other.
pub(crate) async fn run(fleet: &Fleet) -> Answer<()> {
    let asked = |c: &&std::sync::Arc<dyn Carrier>| c.profile().capabilities.pollable;
    let carriers = fleet.carriers.values().filter(asked);
    join_all(carriers.map(|carrier| rounds(fleet, carrier.as_ref()))).await;
    Ok(())
}

async fn rounds(fleet: &Fleet, carrier: &dyn Carrier) {
    let mut round = Round::default();
    loop {
        if fleet.clock.uptime() >= round.next
            && let Err(error) = compare(fleet, carrier, &mut round).await
        {
            tracing::warn!(%error, carrier = %carrier.profile().id, "no comparison with the carrier");
        }
        if !fleet.pause(TICK).await {
            return;
        }
    }
}

/// Compares one carrier, if this process has the duty.
async fn compare(fleet: &Fleet, carrier: &dyn Carrier, round: &mut Round) -> Answer<()> {
    let (id, began) = (&carrier.profile().id, fleet.clock.uptime());
    round.next = began + SUCCESSION;
    let now = fleet.store.clock().await?;
    // Held a little less than the period, by nobody twice within it.
    let until = now + PERIOD - Duration::from_millis(500);
    let (duty, worker) = (format!("compare/{id}"), &fleet.settings.worker);
    if fleet.store.hold_duty(&duty, worker, now, until).await? == Cas::Lost {
        return Ok(());
    }
    round.next = began + PERIOD;
    match carrier.live().await {
        Ok(records) => {
            round.after = None;
            both_ways(fleet, carrier, &records, now).await
        }
        Err(error) => {
            tracing::warn!(%error, carrier = %id, "the carrier's live calls could not be listed; looking them up one by one");
            one_by_one(fleet, carrier, round, now).await
        }
    }
}

async fn both_ways(
    fleet: &Fleet,
    carrier: &dyn Carrier,
    records: &[CallRecord],
    now: Timestamp,
) -> Answer<()> {
    let theirs: BTreeSet<&CarrierCallId> = records.iter().map(|r| &r.call_id).collect();
    let mut unclear = Vec::new();
    let mut after: Option<AttemptId> = None;
    loop {
        let page = live(fleet, &carrier.profile().id, after.as_ref(), PAGE).await?;
        after = page.last().map(|a| a.id.clone());
        let full = page.len() == PAGE;
        let (known, others): (Vec<_>, Vec<_>) =
            page.into_iter().partition(|a| known_call(a, now).is_some());
        unclear.extend(others.into_iter().filter(|a| a.state == CallState::Unknown));
        // Live here and not there: its terminal callback was lost.
        let missing = known
            .into_iter()
            .filter(|a| known_call(a, now).is_some_and(|id| !theirs.contains(id)));
        look_up(fleet, carrier, missing.collect(), now).await;
        if !full {
            break;
        }
    }
    for page in records.chunks(PAGE) {
        let owners = owners(fleet, &carrier.profile().id, page).await?;
        for (record, owner) in page.iter().zip(owners) {
            match owner {
                Some(owner) => ended_here(fleet, carrier, record, &owner, now).await,
                None => stranger(fleet, carrier, record, &mut unclear, now).await?,
            }
        }
    }
    Ok(())
}

async fn live(
    fleet: &Fleet,
    carrier: &CarrierId,
    after: Option<&AttemptId>,
    limit: usize,
) -> Answer<Vec<Attempt>> {
    fleet.store.live_by_carrier(carrier, after, limit).await
}

/// The call of an attempt that the carrier must know, if it has one and is old enough.
fn known_call(attempt: &Attempt, now: Timestamp) -> Option<&CarrierCallId> {
    let known = matches!(
        attempt.state,
        CallState::Placed | CallState::Ringing | CallState::Answered
    );
    let leg = attempt.legs.last()?;
    let call_id = leg.call_id.as_ref()?;
    (known && now.since(leg.intent_at) >= YOUNG).then_some(call_id)
}

/// Asks what became of calls, several at a time: after a failure of our own side there are many. Returns
/// whether the carrier answered at all.
async fn look_up(
    fleet: &Fleet,
    carrier: &dyn Carrier,
    attempts: Vec<Attempt>,
    now: Timestamp,
) -> bool {
    let looks = attempts.into_iter().map(async |attempt| {
        let Some(call_id) = attempt.legs.last().and_then(|leg| leg.call_id.clone()) else {
            return true;
        };
        match carrier.look(&call_id).await {
            Ok(record) => {
                let before = attempt.state;
                match learn(fleet, attempt, &record, now).await {
                    Ok(Some(after)) if after.state != before => fleet.metrics.sweep("caught_up"),
                    Ok(_) => {}
                    Err(error) => tracing::warn!(%error, "what the carrier said could not be kept"),
                }
                true
            }
            // It answered; that ends no call that has a name.
            Err(CarrierError::NotFound | CarrierError::AlreadyEnded) => true,
            Err(error) => {
                tracing::debug!(%error, call = %call_id, "a call could not be looked up");
                false
            }
        }
    });
    let answers: Vec<bool> = stream::iter(looks)
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    answers.is_empty() || answers.contains(&true)
}

/// The list cannot be read: the next of our live calls, each by its name.
async fn one_by_one(
    fleet: &Fleet,
    carrier: &dyn Carrier,
    round: &mut Round,
    now: Timestamp,
) -> Answer<()> {
    let page = live(
        fleet,
        &carrier.profile().id,
        round.after.as_ref(),
        ONE_BY_ONE,
    )
    .await?;
    let full = page.len() == ONE_BY_ONE;
    let last = page.last().map(|a| a.id.clone());
    let mut known: Vec<Attempt> = page
        .into_iter()
        .filter(|a| known_call(a, now).is_some())
        .collect();
    // A carrier that does not answer these either is not asked hundreds of times.
    let rest = known.split_off(known.len().min(SIDE_BY_SIDE));
    if look_up(fleet, carrier, known, now).await {
        look_up(fleet, carrier, rest, now).await;
    }
    round.after = last.filter(|_| full);
    Ok(())
}

/// Whose the calls are. A document that cannot be read costs one by one, and only its own call.
async fn owners(
    fleet: &Fleet,
    carrier: &CarrierId,
    records: &[CallRecord],
) -> Answer<Vec<Option<Attempt>>> {
    let ids: Vec<CarrierCallId> = records.iter().map(|r| r.call_id.clone()).collect();
    match fleet.store.attempts_by_call(carrier, &ids).await {
        Err(error) if error.is_corrupt() => {}
        answer => return answer,
    }
    let mut owners = Vec::with_capacity(ids.len());
    for id in &ids {
        let one = fleet
            .store
            .attempts_by_call(carrier, std::slice::from_ref(id));
        match one.await {
            Ok(mut found) => owners.push(found.pop().flatten()),
            Err(error) if error.is_corrupt() => owners.push(None),
            Err(error) => return Err(error),
        }
    }
    Ok(owners)
}

/// Live there: ours and ended means that somebody is on the line with nobody.
async fn ended_here(
    fleet: &Fleet,
    carrier: &dyn Carrier,
    record: &CallRecord,
    owner: &Attempt,
    now: Timestamp,
) {
    // It may have ended while the two lists were read.
    let ended = owner.ended_at.is_some_and(|at| now.since(at) >= YOUNG);
    if owner.state != CallState::Ended || !ended {
        return;
    }
    fleet.metrics.zombie();
    tracing::error!(attempt = %owner.id, call = %record.call_id, "a call lives on after its end: hanging up");
    match carrier.hang_up(&record.call_id).await {
        Ok(()) | Err(CarrierError::AlreadyEnded | CarrierError::NotFound) => {}
        Err(error) => tracing::error!(%error, call = %record.call_id, "it could not be hung up"),
    }
}

/// Live there, and nobody here knows it: an unclear attempt's call, or somebody else's on the same
/// account, which is none of our business to end.
async fn stranger(
    fleet: &Fleet,
    carrier: &dyn Carrier,
    record: &CallRecord,
    unclear: &mut Vec<Attempt>,
    now: Timestamp,
) -> Answer<()> {
    let old = |at: Timestamp| now.since(at) >= STRANGER;
    if !record.created_at.is_some_and(old) {
        return Ok(());
    }
    let fits = |attempt: &Attempt| {
        attempt
            .legs
            .last()
            .is_some_and(|leg| is_it(attempt, leg, record) && record.from == leg.from.as_str())
    };
    let mut fitting = unclear.iter().enumerate().filter(|(_, a)| fits(a));
    let (first, second) = (fitting.next().map(|(at, _)| at), fitting.next());
    match (first, second) {
        (Some(at), None) => {
            fleet.metrics.sweep("stranger_matched");
            let attempt = unclear.swap_remove(at);
            tracing::info!(attempt = %attempt.id, call = %record.call_id, "an unclear call is among the carrier's live ones");
            found(fleet, attempt, record, now).await
        }
        (_, Some(_)) | (None, None) => {
            fleet.metrics.sweep("stranger");
            tracing::warn!(call = %record.call_id, carrier = %carrier.profile().id, "a live call on this account is not ours");
            Ok(())
        }
    }
}
