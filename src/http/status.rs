//! Why a campaign is, or is not, dialing: one sentence that the API, the command line and the
//! dashboard all show.

use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::schedule::{Opening, Zone};
use dialfleet_domain::time::Timestamp;
use serde::Serialize;

use crate::view::{Counts, Time};

/// How a campaign stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// A stable code.
    code: &'static str,
    /// The sentence.
    message: String,
    /// When this changes by itself, if that is known.
    next_change_at: Option<Time>,
}

/// What the sentence is made of, besides the campaign and its counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// Calls of a paused campaign may still appear.
    pub(crate) settling: bool,
    /// Phones locked after an unclear attempt.
    pub(crate) cooling: u64,
    /// When the first of them is free again.
    pub(crate) cooled_at: Option<Timestamp>,
    /// When the next waiting lead is due; read only if nothing is on a call.
    pub(crate) next_due: Option<Timestamp>,
    /// Leads are on their way; read only if none is left.
    pub(crate) importing: bool,
    /// A process that dials is alive; read only if a lead waits and nothing is on a call.
    pub(crate) dialers: bool,
}

pub(crate) fn status(
    campaign: &Campaign,
    counts: &Counts,
    facts: &Facts,
    now: Timestamp,
) -> Status {
    let (live, pending) = (counts.live, counts.pending);
    match campaign.state {
        CampaignState::Draft => say(
            "draft",
            format!("Draft: not started; {} waiting.", leads_are(pending)),
        ),
        CampaignState::Running if live == 0 => idle(campaign, counts, facts, now),
        CampaignState::Running => say(
            "dialing",
            format!(
                "Running: {live} of {} slots busy, {} left.",
                campaign.slots(),
                leads(pending)
            ),
        ),
        CampaignState::Paused if facts.settling => say(
            "pausing",
            format!("Pausing: {} may still be on their way out.", calls(live)),
        ),
        CampaignState::Paused if live > 0 => say(
            "paused",
            format!(
                "Paused: {} still to finish; {} waiting.",
                calls(live),
                leads_are(pending)
            ),
        ),
        CampaignState::Paused if campaign.paused_by.is_some() => {
            let why = campaign.paused_by.map(|why| why.to_string());
            let why = why.unwrap_or_default();
            let message = format!("Paused: {why}; {} waiting.", leads_are(pending));
            say("budget", message)
        }
        CampaignState::Paused => say("paused", format!("Paused: {} waiting.", leads_are(pending))),
        CampaignState::Draining => say(
            "draining",
            format!("Draining: {} still to finish, then it pauses.", calls(live)),
        ),
        CampaignState::Stopped if live > 0 => say(
            "stopping",
            format!("Stopping: {} being ended.", calls_are(live)),
        ),
        CampaignState::Stopped => say(
            "stopped",
            format!("Stopped: {} never finished.", leads_were(pending)),
        ),
        CampaignState::Done => say(
            "done",
            "Done: every lead has reached a final state.".to_owned(),
        ),
    }
}

/// A running campaign without a single call.
fn idle(campaign: &Campaign, counts: &Counts, facts: &Facts, now: Timestamp) -> Status {
    let pending = counts.pending;
    if pending == 0 {
        return match (facts.importing, counts.is_empty()) {
            (true, _) => say("importing", "Running: leads are being imported.".to_owned()),
            (false, true) => say(
                "no_leads",
                "Waiting: the campaign has no leads yet.".to_owned(),
            ),
            (false, false) => say(
                "finishing",
                "Running: every lead has reached a final state.".to_owned(),
            ),
        };
    }
    if facts.next_due.is_none() && facts.cooling > 0 {
        let message = format!(
            "Waiting: {} may have been called by a request that was never answered, and stay locked for a while.",
            leads(facts.cooling)
        );
        return say("cooling_off", message).until(facts.cooled_at);
    }
    // Without a zone of its own, a schedule is judged lead by lead; those outside it are not due.
    let own_clock = campaign
        .schedule
        .as_ref()
        .and_then(|s| s.timezone().map(|zone| (s, zone)));
    if let Some((schedule, zone)) = own_clock {
        match schedule.check::<Zone>(&[], now) {
            Opening::Open => {}
            Opening::Closed { opens: Some(at) } => {
                let message = format!(
                    "Waiting: {} outside the campaign's hours ({zone}); next opens {}.",
                    leads_are(pending),
                    minute(at)
                );
                return say("outside_hours", message).until(Some(at));
            }
            Opening::Closed { opens: None } => {
                return say(
                    "never_open",
                    "Waiting: the campaign's hours never open.".to_owned(),
                );
            }
        }
    }
    match facts.next_due {
        Some(due) if due > now => {
            let message = format!(
                "Waiting: {} not due yet; next at {}.",
                leads_are(pending),
                minute(due)
            );
            say("not_due", message).until(Some(due))
        }
        Some(_) if !facts.dialers => say(
            "no_workers",
            format!(
                "Waiting: {} due, but no worker that dials is running.",
                leads_are(pending)
            ),
        ),
        Some(_) | None => say(
            "dialing",
            format!(
                "Running: 0 of {} slots busy, {} left.",
                campaign.slots(),
                leads(pending)
            ),
        ),
    }
}

fn say(code: &'static str, message: String) -> Status {
    Status {
        code,
        message,
        next_change_at: None,
    }
}

impl Status {
    fn until(self, at: Option<Timestamp>) -> Self {
        Self {
            next_change_at: at.map(Time),
            ..self
        }
    }
}

fn counted(n: u64, one: &str, many: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else {
        format!("{n} {many}")
    }
}

fn leads(n: u64) -> String {
    counted(n, "lead", "leads")
}

fn leads_are(n: u64) -> String {
    counted(n, "lead is", "leads are")
}

fn leads_were(n: u64) -> String {
    counted(n, "lead was", "leads were")
}

fn calls(n: u64) -> String {
    counted(n, "call", "calls")
}

fn calls_are(n: u64) -> String {
    counted(n, "call is", "calls are")
}

/// `2026-11-21 14:00 UTC`.
fn minute(at: Timestamp) -> String {
    at.to_utc().format("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dialfleet_engine::port::store::LeadCounts;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_251_600_000);

    fn campaign(state: &str, schedule: &str) -> Campaign {
        let json = format!(
            r#"{{"_id":"cmp_1","tenant":"t","name":"n","state":"{state}","gen":1,"limit":5,"weight":1,
                "ring_timeout_s":30,"max_duration_s":600,"wake_seq":0,"created_at":0,"changed_at":0{schedule}}}"#
        );
        serde_json::from_str(&json).expect("a campaign")
    }

    fn counts(ready: u64, claimed: u64, done: u64, live: u64) -> Counts {
        let leads = LeadCounts {
            ready,
            claimed,
            done,
            ..LeadCounts::default()
        };
        Counts::new(leads, live)
    }

    #[test]
    fn every_state_is_a_sentence() {
        let alive = Facts {
            next_due: Some(NOW),
            dialers: true,
            ..Facts::default()
        };
        let table = [
            (
                "draft",
                counts(1, 0, 0, 0),
                "Draft: not started; 1 lead is waiting.",
            ),
            (
                "running",
                counts(9, 3, 1, 3),
                "Running: 3 of 5 slots busy, 9 leads left.",
            ),
            (
                "running",
                counts(2, 0, 1, 0),
                "Running: 0 of 5 slots busy, 2 leads left.",
            ),
            (
                "running",
                counts(0, 0, 0, 0),
                "Waiting: the campaign has no leads yet.",
            ),
            (
                "running",
                counts(0, 0, 4, 0),
                "Running: every lead has reached a final state.",
            ),
            (
                "paused",
                counts(4, 1, 0, 1),
                "Paused: 1 call still to finish; 4 leads are waiting.",
            ),
            ("paused", counts(4, 0, 0, 0), "Paused: 4 leads are waiting."),
            (
                "draining",
                counts(4, 2, 0, 2),
                "Draining: 2 calls still to finish, then it pauses.",
            ),
            (
                "stopped",
                counts(4, 2, 0, 2),
                "Stopping: 2 calls are being ended.",
            ),
            (
                "stopped",
                counts(4, 0, 0, 0),
                "Stopped: 4 leads were never finished.",
            ),
            (
                "done",
                counts(0, 0, 4, 0),
                "Done: every lead has reached a final state.",
            ),
        ];
        for (state, counts, message) in table {
            let said = status(&campaign(state, ""), &counts, &alive, NOW);
            assert_eq!(said.message, message, "{state}");
        }
    }

    #[test]
    fn a_running_campaign_says_why_it_does_not_dial() {
        let soon = NOW + Duration::from_secs(3_600);
        let code = |facts: Facts| {
            let said = status(&campaign("running", ""), &counts(2, 0, 0, 0), &facts, NOW);
            (said.code, said.next_change_at)
        };
        let no_workers = Facts {
            next_due: Some(NOW),
            ..Facts::default()
        };
        let later = Facts {
            next_due: Some(soon),
            ..Facts::default()
        };
        let cooling = Facts {
            cooling: 2,
            cooled_at: Some(soon),
            ..Facts::default()
        };
        assert_eq!(code(no_workers), ("no_workers", None));
        assert_eq!(code(later), ("not_due", Some(Time(soon))));
        assert_eq!(code(cooling), ("cooling_off", Some(Time(soon))));
        let importing = Facts {
            importing: true,
            ..Facts::default()
        };
        let said = status(
            &campaign("running", ""),
            &counts(0, 0, 0, 0),
            &importing,
            NOW,
        );
        assert_eq!(said.code, "importing");
    }

    #[test]
    fn closed_hours_name_the_next_opening() {
        // A Saturday, 09:00 UTC.
        let hours = r#","schedule":{"timezone":"Europe/London","windows":[{"days":["mon"],"from":"10:00","to":"12:00"}]}"#;
        let campaign = campaign("running", hours);
        let said = status(&campaign, &counts(2, 0, 0, 0), &Facts::default(), NOW);
        assert_eq!(
            said.message,
            "Waiting: 2 leads are outside the campaign's hours (Europe/London); next opens 2026-11-23 10:00 UTC."
        );
        assert_eq!(
            said.next_change_at.map(|t| t.0.to_rfc3339()).as_deref(),
            Some("2026-11-23T10:00:00.000Z")
        );
    }
}
