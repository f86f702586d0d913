//! Campaign documents.

use async_trait::async_trait;
use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::{CampaignId, TenantId};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{Answer, CampaignChange, CampaignStore, Cas, Inserted, Page};
use rusqlite::{Connection, params};

use super::doc::After;
use super::error::Fault;
use super::{SqliteStore, docs, docs_by_id, execute, from_doc, one_doc, rows, to_doc};
use crate::page::ListName;

const WHAT: &str = "campaign";
const BY_ID: &str = "SELECT id, doc FROM campaigns WHERE id = ?1";

#[async_trait]
impl CampaignStore for SqliteStore {
    async fn insert_campaign(&self, campaign: &Campaign) -> Answer<Inserted> {
        let campaign = campaign.clone();
        self.write(move |conn| {
            let doc = to_doc(WHAT, &campaign)?;
            let fresh = execute(
                conn,
                "INSERT INTO campaigns (id, tenant, state, wake_at, created_at, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (id) DO NOTHING",
                params![
                    campaign.id.as_str(),
                    campaign.tenant.as_str(),
                    campaign.state.name(),
                    campaign.wake_at.map(Timestamp::millis),
                    campaign.created_at.millis(),
                    doc
                ],
            )?;
            Ok(if fresh == 1 { Inserted::Fresh } else { Inserted::Present })
        })
        .await
    }

    async fn campaigns(&self, ids: &[CampaignId]) -> Answer<Vec<Option<Campaign>>> {
        let ids = ids.to_vec();
        let found = self
            .read(move |conn| docs_by_id(conn, BY_ID, ids.iter().map(CampaignId::as_str)))
            .await?;
        self.each(WHAT, &found)
    }

    async fn list_campaigns(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Campaign>> {
        let name = ListName::new("campaigns", &[Some(tenant.as_str())]);
        let (tenant, after) = (tenant.clone(), After::new(name.after(cursor)?));
        let items = self
            .list(WHAT, limit.saturating_add(1), move |conn, limit| {
                docs(
                    conn,
                    "SELECT id, doc FROM campaigns WHERE tenant = ?1 AND (created_at, id) < (?2, ?3)
                     ORDER BY created_at DESC, id DESC LIMIT ?4",
                    params![tenant.as_str(), after.at, after.id, limit],
                )
            })
            .await?;
        Ok(name.page(items, limit, |last: &Campaign| {
            (last.created_at, last.id.clone())
        }))
    }

    async fn change_campaign(
        &self,
        id: &CampaignId,
        expected: u64,
        change: CampaignChange,
    ) -> Answer<Option<Campaign>> {
        let id = id.clone();
        self.write(move |conn| {
            let Some(mut campaign) = load(conn, &id)?.filter(|c| c.generation == expected) else {
                return Ok(None);
            };
            apply(&mut campaign, &change);
            save(conn, &campaign)?;
            Ok(Some(campaign))
        })
        .await
    }

    async fn wake(&self, wakes: &[(CampaignId, Timestamp)]) -> Answer<()> {
        let (wakes, unreadable) = (wakes.to_vec(), self.unreadable_docs());
        self.write(move |conn| {
            for (id, at) in &wakes {
                match load(conn, id) {
                    Ok(Some(mut campaign)) => {
                        wake(&mut campaign, *at);
                        save(conn, &campaign)?;
                    }
                    Ok(None) => {}
                    // The others must not sleep on because of it.
                    Err(fault @ Fault::Shape { .. }) => unreadable.remember(&fault.into()),
                    Err(fault) => return Err(fault),
                }
            }
            Ok(())
        })
        .await
    }

    async fn claim_wakes(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
    ) -> Answer<Vec<Campaign>> {
        let unreadable = self.unreadable_docs();
        self.write(move |conn| {
            let mut most = limit;
            loop {
                let due = docs(
                    conn,
                    "SELECT id, doc FROM campaigns
                     WHERE wake_at IS NOT NULL AND state IN ('running', 'draining') AND wake_at <= ?1
                     ORDER BY wake_at, id LIMIT ?2",
                    params![now.millis(), rows(most)],
                )?;
                let read = due.iter().map(|doc| Ok(from_doc(WHAT, doc)?));
                let mut as_read: Vec<Campaign> = unreadable.readable(read);
                if as_read.len() < limit && due.len() == most {
                    most = limit + (due.len() - as_read.len());
                    continue;
                }
                as_read.truncate(limit);
                for campaign in &as_read {
                    let wake_at = Some(lease);
                    save(conn, &Campaign { wake_at, ..campaign.clone() })?;
                }
                return Ok(as_read);
            }
        })
        .await
    }

    async fn settle_wake(
        &self,
        id: &CampaignId,
        seen_seq: u64,
        next: Option<Timestamp>,
    ) -> Answer<Cas> {
        let id = id.clone();
        self.write(move |conn| edit_if(conn, &id, |c| c.wake_seq == seen_seq, |c| c.wake_at = next))
            .await
    }

    async fn finish_campaign(
        &self,
        id: &CampaignId,
        seen_seq: u64,
        from: CampaignState,
        to: CampaignState,
        at: Timestamp,
    ) -> Answer<Cas> {
        let id = id.clone();
        self.write(move |conn| {
            edit_if(
                conn,
                &id,
                |c| c.wake_seq == seen_seq && c.state == from,
                |c| {
                    c.state = to;
                    c.generation += 1;
                    c.changed_at = at;
                },
            )
        })
        .await
    }

    async fn campaigns_in(
        &self,
        states: &[CampaignState],
        after: Option<&CampaignId>,
        limit: usize,
    ) -> Answer<Vec<Campaign>> {
        let names: Vec<&str> = states.iter().map(|state| state.name()).collect();
        let names = to_doc("list of states", &names)?;
        let after = after.map_or_else(String::new, |id| id.as_str().to_owned());
        self.list(WHAT, limit, move |conn, limit| {
            docs(
                conn,
                "SELECT id, doc FROM campaigns WHERE id > ?1 AND state IN (SELECT value FROM json_each(?2))
                 ORDER BY id LIMIT ?3",
                params![after, names, limit],
            )
        })
        .await
    }
}

fn apply(campaign: &mut Campaign, change: &CampaignChange) {
    campaign.generation += 1;
    if let Some(state) = change.state {
        campaign.state = state;
        campaign.changed_at = change.at;
        campaign.paused_by = change.paused_by;
    }
    if let Some(budget) = change.budget {
        campaign.budget = budget;
    }
    if let Some((limit, former)) = change.limit {
        campaign.limit = limit;
        campaign.former_limit = former;
    }
    if let Some(at) = change.wake {
        wake(campaign, at);
    }
}

fn wake(campaign: &mut Campaign, at: Timestamp) {
    campaign.wake_at = Some(campaign.wake_at.map_or(at, |already| already.min(at)));
    campaign.wake_seq += 1;
}

fn edit_if(
    conn: &Connection,
    id: &CampaignId,
    expected: impl FnOnce(&Campaign) -> bool,
    edit: impl FnOnce(&mut Campaign),
) -> Result<Cas, Fault> {
    let Some(mut campaign) = load(conn, id)?.filter(expected) else {
        return Ok(Cas::Lost);
    };
    edit(&mut campaign);
    save(conn, &campaign)?;
    Ok(Cas::Won)
}

fn load(conn: &Connection, id: &CampaignId) -> Result<Option<Campaign>, Fault> {
    one_doc(conn, BY_ID, [id.as_str()])?
        .map(|doc| from_doc(WHAT, &doc))
        .transpose()
}

fn save(conn: &Connection, campaign: &Campaign) -> Result<(), Fault> {
    execute(
        conn,
        "UPDATE campaigns SET state = ?2, wake_at = ?3, doc = ?4 WHERE id = ?1",
        params![
            campaign.id.as_str(),
            campaign.state.name(),
            campaign.wake_at.map(Timestamp::millis),
            to_doc(WHAT, campaign)?
        ],
    )?;
    Ok(())
}
