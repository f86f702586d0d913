//! How a delivery of leads ends: when every batch has reported, or nothing more can come of it. An
//! open import keeps its campaign from being done.

use std::time::Duration;

use dialfleet_domain::campaign::CampaignState;
use dialfleet_domain::id::{CampaignId, ImportId};
use dialfleet_domain::import::{Import, ImportState, Tally};

use crate::fleet::Fleet;
use crate::message::LeadBatch;
use crate::port::store::StoreError;

/// An import of which nothing was heard for so long has lost its reader, or a batch. Rows of it that
/// come later all the same are taken, and wake a campaign that is done.
const LOST: Duration = Duration::from_secs(15 * 60);
/// Open imports looked at in one go.
const TURN: usize = 100;
/// Open imports of a campaign at the start of a process: more than there can be readers.
const MANY: usize = 10_000;

/// Ends an import whose batches have all reported.
pub(crate) async fn finish_if_complete(fleet: &Fleet, id: &ImportId) -> Result<(), StoreError> {
    let Some(import) = fleet.store.import(id).await?.filter(Import::is_complete) else {
        return Ok(());
    };
    let (state, missing) = import.end();
    if state.from().contains(&import.state) {
        let now = fleet.clock.now();
        fleet.store.end_import(id, state, missing, now).await?;
        fleet.store.wake(&[(import.campaign, now)]).await?;
    }
    Ok(())
}

/// Accounts for a batch whose message is put aside, so that its campaign does not wait for it. If the
/// message is delivered again later, its rows are taken and counted then.
pub(crate) async fn set_aside(
    fleet: &Fleet,
    batch: &LeadBatch,
    why: &str,
) -> Result<(), StoreError> {
    let Some(of) = &batch.import else {
        return Ok(());
    };
    let import = fleet.store.import(&of.id).await?;
    if import.is_none_or(|import| import.campaign != batch.campaign) {
        return Ok(());
    }
    let tally = Tally {
        parked: u64::try_from(batch.leads.len()).unwrap_or(u64::MAX),
        why: Some(why.to_owned()),
        ..Tally::default()
    };
    let now = fleet.clock.now();
    fleet
        .store
        .tally_import(&of.id, of.batch, tally, now)
        .await?;
    finish_if_complete(fleet, &of.id).await
}

/// Whether leads of a campaign may still be on their way. Ends imports that nobody ends any more.
pub(crate) async fn expects_leads(
    fleet: &Fleet,
    campaign: &CampaignId,
) -> Result<bool, StoreError> {
    loop {
        let open = fleet.store.open_imports(campaign, TURN).await?;
        let mut ended = 0;
        for import in &open {
            ended += usize::from(end_if_lost(fleet, import).await?);
        }
        if ended < open.len() || open.len() < TURN {
            return Ok(ended < open.len());
        }
    }
}

/// Ends an open import of which nothing can come any more. Returns whether it has ended.
async fn end_if_lost(fleet: &Fleet, import: &Import) -> Result<bool, StoreError> {
    if import.is_complete() {
        finish_if_complete(fleet, &import.id).await?;
        return Ok(true);
    }
    let now = fleet.clock.now();
    if now.since(import.last_heard()) <= LOST {
        return Ok(false);
    }
    let Some(batches) = import.batches else {
        end_interrupted(fleet, import).await?;
        return Ok(true);
    };
    // Its messages were put aside by the broker, or lost with it.
    let have = import.tallies.len();
    let why = format!(
        "{have} of {batches} batches came; the others are among the parked messages, or lost"
    );
    tracing::warn!(import = %import.id, why);
    let state = ImportState::Incomplete;
    fleet
        .store
        .end_import(&import.id, state, Some(why), now)
        .await?;
    Ok(true)
}

async fn end_interrupted(fleet: &Fleet, import: &Import) -> Result<(), StoreError> {
    let why = "it was interrupted; send the file again".to_owned();
    tracing::warn!(import = %import.id, why);
    let (refused, now) = (ImportState::Refused, fleet.clock.now());
    fleet
        .store
        .end_import(&import.id, refused, Some(why), now)
        .await?;
    Ok(())
}

/// Ends the imports whose reader died with the process before this one, which only the first process
/// on a store that belongs to one process alone can know.
///
/// # Errors
/// The store failed.
pub async fn end_interrupted_imports(fleet: &Fleet) -> Result<(), StoreError> {
    let states = [
        CampaignState::Draft,
        CampaignState::Running,
        CampaignState::Paused,
        CampaignState::Draining,
    ];
    let mut after: Option<CampaignId> = None;
    loop {
        let campaigns = fleet
            .store
            .campaigns_in(&states, after.as_ref(), TURN)
            .await?;
        for campaign in &campaigns {
            for import in fleet.store.open_imports(&campaign.id, MANY).await? {
                if import.batches.is_none() {
                    end_interrupted(fleet, &import).await?;
                }
            }
        }
        let Some(last) = campaigns.into_iter().next_back() else {
            return Ok(());
        };
        after = Some(last.id);
    }
}
