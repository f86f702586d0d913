//! Lead documents.

use async_trait::async_trait;
use dialfleet_domain::id::{CampaignId, ClaimToken, LeadId};
use dialfleet_domain::lead::{Lead, LeadState, Projection};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{
    Answer, Cas, ClaimRequest, LeadCounts, LeadInserted, LeadStore, Page, Release,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::doc::Doc;
use super::error::{Fault, is_duplicate};
use super::{
    SqliteStore, docs, docs_by_id, execute, exists, from_doc, one_doc, rows, texts, to_doc,
};
use crate::page::ListName;
use crate::unreadable::Unreadable;

const WHAT: &str = "lead";
const BY_ID: &str = "SELECT id, doc FROM leads WHERE id = ?1";
/// How many candidates of the highest priority a claim chooses among.
const CANDIDATES: i64 = 16;

#[async_trait]
impl LeadStore for SqliteStore {
    async fn insert_leads(&self, leads: &[Lead]) -> Answer<Vec<LeadInserted>> {
        let (leads, unreadable) = (with_docs(leads)?, self.unreadable_docs());
        self.write(move |conn| {
            leads
                .iter()
                .map(|(lead, doc)| insert(conn, lead, doc, &unreadable))
                .collect()
        })
        .await
    }

    async fn claim_leads(&self, requests: &[ClaimRequest]) -> Answer<Vec<Option<Lead>>> {
        let (requests, unreadable) = (requests.to_vec(), self.unreadable_docs());
        self.write(move |conn| {
            requests
                .iter()
                .map(|request| claim(conn, request, &unreadable))
                .collect()
        })
        .await
    }

    async fn release_claims(&self, releases: &[Release]) -> Answer<Vec<Cas>> {
        let releases = releases.to_vec();
        self.write(move |conn| {
            releases
                .iter()
                .map(|release| end_claim(conn, release))
                .collect()
        })
        .await
    }

    async fn project_leads(&self, projections: &[Projection]) -> Answer<Vec<Cas>> {
        let projections = projections.to_vec();
        self.write(move |conn| {
            projections
                .iter()
                .map(|projection| project(conn, projection))
                .collect()
        })
        .await
    }

    async fn stale_claims(&self, before: Timestamp, limit: usize) -> Answer<Vec<Lead>> {
        self.list(WHAT, limit, move |conn, limit| {
            docs(
                conn,
                "SELECT id, doc FROM leads WHERE state = 'claimed' AND claimed_at < ?1 ORDER BY claimed_at, id LIMIT ?2",
                params![before.millis(), limit],
            )
        })
        .await
    }

    async fn renew_claim(
        &self,
        lead: &LeadId,
        n: u32,
        claim: &ClaimToken,
        at: Timestamp,
    ) -> Answer<Cas> {
        let (id, claim) = (lead.clone(), claim.clone());
        self.write(move |conn| {
            edit_if(
                conn,
                &id,
                |l| l.n == n && l.claim.as_ref() == Some(&claim),
                |l| l.claimed_at = Some(at),
            )
        })
        .await
    }

    async fn leads(&self, ids: &[LeadId]) -> Answer<Vec<Option<Lead>>> {
        let ids = ids.to_vec();
        let found = self
            .read(move |conn| docs_by_id(conn, BY_ID, ids.iter().map(LeadId::as_str)))
            .await?;
        self.each(WHAT, &found)
    }

    async fn list_leads(
        &self,
        campaign: &CampaignId,
        state: Option<LeadState>,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Lead>> {
        let name = ListName::new(
            "leads",
            &[Some(campaign.as_str()), state.map(LeadState::name)],
        );
        let after = name.after::<String>(cursor)?.unwrap_or_default();
        let campaign = campaign.clone();
        let items = self
            .list(WHAT, limit.saturating_add(1), move |conn, limit| match state {
                Some(state) => docs(
                    conn,
                    "SELECT id, doc FROM leads WHERE campaign = ?1 AND state = ?2 AND id > ?3 ORDER BY id LIMIT ?4",
                    params![campaign.as_str(), state.name(), after, limit],
                ),
                None => docs(
                    conn,
                    "SELECT id, doc FROM leads WHERE campaign = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
                    params![campaign.as_str(), after, limit],
                ),
            })
            .await?;
        Ok(name.page(items, limit, |last: &Lead| last.id.clone()))
    }

    async fn lead_counts(&self, campaign: &CampaignId) -> Answer<LeadCounts> {
        let campaign = campaign.clone();
        self.read(move |conn| counts(conn, &campaign)).await
    }

    async fn next_due(&self, campaign: &CampaignId) -> Answer<Option<Timestamp>> {
        let campaign = campaign.clone();
        self.read(move |conn| {
            let first: Option<i64> = conn
                .prepare_cached(
                    "SELECT MIN(due_at) FROM leads WHERE campaign = ?1 AND state = 'ready'",
                )?
                .query_row([campaign.as_str()], |row| row.get(0))?;
            Ok(first.map(Timestamp::from_millis))
        })
        .await
    }

    async fn has_open_leads(&self, campaign: &CampaignId) -> Answer<bool> {
        let campaign = campaign.clone();
        self.read(move |conn| {
            exists(
                conn,
                "SELECT 1 FROM leads WHERE campaign = ?1 AND state IN ('ready', 'claimed')",
                [campaign.as_str()],
            )
        })
        .await
    }
}

/// Each lead with its document, made on the caller's side.
fn with_docs(leads: &[Lead]) -> Result<Vec<(Lead, String)>, Fault> {
    leads
        .iter()
        .map(|lead| Ok((lead.clone(), to_doc(WHAT, lead)?)))
        .collect()
}

fn insert(
    conn: &Connection,
    lead: &Lead,
    doc: &str,
    unreadable: &Unreadable,
) -> Result<LeadInserted, Fault> {
    let inserted = conn
        .prepare_cached(
            "INSERT INTO leads (id, campaign, phone, priority, state, due_at, claimed_at, last_outcome, doc)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            lead.id.as_str(),
            lead.campaign.as_str(),
            lead.phone.as_str(),
            lead.priority,
            lead.state.name(),
            lead.due_at.millis(),
            lead.claimed_at.map(Timestamp::millis),
            lead.last_outcome.map(|outcome| outcome.name()),
            doc
        ]);
    match inserted {
        Ok(_) => Ok(LeadInserted::Fresh),
        Err(error) if is_duplicate(&error) => {
            who_was_first(conn, lead, unreadable)?.ok_or(Fault::Sql(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// Which unique index refused the lead. The reference is asked first: it is the lead's identity.
fn who_was_first(
    conn: &Connection,
    lead: &Lead,
    unreadable: &Unreadable,
) -> Result<Option<LeadInserted>, Fault> {
    let same_source = |doc: &Doc| match from_doc::<Lead>(WHAT, doc) {
        Ok(first) => first.source.is_some() && first.source == lead.source,
        Err(fault) => {
            unreadable.remember(&fault.into());
            false
        }
    };
    if let Some(doc) = one_doc(conn, BY_ID, [lead.id.as_str()])? {
        return Ok(Some(LeadInserted::SameRef {
            same_source: same_source(&doc),
        }));
    }
    let same_phone = one_doc(
        conn,
        "SELECT id, doc FROM leads WHERE campaign = ?1 AND phone = ?2",
        [lead.campaign.as_str(), lead.phone.as_str()],
    )?;
    Ok(same_phone.map(|doc| LeadInserted::SamePhone {
        same_source: same_source(&doc),
    }))
}

fn claim(
    conn: &Connection,
    request: &ClaimRequest,
    unreadable: &Unreadable,
) -> Result<Option<Lead>, Fault> {
    // Those that cannot be read stand in nobody's way.
    let mut passed = Vec::new();
    loop {
        let candidates = candidates(conn, request, &passed)?;
        let chosen = u64::try_from(candidates.len())
            .ok()
            .and_then(|count| request.draw.checked_rem(count))
            .and_then(|at| candidates.get(usize::try_from(at).ok()?));
        let Some(id) = chosen else { return Ok(None) };
        let Some(doc) = one_doc(conn, BY_ID, [id])? else {
            return Ok(None);
        };
        let mut lead: Lead = match from_doc(WHAT, &doc) {
            Ok(lead) => lead,
            Err(fault) => {
                unreadable.remember(&fault.into());
                passed.push(id.clone());
                continue;
            }
        };
        lead.state = LeadState::Claimed;
        lead.claim = Some(request.claim.clone());
        lead.claimed_at = Some(request.now);
        save(conn, &lead)?;
        return Ok(Some(lead));
    }
}

/// The first due leads of the highest priority that has any. Walks down the priorities (at most a
/// hundred), so leads that are not due yet are never looked at, however many there are.
fn candidates(
    conn: &Connection,
    request: &ClaimRequest,
    passed: &[String],
) -> Result<Vec<String>, Fault> {
    let campaign = request.campaign.as_str();
    let most = CANDIDATES.saturating_add(rows(passed.len()));
    let mut below = i64::MAX;
    loop {
        let priority: Option<i64> = conn
            .prepare_cached(
                "SELECT priority FROM leads WHERE campaign = ?1 AND state = 'ready' AND priority < ?2
                 ORDER BY priority DESC LIMIT 1",
            )?
            .query_row(params![campaign, below], |row| row.get(0))
            .optional()?;
        let Some(priority) = priority else {
            return Ok(Vec::new());
        };
        let mut due = texts(
            conn,
            "SELECT id FROM leads WHERE campaign = ?1 AND state = 'ready' AND priority = ?2 AND due_at <= ?3
             ORDER BY due_at, id LIMIT ?4",
            params![campaign, priority, request.now.millis(), most],
        )?;
        due.retain(|id| !passed.contains(id));
        if !due.is_empty() {
            return Ok(due);
        }
        below = priority;
    }
}

fn end_claim(conn: &Connection, release: &Release) -> Result<Cas, Fault> {
    edit_if(
        conn,
        &release.lead,
        |l| {
            l.n == release.n
                && l.claim.as_ref() == Some(&release.claim)
                && l.state == LeadState::Claimed
        },
        |l| {
            l.state = release.state;
            l.due_at = release.due_at.unwrap_or(l.due_at);
            l.reason.clone_from(&release.reason);
            l.claim = None;
            l.claimed_at = None;
        },
    )
}

fn project(conn: &Connection, projection: &Projection) -> Result<Cas, Fault> {
    edit_if(
        conn,
        &projection.lead,
        |l| l.n.checked_add(1) == Some(projection.n) && !l.state.is_final(),
        |l| {
            l.n = projection.n;
            l.state = projection.state;
            l.due_at = projection.due_at;
            l.budget_used = projection.budget_used;
            l.outcomes.clone_from(&projection.outcomes);
            l.last_outcome = Some(projection.outcome);
            l.reason = None;
            l.claim = None;
            l.claimed_at = None;
        },
    )
}

fn counts(conn: &Connection, campaign: &CampaignId) -> Result<LeadCounts, Fault> {
    let mut counts = LeadCounts::default();
    let mut by_state = conn
        .prepare_cached("SELECT state, COUNT(*) FROM leads WHERE campaign = ?1 GROUP BY state")?;
    let mut found = by_state.query([campaign.as_str()])?;
    while let Some(row) = found.next()? {
        let (state, count): (String, u32) = (row.get(0)?, row.get(1)?);
        for known in LeadState::ALL
            .into_iter()
            .filter(|known| known.name() == state)
        {
            let cell = match known {
                LeadState::Ready => &mut counts.ready,
                LeadState::Claimed => &mut counts.claimed,
                LeadState::Done => &mut counts.done,
                LeadState::Suppressed => &mut counts.suppressed,
            };
            *cell = u64::from(count);
        }
    }
    let mut by_outcome = conn.prepare_cached(
        "SELECT last_outcome, COUNT(*) FROM leads
         WHERE campaign = ?1 AND state = 'done' AND last_outcome IS NOT NULL GROUP BY last_outcome",
    )?;
    let mut found = by_outcome.query([campaign.as_str()])?;
    while let Some(row) = found.next()? {
        counts
            .outcomes
            .insert(row.get(0)?, u64::from(row.get::<_, u32>(1)?));
    }
    Ok(counts)
}

fn edit_if(
    conn: &Connection,
    id: &LeadId,
    expected: impl FnOnce(&Lead) -> bool,
    edit: impl FnOnce(&mut Lead),
) -> Result<Cas, Fault> {
    let Some(doc) = one_doc(conn, BY_ID, [id.as_str()])? else {
        return Ok(Cas::Lost);
    };
    let mut lead: Lead = from_doc(WHAT, &doc)?;
    if !expected(&lead) {
        return Ok(Cas::Lost);
    }
    edit(&mut lead);
    save(conn, &lead)?;
    Ok(Cas::Won)
}

fn save(conn: &Connection, lead: &Lead) -> Result<(), Fault> {
    execute(
        conn,
        "UPDATE leads SET state = ?2, due_at = ?3, claimed_at = ?4, last_outcome = ?5, doc = ?6 WHERE id = ?1",
        params![
            lead.id.as_str(),
            lead.state.name(),
            lead.due_at.millis(),
            lead.claimed_at.map(Timestamp::millis),
            lead.last_outcome.map(|outcome| outcome.name()),
            to_doc(WHAT, lead)?
        ],
    )?;
    Ok(())
}
