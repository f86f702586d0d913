//! What the promises rest on, taken away piece by piece: the checks must notice within so many seeds.
//! That the same seeds are all right otherwise is what the swarm shows.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use dialfleet_tests::sim::{Mutant, Options, run_many};

/// Expects one of the first `seeds` worlds with this defect to break a promise.
fn is_noticed(mutant: Mutant, seeds: u64) {
    let options = Options {
        mutant: Some(mutant),
        ..Options::swarm()
    };
    let mut noticed = None;
    run_many(
        0..seeds,
        &options,
        NonZeroUsize::MIN,
        |seed, world| match world {
            Ok(_) => ControlFlow::Continue(()),
            Err(failure) => {
                noticed = Some((seed, failure.what.clone()));
                ControlFlow::Break(())
            }
        },
    );
    let (seed, what) = noticed.unwrap_or_else(|| panic!("{seeds} worlds can do without: {mutant}"));
    println!("without {mutant}, at seed {seed}: {what}");
}

#[test]
fn without_reading_the_facts_again() {
    is_noticed(Mutant::Recheck, 200);
}

#[test]
fn without_the_fence() {
    is_noticed(Mutant::Fence, 200);
}

#[test]
fn without_unique_slots() {
    is_noticed(Mutant::U2, 20);
}

#[test]
fn without_unique_phones() {
    is_noticed(Mutant::U3, 40);
}

#[test]
fn without_comparing_versions() {
    is_noticed(Mutant::Version, 20);
}

#[test]
fn without_proof_of_absence() {
    is_noticed(Mutant::Proof, 20);
}
