//! Where a process can be killed: at every method of every port, as the engine's own source names
//! them, so that a port method added later is a place from its first day.

use std::sync::LazyLock;

/// The engine's ports.
const PORTS: [&str; 5] = [
    include_str!("../../../src/engine/port/board.rs"),
    include_str!("../../../src/engine/port/carrier.rs"),
    include_str!("../../../src/engine/port/clock.rs"),
    include_str!("../../../src/engine/port/queue.rs"),
    include_str!("../../../src/engine/port/store.rs"),
];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_forgotten() {
        let all = include_str!("../../../src/engine/port/mod.rs");
        let files = all.lines().filter(|line| line.starts_with("pub mod "));
        assert_eq!(files.count(), PORTS.len(), "a port has no place here");
        assert!(SORE.iter().all(|place| PLACES.contains(place)));
    }
}
