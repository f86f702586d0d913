//! What is looked for again and again, whether or not anybody asked.

use std::time::Duration;

use dialfleet_domain::id::CampaignId;

use crate::audit;
use crate::fleet::Fleet;
use crate::port::store::{Answer, Cas};

/// Between two turns of the planner.
const TICK: Duration = Duration::from_millis(500);
/// Between two passes of the safety scan.
const SCAN_PAUSE: Duration = Duration::from_secs(3);
/// How long the duty of the safety scan is held.
const SCAN_DUTY: Duration = Duration::from_secs(5);
/// How long repair may go on when this process is to stop.
const REPAIR_GRACE: Duration = Duration::from_secs(1);
/// Callbacks are kept as evidence for this long.
const KEEP_CALLBACKS: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) async fn plan(fleet: &Fleet) {
    loop {
        match crate::plan::plan_due(fleet).await {
            // More may be due.
            Ok(n) if n >= crate::plan::MAX_WAKES && !fleet.stopping.is_cancelled() => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "no planning"),
        }
        if !fleet.pause(TICK).await {
            return;
        }
    }
}

pub(super) async fn scan(fleet: &Fleet) {
    let mut after: Option<CampaignId> = None;
    let mut running = 0;
    loop {
        let now = fleet.clock.now();
        match fleet
            .store
            .hold_duty("scan", &fleet.settings.worker, now, now + SCAN_DUTY)
            .await
        {
            Ok(Cas::Won) => match crate::plan::scan(fleet, after.take(), &mut running).await {
                Ok(next) => after = next,
                Err(error) => tracing::warn!(%error, "no scan"),
            },
            Ok(Cas::Lost) => after = None,
            Err(error) => tracing::warn!(%error, "no scan"),
        }
        // Between two passes longer than between two pages of one.
        let wait = if after.is_some() {
            TICK * 2
        } else {
            SCAN_PAUSE
        };
        if !fleet.pause(wait).await {
            return;
        }
    }
}

/// Repairs, unless this process is to stop: what is half done then is found again by another, and
/// must not wait for a carrier that does not answer. Returns whether the store answered.
pub(super) async fn repair<T>(
    fleet: &Fleet,
    work: impl Future<Output = Answer<T>>,
    what: &str,
) -> bool {
    let brief = async {
        fleet.stopping.cancelled().await;
        fleet.clock.sleep(REPAIR_GRACE).await;
    };
    tokio::select! {
        biased;
        done = work => {
            if let Err(error) = &done {
                tracing::warn!(%error, "no {what}");
            }
            done.is_ok()
        }
        () = brief => {
            tracing::info!("left the {what} to others");
            true
        }
    }
}

pub(super) async fn watch(fleet: &Fleet) {
    loop {
        if !repair(fleet, audit::audit(fleet), "audit").await {
            fleet.metrics.store_up(false);
        }
        if let Err(error) = fleet
            .store
            .delete_callbacks(fleet.clock.now() - KEEP_CALLBACKS, 1_000)
            .await
        {
            tracing::debug!(%error, "old callbacks were not deleted");
        }
        if !fleet.pause(audit::PERIOD).await {
            return;
        }
    }
}
