//! How due leads are taken. `findOneAndUpdate` with a sort would do it in one round trip, and
//! collapses when many want the same first lead. So the first few are read, one of them is drawn
//! by chance for each request, and all that were drawn are taken with one bulk of
//! compare-and-sets; whoever lost draws again.

use std::collections::BTreeMap;

use bson::{RawDocumentBuf, doc};
use dialfleet_domain::id::CampaignId;
use dialfleet_domain::lead::{Lead, LeadState};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{Answer, Cas, ClaimRequest, StoreError};
use futures_util::future::join_all;

use super::index::LEADS;
use super::read::{self, List};
use super::write::{self, Change, CompareAndSet};
use super::{MongoStore, error};
use crate::unreadable::{Unreadable, corrupt};

/// Among how many of the highest priority one is drawn. Four times as many after each time that all
/// of them were taken meanwhile: so many want them that they must spread.
const CANDIDATES: [usize; 4] = [16, 64, 256, 256];

/// A due lead as it was read. Only the one that is drawn is decoded whole.
struct Candidate {
    priority: i32,
    n: i64,
    due_at: i64,
    document: RawDocumentBuf,
}

/// A campaign's due leads, in the order in which they are to be called.
struct Pool {
    /// The latest time that a request names.
    now: Timestamp,
    /// How many requests there are.
    requests: usize,
    /// How often they were read.
    reads: usize,
    /// The last read found all there were.
    complete: bool,
    /// Among how many one is drawn.
    window: usize,
    candidates: Vec<Candidate>,
}

impl Pool {
    fn new(now: Timestamp) -> Self {
        Self {
            now,
            requests: 0,
            reads: 0,
            complete: false,
            window: 0,
            candidates: Vec::new(),
        }
    }

    /// It is empty, there may be more, and it was not read too often.
    fn is_thirsty(&self) -> bool {
        self.candidates.is_empty() && !self.complete && self.reads < CANDIDATES.len()
    }

    /// Takes out one of the first due ones of the highest priority.
    fn draw(&mut self, request: &ClaimRequest) -> Option<Candidate> {
        let now = request.now.millis();
        let due = || {
            self.candidates
                .iter()
                .enumerate()
                .filter(|(_, c)| c.due_at <= now)
        };
        let highest = due().next()?.1.priority;
        let equals: Vec<usize> = due()
            .take_while(|(_, c)| c.priority == highest)
            .take(self.window)
            .map(|(at, _)| at)
            .collect();
        let drawn = request
            .draw
            .checked_rem(u64::try_from(equals.len()).ok()?)?;
        let at = *equals.get(usize::try_from(drawn).ok()?)?;
        Some(self.candidates.remove(at))
    }
}

/// A lead that was drawn for a request, by the request's index.
struct Drawn {
    request: usize,
    lead: Lead,
}

impl MongoStore {
    /// Claims one lead for each request. A failure does not hide what was claimed before it, nor does
    /// it look as if there were no lead.
    pub(super) async fn claim(&self, requests: &[ClaimRequest]) -> Vec<Answer<Option<Lead>>> {
        let (leads, failure) = self.claim_some(requests).await;
        let said = |lead: Option<Lead>| match (lead, &failure) {
            (None, Some(error)) => Err(error::again(error)),
            (lead, _) => Ok(lead),
        };
        leads.into_iter().map(said).collect()
    }

    async fn claim_some(
        &self,
        requests: &[ClaimRequest],
    ) -> (Vec<Option<Lead>>, Option<StoreError>) {
        let mut answers: Vec<Option<Lead>> = requests.iter().map(|_| None).collect();
        let mut pools: BTreeMap<&CampaignId, Pool> = BTreeMap::new();
        for request in requests {
            let pool = pools
                .entry(&request.campaign)
                .or_insert_with(|| Pool::new(request.now));
            pool.now = pool.now.max(request.now);
            pool.requests += 1;
        }
        let mut open: Vec<usize> = (0..requests.len()).collect();
        let mut failure = None;
        while !open.is_empty() {
            failure = self
                .fill(&mut pools, requests, &open)
                .await
                .err()
                .or(failure);
            let (drawn, taken) = draw(&self.unreadable, &mut pools, requests, &open);
            if drawn.is_empty() {
                // Those that were read may all have been unreadable.
                let more = |(campaign, pool): (&&CampaignId, &Pool)| {
                    pool.is_thirsty() && is_wanted(campaign, requests, &open)
                };
                if failure.is_none() && pools.iter().any(more) {
                    continue;
                }
                break;
            }
            let results = match write::compare_and_set(&self.db, LEADS, taken).await {
                Ok(results) => results,
                Err(error) => return (answers, Some(error)),
            };
            for (Drawn { request, lead }, result) in drawn.into_iter().zip(results) {
                if result == Cas::Won {
                    answers[request] = Some(claimed(lead, &requests[request]));
                }
            }
            open.retain(|&request| answers[request].is_none());
        }
        (answers, failure)
    }

    /// Reads candidates for the campaigns of `open` that have none left and were not read too often.
    async fn fill(
        &self,
        pools: &mut BTreeMap<&CampaignId, Pool>,
        requests: &[ClaimRequest],
        open: &[usize],
    ) -> Answer<()> {
        let reads = pools
            .iter_mut()
            .filter(|(campaign, pool)| pool.is_thirsty() && is_wanted(campaign, requests, open))
            .filter_map(|(campaign, pool)| {
                pool.window = *CANDIDATES.get(pool.reads)?;
                pool.reads += 1;
                Some(async move {
                    let limit = pool.window + pool.requests;
                    pool.candidates = self.candidates(campaign, pool.now, limit).await?;
                    pool.complete = pool.candidates.len() < limit;
                    Ok(())
                })
            });
        join_all(reads).await.into_iter().collect()
    }

    async fn candidates(
        &self,
        campaign: &CampaignId,
        now: Timestamp,
        limit: usize,
    ) -> Answer<Vec<Candidate>> {
        let filter = doc! {
            "campaign": campaign.as_str(),
            "state": LeadState::Ready.name(),
            "due_at": { "$lte": now.millis() },
        };
        let sort = doc! { "priority": -1, "due_at": 1, "_id": 1 };
        let list = List {
            filter,
            sort,
            limit,
            index: Some("claim"),
        };
        let found = read::list(&self.unreadable, &self.leads, "lead", list).await?;
        Ok(self.unreadable.readable(found.into_iter().map(candidate)))
    }
}

fn is_wanted(campaign: &CampaignId, requests: &[ClaimRequest], open: &[usize]) -> bool {
    open.iter().any(|&at| requests[at].campaign == *campaign)
}

fn candidate(document: RawDocumentBuf) -> Answer<Candidate> {
    let corrupt = |e: bson::error::Error| {
        let id = document.get_str("_id").unwrap_or("of unknown id");
        corrupt("lead", id, &e.to_string())
    };
    Ok(Candidate {
        priority: document.get_i32("priority").map_err(corrupt)?,
        n: document.get_i64("n").map_err(corrupt)?,
        due_at: document.get_i64("due_at").map_err(corrupt)?,
        document,
    })
}

/// Draws a lead for each request that is open, and says how it is taken.
fn draw(
    bad: &Unreadable,
    pools: &mut BTreeMap<&CampaignId, Pool>,
    requests: &[ClaimRequest],
    open: &[usize],
) -> (Vec<Drawn>, Vec<CompareAndSet>) {
    let mut drawn = Vec::new();
    let mut taken = Vec::new();
    for &at in open {
        let request = &requests[at];
        while let Some(candidate) = pools
            .get_mut(&request.campaign)
            .and_then(|pool| pool.draw(request))
        {
            let lead = match bson::deserialize_from_slice::<Lead>(candidate.document.as_bytes()) {
                Ok(lead) => lead,
                Err(error) => {
                    // Claimed, it would come back for ever; left alone, it stands in nobody's way.
                    let id = candidate.document.get_str("_id").unwrap_or("of unknown id");
                    bad.remember(&corrupt("lead", id, &error.to_string()));
                    continue;
                }
            };
            taken.push(take(&lead, &candidate, request));
            drawn.push(Drawn { request: at, lead });
            break;
        }
    }
    (drawn, taken)
}

fn take(lead: &Lead, candidate: &Candidate, request: &ClaimRequest) -> CompareAndSet {
    CompareAndSet {
        expected: doc! {
            "_id": lead.id.as_str(),
            "n": candidate.n,
            "state": LeadState::Ready.name(),
            // Claimed and deferred meanwhile, it has the same n and is ready again.
            "due_at": candidate.due_at,
        },
        change: Change::Fields(doc! { "$set": {
            "state": LeadState::Claimed.name(),
            "claim": request.claim.as_str(),
            "claimed_at": request.now.millis(),
        } }),
    }
}

fn claimed(lead: Lead, request: &ClaimRequest) -> Lead {
    Lead {
        state: LeadState::Claimed,
        claim: Some(request.claim.clone()),
        claimed_at: Some(request.now),
        ..lead
    }
}
