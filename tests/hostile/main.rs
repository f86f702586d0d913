//! Hostile input, through the doors by which it comes: whatever a stranger, a broken program or a
//! careless customer sends is taken or refused with a reason, never a panic, never more memory than
//! the limits say, never an endless loop.
//!
//! Cases are made from fixed seeds, so a failure repeats itself. `HOSTILE=20` makes twenty times as
//! many, from other seeds.
#![allow(
    clippy::unwrap_used,
    reason = "the whole file is tests: a panic is a failed check"
)]
#![allow(
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "tables of cases"
)]

mod answers;
mod api;
mod callbacks;
mod imports;
mod lists;
mod memory;
mod messages;
mod mutate;
mod numbers;
mod rig;
mod worker;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};

/// Checks so many cases.
fn cases<S: Strategy>(many: u32, strategy: S, check: impl Fn(S::Value) -> TestCaseResult) {
    let factor = std::env::var("HOSTILE").ok();
    let factor: u32 = factor.and_then(|text| text.parse().ok()).unwrap_or(1);
    let config = Config {
        cases: many.saturating_mul(factor),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(u64::from(factor)),
        max_shrink_time: 20_000,
        ..Config::default()
    };
    if let Err(failure) = TestRunner::new(config).run(&strategy, check) {
        panic!("{failure}");
    }
}
