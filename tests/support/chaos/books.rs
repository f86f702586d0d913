//! The fleet's own books at the end, read from its store, and held against what the network saw.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use bson::{Document, doc};

use super::load::Campaign;
use super::store::ReplicaSet;
use super::witness::{Ms, Seen, Witness};

/// Outcomes that say that no telephone rang.
const NEVER_RANG: [&str; 7] = [
    "not_placed",
    "withdrawn",
    "no_carrier",
    "provider_config",
    "congestion",
    "carrier_error",
    "invalid_number",
];
/// Terminal callbacks, as the simulated carrier writes them.
const TERMINAL: &str = "CallStatus=(completed|busy|no-answer|failed|canceled)";

/// One attempt as the fleet wrote it down.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) ended_at: Option<Ms>,
    over: bool,
    outcome: String,
}

/// What the store has.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) attempts: BTreeMap<String, Attempt>,
    leads: Vec<Document>,
    /// When the terminal callback of an attempt came in first.
    pub(super) told: BTreeMap<String, Ms>,
}

impl Books {
    pub(super) async fn read(store: &ReplicaSet) -> Result<Self> {
        let fields = doc! { "state": 1, "slot": 1, "live": 1, "ended_at": 1, "outcome": 1 };
        let mut attempts = BTreeMap::new();
        for attempt in store.find("attempts", doc! {}, fields).await? {
            let held = attempt.contains_key("slot") || attempt.contains_key("live");
            let written = Attempt {
                ended_at: number(&attempt, "ended_at"),
                over: attempt.get_str("state").is_ok_and(|state| state == "ended") && !held,
                outcome: attempt.get_str("outcome").unwrap_or_default().to_owned(),
            };
            attempts.insert(id(&attempt), written);
        }
        let fields = doc! { "campaign": 1, "state": 1, "n": 1 };
        let leads = store.find("leads", doc! {}, fields).await?;
        let mut told: BTreeMap<String, Ms> = BTreeMap::new();
        let terminal = doc! { "raw": { "$regex": TERMINAL } };
        let fields = doc! { "attempt": 1, "received_at": 1 };
        for callback in store.find("callbacks", terminal, fields).await? {
            if let (Ok(attempt), Some(at)) = (
                callback.get_str("attempt"),
                number(&callback, "received_at"),
            ) {
                let first = told.entry(attempt.to_owned()).or_insert(at);
                *first = at.min(*first);
            }
        }
        Ok(Self {
            attempts,
            leads,
            told,
        })
    }

    /// Leads that are not there, not finished, or whose attempts are not all there; in words.
    pub(super) fn lost_leads(&self, campaigns: &[Campaign]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut there: BTreeMap<&str, u32> = BTreeMap::new();
        let mut attempts: BTreeMap<&str, i64> = BTreeMap::new();
        for attempt in self.attempts.keys() {
            *attempts.entry(lead_of(attempt)).or_default() += 1;
        }
        for lead in &self.leads {
            let name = id(lead);
            let state = lead.get_str("state").unwrap_or_default();
            *there
                .entry(lead.get_str("campaign").unwrap_or_default())
                .or_default() += 1;
            if !matches!(state, "done" | "suppressed") {
                wrong.push(format!("{name} is {state}"));
            }
            let known = number(lead, "n").unwrap_or_default();
            let made = attempts.remove(name.as_str()).unwrap_or_default();
            if known != made {
                wrong.push(format!("{name} knows {known} attempts, there are {made}"));
            }
        }
        wrong.extend(attempts.keys().map(|lead| format!("{lead} is gone")));
        for campaign in campaigns {
            let there = there.get(campaign.id.as_str()).copied().unwrap_or(0);
            if there != campaign.sent {
                let (id, sent) = (&campaign.id, campaign.sent);
                wrong.push(format!("{id}: {sent} leads sent, {there} there"));
            }
        }
        wrong
    }

    /// Attempts that are not over, though everything is.
    pub(super) fn open_attempts(&self) -> Vec<String> {
        let open = self.attempts.iter().filter(|(_, attempt)| !attempt.over);
        open.map(|(name, _)| name.clone()).collect()
    }

    /// Calls that the books deny: no attempt, or one that says it never rang anybody.
    pub(super) fn denied_calls(&self, witness: &Witness) -> Vec<String> {
        let mut denied = Vec::new();
        for call in witness.calls() {
            let name = &call.attempt;
            match self.attempts.get(name) {
                None => denied.push(format!("{name} was called and is not in the books")),
                // What the network itself said of a call that never rang.
                Some(attempt)
                    if call.answered && NEVER_RANG.contains(&attempt.outcome.as_str()) =>
                {
                    denied.push(format!(
                        "{name} was answered, the books say {}",
                        attempt.outcome
                    ));
                }
                Some(attempt) if matches!(attempt.outcome.as_str(), "not_placed" | "withdrawn") => {
                    denied.push(format!(
                        "{name} was called, the books say {}",
                        attempt.outcome
                    ));
                }
                Some(_) => {}
            }
        }
        denied
    }
}

/// Attempts with more than one call, and people who were reached and called again.
pub(super) fn repeated_calls(witness: &Witness) -> Vec<String> {
    let mut repeated = Vec::new();
    let (mut attempts, mut reached) = (BTreeSet::new(), BTreeMap::<&str, &Seen>::new());
    for call in witness.calls() {
        if !attempts.insert(call.attempt.as_str()) {
            repeated.push(format!("{} was placed twice", call.attempt));
        }
        if let Some(before) = reached.get(call.lead()) {
            repeated.push(format!(
                "{} came after {} was answered",
                call.attempt, before.attempt
            ));
        }
        if call.answered {
            reached.insert(call.lead(), call);
        }
    }
    repeated
}

fn id(document: &Document) -> String {
    document.get_str("_id").unwrap_or_default().to_owned()
}

fn lead_of(attempt: &str) -> &str {
    attempt.rsplit_once(':').map_or(attempt, |(lead, _)| lead)
}

/// A whole number, however wide it was written.
fn number(document: &Document, field: &str) -> Option<i64> {
    let narrow = |_| document.get_i32(field).map(i64::from);
    document.get_i64(field).or_else(narrow).ok()
}
