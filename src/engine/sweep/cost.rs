//! What an ended call cost, where the carrier says so only when it is asked, and late.

use dialfleet_domain::call::Attempt;
use dialfleet_domain::time::Timestamp;

use crate::fleet::Fleet;
use crate::port::store::{Answer, Cas, SaveAttempt};

/// Asks once. The next look is written down before: one process asks, and one that dies is succeeded.
pub(super) async fn ask_cost(fleet: &Fleet, mut attempt: Attempt, now: Timestamp) -> Answer<()> {
    let expected = attempt.version;
    attempt.not_priced(now);
    let save = SaveAttempt {
        attempt: attempt.clone(),
        expected,
    };
    if fleet.store.save_attempts(&[save]).await?.first() != Some(&Cas::Won) {
        return Ok(());
    }
    let leg = attempt.legs.last();
    let call_id = leg.and_then(|leg| leg.call_id.clone());
    let carrier = leg.and_then(|leg| fleet.carriers.get(&leg.carrier));
    let (Some(call_id), Some(carrier)) = (call_id, carrier) else {
        return Ok(());
    };
    match carrier.cost(&call_id).await {
        Ok(Some(money)) => {
            fleet.metrics.sweep("priced");
            let priced = |a: &mut Attempt| a.priced(&call_id, (money, false), now);
            fleet.amend(attempt, priced).await?;
        }
        Ok(None) => {}
        Err(error) => {
            tracing::debug!(%error, attempt = %attempt.id, "the carrier did not say what a call cost");
        }
    }
    Ok(())
}
