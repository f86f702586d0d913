//! What the promises rest on, taken away piece by piece: the checks must notice within so many seeds.
//! That the same seeds are all right otherwise is what the swarm shows.

use super::simulate;

/// Expects one of the first `seeds` worlds with this defect to break a promise.
fn is_noticed(mutant: &str, seeds: &str) {
    is_noticed_in(mutant, seeds, &[]);
}

/// The same in worlds of a kind.
fn is_noticed_in(mutant: &str, seeds: &str, kind: &[&str]) {
    let these = ["--mutant", mutant, "--seeds", seeds, "--jobs", "1"];
    let (kept, said) = simulate(&[&these, kind].concat());
    assert!(!kept, "{seeds} worlds can do without: {mutant}");
    assert!(
        said.contains(" 1 violations,"),
        "something else went wrong: {said}"
    );
}

#[test]
fn without_reading_the_facts_again() {
    is_noticed("recheck", "200");
}

#[test]
fn without_writing_an_opt_out_before_it_is_confirmed() {
    is_noticed_in("opt-out", "10", &["--opt-outs"]);
}

#[test]
fn without_keeping_unclear_from_refused() {
    is_noticed("unclear", "10");
}

#[test]
fn without_the_fence() {
    is_noticed("fence", "200");
}

#[test]
fn without_unique_slots() {
    is_noticed("u2", "20");
}

#[test]
fn without_unique_phones() {
    is_noticed("u3", "40");
}

#[test]
fn without_unique_channels() {
    is_noticed("u4", "100");
}

#[test]
fn without_comparing_versions() {
    is_noticed("version", "20");
}

#[test]
fn without_proof_of_absence() {
    is_noticed("proof", "20");
}
