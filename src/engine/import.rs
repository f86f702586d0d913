//! A delivery of leads: how a file's rows get onto the queue, and how it ends, which is when every batch
//! has reported or nothing more can come of it. An open import keeps its campaign from being done.

use std::time::Duration;

use dialfleet_domain::campaign::CampaignState;
use dialfleet_domain::id::{CampaignId, ImportId, TenantId};
use dialfleet_domain::import::{Import, ImportState, RowError, Tally};
use thiserror::Error;

use crate::fleet::Fleet;
use crate::intake::{self, BadRow, Format, Unusable};
use crate::message::{BatchOf, LeadBatch, MAX_BATCH, Payload};
use crate::port::queue::PublishError;
use crate::port::store::StoreError;

/// Batches published at once.
const BATCHES_AT_ONCE: usize = 8;
/// A batch with so many bytes of leads takes no more of them: brokers refuse large messages.
const FULL_BATCH: usize = 1024 * 1024;
/// An import of which nothing was heard for so long has lost its reader, or a batch. Rows of it that
/// come later all the same are taken, and wake a campaign that is done.
const LOST: Duration = Duration::from_secs(15 * 60);
/// Open imports looked at in one go.
const TURN: usize = 100;
/// Open imports of a campaign at the start of a process: more than there can be readers.
const MANY: usize = 10_000;

/// Why an import was not taken.
#[derive(Debug, Error)]
pub enum ImportError {
    /// There is no such campaign.
    #[error("there is no such campaign")]
    NoCampaign,
    /// A stopped campaign takes no leads.
    #[error("the campaign is stopped and takes no more leads")]
    Stopped,
    /// The file is unusable as a whole; nothing was taken from it.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The queue did not take the rows. What it took already will be dialed; sending the same file
    /// again is safe, because every row has the same reference as before.
    #[error("the queue did not take the rows; send the file again")]
    Queue,
    /// There is no room for the rows. The same holds as for [`ImportError::Queue`].
    #[error("{0}; make room and send the file again")]
    NoRoom(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes a whole file: reads it, publishes its rows in batches and returns the import, which is
/// done when the last batch was inserted.
///
/// # Errors
/// See [`ImportError`].
pub async fn import_file(
    fleet: &Fleet,
    tenant: &TenantId,
    campaign: &CampaignId,
    bytes: &[u8],
    format: Format,
) -> Result<Import, ImportError> {
    let found = fleet
        .campaign(campaign)
        .await?
        .filter(|c| c.tenant == *tenant)
        .ok_or(ImportError::NoCampaign)?;
    if found.state == CampaignState::Stopped {
        return Err(ImportError::Stopped);
    }
    let now = fleet.clock.now();
    let id = ImportId::mint(now, fleet.entropy.id_bits());
    let mut import = Import::open(id, tenant.clone(), campaign.clone(), now);
    let rows = match intake::open(bytes, format) {
        Ok(rows) => rows,
        Err(unusable) => {
            import.state = ImportState::Refused;
            import.refused = Some(unusable.to_string());
            import.done_at = Some(now);
            fleet.store.insert_import(&import).await?;
            return Err(unusable.into());
        }
    };
    fleet.store.insert_import(&import).await?;
    if let Err(error) = publish_rows(fleet, &import, rows).await {
        // Nothing more will come of it: an import that stays open would keep its campaign from
        // ever being done.
        let why = Some(error.to_string());
        let ended = fleet
            .store
            .end_import(&import.id, ImportState::Refused, why, fleet.clock.now())
            .await;
        if let Err(error) = ended {
            tracing::warn!(%error, import = %import.id, "a failed import could not be ended");
        }
        return Err(error);
    }
    Ok(fleet.store.import(&import.id).await?.unwrap_or(import))
}

async fn publish_rows(
    fleet: &Fleet,
    import: &Import,
    mut rows: intake::Rows<'_>,
) -> Result<(), ImportError> {
    let mut batches: u32 = 0;
    let mut unreadable = 0;
    loop {
        let mut messages = Vec::new();
        let mut bad = Vec::new();
        while messages.len() < BATCHES_AT_ONCE {
            let mut leads = Vec::with_capacity(MAX_BATCH);
            let mut bytes = 0;
            for row in rows.by_ref() {
                match row {
                    Ok(row) => {
                        bytes += row.bytes();
                        leads.push(row);
                    }
                    Err(row) => bad.push(row_error(&import.id, row)),
                }
                if leads.len() == MAX_BATCH || bad.len() >= MAX_BATCH || bytes >= FULL_BATCH {
                    break;
                }
            }
            if leads.is_empty() {
                break;
            }
            let of = BatchOf {
                id: import.id.clone(),
                batch: batches,
            };
            let batch = LeadBatch {
                campaign: import.campaign.clone(),
                import: Some(of),
                leads,
            };
            messages.push(batch.message(format!("{}/{batches}", import.id)));
            batches += 1;
        }
        unreadable += u64::try_from(bad.len()).unwrap_or(u64::MAX);
        fleet
            .metrics
            .lead_rows("rejected", u64::try_from(bad.len()).unwrap_or(u64::MAX));
        fleet.store.insert_row_errors(&bad).await?;
        if messages.is_empty() && bad.is_empty() {
            break;
        }
        for answer in fleet.queue.publish(messages).await {
            match answer {
                Ok(()) => {}
                Err(PublishError::NoRoom(why)) => return Err(ImportError::NoRoom(why)),
                Err(error @ (PublishError::Refused(_) | PublishError::Unconfirmed)) => {
                    tracing::warn!(%error, import = %import.id, "rows were not taken");
                    return Err(ImportError::Queue);
                }
            }
        }
    }
    fleet
        .store
        .close_import(&import.id, batches, unreadable)
        .await?;
    finish_if_complete(fleet, &import.id).await?;
    Ok(())
}

pub(crate) fn row_error(import: &ImportId, bad: BadRow) -> RowError {
    RowError {
        import: import.clone(),
        line: bad.line,
        code: bad.code.to_owned(),
        message: bad.message,
    }
}

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
