//! Repair by time: attempts whose next look is due, commands nobody executed, claims nobody ended.
//! Input-free: every turn reads the present state and makes it right.

mod cost;
mod look_for;

use std::collections::BTreeSet;
use std::time::Duration;

use dialfleet_domain::call::attempt::PLACED_CHECK;
use dialfleet_domain::call::{Attempt, CallEvent, CallState, Verdict};
use dialfleet_domain::id::{AttemptId, CarrierCallId};
use dialfleet_domain::lead::{Lead, LeadState};
use dialfleet_domain::time::Timestamp;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

pub(crate) use self::look_for::{found, is_it};

use self::cost::ask_cost;
use self::look_for::look_for;
use crate::apply_events::apply_status;
use crate::fleet::Fleet;
use crate::port::Carrier;
use crate::port::carrier::{CallRecord, CallStatus, CarrierError};
use crate::port::store::{Answer, Cas, Release, SaveAttempt};
use crate::todo;

/// Between two turns.
const TICK: Duration = Duration::from_secs(1);
/// Attempts, or claims, taken on in one turn.
const TURN: usize = 64;
/// Repairs under way at most: a carrier that does not answer must not keep other carriers' calls
/// waiting, nor be asked by ever more.
const UNDER_WAY: usize = 512;
/// Commands older than this have lost their executor.
const TODO_LOST: Duration = Duration::from_secs(2);
/// Claims older than this without a live attempt have lost their holder.
const CLAIM_LOST: Duration = Duration::from_secs(30);
/// When a call that was looked up and goes on is looked up again: its callbacks are lost, so the next
/// ones may be too. A conversation is long, and comparing lists finds its end as well.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30));
/// When the carrier could not be asked.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A carrier that keeps saying it hung up, and goes on with the call, is an alarm from here on.
const STUBBORN: Duration = Duration::from_secs(60);

/// Repairs until this process is to stop.
pub(crate) async fn run(fleet: &Fleet) -> Answer<()> {
    let mut busy = BTreeSet::new();
    let mut work: FuturesUnordered<BoxFuture<'_, String>> = FuturesUnordered::new();
    loop {
        match turn(fleet, &mut busy).await {
            Ok(new) => work.extend(new),
            Err(error) => tracing::warn!(%error, "no sweep"),
        }
        let tick = fleet.pause(TICK);
        let mut tick = std::pin::pin!(tick);
        loop {
            tokio::select! {
                biased;
                go_on = &mut tick => {
                    if go_on {
                        break;
                    }
                    while work.next().await.is_some() {}
                    return Ok(());
                }
                Some(key) = work.next(), if !work.is_empty() => {
                    busy.remove(&key);
                }
            }
        }
    }
}

/// What is due and not under way here already: attempts, lost commands, lost claims, costs.
async fn turn<'a>(
    fleet: &'a Fleet,
    busy: &mut BTreeSet<String>,
) -> Answer<Vec<BoxFuture<'a, String>>> {
    let now = fleet.store.clock().await?;
    // Those under way may be the first of every list, and must not hide the others.
    let most = TURN + busy.len();
    let due = fleet.store.due_checks(now, most).await?;
    let lost = fleet.store.due_todos(now - TODO_LOST, most).await?;
    let stale = fleet.store.stale_claims(now - CLAIM_LOST, most).await?;
    let unpriced = fleet.store.due_costs(now, most).await?;
    let mut work: Vec<BoxFuture<'a, String>> = Vec::new();
    let mut begin = |key: String| busy.len() < UNDER_WAY && busy.insert(key);
    for attempt in due {
        let key = format!("check/{}", attempt.id.as_str());
        if begin(key.clone()) {
            work.push(said(key, check(fleet, attempt, now)).boxed());
        }
    }
    for attempt in lost {
        let key = format!("todo/{}", attempt.id.as_str());
        if begin(key.clone()) {
            fleet.metrics.sweep("todo");
            let executed = async {
                todo::execute(fleet, attempt, None).await;
                Ok(())
            };
            work.push(said(key, executed).boxed());
        }
    }
    for lead in stale {
        let key = format!("claim/{}", lead.id.as_str());
        if begin(key.clone()) {
            work.push(said(key, settle_claim(fleet, lead, now)).boxed());
        }
    }
    for attempt in unpriced {
        let key = format!("cost/{}", attempt.id.as_str());
        if begin(key.clone()) {
            work.push(said(key, ask_cost(fleet, attempt, now)).boxed());
        }
    }
    Ok(work)
}

/// Does a repair, says so if it failed, and returns its name.
async fn said(key: String, repair: impl Future<Output = Answer<()>>) -> String {
    if let Err(error) = repair.await {
        tracing::warn!(%error, "something could not be repaired; trying again");
    }
    key
}

/// Looks at one live attempt whose `check_at` has passed.
async fn check(fleet: &Fleet, attempt: Attempt, now: Timestamp) -> Answer<()> {
    if attempt.state == CallState::Intent {
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
    attempt.check_again(now + LOOK_AGAIN.0);
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
        fleet.metrics.violation("carrier_unknown");
        tracing::error!(attempt = %attempt.id, "a live call whose carrier this process does not know");
        return check_again(fleet, attempt, now + PLACED_CHECK).await;
    };
    let mut next = now + ASK_AGAIN;
    let attempt = if carrier.profile().capabilities.pollable {
        match carrier.look(&call_id).await {
            Ok(record) => {
                let learnt = learn(fleet, attempt, &record, now).await?;
                let Some(attempt) = learnt.filter(|a| a.state != CallState::Ended) else {
                    return Ok(());
                };
                next = match attempt.state {
                    CallState::Answered => now + LOOK_AGAIN.1,
                    CallState::Intent
                    | CallState::Unknown
                    | CallState::Placed
                    | CallState::Ringing
                    | CallState::Ended => now + LOOK_AGAIN.0,
                };
                attempt
            }
            // Not even "no such call" ends a call that had a name.
            Err(error) => {
                tracing::warn!(%error, attempt = %attempt.id, "the carrier could not be asked");
                attempt
            }
        }
    } else {
        next = attempt.hard_end;
        attempt
    };
    if let Some(by) = attempt.message_by {
        if by <= now {
            tracing::warn!(attempt = %attempt.id, "a message takes longer than it may: hanging up");
            return todo::hang_up(fleet, attempt).await;
        }
        next = next.min(by);
    }
    if now >= attempt.hard_end {
        return end_by_force(fleet, attempt, carrier, &call_id, now).await;
    }
    check_again(fleet, attempt, next).await
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
    let pollable = carrier.profile().capabilities.pollable;
    match carrier.hang_up(call_id).await {
        Err(CarrierError::AlreadyEnded) => {
            if pollable
                && let Ok(record) = carrier.look(call_id).await
                && matches!(record.status, CallStatus::Ended { .. })
            {
                learn(fleet, attempt, &record, now).await?;
                return Ok(());
            }
            apply(fleet, attempt, &CallEvent::HardEndConfirmed, now).await
        }
        // Of a carrier that cannot be asked, this is all the confirmation there will be.
        Ok(()) if !pollable => apply(fleet, attempt, &CallEvent::HardEndConfirmed, now).await,
        // Ending: its record or its callback says so at the next look.
        Ok(()) => {
            if now >= attempt.hard_end + STUBBORN {
                fleet.metrics.violation("hard_end_unconfirmed");
                tracing::error!(attempt = %attempt.id, "a call that was hung up goes on, says the carrier; its slot stays held");
            }
            check_again(fleet, attempt, now + ASK_AGAIN).await
        }
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
    learn_all(fleet, attempt, &record.call_id, &[record.status], now).await
}

/// Applies statuses of the current leg's call in one write. Returns the attempt as it is now.
async fn learn_all(
    fleet: &Fleet,
    attempt: Attempt,
    call_id: &CarrierCallId,
    statuses: &[CallStatus],
    now: Timestamp,
) -> Answer<Option<Attempt>> {
    let Some((leg, _)) = attempt.current_leg() else {
        return Ok(None);
    };
    let written = fleet
        .amend(attempt, |a| {
            let mut news = Verdict::Ignore;
            for status in statuses {
                match apply_status(fleet, a, leg, call_id, *status, now) {
                    Verdict::Ignore => {}
                    verdict @ (Verdict::Go(_) | Verdict::Note | Verdict::Zombie) => news = verdict,
                }
            }
            news
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

/// A claim that is older than any honest one: carry over its attempt's outcome, or let it go.
async fn settle_claim(fleet: &Fleet, lead: Lead, now: Timestamp) -> Answer<()> {
    let Some(claim) = lead.claim.clone() else {
        return Ok(());
    };
    match fleet.attempt(&AttemptId::new(&lead.id, lead.n + 1)).await {
        Ok(Some(attempt)) if attempt.outcome.is_some() => {
            fleet.metrics.sweep("lead_projected");
            todo::catch_up(fleet, &lead.id).await
        }
        Ok(None) => {
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
        Err(error) if !error.is_corrupt() => Err(error),
        // Live; or nobody can read what became of it, and the lead waits until somebody repairs it.
        Ok(Some(_)) | Err(_) => {
            fleet
                .store
                .renew_claim(&lead.id, lead.n, &claim, now)
                .await?;
            Ok(())
        }
    }
}
