//! Whole worlds from seeds. `cargo xtask sim` runs as many as wanted, and tells what happened in one of them.

mod mutants;

use std::env;
use std::ffi::OsString;
use std::process::{Command, Stdio};

use dialfleet_tests::sim::{Options, run};

/// Runs the simulation in a program of its own, which `cargo xtask test` builds for speed. Returns whether every promise
/// was kept, and what it said.
fn simulate(args: &[&str]) -> (bool, String) {
    let program =
        env::var_os("DIALFLEET_SIM").unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_sim")));
    let ran = Command::new(program)
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .expect("the simulation starts");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    println!("{said}");
    (ran.status.success(), said)
}

/// The test runner has a process for each core: a program uses one.
fn keeps_every_promise(args: &[&str]) {
    let (kept, said) = simulate(&[args, &["--jobs", "1"]].concat());
    assert!(kept, "{said}");
}

#[test]
fn nothing_goes_wrong() {
    keeps_every_promise(&["--quiet", "--seeds", "100"]);
}

/// The same in as many parts as keep the cores busy to the end.
macro_rules! swarm {
    ($($name:ident: $first:literal;)*) => {$(
        #[test]
        fn $name() {
            keeps_every_promise(&["--seeds", "250", "--seed", $first]);
        }
    )*};
}

swarm! {
    swarm_from_0: "0";
    swarm_from_250: "250";
    swarm_from_500: "500";
    swarm_from_750: "750";
    swarm_from_1000: "1000";
    swarm_from_1250: "1250";
    swarm_from_1500: "1500";
    swarm_from_1750: "1750";
}

/// Opt-outs that the worlds below must have seen to mean anything.
const MANY: u64 = 400;

#[test]
fn nobody_is_called_again_who_opted_out() {
    let args = ["--opt-outs", "--seeds", "200", "--jobs", "1"];
    let (kept, said) = simulate(&args);
    assert!(kept, "{said}");
    let sum = said.lines().find(|line| line.starts_with("seeds "));
    let (before, _) = sum
        .and_then(|sum| sum.split_once(" opt-outs"))
        .unwrap_or_else(|| panic!("it does not count them: {said}"));
    let count = before
        .rsplit(' ')
        .next()
        .and_then(|n| n.parse::<u64>().ok());
    assert!(count >= Some(MANY), "only {count:?} opt-outs");
}

#[test]
fn a_crash_at_every_place() {
    let (kept, said) = simulate(&["--everywhere"]);
    assert!(kept, "{said}");
}

#[test]
fn in_a_quiet_world_nothing_is_unclear() {
    let mut rings = 0;
    for seed in 0..3 {
        let world = run(seed, &Options::quiet()).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(
            (world.crashes, world.unclear, world.zombies),
            (0, 0, 0),
            "{world:?}"
        );
        rings += world.rings;
    }
    assert!(rings > 0, "nobody was called");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let mut crashes = 0;
    for seed in 1..4 {
        let once = run(seed, &Options::swarm()).unwrap_or_else(|failure| panic!("{failure}"));
        let again =
            run(seed, &Options::swarm().explained()).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(once, again, "a trace must change nothing either");
        crashes += once.crashes;
    }
    assert!(crashes > 0, "nothing went wrong");
    let talkative = Options {
        opt_outs: true,
        ..Options::swarm()
    };
    let once = run(5, &talkative).unwrap_or_else(|failure| panic!("{failure}"));
    let again = run(5, &talkative.explained()).unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(once, again);
    assert!(once.opt_outs > 0, "nobody pressed a key");
}
