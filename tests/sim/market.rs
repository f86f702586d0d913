//! What the market must come to.

use std::io::Write;

use anyhow::{Result, ensure};
use dialfleet_tests::sim::market::{Market, Outcome, Truth};

/// Calls after which the carriers should be known.
const LEARNED: usize = 500;
/// Hundred-millionths of a cent's hundred: a dollar.
const DOLLAR: i64 = 100_000_000;

/// A good one at a fair price, a dear one that is hardly better, a cheap one that is bad and slow.
fn carriers() -> Vec<Truth> {
    let truth = |price, asr, pdd_ms| Truth { price, asr, pdd_ms };
    vec![
        truth(0.014, 48, 1_000),
        truth(0.007, 46, 1_500),
        truth(0.004, 22, 3_000),
    ]
}

fn market(workers: usize) -> Market {
    Market {
        seed: 1,
        workers,
        calls: 5_000,
        limit: 30,
        cps: 6.0,
        channels: None,
        carriers: carriers(),
        degrades: false,
        budget: None,
    }
}

/// Plays every market, says what came of it, and fails if a promise was not kept.
pub(crate) fn check(out: &mut impl Write) -> Result<()> {
    for workers in [1, 4, 8] {
        let market = Market {
            degrades: true,
            ..market(workers)
        };
        let outcome = play(
            out,
            &format!("{workers} workers, the best degrades"),
            &market,
        )?;
        let (best, half) = (market.best(), LEARNED * 5);
        let before = outcome.share(half - 300..half, best);
        let after = outcome.share(half + 200..half + 300, best);
        writeln!(
            out,
            "  share of the best: {before:.2}, 200 calls later {after:.2}"
        )?;
        ensure!(
            before > 0.5 && after < before / 2.0,
            "it is not followed: {before} {after}"
        );
        let until_then = Outcome {
            carried: outcome.carried[..half].to_vec(),
            ..outcome
        };
        let value = until_then.value(LEARNED, &market.carriers);
        writeln!(out, "  value of calls 500 to 2,500: {value:.3}")?;
        ensure!(value >= 0.95, "{value:.3} of the best one's value");
    }
    let steady = market(4);
    let outcome = play(out, "4 workers", &steady)?;
    let value = outcome.value(LEARNED, &steady.carriers);
    writeln!(out, "  value of calls 500 to 5,000: {value:.3}")?;
    ensure!(value >= 0.95, "{value:.3} of the best one's value");

    channels(out)?;
    budget(out)
}

fn play(out: &mut impl Write, name: &str, market: &Market) -> Result<Outcome> {
    let outcome = market.play().map_err(anyhow::Error::msg)?;
    writeln!(out, "{name}: {outcome}")?;
    let (second, ten) = (f64::from(outcome.most.0), f64::from(outcome.most.1));
    ensure!(
        second <= market.cps + 1.0,
        "{second} requests in one second"
    );
    ensure!(ten <= 10.0 * market.cps, "{ten} requests in ten seconds");
    let (said, billed) = outcome.cost;
    ensure!(
        said == billed,
        "the attempts cost {said}, the carriers bill {billed}"
    );
    let called = u32::try_from(outcome.carried.len())?;
    // Some fail on their way, and are called again.
    ensure!(
        (market.calls..market.calls * 11 / 10).contains(&called),
        "{called} calls"
    );
    Ok(outcome)
}

/// Freed channels are filled again: two thirds of the work is done where there is room for it.
fn channels(out: &mut impl Write) -> Result<()> {
    for workers in [1, 4] {
        let market = Market {
            calls: 600,
            channels: Some(4),
            carriers: carriers()[..2].to_vec(),
            ..market(workers)
        };
        let outcome = play(out, &format!("{workers} workers, 2 × 4 channels"), &market)?;
        ensure!(outcome.max_live == 4, "{} live", outcome.max_live);
        ensure!(
            outcome.mean_live > 6.0,
            "{:.1} of 8 in use",
            outcome.mean_live
        );
    }
    Ok(())
}

/// A budget stops its campaign within the bound that is promised; with another one it goes on.
fn budget(out: &mut impl Write) -> Result<()> {
    for workers in [1, 4] {
        let market = Market {
            calls: 600,
            budget: Some("1.00"),
            ..market(workers)
        };
        let outcome = play(out, &format!("{workers} workers, 1.00 USD"), &market)?;
        let Some((why, spent)) = &outcome.paused else {
            anyhow::bail!("it did not pause");
        };
        // Twice the limit × the dearest call (a minute of the dearest carrier).
        let bound = DOLLAR + 2 * 30 * 14 * DOLLAR / 1_000;
        ensure!(
            *spent <= bound,
            "{spent} spent of {DOLLAR}, at most {bound}"
        );
        ensure!(*spent > DOLLAR * 95 / 100, "only {spent} spent of {DOLLAR}");
        ensure!(why.contains("budget is used up"), "{why}");
    }
    Ok(())
}
