//! What attempts cost: sums of integers over an index, so that nothing is ever counted twice.

use std::collections::HashMap;

use bson::{Document, doc};
use dialfleet_domain::id::{CampaignId, CarrierId, LeadId};
use dialfleet_domain::money::Currency;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{Answer, SpendSum};
use futures_util::TryStreamExt;
use mongodb::options::{AggregateOptions, Hint};
use serde::Deserialize;

use super::index::{COST, COST_AT_CARRIER, U1};
use super::{LIST_TIME, MongoStore, read};

/// Whose attempts are added up.
pub(super) enum Of<'a> {
    Campaign(&'a CampaignId),
    Carrier(&'a CarrierId, Timestamp),
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "_id")]
    by: By,
    units: i64,
    attempts: i64,
}

#[derive(Deserialize)]
struct By {
    lead: Option<LeadId>,
    carrier: CarrierId,
    currency: Currency,
    open: bool,
}

impl From<Group> for SpendSum {
    fn from(group: Group) -> Self {
        Self {
            carrier: group.by.carrier,
            currency: group.by.currency,
            open: group.by.open,
            units: group.units,
            attempts: u64::try_from(group.attempts).unwrap_or(0),
        }
    }
}

impl MongoStore {
    pub(super) async fn sum_of(&self, of: Of<'_>) -> Answer<Vec<SpendSum>> {
        let (mut filter, index) = match of {
            Of::Campaign(id) => (doc! { "campaign": id.as_str() }, COST),
            Of::Carrier(id, since) => {
                let since = doc! { "$gte": since.millis() };
                let filter = doc! { "spend.carrier": id.as_str(), "intent_at": since };
                (filter, COST_AT_CARRIER)
            }
        };
        filter.insert("spend.units", doc! { "$gte": 0 });
        let groups = self.groups(filter, Document::new(), index).await?;
        Ok(groups.into_iter().map(SpendSum::from).collect())
    }

    pub(super) async fn sums_of_leads(&self, leads: &[LeadId]) -> Answer<Vec<Vec<SpendSum>>> {
        if leads.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = leads.iter().map(LeadId::as_str).collect();
        let filter = doc! { "lead": { "$in": ids }, "spend.units": { "$gte": 0 } };
        let groups = self.groups(filter, doc! { "lead": "$lead" }, U1).await?;
        let mut by_lead: HashMap<LeadId, Vec<SpendSum>> = HashMap::new();
        for mut group in groups {
            if let Some(lead) = group.by.lead.take() {
                by_lead.entry(lead).or_default().push(group.into());
            }
        }
        let of = |lead| by_lead.get(lead).cloned().unwrap_or_default();
        Ok(leads.iter().map(of).collect())
    }

    /// Sums by `by`, carrier, currency and whether they are open.
    async fn groups(&self, filter: Document, mut by: Document, index: &str) -> Answer<Vec<Group>> {
        by.extend(doc! {
            "carrier": "$spend.carrier",
            "currency": "$spend.currency",
            "open": "$spend.open",
        });
        let pipeline = [
            doc! { "$match": filter },
            doc! { "$group": {
                "_id": by,
                "units": { "$sum": "$spend.units" },
                // A long, whatever the server makes of small numbers.
                "attempts": { "$sum": 1_i64 },
            } },
            doc! { "$sort": { "_id.carrier": 1, "_id.currency": 1, "_id.open": 1 } },
        ];
        let options = AggregateOptions::builder()
            .hint(Hint::Name(index.to_owned()))
            .build();
        read::within(LIST_TIME, "attempt", async {
            let attempts = self.attempts.clone_with_type::<Document>();
            let sums = attempts.aggregate(pipeline).with_options(options);
            sums.with_type::<Group>().await?.try_collect().await
        })
        .await
    }
}
