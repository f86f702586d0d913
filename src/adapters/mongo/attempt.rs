//! Attempt documents: the slots and the locks.

use std::collections::HashMap;

use async_trait::async_trait;
use bson::{Document, doc};
use dialfleet_domain::call::Attempt;
use dialfleet_domain::id::{AttemptId, CampaignId, CarrierCallId, CarrierId, LeadId, TenantId};
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{
    Answer, AttemptFilter, AttemptStore, Cas, IntentAnswer, Page, SaveAttempt, SpendSum, StoreError,
};
use futures_util::TryStreamExt;
use mongodb::options::{AggregateOptions, FindOptions, Hint};
use serde::Deserialize;

use super::cost::Of;
use super::index::{ATTEMPTS, ATTEMPTS_LIVE, COST_DUE, ID, U1, U2, U3, U4};
use super::page;
use super::read::{self, List};
use super::write::{self, Change, CompareAndSet, Insertion, int};
use super::{LIST_TIME, MongoStore, error};
use crate::page::{ListName, Newest};

const WHAT: &str = "attempt";

#[async_trait]
impl AttemptStore for MongoStore {
    async fn insert_attempts(&self, attempts: &[Attempt]) -> Vec<IntentAnswer> {
        let answers = self.together.intents.ask(self, attempts).await;
        // Nobody answered: then nobody knows.
        answers.unwrap_or_else(|_| vec![IntentAnswer::Unclear; attempts.len()])
    }

    async fn attempts(&self, ids: &[AttemptId]) -> Answer<Vec<Option<Attempt>>> {
        self.together.attempts.ask(self, ids).await
    }

    async fn save_attempts(&self, saves: &[SaveAttempt]) -> Answer<Vec<Cas>> {
        self.together.saves.ask(self, saves).await
    }

    async fn newest_attempt(&self, lead: &LeadId) -> Answer<Option<Attempt>> {
        read::first(
            &self.unreadable,
            &self.attempts,
            WHAT,
            doc! { "lead": lead.as_str() },
            Some(doc! { "n": -1 }),
            None,
        )
        .await
    }

    async fn attempts_by_call(
        &self,
        carrier: &CarrierId,
        calls: &[CarrierCallId],
    ) -> Answer<Vec<Option<Attempt>>> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<_> = calls.iter().map(CarrierCallId::as_str).collect();
        let filter = doc! {
            "legs.call_id": { "$in": wanted.clone() },
            "legs": { "$elemMatch": { "carrier": carrier.as_str(), "call_id": { "$in": wanted } } },
        };
        let options = FindOptions::builder().sort(doc! { "_id": 1 }).build();
        let found: Vec<Attempt> =
            read::every(&self.unreadable, &self.attempts, WHAT, filter, options).await?;
        let mut by_call: HashMap<&CarrierCallId, &Attempt> = HashMap::new();
        for attempt in &found {
            for leg in attempt.legs.iter().filter(|leg| leg.carrier == *carrier) {
                if let Some(call) = &leg.call_id {
                    by_call.entry(call).or_insert(attempt);
                }
            }
        }
        Ok(calls
            .iter()
            .map(|call| by_call.get(call).copied().cloned())
            .collect())
    }

    async fn due_checks(&self, now: Timestamp, limit: usize) -> Answer<Vec<Attempt>> {
        let filter = doc! { "live": true, "check_at": { "$lte": now.millis() } };
        let sort = doc! { "check_at": 1, "_id": 1 };
        read::list(
            &self.unreadable,
            &self.attempts,
            WHAT,
            List {
                filter,
                sort,
                limit,
                index: Some("live_check"),
            },
        )
        .await
    }

    async fn due_todos(&self, before: Timestamp, limit: usize) -> Answer<Vec<Attempt>> {
        let filter = doc! { "todo_at": { "$lt": before.millis() } };
        let sort = doc! { "todo_at": 1, "_id": 1 };
        read::list(
            &self.unreadable,
            &self.attempts,
            WHAT,
            List {
                filter,
                sort,
                limit,
                index: Some("todo"),
            },
        )
        .await
    }

    async fn due_costs(&self, now: Timestamp, limit: usize) -> Answer<Vec<Attempt>> {
        let list = List {
            filter: doc! { "cost_at": { "$lte": now.millis() } },
            sort: doc! { "cost_at": 1, "_id": 1 },
            limit,
            index: Some(COST_DUE),
        };
        read::list(&self.unreadable, &self.attempts, WHAT, list).await
    }

    async fn taken_channels(&self, carrier: &CarrierId) -> Answer<Vec<u32>> {
        #[derive(Deserialize)]
        struct Taken {
            channel: Number,
        }
        #[derive(Deserialize)]
        struct Number {
            number: u32,
        }
        let filter = doc! { "channel.carrier": carrier.as_str(), "channel.number": { "$gte": 0 } };
        let options = FindOptions::builder()
            .sort(doc! { "channel.number": 1 })
            .projection(doc! { "_id": 0, "channel.number": 1 })
            .batch_size(1_000)
            .hint(Hint::Name(U4.to_owned()))
            .build();
        let taken: Vec<Taken> =
            read::all(&self.unreadable, &self.attempts, WHAT, filter, options).await?;
        Ok(taken.into_iter().map(|t| t.channel.number).collect())
    }

    async fn campaign_spend(&self, campaign: &CampaignId) -> Answer<Vec<SpendSum>> {
        self.sum_of(Of::Campaign(campaign)).await
    }

    async fn carrier_spend(&self, carrier: &CarrierId, since: Timestamp) -> Answer<Vec<SpendSum>> {
        self.sum_of(Of::Carrier(carrier, since)).await
    }

    async fn lead_spend(&self, leads: &[LeadId]) -> Answer<Vec<Vec<SpendSum>>> {
        self.sums_of_leads(leads).await
    }

    async fn taken_slots(&self, campaign: &CampaignId) -> Answer<Vec<u32>> {
        #[derive(Deserialize)]
        struct Taken {
            slot: u32,
        }
        let filter = doc! { "campaign": campaign.as_str(), "slot": { "$gte": 0 } };
        let options = FindOptions::builder()
            .sort(doc! { "slot": 1 })
            .projection(doc! { "_id": 0, "slot": 1 })
            .batch_size(1_000)
            .hint(Hint::Name(U2.to_owned()))
            .build();
        let taken: Vec<Taken> =
            read::all(&self.unreadable, &self.attempts, WHAT, filter, options).await?;
        Ok(taken.into_iter().map(|t| t.slot).collect())
    }

    async fn live_attempts(&self, campaign: &CampaignId) -> Answer<Vec<Attempt>> {
        let filter = doc! { "campaign": campaign.as_str(), "live": true };
        let options = FindOptions::builder()
            .batch_size(1_000)
            .hint(Hint::Name(ATTEMPTS_LIVE.to_owned()))
            .build();
        let mut found: Vec<Attempt> =
            read::all(&self.unreadable, &self.attempts, WHAT, filter, options).await?;
        // To the server, what is absent comes first.
        found.sort_by(|a, b| {
            (a.slot.is_none(), a.slot, &a.id).cmp(&(b.slot.is_none(), b.slot, &b.id))
        });
        Ok(found)
    }

    async fn live_by_phone(&self, tenant: &TenantId, phone: &E164) -> Answer<Vec<Attempt>> {
        let filter = doc! { "tenant": tenant.as_str(), "phone": phone.as_str(), "live": true };
        read::all(
            &self.unreadable,
            &self.attempts,
            WHAT,
            filter,
            FindOptions::builder().sort(doc! { "_id": 1 }).build(),
        )
        .await
    }

    async fn live_by_carrier(
        &self,
        carrier: &CarrierId,
        after: Option<&AttemptId>,
        limit: usize,
    ) -> Answer<Vec<Attempt>> {
        let mut filter = doc! {
            "live": true,
            "$expr": { "$eq": [{ "$arrayElemAt": ["$legs.carrier", -1] }, { "$literal": carrier.as_str() }] },
        };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": after.as_str() });
        }
        // What is live anywhere is little; the index of `_id` is all of history.
        let list = List {
            filter,
            sort: doc! { "_id": 1 },
            limit,
            index: Some(ATTEMPTS_LIVE),
        };
        read::list(&self.unreadable, &self.attempts, WHAT, list).await
    }

    async fn slots_in_use(&self) -> Answer<Vec<(CampaignId, u32)>> {
        #[derive(Deserialize)]
        struct Used {
            #[serde(rename = "_id")]
            campaign: CampaignId,
            slots: u32,
        }
        let pipeline = [
            doc! { "$match": { "slot": { "$gte": 0 } } },
            doc! { "$group": { "_id": "$campaign", "slots": { "$sum": 1 } } },
            doc! { "$sort": { "_id": 1 } },
        ];
        let options = AggregateOptions::builder()
            .hint(Hint::Name(U2.to_owned()))
            .build();
        let used = read::within(LIST_TIME, WHAT, async {
            let cursor = self
                .attempts
                .aggregate(pipeline)
                .with_options(options)
                .with_type::<Used>()
                .await?;
            cursor.try_collect::<Vec<_>>().await
        })
        .await?;
        Ok(used.into_iter().map(|u| (u.campaign, u.slots)).collect())
    }

    async fn list_attempts(
        &self,
        tenant: &TenantId,
        filter: &AttemptFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Attempt>> {
        let name = ListName::of_attempts(tenant, filter);
        let after = name.after::<Newest>(cursor)?;
        let mut wanted: Document = doc! { "tenant": tenant.as_str() };
        if let Some(campaign) = &filter.campaign {
            wanted.insert("campaign", campaign.as_str());
        }
        if let Some(lead) = &filter.lead {
            wanted.insert("lead", lead.as_str());
        }
        if filter.live {
            wanted.insert("live", true);
        }
        page::after_newest(&mut wanted, "intent_at", after);
        let sort = doc! { "intent_at": -1, "_id": -1 };
        let list = List {
            filter: wanted,
            sort,
            limit: limit.saturating_add(1),
            index: None,
        };
        let found = read::list(&self.unreadable, &self.attempts, WHAT, list).await?;
        Ok(name.page(found, limit, |a: &Attempt| {
            (a.intent_at, a.id.as_str().to_owned())
        }))
    }
}

/// What the server said of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// All there is to say.
    Answer(IntentAnswer),
    /// U1: there is one, and it may be our own, repeated by the driver.
    Exists,
    /// Nothing that can be relied on.
    Nothing,
}

fn said(insertion: &Insertion) -> Said {
    match insertion {
        Insertion::Done => Said::Answer(IntentAnswer::Acknowledged),
        Insertion::Duplicate(index) => match index.as_str() {
            U2 => Said::Answer(IntentAnswer::SlotBusy),
            U3 => Said::Answer(IntentAnswer::PhoneBusy),
            U4 => Said::Answer(IntentAnswer::ChannelBusy),
            ID | U1 => Said::Exists,
            _ => Said::Nothing,
        },
        Insertion::Failed(_) | Insertion::Unconfirmed => Said::Nothing,
    }
}

impl MongoStore {
    pub(super) async fn intend(&self, attempts: &[Attempt]) -> Vec<IntentAnswer> {
        let mut answers: Vec<_> = match write::insert(&self.attempts, attempts).await {
            Ok(insertions) => insertions.iter().map(said).collect(),
            // Nothing left this process, so there is nothing to look for.
            Err(StoreError::Unavailable(_)) => return vec![IntentAnswer::Unclear; attempts.len()],
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "intents are looked for after a failed insert"
                );
                vec![Said::Nothing; attempts.len()]
            }
        };
        self.look_for(attempts, &mut answers).await;
        answers
            .into_iter()
            .map(|said| match said {
                Said::Answer(answer) => answer,
                // Existed when it was inserted, and cannot be found or read: whose it is, nobody knows.
                Said::Exists | Said::Nothing => IntentAnswer::Unclear,
            })
            .collect()
    }

    pub(super) async fn read_attempts(&self, ids: &[AttemptId]) -> Answer<Vec<Option<Attempt>>> {
        read::by_id(
            &self.unreadable,
            &self.attempts,
            WHAT,
            ids.iter().map(AttemptId::as_str),
            |a: &Attempt| a.id.as_str(),
        )
        .await
    }

    pub(super) async fn save(&self, saves: &[SaveAttempt]) -> Answer<Vec<Cas>> {
        let items = saves.iter().map(whole).collect::<Answer<Vec<_>>>()?;
        write::compare_and_set(&self.db, ATTEMPTS, items).await
    }

    /// Looks with majority read concern for the intents that the insert did not settle. One that
    /// stands there exactly as we wrote it is ours and durable. One that has changed since is
    /// somebody else's by now, even if we wrote it: nothing may be sent for it any more. One that
    /// is absent after a failed write may still arrive.
    async fn look_for(&self, attempts: &[Attempt], answers: &mut [Said]) {
        let unsettled = |said: &Said| matches!(said, Said::Exists | Said::Nothing);
        let ids: Vec<_> = attempts
            .iter()
            .zip(answers.iter())
            .filter(|(_, said)| unsettled(said))
            .map(|(attempt, _)| attempt.id.clone())
            .collect();
        if ids.is_empty() {
            return;
        }
        let Ok(found) = self.attempts(&ids).await else {
            return;
        };
        let found: HashMap<_, _> = found
            .into_iter()
            .flatten()
            .map(|a| (a.id.clone(), a))
            .collect();
        // The same intent twice in one batch is one intent.
        let mut acknowledged: Vec<&AttemptId> = attempts
            .iter()
            .zip(answers.iter())
            .filter(|(_, said)| **said == Said::Answer(IntentAnswer::Acknowledged))
            .map(|(attempt, _)| &attempt.id)
            .collect();
        for (attempt, said) in attempts
            .iter()
            .zip(answers.iter_mut())
            .filter(|(_, said)| unsettled(said))
        {
            let Some(stored) = found.get(&attempt.id) else {
                continue;
            };
            *said = Said::Answer(
                if stored == attempt && !acknowledged.contains(&&attempt.id) {
                    acknowledged.push(&attempt.id);
                    IntentAnswer::Acknowledged
                } else {
                    IntentAnswer::AttemptExists
                },
            );
        }
    }
}

fn whole(save: &SaveAttempt) -> Answer<CompareAndSet> {
    let document =
        bson::serialize_to_raw_document_buf(&save.attempt).map_err(|e| error::unwritable(&e))?;
    Ok(CompareAndSet {
        expected: doc! { "_id": save.attempt.id.as_str(), "version": int(save.expected) },
        change: Change::Whole(document),
    })
}
