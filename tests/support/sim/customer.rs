//! Customers who bring their leads themselves: straight to the broker, now and then twice, and now and
//! then something that is no list of leads at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use dialfleet_domain::id::CampaignId;
use dialfleet_engine::message::{LeadBatch, LeadRow, Payload};
use dialfleet_engine::port::Queue;
use dialfleet_engine::port::queue::{Message, Topic};

use super::chance::Kind;
use super::operator::Operator;

impl Operator {
    /// Publishes leads, as the public schema says. What the broker confirmed counts as delivered.
    pub(super) async fn bring(&self, campaign: &CampaignId, count: u64) {
        let phones = self.some_phones(count);
        let rows = phones.iter().map(|phone| LeadRow {
            phone: phone.clone(),
            ..LeadRow::default()
        });
        let batch = LeadBatch {
            campaign: campaign.clone(),
            import: None,
            leads: rows.collect(),
        };
        let id = format!("customer-{}", self.draw(0, 1_000_000));
        let twice = self
            .weather
            .hits(Kind::Operator, self.weather.faults.message_twice);
        for _ in 0..=u32::from(twice) {
            self.company
                .broker
                .publish(vec![batch.message(id.clone())])
                .await;
        }
        self.say(format_args!(
            "{} leads for {campaign}, straight to the broker as {id}",
            phones.len()
        ));
        self.delivered()
            .entry(campaign.clone())
            .or_default()
            .extend(phones);
    }

    /// Publishes what nobody can read: it must end on the parked queue, and nothing else must happen.
    pub(super) async fn talk_nonsense(&self) {
        let (topic, kind) = match self.draw(0, 2) {
            0 => (Topic::LeadsIngest, "lead_batch.v1"),
            1 => (Topic::CallEvents, "call_event.v1"),
            _ => (Topic::Dial, "fill_slot.v9"),
        };
        self.say(format_args!("nonsense as {kind}"));
        let message = Message {
            topic,
            id: format!("nonsense-{}", self.draw(0, 1_000_000)),
            kind,
            body: Bytes::from_static(b"{\"campaign\":\"?\"}"),
            headers: BTreeMap::new(),
        };
        self.company.broker.publish(vec![message]).await;
    }
}
