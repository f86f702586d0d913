//! A crash at every place: each method of each port, before it and after it.

use dialfleet_tests::sim::{Options, PLACES, run};

/// Worlds tried until a process was killed at a place.
const SEEDS: u64 = 12;

/// What processes call in no world, and why.
const NOT_CALLED: [(&str, &str); 0] = [];

#[test]
fn a_crash_at_every_place() {
    let mut never = Vec::new();
    for place in PLACES.iter().copied() {
        let options = Options {
            aim: Some(place),
            ..Options::swarm()
        };
        let struck = (0..SEEDS).any(|seed| {
            let report = run(seed, &options).unwrap_or_else(|failure| panic!("{place}: {failure}"));
            report.struck.contains(place)
        });
        if !struck {
            never.push(place);
        }
    }
    assert_eq!(never, NOT_CALLED.map(|(place, _)| place));
}
