//! Lead documents.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bson::{Bson, Document, doc};
use dialfleet_domain::id::{CampaignId, ClaimToken, LeadId};
use dialfleet_domain::lead::{Lead, LeadState, Projection};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{
    Answer, Cas, ClaimRequest, LeadCounts, LeadInserted, LeadStore, Page, Release,
};
use futures_util::TryStreamExt;
use mongodb::options::FindOptions;
use serde::Deserialize;

use super::index::{ID, LEADS};
use super::read::{self, List};
use super::write::{self, Change, CompareAndSet};
use super::{LIST_TIME, MongoStore};
use crate::page::ListName;

const WHAT: &str = "lead";

#[async_trait]
impl LeadStore for MongoStore {
    async fn insert_leads(&self, leads: &[Lead]) -> Answer<Vec<LeadInserted>> {
        let refused_by = write::insert_or_find(&self.leads, leads).await?;
        let same_ref = self.known_refs(leads, &refused_by).await?;
        let same_phone = self.known_phones(leads, &refused_by).await?;
        Ok(leads
            .iter()
            .zip(&refused_by)
            .map(|(lead, index)| match index.as_deref() {
                None => LeadInserted::Fresh,
                Some(ID) => LeadInserted::SameRef {
                    same_source: same_source(lead, same_ref.get(lead.id.as_str())),
                },
                Some(_) => LeadInserted::SamePhone {
                    same_source: same_source(
                        lead,
                        same_phone.get(&(lead.campaign.as_str(), lead.phone.as_str())),
                    ),
                },
            })
            .collect())
    }

    async fn claim_leads(&self, requests: &[ClaimRequest]) -> Answer<Vec<Option<Lead>>> {
        let answers = self.together.claims.ask(self, requests).await?;
        let mut failure = None;
        let leads: Vec<Option<Lead>> = answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|error| failure.replace(error).and(None)))
            .collect();
        // A failure must not hide the leads that are ours by now.
        match failure {
            Some(error) if leads.iter().all(Option::is_none) => Err(error),
            Some(_) | None => Ok(leads),
        }
    }

    async fn release_claims(&self, releases: &[Release]) -> Answer<Vec<Cas>> {
        write::compare_and_set(&self.db, LEADS, releases.iter().map(release).collect()).await
    }

    async fn project_leads(&self, projections: &[Projection]) -> Answer<Vec<Cas>> {
        self.together.projections.ask(self, projections).await
    }

    async fn stale_claims(&self, before: Timestamp, limit: usize) -> Answer<Vec<Lead>> {
        let filter =
            doc! { "state": LeadState::Claimed.name(), "claimed_at": { "$lt": before.millis() } };
        let sort = doc! { "claimed_at": 1, "_id": 1 };
        read::list(
            &self.unreadable,
            &self.leads,
            WHAT,
            List {
                filter,
                sort,
                limit,
                index: None,
            },
        )
        .await
    }

    async fn renew_claim(
        &self,
        lead: &LeadId,
        n: u32,
        claim: &ClaimToken,
        at: Timestamp,
    ) -> Answer<Cas> {
        let expected = doc! { "_id": lead.as_str(), "n": i64::from(n), "claim": claim.as_str() };
        let change = Change::Fields(doc! { "$set": { "claimed_at": at.millis() } });
        write::one(&self.db, LEADS, CompareAndSet { expected, change }).await
    }

    async fn leads(&self, ids: &[LeadId]) -> Answer<Vec<Option<Lead>>> {
        self.together.leads.ask(self, ids).await
    }

    async fn list_leads(
        &self,
        campaign: &CampaignId,
        state: Option<LeadState>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Lead>> {
        let filters = [Some(campaign.as_str()), state.map(LeadState::name)];
        let name = ListName::new("leads", &filters);
        let after = name.after::<String>(cursor)?;
        let from = after.unwrap_or_else(|| format!("{campaign}:"));
        // A lead's id begins with its campaign's, so the index of `_id` holds a campaign's leads in
        // one piece; ';' is what follows ':'.
        let mut filter = doc! {
            "_id": { "$gt": from, "$lt": format!("{campaign};") },
            "campaign": campaign.as_str(),
        };
        if let Some(state) = state {
            filter.insert("state", state.name());
        }
        let list = List {
            filter,
            sort: doc! { "_id": 1 },
            limit: limit.saturating_add(1),
            index: None,
        };
        let found = read::list(&self.unreadable, &self.leads, WHAT, list).await?;
        Ok(name.page(found, limit, |l: &Lead| l.id.as_str().to_owned()))
    }

    async fn lead_counts(&self, campaign: &CampaignId) -> Answer<LeadCounts> {
        let pipeline = [
            doc! { "$match": { "campaign": campaign.as_str() } },
            doc! { "$group": {
                "_id": { "state": "$state", "outcome": "$last_outcome" },
                "leads": { "$sum": 1_i64 },
            } },
        ];
        let counted = read::within(LIST_TIME, WHAT, async {
            self.leads
                .aggregate(pipeline)
                .with_type::<Counted>()
                .await?
                .try_collect::<Vec<_>>()
                .await
        })
        .await?;
        let mut counts = LeadCounts::default();
        for Counted { id, leads } in counted {
            let Some(state) = LeadState::ALL.into_iter().find(|s| s.name() == id.state) else {
                continue;
            };
            match state {
                LeadState::Ready => counts.ready += leads,
                LeadState::Claimed => counts.claimed += leads,
                LeadState::Suppressed => counts.suppressed += leads,
                LeadState::Done => {
                    counts.done += leads;
                    if let Some(outcome) = id.outcome {
                        *counts.outcomes.entry(outcome).or_default() += leads;
                    }
                }
            }
        }
        Ok(counts)
    }

    async fn next_due(&self, campaign: &CampaignId) -> Answer<Option<Timestamp>> {
        #[derive(Deserialize)]
        struct Due {
            due_at: Timestamp,
        }
        let filter = doc! { "campaign": campaign.as_str(), "state": LeadState::Ready.name() };
        let fields = doc! { "_id": 0, "due_at": 1 };
        let first: Option<Due> = read::first(
            &self.unreadable,
            &self.leads,
            WHAT,
            filter,
            Some(doc! { "due_at": 1 }),
            Some(fields),
        )
        .await?;
        Ok(first.map(|d| d.due_at))
    }

    async fn has_open_leads(&self, campaign: &CampaignId) -> Answer<bool> {
        let open: Vec<_> = LeadState::ALL
            .iter()
            .filter(|s| !s.is_final())
            .map(|s| s.name())
            .collect();
        let filter = doc! { "campaign": campaign.as_str(), "state": { "$in": open } };
        let one = Some(doc! { "_id": 1 });
        let found: Option<Document> =
            read::first(&self.unreadable, &self.leads, WHAT, filter, None, one).await?;
        Ok(found.is_some())
    }
}

/// A line of the count.
#[derive(Deserialize)]
struct Counted {
    #[serde(rename = "_id")]
    id: CountedBy,
    leads: u64,
}

#[derive(Deserialize)]
struct CountedBy {
    state: String,
    #[serde(default)]
    outcome: Option<String>,
}

impl MongoStore {
    pub(super) async fn read_leads(&self, ids: &[LeadId]) -> Answer<Vec<Option<Lead>>> {
        read::by_id(
            &self.unreadable,
            &self.leads,
            WHAT,
            ids.iter().map(LeadId::as_str),
            |l: &Lead| l.id.as_str(),
        )
        .await
    }

    pub(super) async fn project(&self, projections: &[Projection]) -> Answer<Vec<Cas>> {
        let items = projections
            .iter()
            .map(project)
            .collect::<Answer<Vec<_>>>()?;
        write::compare_and_set(&self.db, LEADS, items).await
    }

    /// The leads whose references refused an insert, by id.
    async fn known_refs(
        &self,
        leads: &[Lead],
        refused_by: &[Option<String>],
    ) -> Answer<HashMap<String, Lead>> {
        let ids: Vec<_> = refused(leads, refused_by, true)
            .map(|l| l.id.as_str())
            .collect();
        // One that cannot be read is nobody's row.
        let filter = doc! { "_id": { "$in": ids } };
        let found: Vec<Lead> = read::all(
            &self.unreadable,
            &self.leads,
            WHAT,
            filter,
            FindOptions::default(),
        )
        .await?;
        Ok(found
            .into_iter()
            .map(|l| (l.id.as_str().to_owned(), l))
            .collect())
    }

    /// The leads whose phones refused an insert, by campaign and phone of the refused ones.
    async fn known_phones<'a>(
        &self,
        leads: &'a [Lead],
        refused_by: &[Option<String>],
    ) -> Answer<HashMap<(&'a str, &'a str), Lead>> {
        let mut phones: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for lead in refused(leads, refused_by, false) {
            phones
                .entry(lead.campaign.as_str())
                .or_default()
                .push(lead.phone.as_str());
        }
        let mut found = HashMap::new();
        for (campaign, phones) in phones {
            let filter = doc! { "campaign": campaign, "phone": { "$in": phones.clone() } };
            let known: Vec<Lead> = read::all(
                &self.unreadable,
                &self.leads,
                WHAT,
                filter,
                FindOptions::default(),
            )
            .await?;
            for lead in known {
                if let Some(phone) = phones.iter().copied().find(|p| *p == lead.phone.as_str()) {
                    found.insert((campaign, phone), lead);
                }
            }
        }
        Ok(found)
    }
}

/// The leads that were refused, by their reference or else by their phone.
fn refused<'a>(
    leads: &'a [Lead],
    by: &[Option<String>],
    reference: bool,
) -> impl Iterator<Item = &'a Lead> {
    leads.iter().zip(by).filter_map(move |(lead, index)| {
        index
            .as_deref()
            .is_some_and(|index| (index == ID) == reference)
            .then_some(lead)
    })
}

fn same_source(new: &Lead, known: Option<&Lead>) -> bool {
    new.source.is_some() && known.is_some_and(|known| known.source == new.source)
}

fn release(release: &Release) -> CompareAndSet {
    let mut set = doc! { "state": release.state.name() };
    let mut unset = doc! { "claim": "", "claimed_at": "" };
    if let Some(at) = release.due_at {
        set.insert("due_at", at.millis());
    }
    match &release.reason {
        Some(reason) => drop(set.insert("reason", reason)),
        None => drop(unset.insert("reason", "")),
    }
    CompareAndSet {
        expected: doc! {
            "_id": release.lead.as_str(),
            "n": i64::from(release.n),
            "claim": release.claim.as_str(),
            "state": LeadState::Claimed.name(),
        },
        change: Change::Fields(doc! { "$set": set, "$unset": unset }),
    }
}

fn project(projection: &Projection) -> Answer<CompareAndSet> {
    let open: Vec<_> = LeadState::ALL
        .iter()
        .filter(|s| !s.is_final())
        .map(|s| s.name())
        .collect();
    let set: Document = doc! {
        "n": i64::from(projection.n),
        "state": projection.state.name(),
        "due_at": projection.due_at.millis(),
        "budget_used": i64::from(projection.budget_used),
        "outcomes": write::value(&projection.outcomes)?,
        "last_outcome": write::value(&projection.outcome)?,
    };
    // No attempt has the number 0: its projection matches nothing.
    let before = projection
        .n
        .checked_sub(1)
        .map_or(Bson::Int64(-1), |n| Bson::Int64(i64::from(n)));
    Ok(CompareAndSet {
        expected: doc! { "_id": projection.lead.as_str(), "n": before, "state": { "$in": open } },
        change: Change::Fields(doc! {
            "$set": set,
            "$unset": { "claim": "", "claimed_at": "", "reason": "" },
        }),
    })
}
