//! The end of a world: when it is quiet, and whether everything is as it should be then.

use std::collections::{BTreeMap, BTreeSet};

use dialfleet_domain::call::{Attempt, CallState, Outcome};
use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::lead::Lead;
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::Queue;
use dialfleet_engine::port::store::{
    Answer, AttemptFilter, AttemptStore, CampaignStore, LeadStore, RecordStore,
};
use dialfleet_simulator::Ledger;

use super::operator::Delivered;
use super::process::Company;

/// Rows of any list in a world of this size.
const ALL: usize = 100_000;

/// Why the world is not quiet yet; `None` when it is.
pub(super) async fn unrest(company: &Company, delivered: &Delivered) -> Answer<Option<String>> {
    let store = &company.store;
    for id in delivered.keys() {
        let Some(campaign) = store
            .campaigns(std::slice::from_ref(id))
            .await?
            .pop()
            .flatten()
        else {
            return Ok(Some(format!("{id} is gone")));
        };
        if !matches!(campaign.state, CampaignState::Done | CampaignState::Stopped) {
            let counts = store.lead_counts(id).await?;
            let (wake_at, seq) = (campaign.wake_at, campaign.wake_seq);
            return Ok(Some(format!(
                "{id} is {} with {counts:?}, open import {}, wake_at {wake_at:?}, wake_seq {seq}, now {}",
                campaign.state.name(),
                !store.open_imports(id, 1).await?.is_empty(),
                company.weather.time.now().millis()
            )));
        }
        if let Some(live) = store.live_attempts(id).await?.first() {
            return Ok(Some(format!("{} is {}", live.id, live.state.name())));
        }
    }
    let used = store.slots_in_use().await?;
    if !used.is_empty() {
        return Ok(Some(format!("slots are held: {used:?}")));
    }
    let later = company.weather.time.now() + std::time::Duration::from_secs(3600);
    if let Some(attempt) = store.due_todos(later, 1).await?.first() {
        return Ok(Some(format!(
            "{} still has {:?} to do",
            attempt.id, attempt.todo
        )));
    }
    if let Some(lead) = store.stale_claims(later, 1).await?.first() {
        return Ok(Some(format!("{} is claimed", lead.id)));
    }
    let live = company
        .exchange
        .network
        .read_ledger(|ledger| ledger.total_live);
    if live > 0 {
        return Ok(Some(format!("{live} calls are live")));
    }
    match company.broker.depths().await {
        Ok(depths) => Ok(depths
            .iter()
            .find(|(topic, depth)| *depth > 0 && *topic != "parked")
            .map(|(topic, depth)| format!("{depth} messages wait in {topic}"))),
        Err(error) => Ok(Some(error.to_string())),
    }
}

/// What a world did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) leads: u64,
    pub(super) attempts: u64,
    /// Those that were written down while things went wrong.
    pub(super) faulted: u64,
}

/// Whether everything is as it should be in a quiet world.
pub(super) async fn verdict(
    company: &Company,
    delivered: &Delivered,
    healed_at: Timestamp,
) -> Answer<Result<Totals, String>> {
    let store = &company.store;
    let ledger = company.exchange.network.ledger();
    let mut totals = Totals::default();
    let mut by_phone: BTreeMap<String, u32> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for (id, phones) in delivered {
        let Some(campaign) = store
            .campaigns(std::slice::from_ref(id))
            .await?
            .pop()
            .flatten()
        else {
            continue;
        };
        let leads = store.list_leads(id, None, None, ALL).await?.items;
        let filter = AttemptFilter {
            campaign: Some(id.clone()),
            ..AttemptFilter::default()
        };
        let attempts = store
            .list_attempts(&company.tenant, &filter, None, ALL)
            .await?
            .items;
        totals.leads += as_u64(leads.len());
        totals.attempts += as_u64(attempts.len());
        let faulted = attempts.iter().filter(|a| a.intent_at < healed_at);
        totals.faulted += as_u64(faulted.count());
        known.extend(attempts.iter().map(|a| a.id.as_str().to_owned()));
        for attempt in &attempts {
            *by_phone
                .entry(attempt.phone.as_str().to_owned())
                .or_default() += 1;
        }
        if campaign.state == CampaignState::Done {
            let missing = phones
                .iter()
                .filter(|p| !leads.iter().any(|l| l.phone.as_str() == p.as_str()))
                .count();
            if missing > 0 {
                return Ok(Err(format!(
                    "{missing} delivered leads of {id} are missing"
                )));
            }
        }
        if let Err(what) = check_campaign(&campaign, &leads, &attempts, &ledger) {
            return Ok(Err(what));
        }
    }
    for key in ledger.rings_per_attempt.keys() {
        if !known.contains(key) {
            return Ok(Err(format!("{key} was placed and is not in the store")));
        }
    }
    for (phone, rings) in &ledger.rings {
        let attempts = by_phone.get(phone).copied().unwrap_or(0);
        if *rings > attempts {
            let tail = &phone[phone.len().saturating_sub(3)..];
            return Ok(Err(format!(
                "***{tail} rang {rings} times for {attempts} attempts"
            )));
        }
    }
    for phone in company.checks.promised() {
        let Ok(number) = E164::parse(&phone, None) else {
            continue;
        };
        let listed = store.do_not_call(&company.tenant, &[number]).await?;
        if listed != [true] {
            let tail = &phone[phone.len().saturating_sub(3)..];
            return Ok(Err(format!(
                "***{tail} opted out, and is not on the do-not-call list"
            )));
        }
    }
    Ok(check_metrics(company).map(|()| totals))
}

fn check_campaign(
    campaign: &Campaign,
    leads: &[Lead],
    attempts: &[Attempt],
    ledger: &Ledger,
) -> Result<(), String> {
    let mut by_lead: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        by_lead
            .entry(attempt.lead.as_str())
            .or_default()
            .push(attempt);
        if attempt.state != CallState::Ended || attempt.outcome.is_none() {
            return Err(format!(
                "{} is {} and not over",
                attempt.id,
                attempt.state.name()
            ));
        }
        check_rings(attempt, ledger)?;
    }
    for lead in leads {
        let mut own = by_lead.remove(lead.id.as_str()).unwrap_or_default();
        own.sort_by_key(|attempt| attempt.n);
        if own.iter().zip(1_u32..).any(|(attempt, n)| attempt.n != n) {
            return Err(format!("{} has a gap in its attempts", lead.id));
        }
        if campaign.state == CampaignState::Done && !lead.state.is_final() {
            return Err(format!(
                "{} is {} although its campaign is done",
                lead.id,
                lead.state.name()
            ));
        }
        let used: u32 = own
            .iter()
            .filter_map(|a| a.outcome)
            .map(|o| u32::from(o.consumes_budget()))
            .sum();
        if used > campaign.retry.max_attempts {
            return Err(format!(
                "{} was tried {used} times, {} are allowed",
                lead.id, campaign.retry.max_attempts
            ));
        }
        let carried = usize::try_from(lead.n).unwrap_or(usize::MAX);
        let suppressed = lead.state == dialfleet_domain::lead::LeadState::Suppressed;
        if carried > own.len() || (carried < own.len() && !suppressed) {
            return Err(format!(
                "{} has {} attempts, {carried} carried over",
                lead.id,
                own.len()
            ));
        }
    }
    match by_lead.into_keys().next() {
        Some(_) => Err(format!("{} has attempts without a lead", campaign.id)),
        None => Ok(()),
    }
}

/// What we say of an attempt against what the network saw.
fn check_rings(attempt: &Attempt, ledger: &Ledger) -> Result<(), String> {
    let rings = ledger.rings_per_attempt.get(attempt.id.as_str()).copied();
    let never_placed = matches!(
        attempt.outcome,
        Some(Outcome::NotPlaced | Outcome::Withdrawn)
    );
    if let (true, Some(_)) = (never_placed, rings) {
        return Err(format!(
            "{} was placed, and we believe {:?}",
            attempt.id, attempt.outcome
        ));
    }
    if attempt.outcome.is_some_and(Outcome::is_answer) && rings != Some(1) {
        return Err(format!("{} was answered without a ring", attempt.id));
    }
    Ok(())
}

fn check_metrics(company: &Company) -> Result<(), String> {
    let text = company.metrics.render();
    for line in text
        .lines()
        .filter(|line| line.starts_with("dialfleet_invariant_violations_total"))
    {
        let excused = line.contains("clock_skew") && company.weather.faults.clock_jumps > 0.0
            // An alarm by design: the carrier did not answer, and the slot stays held until it does.
            || line.contains("hard_end_unconfirmed") && company.weather.faults.ask_fails > 0.0;
        if !excused && !line.ends_with(" 0") {
            return Err(line.to_owned());
        }
    }
    Ok(())
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
