//! A crash at every place: before and after every method of every port.

use dialfleet_tests::sim::{Options, PLACES, run};

/// Worlds tried until a process was killed at a place.
const SEEDS: u64 = 16;

/// What no process of a world calls, and who does.
const NOT_CALLED: [(&str, &str); 7] = [
    ("list_attempts", "people, who only read"),
    ("list_campaigns", "people, who only read"),
    ("list_leads", "people, who only read"),
    ("listen", "nobody yet"),
    ("mac_keys", "the program, before it has a fleet"),
    ("remove_do_not_call", "people"),
    ("row_errors", "people, who only read"),
];

#[test]
fn a_crash_at_every_place() {
    let mut never = Vec::new();
    for place in PLACES.iter().copied() {
        let not_called = NOT_CALLED.iter().any(|(name, _)| *name == place);
        let seeds = if not_called { 2 } else { SEEDS };
        // Some places are reached when nothing else goes wrong, others only when something does.
        let struck = (0..seeds).any(|seed| {
            let base = if seed % 2 == 0 {
                Options::quiet()
            } else {
                Options::swarm()
            };
            let aim = Some(place);
            let report = run(seed, &Options { aim, ..base });
            let report = report.unwrap_or_else(|failure| panic!("{place}: {failure}"));
            report.struck.contains(place)
        });
        if !struck {
            never.push(place);
        }
    }
    assert_eq!(never, NOT_CALLED.map(|(place, _)| place));
}
