//! RESULT: what became of the request, written down, and what follows from it.

use std::time::Duration;

use dialfleet_domain::call::event::Withdrawal;
use dialfleet_domain::call::{Attempt, CallEvent, Verdict};
use dialfleet_domain::id::AttemptId;

use super::Filled;
use crate::fleet::Fleet;
use crate::todo;

/// A result that could not be written is written again, twice as long after each time, until this is over.
const WRITE_PATIENCE: Duration = Duration::from_secs(12);
/// The same while this process is stopping: what a request of 6 s leaves of the time for that.
const LAST_PATIENCE: Duration = Duration::from_millis(700);
const WRITE_AGAIN: Duration = Duration::from_millis(200);

/// Writes what became of the request, and executes what follows.
pub(super) async fn conclude(
    fleet: &Fleet,
    attempt: Attempt,
    event: CallEvent,
) -> Option<(Attempt, Verdict)> {
    let id: AttemptId = attempt.id.clone();
    let began = fleet.clock.uptime();
    let mut wait = WRITE_AGAIN;
    let written = loop {
        let written = fleet
            .amend(attempt.clone(), |a| a.apply(&event, fleet.clock.now()))
            .await;
        // A store that fails over is back within seconds, and what we know spares a long search.
        let patience = if fleet.stopping.is_cancelled() {
            LAST_PATIENCE
        } else {
            WRITE_PATIENCE
        };
        let patient = fleet.clock.uptime().saturating_sub(began) + wait < patience;
        if written.is_ok() || !patient {
            break written;
        }
        if fleet.stopping.is_cancelled() {
            fleet.clock.sleep(wait).await;
        } else {
            fleet.pause(wait).await;
        }
        wait *= 2;
    };
    match written {
        Ok(Some((attempt, verdict))) => {
            if verdict == Verdict::Zombie {
                fleet.metrics.zombie();
                tracing::error!(attempt = %id, "the carrier accepted a call that was given up: hanging up");
            }
            todo::execute(fleet, attempt.clone(), None).await;
            Some((attempt, verdict))
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(%error, attempt = %id, "a result could not be written; callbacks or the sweeper will tell");
            None
        }
    }
}

/// Nothing was sent: gives the intent back.
pub(super) async fn withdrawn(
    fleet: &Fleet,
    attempt: Attempt,
    why: Withdrawal,
    sent: bool,
) -> Filled {
    if let Some((_, leg)) = attempt.current_leg() {
        fleet.metrics.dial(leg.carrier.as_str(), "withdrawn");
    }
    conclude(fleet, attempt, CallEvent::Withdrawn(why)).await;
    match why {
        Withdrawal::FenceLate | Withdrawal::Shutdown => Filled::Fenced,
        _ if sent => Filled::Dialed,
        Withdrawal::CampaignChanged | Withdrawal::GateClosed => Filled::Closed,
        Withdrawal::NoCarrier => Filled::NoCarrier,
    }
}
