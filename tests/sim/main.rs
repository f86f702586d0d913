//! Whole worlds from seeds. `SEED=n cargo test -p dialfleet-tests --test sim swarm` repeats one of them
//! and prints what happened; `cargo xtask sim` runs as many as wanted, on all cores.

mod mutants;
mod places;

use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::time::Instant;

use dialfleet_tests::sim::{Options, Sum, run, run_many};

/// Runs worlds; a broken promise shows the seed and what led to it.
fn worlds(what: &str, seeds: Range<u64>, options: &Options) -> Sum {
    let wanted = std::env::var("SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    if let Some(seed) = wanted {
        let mut sum = Sum::default();
        sum.add(&Ok(
            run(seed, &options.explained()).unwrap_or_else(|failure| panic!("{failure}"))
        ));
        return sum;
    }
    println!("{what}: seeds {seeds:?}");
    let began = Instant::now();
    // One thread: the test runner has one for each core.
    let sum = run_many(seeds, options, NonZeroUsize::MIN, |_, world| {
        world.as_ref().unwrap_or_else(|failure| panic!("{failure}"));
        ControlFlow::Continue(())
    });
    println!("{what}: {sum} in {:.1} s", began.elapsed().as_secs_f64());
    sum
}

#[test]
fn nothing_goes_wrong() {
    let sum = worlds("quiet", 0..50, &Options::quiet());
    assert!(sum.rings > 0, "nobody was called");
    assert_eq!((sum.crashes, sum.unclear, sum.zombies), (0, 0, 0), "{sum}");
}

/// The same in as many parts as keep the cores busy to the end.
macro_rules! swarm {
    ($($name:ident: $seeds:expr;)*) => {$(
        #[test]
        fn $name() {
            let sum = worlds("swarm", $seeds, &Options::swarm());
            assert!(sum.faulted > 0 && sum.crashes > 0, "nothing went wrong: {sum}");
        }
    )*};
}

swarm! {
    swarm_from_0: 0..250;
    swarm_from_250: 250..500;
    swarm_from_500: 500..750;
    swarm_from_750: 750..1_000;
    swarm_from_1000: 1_000..1_250;
    swarm_from_1250: 1_250..1_500;
    swarm_from_1500: 1_500..1_750;
    swarm_from_1750: 1_750..2_000;
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
