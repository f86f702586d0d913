//! Attempt documents: the slots and the locks.

use async_trait::async_trait;
use dialfleet_domain::call::Attempt;
use dialfleet_domain::id::{AttemptId, CampaignId, CarrierCallId, CarrierId, LeadId, TenantId};
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{
    Answer, AttemptFilter, AttemptStore, Cas, IntentAnswer, Page, SaveAttempt, SpendSum, StoreError,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::cost;
use super::doc::{After, Doc};
use super::error::{Fault, is_duplicate};
use super::{SqliteStore, docs, docs_by_id, execute, exists, one_doc, to_doc};
use crate::page::ListName;
use crate::unreadable::corrupt;

const WHAT: &str = "attempt";
const BY_ID: &str = "SELECT id, doc FROM attempts WHERE id = ?1";

#[async_trait]
impl AttemptStore for SqliteStore {
    async fn insert_attempts(&self, attempts: &[Attempt]) -> Vec<IntentAnswer> {
        let written = match attempts
            .iter()
            .cloned()
            .map(Row::new)
            .collect::<Result<Vec<_>, _>>()
        {
            Ok(intents) => {
                self.write(move |conn| intents.iter().map(|row| insert(conn, row)).collect())
                    .await
            }
            Err(fault) => Err(StoreError::from(fault)),
        };
        written.unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                count = attempts.len(),
                "intents were not acknowledged"
            );
            vec![IntentAnswer::Unclear; attempts.len()]
        })
    }

    async fn attempts(&self, ids: &[AttemptId]) -> Answer<Vec<Option<Attempt>>> {
        let ids = ids.to_vec();
        let found = self
            .read(move |conn| docs_by_id(conn, BY_ID, ids.iter().map(AttemptId::as_str)))
            .await?;
        self.each(WHAT, &found)
    }

    async fn save_attempts(&self, saves: &[SaveAttempt]) -> Answer<Vec<Cas>> {
        let saves = saves
            .iter()
            .map(|save| Ok((Row::new(save.attempt.clone())?, number(save.expected))))
            .collect::<Result<Vec<_>, Fault>>()?;
        self.write(move |conn| {
            saves
                .iter()
                .map(|(row, expected)| save(conn, row, *expected))
                .collect()
        })
        .await
    }

    async fn newest_attempt(&self, lead: &LeadId) -> Answer<Option<Attempt>> {
        let lead = lead.clone();
        let found = self
            .read(move |conn| {
                one_doc(
                    conn,
                    "SELECT id, doc FROM attempts WHERE lead = ?1 ORDER BY n DESC LIMIT 1",
                    [lead.as_str()],
                )
            })
            .await?;
        Ok(self.each(WHAT, &[found])?.pop().flatten())
    }

    async fn attempts_by_call(
        &self,
        carrier: &CarrierId,
        calls: &[CarrierCallId],
    ) -> Answer<Vec<Option<Attempt>>> {
        let (carrier, calls) = (carrier.clone(), calls.to_vec());
        let by_call = "SELECT a.id, a.doc FROM attempt_calls c JOIN attempts a ON a.id = c.attempt
                       WHERE c.carrier = ?1 AND c.call_id = ?2 ORDER BY c.attempt LIMIT 1";
        let found: Vec<_> = self
            .read(move |conn| {
                calls
                    .iter()
                    .map(|call| one_doc(conn, by_call, [carrier.as_str(), call.as_str()]))
                    .collect()
            })
            .await?;
        self.each(WHAT, &found)
    }

    async fn due_checks(&self, now: Timestamp, limit: usize) -> Answer<Vec<Attempt>> {
        self.list(WHAT, limit, move |conn, limit| {
            docs(
                conn,
                "SELECT id, doc FROM attempts WHERE live = 1 AND check_at <= ?1 ORDER BY check_at, id LIMIT ?2",
                params![now.millis(), limit],
            )
        })
        .await
    }

    async fn due_todos(&self, before: Timestamp, limit: usize) -> Answer<Vec<Attempt>> {
        self.list(WHAT, limit, move |conn, limit| {
            docs(
                conn,
                "SELECT id, doc FROM attempts WHERE todo_at IS NOT NULL AND todo_at < ?1 ORDER BY todo_at, id LIMIT ?2",
                params![before.millis(), limit],
            )
        })
        .await
    }

    async fn due_costs(&self, now: Timestamp, limit: usize) -> Answer<Vec<Attempt>> {
        self.list(WHAT, limit, move |conn, limit| {
            docs(
                conn,
                "SELECT id, doc FROM attempts WHERE cost_at IS NOT NULL AND cost_at <= ?1 ORDER BY cost_at, id LIMIT ?2",
                params![now.millis(), limit],
            )
        })
        .await
    }

    async fn taken_channels(&self, carrier: &CarrierId) -> Answer<Vec<u32>> {
        let carrier = carrier.clone();
        self.read(move |conn| {
            let mut query = conn.prepare_cached(
                "SELECT channel FROM attempts WHERE channel_of = ?1 AND channel IS NOT NULL ORDER BY channel",
            )?;
            let channels = query.query_map([carrier.as_str()], |row| row.get(0))?;
            Ok(channels.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn campaign_spend(&self, campaign: &CampaignId) -> Answer<Vec<SpendSum>> {
        let campaign = campaign.clone();
        let found = self.read(move |conn| cost::of_campaign(conn, &campaign));
        found.await
    }

    async fn carrier_spend(&self, carrier: &CarrierId, since: Timestamp) -> Answer<Vec<SpendSum>> {
        let carrier = carrier.clone();
        let found = self.read(move |conn| cost::of_carrier(conn, &carrier, since));
        found.await
    }

    async fn lead_spend(&self, leads: &[LeadId]) -> Answer<Vec<Vec<SpendSum>>> {
        let leads = leads.to_vec();
        let found =
            self.read(move |conn| leads.iter().map(|lead| cost::of_lead(conn, lead)).collect());
        found.await
    }

    async fn taken_slots(&self, campaign: &CampaignId) -> Answer<Vec<u32>> {
        let campaign = campaign.clone();
        self.read(move |conn| {
            let mut query = conn.prepare_cached(
                "SELECT slot FROM attempts WHERE campaign = ?1 AND slot IS NOT NULL ORDER BY slot",
            )?;
            let slots = query.query_map([campaign.as_str()], |row| row.get(0))?;
            Ok(slots.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn live_attempts(&self, campaign: &CampaignId) -> Answer<Vec<Attempt>> {
        let campaign = campaign.clone();
        let found = self
            .read(move |conn| {
                docs(
                    conn,
                    "SELECT id, doc FROM attempts WHERE campaign = ?1 AND live = 1 ORDER BY slot IS NULL, slot, id",
                    [campaign.as_str()],
                )
            })
            .await?;
        Ok(self.readable(WHAT, &found))
    }

    async fn live_by_phone(&self, tenant: &TenantId, phone: &E164) -> Answer<Vec<Attempt>> {
        let (tenant, phone) = (tenant.clone(), phone.clone());
        let found = self
            .read(move |conn| {
                docs(
                    conn,
                    "SELECT id, doc FROM attempts WHERE tenant = ?1 AND phone = ?2 AND live = 1",
                    [tenant.as_str(), phone.as_str()],
                )
            })
            .await?;
        Ok(self.readable(WHAT, &found))
    }

    async fn live_by_carrier(
        &self,
        carrier: &CarrierId,
        after: Option<&AttemptId>,
        limit: usize,
    ) -> Answer<Vec<Attempt>> {
        let carrier = carrier.clone();
        let after = after.map_or_else(String::new, |id| id.as_str().to_owned());
        self.list(WHAT, limit, move |conn, limit| {
            docs(
                conn,
                "SELECT id, doc FROM attempts WHERE carrier = ?1 AND live = 1 AND id > ?2 ORDER BY id LIMIT ?3",
                params![carrier.as_str(), after, limit],
            )
        })
        .await
    }

    async fn slots_in_use(&self) -> Answer<Vec<(CampaignId, u32)>> {
        let found: Vec<(String, u32)> = self
            .read(|conn| {
                let mut query = conn.prepare_cached(
                    "SELECT campaign, COUNT(*) FROM attempts WHERE slot IS NOT NULL GROUP BY campaign ORDER BY campaign",
                )?;
                let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await?;
        let read = found.into_iter().map(|(id, count)| {
            let campaign = CampaignId::parse(&*id);
            let campaign = campaign.map_err(|e| corrupt("campaign id", &id, &e.to_string()))?;
            Ok((campaign, count))
        });
        Ok(self.inner.unreadable.readable(read))
    }

    async fn list_attempts(
        &self,
        tenant: &TenantId,
        filter: &AttemptFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Attempt>> {
        let name = ListName::of_attempts(tenant, filter);
        let after = After::new(name.after(cursor)?);
        let (tenant, filter) = (tenant.clone(), filter.clone());
        let items = self
            .list(WHAT, limit.saturating_add(1), move |conn, limit| {
                list(conn, &tenant, &filter, &after, limit)
            })
            .await?;
        Ok(name.page(items, limit, |last: &Attempt| {
            (last.intent_at, last.id.clone())
        }))
    }
}

/// An attempt with its document, made on the caller's side.
struct Row {
    attempt: Attempt,
    doc: String,
}

impl Row {
    fn new(attempt: Attempt) -> Result<Self, Fault> {
        Ok(Self {
            doc: to_doc(WHAT, &attempt)?,
            attempt,
        })
    }

    fn live(&self) -> Option<i64> {
        self.attempt.is_live().then_some(1)
    }

    fn channel(&self) -> (Option<&str>, Option<u32>) {
        let channel = self.attempt.channel.as_ref();
        channel.map(|c| (c.carrier.as_str(), c.number)).unzip()
    }

    fn carrier(&self) -> Option<&str> {
        self.attempt
            .current_leg()
            .map(|(_, leg)| leg.carrier.as_str())
    }
}

fn insert(conn: &Connection, row: &Row) -> Result<IntentAnswer, Fault> {
    let a = &row.attempt;
    let spend = a.spend.as_ref();
    let inserted = conn
        .prepare_cached(
            "INSERT INTO attempts (id, tenant, campaign, lead, n, phone, slot, live, version, carrier, intent_at,
                                   check_at, todo_at, doc, channel_of, channel, cost_by, cost_currency, cost_open,
                                   cost_units, cost_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        )?
        .execute(params![
            a.id.as_str(),
            a.tenant.as_str(),
            a.campaign.as_str(),
            a.lead.as_str(),
            a.n,
            a.phone.as_str(),
            a.slot,
            row.live(),
            number(a.version),
            row.carrier(),
            a.intent_at.millis(),
            a.check_at.millis(),
            a.todo_at.map(Timestamp::millis),
            row.doc,
            row.channel().0,
            row.channel().1,
            spend.map(|s| s.carrier.as_str()),
            spend.map(|s| s.currency.as_str()),
            spend.map(|s| s.open),
            spend.map(|s| s.units),
            a.cost_at.map(Timestamp::millis)
        ]);
    match inserted {
        Ok(_) => {
            remember_calls(conn, a)?;
            Ok(IntentAnswer::Acknowledged)
        }
        Err(error) if is_duplicate(&error) => broken_rule(conn, a)?.ok_or(Fault::Sql(error)),
        Err(error) => Err(error.into()),
    }
}

/// Which unique index refused the intent. An intent that is there already breaks all three by
/// itself, so U1 is asked first: its writer must learn to look for its own nonce.
fn broken_rule(conn: &Connection, a: &Attempt) -> Result<Option<IntentAnswer>, Fault> {
    let u1 = "SELECT 1 FROM attempts WHERE id = ?1 UNION ALL SELECT 1 FROM attempts WHERE lead = ?2 AND n = ?3";
    if exists(conn, u1, params![a.id.as_str(), a.lead.as_str(), a.n])? {
        return Ok(Some(IntentAnswer::AttemptExists));
    }
    let u2 = "SELECT 1 FROM attempts WHERE campaign = ?1 AND slot = ?2 AND slot IS NOT NULL";
    if exists(conn, u2, params![a.campaign.as_str(), a.slot])? {
        return Ok(Some(IntentAnswer::SlotBusy));
    }
    let u3 = "SELECT 1 FROM attempts WHERE tenant = ?1 AND phone = ?2 AND live = 1";
    if a.is_live() && exists(conn, u3, params![a.tenant.as_str(), a.phone.as_str()])? {
        return Ok(Some(IntentAnswer::PhoneBusy));
    }
    let u4 =
        "SELECT 1 FROM attempts WHERE channel_of = ?1 AND channel = ?2 AND channel IS NOT NULL";
    if let Some(channel) = &a.channel
        && exists(conn, u4, params![channel.carrier.as_str(), channel.number])?
    {
        return Ok(Some(IntentAnswer::ChannelBusy));
    }
    Ok(None)
}

fn save(conn: &Connection, row: &Row, expected: i64) -> Result<Cas, Fault> {
    let a = &row.attempt;
    let stored: Option<i64> = conn
        .prepare_cached("SELECT version FROM attempts WHERE id = ?1")?
        .query_row([a.id.as_str()], |row| row.get(0))
        .optional()?;
    if stored != Some(expected) {
        return Ok(Cas::Lost);
    }
    let spend = a.spend.as_ref();
    let saved = execute(
        conn,
        "UPDATE attempts SET slot = ?2, live = ?3, version = ?4, carrier = ?5, check_at = ?6, todo_at = ?7, doc = ?8,
                channel_of = ?9, channel = ?10, cost_by = ?11, cost_currency = ?12, cost_open = ?13, cost_units = ?14,
                cost_at = ?15
         WHERE id = ?1",
        params![
            a.id.as_str(),
            a.slot,
            row.live(),
            number(a.version),
            row.carrier(),
            a.check_at.millis(),
            a.todo_at.map(Timestamp::millis),
            row.doc,
            row.channel().0,
            row.channel().1,
            spend.map(|s| s.carrier.as_str()),
            spend.map(|s| s.currency.as_str()),
            spend.map(|s| s.open),
            spend.map(|s| s.units),
            a.cost_at.map(Timestamp::millis)
        ],
    );
    match saved {
        // It takes a slot or a channel, and somebody holds it.
        Err(Fault::Sql(error)) if is_duplicate(&error) => return Ok(Cas::Lost),
        saved => saved?,
    };
    remember_calls(conn, a)?;
    Ok(Cas::Won)
}

/// Calls are only ever added: a leg that knows its call keeps it.
fn remember_calls(conn: &Connection, a: &Attempt) -> Result<(), Fault> {
    for (leg, call) in a
        .legs
        .iter()
        .filter_map(|leg| Some((leg, leg.call_id.as_ref()?)))
    {
        execute(
            conn,
            "INSERT INTO attempt_calls (carrier, call_id, attempt) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            [leg.carrier.as_str(), call.as_str(), a.id.as_str()],
        )?;
    }
    Ok(())
}

/// One statement for each combination of filters, so that each can use its index. `+tenant` keeps
/// the planner off the tenant's index where a narrower one serves.
fn list(
    conn: &Connection,
    tenant: &TenantId,
    filter: &AttemptFilter,
    after: &After,
    limit: i64,
) -> Result<Vec<Doc>, Fault> {
    let narrow = match (&filter.lead, &filter.campaign) {
        (Some(_), Some(_)) => "+tenant = ?1 AND lead = ?5 AND +campaign = ?6",
        (Some(_), None) => "+tenant = ?1 AND lead = ?5 AND ?6 IS NULL",
        (None, Some(_)) => "+tenant = ?1 AND campaign = ?6 AND ?5 IS NULL",
        (None, None) => "tenant = ?1 AND ?5 IS NULL AND ?6 IS NULL",
    };
    let live = if filter.live { " AND live = 1" } else { "" };
    docs(
        conn,
        &format!(
            "SELECT id, doc FROM attempts WHERE {narrow}{live} AND (intent_at, id) < (?2, ?3)
             ORDER BY intent_at DESC, id DESC LIMIT ?4"
        ),
        params![
            tenant.as_str(),
            after.at,
            after.id,
            limit,
            filter.lead.as_ref().map(LeadId::as_str),
            filter.campaign.as_ref().map(CampaignId::as_str)
        ],
    )
}

/// SQLite's integers are signed; versions never get near the difference.
fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
