//! Whole worlds from seeds. `SEED=n cargo test -p dialfleet-tests --test sim` repeats one of them and
//! prints what happened.

use std::time::Instant;

use dialfleet_tests::sim::{Options, Report, run};

/// Runs worlds; a broken promise shows the seed and what led to it.
fn worlds(what: &str, seeds: std::ops::Range<u64>, options: &Options) -> Vec<Report> {
    if let Some(seed) = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok())
    {
        let report = run(seed, &options.explained()).unwrap_or_else(|failure| panic!("{failure}"));
        return vec![report];
    }
    println!("{what}: seeds {seeds:?}");
    let began = Instant::now();
    let reports: Vec<Report> = seeds
        .map(|seed| run(seed, options).unwrap_or_else(|failure| panic!("{failure}")))
        .collect();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    println!(
        "{what}: {} worlds, {} attempts, {} rings, {} crashes, {} unclear answers, {:.1} s",
        reports.len(),
        sum(|r| r.attempts),
        sum(|r| r.rings),
        sum(|r| r.crashes),
        sum(|r| r.unclear),
        began.elapsed().as_secs_f64()
    );
    reports
}

#[test]
fn nothing_goes_wrong() {
    for report in worlds("quiet", 0..50, &Options::quiet()) {
        assert!(report.rings > 0, "nobody was called: {report:?}");
        assert_eq!(
            (report.crashes, report.unclear, report.zombies),
            (0, 0, 0),
            "{report:?}"
        );
    }
}

#[test]
fn everything_goes_wrong() {
    worlds("swarm", 0..120, &Options::swarm());
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [1, 2, 3] {
        let once = run(seed, &Options::swarm()).unwrap_or_else(|failure| panic!("{failure}"));
        let again =
            run(seed, &Options::swarm().explained()).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(once, again, "a trace must change nothing either");
    }
}
