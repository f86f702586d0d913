//! From a message to leads: normalise, check, dedupe, insert; account for every row.

use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::{CampaignId, ImportId, LeadId};
use dialfleet_domain::import::{Import, RowError, Tally};
use dialfleet_domain::lead::{
    DEFAULT_PRIORITY, Lead, LeadState, MAX_PRIORITY, MAX_VAR_LEN, MAX_VAR_NAME, MAX_VARS, Source,
    is_var_name,
};
use dialfleet_domain::phone::{E164, zones::zones_of};
use dialfleet_domain::schedule::Zone;
use dialfleet_domain::time::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

use crate::fleet::Fleet;
use crate::import::{finish_if_complete, row_error};
use crate::intake::BadRow;
use crate::message::{BatchOf, LeadBatch, LeadRow, MAX_BATCH, Written};
use crate::port::store::{CampaignChange, LeadInserted, StoreError};

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ingested {
    /// Every row is accounted for.
    Done(Tally),
    /// The batch as a whole cannot be processed: keep it aside.
    Park(String),
}

/// Inserts one batch. Idempotent: a redelivered batch recognises its own rows.
///
/// # Errors
/// The store failed; ingest the batch again.
pub async fn ingest(
    fleet: &Fleet,
    batch: &LeadBatch,
    message_id: &str,
) -> Result<Ingested, StoreError> {
    if batch.leads.is_empty() || batch.leads.len() > MAX_BATCH {
        return Ok(Ingested::Park(format!(
            "a batch has 1 to {MAX_BATCH} leads, this one {}",
            batch.leads.len()
        )));
    }
    let Some(campaign) = fleet.campaign(&batch.campaign).await? else {
        return Ok(Ingested::Park(format!(
            "there is no campaign {}",
            batch.campaign
        )));
    };
    if campaign.state == CampaignState::Stopped {
        return Ok(Ingested::Park(format!(
            "the campaign {} is stopped",
            batch.campaign
        )));
    }
    let of = match delivery_of(fleet, batch, &campaign, message_id).await? {
        Ok(of) => of,
        Err(why) => return Ok(Ingested::Park(why)),
    };
    let now = fleet.clock.now();
    let mut leads = Vec::with_capacity(batch.leads.len());
    let mut errors = Vec::new();
    for (position, row) in (1..).zip(&batch.leads) {
        // Only a file of ours has lines; a customer's own message has positions.
        let line = row.line.filter(|_| batch.import.is_some());
        let line = line
            .filter(|line| i64::try_from(*line).is_ok())
            .unwrap_or(position);
        match lead_of(
            &campaign,
            row,
            Source {
                import: of.id.clone(),
                line,
            },
            now,
        ) {
            Ok(lead) => leads.push(lead),
            Err(bad) => errors.push(row_error(&of.id, bad)),
        }
    }
    let mut tally = Tally {
        rejected: u64::try_from(errors.len()).unwrap_or(u64::MAX),
        ..Tally::default()
    };
    let answers = if leads.is_empty() {
        Vec::new()
    } else {
        fleet.store.insert_leads(&leads).await?
    };
    for (lead, answer) in leads.iter().zip(answers) {
        let message = match answer {
            LeadInserted::Fresh
            | LeadInserted::SameRef { same_source: true }
            | LeadInserted::SamePhone { same_source: true } => {
                tally.accepted += 1;
                continue;
            }
            LeadInserted::SameRef { same_source: false } => {
                "the campaign has a lead with this reference already"
            }
            LeadInserted::SamePhone { same_source: false } => {
                "the campaign has a lead with this phone number already"
            }
        };
        tally.duplicate += 1;
        let line = lead.source.as_ref().map_or(0, |s| s.line);
        errors.push(RowError {
            import: of.id.clone(),
            line,
            code: "duplicate".to_owned(),
            message: message.to_owned(),
        });
    }
    // Before the import can end: whoever then finds nothing left to dial has seen these leads, or
    // is told by `wake_seq` that he has not.
    fleet
        .store
        .wake(&[(campaign.id.clone(), fleet.clock.now())])
        .await?;
    if tally.accepted > 0 {
        reopen(fleet, &campaign.id).await?;
    }
    fleet.store.insert_row_errors(&errors).await?;
    let now = fleet.clock.now();
    fleet
        .store
        .tally_import(&of.id, of.batch, tally.clone(), now)
        .await?;
    finish_if_complete(fleet, &of.id).await?;
    fleet.metrics.lead_rows("accepted", tally.accepted);
    fleet.metrics.lead_rows("duplicate", tally.duplicate);
    fleet.metrics.lead_rows("rejected", tally.rejected);
    Ok(Ingested::Done(tally))
}

/// A campaign that was done had only run out of leads: it goes on. Reads it afresh, because it may
/// have become so while the leads were being inserted.
async fn reopen(fleet: &Fleet, id: &CampaignId) -> Result<(), StoreError> {
    while let Some(campaign) = fleet
        .campaign(id)
        .await?
        .filter(|c| c.state == CampaignState::Done)
    {
        let now = fleet.clock.now();
        let change = CampaignChange {
            state: Some(CampaignState::Running),
            wake: Some(now),
            at: now,
            ..CampaignChange::default()
        };
        let changed = fleet
            .store
            .change_campaign(id, campaign.generation, change)
            .await?;
        if changed.is_some() {
            break;
        }
    }
    Ok(())
}

/// The delivery that a batch belongs to. The inner error: it names one that is not there.
async fn delivery_of(
    fleet: &Fleet,
    batch: &LeadBatch,
    campaign: &Campaign,
    message_id: &str,
) -> Result<Result<BatchOf, String>, StoreError> {
    let Some(of) = &batch.import else {
        return direct_import(fleet, campaign, message_id).await.map(Ok);
    };
    let import = fleet.store.import(&of.id).await?;
    let theirs = import.is_some_and(|import| import.campaign == campaign.id);
    Ok(if theirs {
        Ok(of.clone())
    } else {
        Err(format!(
            "the campaign {} has no import {}",
            campaign.id, of.id
        ))
    })
}

/// A batch that a customer published directly gets an import of its own, named after its message.
async fn direct_import(
    fleet: &Fleet,
    campaign: &Campaign,
    message_id: &str,
) -> Result<BatchOf, StoreError> {
    let now = fleet.clock.now();
    let id = ImportId::parse(format!("imp_direct_{message_id}")).unwrap_or_else(|_| {
        // Always the same one: a redelivery must find its own import.
        let bits = Sha256::digest(message_id);
        ImportId::mint(Timestamp::default(), std::array::from_fn(|i| bits[i]))
    });
    let import = Import {
        batches: Some(1),
        ..Import::open(
            id.clone(),
            campaign.tenant.clone(),
            campaign.id.clone(),
            now,
        )
    };
    fleet.store.insert_import(&import).await?;
    Ok(BatchOf { id, batch: 0 })
}

fn lead_of(
    campaign: &Campaign,
    row: &LeadRow,
    source: Source,
    now: Timestamp,
) -> Result<Lead, BadRow> {
    let line = source.line;
    let bad = |code, message: String| BadRow {
        line,
        code,
        message,
    };
    let phone =
        E164::parse(&row.phone, campaign.region).map_err(|e| bad("bad_phone", e.to_string()))?;
    let reference = row.reference.as_deref().unwrap_or(phone.as_str());
    let id = LeadId::new(&campaign.id, reference).map_err(|e| bad("bad_ref", e.to_string()))?;
    let zones = match &row.timezone {
        Some(text) => vec![Zone::parse(text).map_err(|e| bad("bad_timezone", e.to_string()))?],
        None => zones_of(&phone).into_iter().map(Zone::from).collect(),
    };
    let priority = match &row.priority {
        None => DEFAULT_PRIORITY,
        Some(written) => {
            let number = match written {
                Written::Number(n) => u8::try_from(*n).ok(),
                Written::Text(text) => text.trim().parse().ok(),
            };
            let within = number.filter(|p| *p <= MAX_PRIORITY);
            within.ok_or_else(|| {
                bad(
                    "bad_priority",
                    format!("the priority must be a whole number from 0 to {MAX_PRIORITY}"),
                )
            })?
        }
    };
    if row.vars.len() > MAX_VARS
        || row
            .vars
            .iter()
            .any(|(k, v)| !is_var_name(k) || v.chars().count() > MAX_VAR_LEN)
    {
        return Err(bad(
            "bad_vars",
            format!(
                "a lead has at most {MAX_VARS} variables of {MAX_VAR_LEN} characters, with names of {MAX_VAR_NAME} bytes"
            ),
        ));
    }
    Ok(Lead {
        id,
        campaign: campaign.id.clone(),
        tenant: campaign.tenant.clone(),
        phone,
        zones,
        vars: row.vars.clone(),
        priority,
        state: LeadState::Ready,
        due_at: now,
        n: 0,
        budget_used: 0,
        outcomes: BTreeMap::new(),
        last_outcome: None,
        reason: None,
        claim: None,
        claimed_at: None,
        source: Some(source),
        created_at: now,
    })
}
