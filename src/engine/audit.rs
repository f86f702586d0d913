//! The witness inside: counts what must never be, keeps the gauges true, and says that this process
//! is alive.

use std::time::Duration;

use dialfleet_domain::call::CallState;
use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::CampaignId;
use dialfleet_domain::time::Timestamp;

use crate::fleet::Fleet;
use crate::port::store::{Answer, Heartbeat};
use crate::todo;

/// How often.
pub const PERIOD: Duration = Duration::from_secs(5);
/// A process not heard of for this long is gone.
pub const GONE: Duration = Duration::from_secs(15);
/// A wall clock further off than this stops dialing. Repair goes by the store's clock in any case.
pub const MAX_SKEW: Duration = Duration::from_secs(2);

/// Compares live attempts with the limits in force, and ends calls of stopped campaigns.
///
/// # Errors
/// The store failed.
pub async fn audit(fleet: &Fleet) -> Answer<()> {
    let used = fleet.store.slots_in_use().await?;
    let ids: Vec<CampaignId> = used.iter().map(|(id, _)| id.clone()).collect();
    let campaigns = fleet.campaigns(&ids).await?;
    let (mut slots, mut room) = (0, 0);
    for ((id, n), campaign) in used.iter().zip(campaigns) {
        slots += u64::from(*n);
        let Some(campaign) = campaign else { continue };
        if campaign.state.may_dial() {
            room += u64::from(campaign.slots().saturating_sub(*n));
        }
        let limit = campaign.slots();
        // Two questions, because the second costs more and is rarely asked.
        if *n > campaign.most_slots() || *n > limit && began_above(fleet, &campaign).await? {
            fleet.metrics.violation("over_limit");
            tracing::error!(campaign = %id, live = n, limit, "more live calls than the limit");
        }
        if campaign.state == CampaignState::Stopped {
            for attempt in fleet.store.live_attempts(id).await? {
                todo::hang_up(fleet, attempt).await?;
            }
        }
    }
    fleet.metrics.slots(slots, room);
    if let Ok(depths) = fleet.queue.depths().await {
        for (queue, n) in depths {
            fleet.metrics.queue_depth(queue, n);
        }
    }
    fleet.metrics.store_up(true);
    fleet.metrics.broker_up(fleet.queue.ping().await.is_ok());
    Ok(())
}

/// A lowered limit lets live calls finish: what may not be is one that began when it was in force, with
/// more than it allows. Intents do not count, nor what becomes of them when their process dies: an
/// intent is written first, and withdrawn if others are there already.
async fn began_above(fleet: &Fleet, campaign: &Campaign) -> Answer<bool> {
    let Some(former) = campaign.former_limit else {
        return Ok(true);
    };
    let live = fleet.store.live_attempts(&campaign.id).await?;
    let began: Vec<Timestamp> = live
        .iter()
        .filter(|attempt| {
            attempt.slot.is_some()
                && matches!(
                    attempt.state,
                    CallState::Placed | CallState::Ringing | CallState::Answered
                )
        })
        .filter_map(|attempt| Some(attempt.current_leg()?.1.intent_at))
        .collect();
    let above = u32::try_from(began.len()).unwrap_or(u32::MAX) > campaign.slots();
    Ok(above && began.iter().any(|at| *at > former.until))
}

/// Sets this process's time by the store's, and raises the alarm over documents that cannot be read.
/// Returns the store's time, and how far the wall clock is off.
///
/// # Errors
/// The store failed.
pub async fn look_around(fleet: &Fleet) -> Answer<(Timestamp, Duration)> {
    for bad in fleet.store.unreadable() {
        fleet.metrics.violation("corrupt");
        tracing::error!(
            what = bad.what,
            id = bad.id,
            why = bad.why,
            "a stored document cannot be read and is passed over until it is repaired"
        );
    }
    let (asked, before) = (fleet.clock.uptime(), fleet.clock.own());
    let there = fleet.store.clock().await?;
    let after = fleet.clock.own();
    fleet.clock.set(there, asked);
    // Within the round trip nobody can tell.
    Ok((there, before.since(there).max(there.since(after))))
}

/// Says that this process is alive. Returns whether its clock agrees with the store's.
///
/// # Errors
/// The store failed.
pub async fn beat(fleet: &Fleet, roles: &[&str], started_at: Timestamp) -> Answer<bool> {
    let (there, skew) = look_around(fleet).await?;
    let agrees = skew <= MAX_SKEW;
    if !agrees {
        let skew_ms = u64::try_from(skew.as_millis()).unwrap_or(u64::MAX);
        fleet.metrics.violation("clock_skew");
        tracing::error!(
            skew_ms,
            "this machine's clock is off: it does not dial until it agrees with the store's"
        );
        stand_down(fleet);
    }
    let beat = Heartbeat {
        worker: fleet.settings.worker.clone(),
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at,
        beat_at: there,
    };
    fleet.store.beat(&beat).await?;
    Ok(agrees)
}

/// Dials nothing for a while: longer than until the next beat, even a slow one.
pub(crate) fn stand_down(fleet: &Fleet) {
    for carrier in fleet.carriers.keys() {
        fleet.pace.rest(carrier, PERIOD * 3);
    }
    if let Some(dialer) = &fleet.dialer {
        dialer.stand_down(fleet.clock.uptime() + PERIOD * 3);
    }
}
