//! Where a process can be killed: at every method of every port, as the engine's own source names
//! them, so that a port method added later is a place from its first day.

use std::sync::LazyLock;

use super::{Options, run};

/// The engine's ports.
const PORTS: [&str; 5] = [
    include_str!("../../../src/engine/port/board.rs"),
    include_str!("../../../src/engine/port/carrier.rs"),
    include_str!("../../../src/engine/port/clock.rs"),
    include_str!("../../../src/engine/port/queue.rs"),
    include_str!("../../../src/engine/port/store.rs"),
];

/// Ports without a place: nothing is recorded in a world, and what is spooled is written without an await.
#[cfg(test)]
const ELSEWHERE: [&str; 3] = ["media", "recording", "spool"];

/// Between the request to a carrier and its answer: the one await inside a port method where a blow
/// differs from one before or after it.
const SENT: &str = "sent";

/// Every place, by name.
pub static PLACES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut places: Vec<&str> = PORTS.iter().flat_map(|port| methods(port)).collect();
    places.push(SENT);
    places.sort_unstable();
    places.dedup();
    places
});

/// The names of the methods that are awaited.
fn methods(port: &'static str) -> impl Iterator<Item = &'static str> {
    port.lines()
        .filter_map(|line| line.trim_start().strip_prefix("async fn "))
        .filter_map(|rest| rest.split(['(', '<']).next())
}

/// Those at which a crash or a freeze hurts most.
pub(super) const SORE: [&str; 20] = [
    "claim_leads",
    "insert_attempts",
    "leads",
    "do_not_call",
    "dial",
    SENT,
    "save_attempts",
    "project_leads",
    "release_claims",
    "insert_callbacks",
    "publish",
    "ack",
    "find",
    "due_checks",
    "due_todos",
    "stale_claims",
    "hold_duty",
    "settle_wake",
    "insert_leads",
    "end_import",
];

/// Worlds tried until a process was killed at a place.
const SEEDS: u64 = 128;

/// What no process of a world calls, and who does.
const NOT_CALLED: [(&str, &str); 14] = [
    ("carrier_spend", "people, who only read"),
    (
        "cost",
        "carriers that say late what a call cost; the simulated ones never do",
    ),
    (
        "fetch",
        "whoever keeps recordings; nothing is recorded there",
    ),
    ("lead_spend", "people, who only read"),
    ("list_attempts", "people, who only read"),
    ("list_campaigns", "people, who only read"),
    ("list_imports", "people, who only read"),
    ("list_leads", "people, who only read"),
    ("listen", "nobody yet"),
    ("mac_keys", "the program, before it has a fleet"),
    ("record", "calls that are recorded"),
    ("remove_do_not_call", "people"),
    ("row_errors", "people, who only read"),
    ("workers", "people, who only read"),
];

/// Kills a process at every place, and returns how many places that were.
///
/// # Errors
/// In words: a promise was broken, or the places that no process came by are not the known ones.
pub fn crash_everywhere() -> Result<usize, String> {
    let (mut struck, mut wrong) = (0, Vec::new());
    for place in PLACES.iter().copied() {
        let not_called = NOT_CALLED.iter().any(|(name, _)| *name == place);
        let seeds = if not_called { 2 } else { SEEDS };
        match (strike(place, seeds)?, not_called) {
            (true, false) => struck += 1,
            (false, true) => {}
            (true, true) => wrong.push(format!("{place} is called after all")),
            (false, false) => wrong.push(format!("nobody was killed at {place}")),
        }
    }
    if wrong.is_empty() {
        Ok(struck)
    } else {
        Err(wrong.join("\n"))
    }
}

/// Whether somebody was killed there. Some places are reached when nothing else goes wrong, others
/// only when something does.
fn strike(place: &'static str, seeds: u64) -> Result<bool, String> {
    for seed in 0..seeds {
        let base = if seed % 2 == 0 {
            Options::quiet()
        } else {
            Options::swarm()
        };
        let aim = Some(place);
        let report = run(seed, &Options { aim, ..base })
            .map_err(|failure| format!("killed at {place}: {failure}"))?;
        if report.struck.contains(place) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_forgotten() {
        let all = include_str!("../../../src/engine/port/mod.rs");
        let files = all.lines().filter_map(|line| line.strip_prefix("pub mod "));
        let files = files.filter(|file| !ELSEWHERE.contains(&file.trim_end_matches(';')));
        assert_eq!(files.count(), PORTS.len(), "a port has no place here");
        assert!(SORE.iter().all(|place| PLACES.contains(place)));
    }
}
