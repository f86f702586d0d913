//! The witness inside: counts what must never be, keeps the gauges true, and says that this process
//! is alive.

use std::time::Duration;

use dialfleet_domain::campaign::CampaignState;
use dialfleet_domain::id::CampaignId;
use dialfleet_domain::time::Timestamp;

use crate::fleet::Fleet;
use crate::port::store::{Answer, Heartbeat};
use crate::todo;

/// How often.
pub const PERIOD: Duration = Duration::from_secs(5);
/// A process not heard of for this long is gone.
pub const GONE: Duration = Duration::from_secs(15);
/// A clock further off than this stops dialing and sweeping.
pub const MAX_SKEW: Duration = Duration::from_secs(2);

/// Compares live attempts with the limits in force, and ends calls of stopped campaigns.
///
/// # Errors
/// The store failed.
pub async fn audit(fleet: &Fleet) -> Answer<()> {
    let used = fleet.store.slots_in_use().await?;
    let ids: Vec<CampaignId> = used.iter().map(|(id, _)| id.clone()).collect();
    let campaigns = fleet.store.campaigns(&ids).await?;
    let (mut slots, mut room) = (0, 0);
    for ((id, n), campaign) in used.iter().zip(campaigns) {
        slots += u64::from(*n);
        let Some(campaign) = campaign else { continue };
        if campaign.state.may_dial() {
            room += u64::from(campaign.limit.saturating_sub(*n));
        }
        // A lowered limit lets live calls finish; what may not happen is a new one above it, which
        // the slot numbers forbid. So this counts only what no limit ever allowed.
        let highest = campaign
            .former_limit
            .map_or(0, |former| former.limit)
            .max(campaign.limit);
        if *n > highest {
            fleet.metrics.violation("over_limit");
            tracing::error!(campaign = %id, live = n, limit = highest, "more live calls than the limit");
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

/// The first sign of life of a process that dials: takes its share, and leaves the carriers alone until
/// the others have taken theirs, so that all shares together never exceed the rate.
///
/// # Errors
/// The store failed.
pub async fn join(fleet: &Fleet, roles: &[&str]) -> Answer<()> {
    let agrees = beat(fleet, roles, fleet.clock.now()).await?;
    let alone = dialers(fleet, fleet.store.clock().await?).await? <= 1;
    if !alone || !agrees {
        for carrier in fleet.carriers.keys() {
            fleet.pace.rest(carrier, PERIOD + Duration::from_secs(1));
        }
    }
    Ok(())
}

async fn dialers(fleet: &Fleet, now: Timestamp) -> Answer<usize> {
    let alive = fleet.store.workers(now - GONE).await?;
    Ok(alive
        .iter()
        .filter(|w| w.roles.iter().any(|r| r == "dial"))
        .count())
}

/// Says that this process is alive, and takes its share of the carriers' rates among those that
/// dial. Returns whether this process's clock agrees with the store's.
///
/// # Errors
/// The store failed.
pub async fn beat(fleet: &Fleet, roles: &[&str], started_at: Timestamp) -> Answer<bool> {
    let before = fleet.clock.now();
    let there = fleet.store.clock().await?;
    let after = fleet.clock.now();
    // Within the round trip nobody can tell.
    let skew = before.since(there).max(there.since(after));
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
    fleet.pace.share_among(dialers(fleet, there).await?);
    Ok(agrees)
}

/// Dials nothing for a while: longer than until the next beat, even a slow one.
pub(crate) fn stand_down(fleet: &Fleet) {
    for carrier in fleet.carriers.keys() {
        fleet.pace.rest(carrier, PERIOD * 3);
    }
}
