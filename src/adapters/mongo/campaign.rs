//! Campaign documents.

use async_trait::async_trait;
use bson::{Bson, Document, RawDocumentBuf, doc, rawdoc};
use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::{CampaignId, TenantId};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{
    Answer, CampaignChange, CampaignStore, Cas, Inserted, Page, StoreError,
};
use futures_util::future::try_join_all;
use mongodb::options::ReturnDocument;

use super::MongoStore;
use super::error::{self, Cause};
use super::index::CAMPAIGNS;
use super::page;
use super::read::{self, List};
use super::write::{self, Change, CompareAndSet, int};
use crate::page::{ListName, Newest};

const WHAT: &str = "campaign";

#[async_trait]
impl CampaignStore for MongoStore {
    async fn insert_campaign(&self, campaign: &Campaign) -> Answer<Inserted> {
        Ok(
            match write::within_one(self.campaigns.insert_one(campaign)).await? {
                Ok(_) => Inserted::Fresh,
                Err(_) => Inserted::Present,
            },
        )
    }

    async fn campaigns(&self, ids: &[CampaignId]) -> Answer<Vec<Option<Campaign>>> {
        self.together.campaigns.ask(self, ids).await
    }

    async fn list_campaigns(
        &self,
        tenant: &TenantId,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Campaign>> {
        let name = ListName::new("campaigns", &[Some(tenant.as_str())]);
        let after = name.after::<Newest>(cursor)?;
        let mut filter = doc! { "tenant": tenant.as_str() };
        page::after_newest(&mut filter, "created_at", after);
        let sort = doc! { "created_at": -1, "_id": -1 };
        let list = List {
            filter,
            sort,
            limit: limit.saturating_add(1),
            index: None,
        };
        let found = read::list(&self.unreadable, &self.campaigns, WHAT, list).await?;
        Ok(name.page(found, limit, |c: &Campaign| {
            (c.created_at, c.id.as_str().to_owned())
        }))
    }

    async fn change_campaign(
        &self,
        id: &CampaignId,
        expected: u64,
        change: CampaignChange,
    ) -> Answer<Option<Campaign>> {
        let filter = doc! { "_id": id.as_str(), "gen": int(expected) };
        let find = self
            .campaigns
            .find_one_and_update(filter, operators(&change)?)
            .return_document(ReturnDocument::After);
        write::within(find).await
    }

    async fn wake(&self, wakes: &[(CampaignId, Timestamp)]) -> Answer<()> {
        let update = |at: Timestamp| rawdoc! { "$min": { "wake_at": at.millis() }, "$inc": { "wake_seq": 1_i64 } };
        match wakes {
            [] => Ok(()),
            [(id, at)] => {
                let update = Document::try_from(update(*at)).map_err(|e| error::unwritable(&e))?;
                write::within(
                    self.campaigns
                        .update_one(doc! { "_id": id.as_str() }, update),
                )
                .await?;
                Ok(())
            }
            many => {
                let statements: Vec<RawDocumentBuf> = many
                    .iter()
                    .map(|(id, at)| rawdoc! { "q": { "_id": id.as_str() }, "u": update(*at), "multi": false })
                    .collect();
                match write::bulk(&self.db, CAMPAIGNS, &statements).await?.first() {
                    None => Ok(()),
                    // Whoever wakes again is not wrong: earlier and once more is always allowed.
                    Some((_, code)) => {
                        let cause = Cause(format!("a wake-up failed with code {code}"));
                        Err(StoreError::Unclear(Box::new(cause)))
                    }
                }
            }
        }
    }

    async fn claim_wakes(
        &self,
        now: Timestamp,
        lease: Timestamp,
        limit: usize,
    ) -> Answer<Vec<Campaign>> {
        let states = [CampaignState::Running, CampaignState::Draining].map(CampaignState::name);
        let filter =
            doc! { "state": { "$in": states.to_vec() }, "wake_at": { "$lte": now.millis() } };
        let sort = doc! { "wake_at": 1, "_id": 1 };
        let due: Vec<Campaign> = read::list(
            &self.unreadable,
            &self.campaigns,
            WHAT,
            List {
                filter,
                sort,
                limit,
                index: None,
            },
        )
        .await?;
        let claims = due.iter().map(|seen| self.claim_wake(seen, lease));
        // A claim that failed as a whole costs a lease's time, no wake-up: whoever comes next finds it.
        let won = try_join_all(claims).await?;
        Ok(due
            .into_iter()
            .zip(won)
            .filter_map(|(c, cas)| (cas == Cas::Won).then_some(c))
            .collect())
    }

    async fn settle_wake(
        &self,
        id: &CampaignId,
        seen_seq: u64,
        next: Option<Timestamp>,
    ) -> Answer<Cas> {
        let expected = doc! { "_id": id.as_str(), "wake_seq": int(seen_seq) };
        let fields = match next {
            Some(at) => doc! { "$set": { "wake_at": at.millis() } },
            None => doc! { "$unset": { "wake_at": "" } },
        };
        write::one(
            &self.db,
            CAMPAIGNS,
            CompareAndSet {
                expected,
                change: Change::Fields(fields),
            },
        )
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
        let expected = doc! { "_id": id.as_str(), "wake_seq": int(seen_seq), "state": from.name() };
        let fields = doc! {
            "$set": { "state": to.name(), "changed_at": at.millis() },
            "$inc": { "gen": 1_i64 },
        };
        write::one(
            &self.db,
            CAMPAIGNS,
            CompareAndSet {
                expected,
                change: Change::Fields(fields),
            },
        )
        .await
    }

    async fn campaigns_in(
        &self,
        states: &[CampaignState],
        after: Option<&CampaignId>,
        limit: usize,
    ) -> Answer<Vec<Campaign>> {
        let states: Vec<_> = states.iter().map(|s| s.name()).collect();
        let mut filter = doc! { "state": { "$in": states } };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": after.as_str() });
        }
        let list = List {
            filter,
            sort: doc! { "_id": 1 },
            limit,
            index: None,
        };
        read::list(&self.unreadable, &self.campaigns, WHAT, list).await
    }
}

impl MongoStore {
    pub(super) async fn read_campaigns(&self, ids: &[CampaignId]) -> Answer<Vec<Option<Campaign>>> {
        read::by_id(
            &self.unreadable,
            &self.campaigns,
            WHAT,
            ids.iter().map(CampaignId::as_str),
            |c: &Campaign| c.id.as_str(),
        )
        .await
    }

    /// Takes one due campaign as it was seen.
    async fn claim_wake(&self, seen: &Campaign, lease: Timestamp) -> Answer<Cas> {
        let wake_at = seen
            .wake_at
            .map_or(Bson::Null, |at| Bson::Int64(at.millis()));
        let expected = doc! {
            "_id": seen.id.as_str(),
            "state": seen.state.name(),
            "wake_seq": int(seen.wake_seq),
            "wake_at": wake_at,
        };
        let fields = doc! { "$set": { "wake_at": lease.millis() } };
        write::one(
            &self.db,
            CAMPAIGNS,
            CompareAndSet {
                expected,
                change: Change::Fields(fields),
            },
        )
        .await
    }
}

fn operators(change: &CampaignChange) -> Answer<Document> {
    let mut set = Document::new();
    let mut unset = Document::new();
    let mut inc = doc! { "gen": 1_i64 };
    let mut update = Document::new();
    if let Some(state) = change.state {
        set.insert("state", state.name());
        set.insert("changed_at", change.at.millis());
        match change.paused_by {
            Some(why) => drop(set.insert("paused_by", write::value(&why)?)),
            None => drop(unset.insert("paused_by", "")),
        }
    }
    match &change.budget {
        Some(Some(budget)) => drop(set.insert("budget", write::value(budget)?)),
        Some(None) => drop(unset.insert("budget", "")),
        None => {}
    }
    if let Some((limit, former)) = &change.limit {
        set.insert("limit", i64::from(*limit));
        match former {
            Some(former) => drop(set.insert("former_limit", write::value(former)?)),
            None => drop(unset.insert("former_limit", "")),
        }
    }
    if let Some(wake) = change.wake {
        inc.insert("wake_seq", 1_i64);
        update.insert("$min", doc! { "wake_at": wake.millis() });
    }
    update.insert("$inc", inc);
    // An empty operator is an error to older servers.
    if !set.is_empty() {
        update.insert("$set", set);
    }
    if !unset.is_empty() {
        update.insert("$unset", unset);
    }
    Ok(update)
}
