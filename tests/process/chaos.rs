//! A fleet that is broken on purpose, shortly: `cargo xtask chaos` does it at length.

use std::time::Duration;

use dialfleet_tests::chaos::{Options, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_fleet_rings_nobody_twice_and_loses_nobody() {
    let options = Options {
        // Every kind of fault once, and one of the orders at least.
        load: Duration::from_secs(75),
        every: Duration::from_secs(8),
        rate: 10,
        seed: 8,
        leads: None,
        freeze: Duration::from_secs(15),
    };
    let verdict = run(&options).await.unwrap();
    // How fast it recovers is for a machine that does nothing else.
    assert!(verdict.promises_held(), "{verdict}");
}
