//! What the market must come to.

use std::io::Write;

use anyhow::{Result, ensure};
use dialfleet_tests::sim::market::{Market, Outcome, Truth};

/// Calls after which the carriers should be known.
const LEARNED: usize = 500;
/// Calls after which they should be left that became worse: fifty in a row go there half as often.
const FOLLOWED: usize = 200;
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

/// Where each carrier's rate is more than all calls together need: who is asked is the router's choice alone.
fn roomy(workers: usize) -> Market {
    Market {
        seed: 1,
        workers,
        calls: 5_000,
        limit: 30,
        cps: 12.0,
        channels: None,
        carriers: carriers(),
        degrades: false,
        budget: None,
    }
}

/// Where all rates together are less than the calls would need.
fn tight(workers: usize) -> Market {
    Market {
        calls: 1_500,
        limit: 60,
        cps: 3.0,
        ..roomy(workers)
    }
}

/// Plays every market, says what came of it, and fails if a promise was not kept.
pub(crate) fn check(out: &mut impl Write) -> Result<()> {
    channels(out)?;
    budget(out)?;
    for workers in [1, 4, 8] {
        rates(out, workers)?;
    }
    for workers in [1, 4, 8] {
        choice(out, workers)?;
    }
    Ok(())
}

/// The best carrier is found, and left when it is not the best any more.
fn choice(out: &mut impl Write, workers: usize) -> Result<()> {
    let market = Market {
        degrades: true,
        ..roomy(workers)
    };
    let name = format!("{workers} workers, the best degrades");
    let outcome = play(out, &name, &market)?;
    let (best, half) = (market.best(), LEARNED * 5);
    let before = outcome.share(half - 300..half, best);
    let worse = |n: &usize| outcome.share(half + n..half + n + 50, best) < before / 2.0;
    let moved = (0..=FOLLOWED).find(worse);
    let after = outcome.share(half + FOLLOWED..outcome.carried.len(), best);
    writeln!(
        out,
        "  share of the best: {before:.2}, moved {moved:?} calls after, then {after:.2}"
    )?;
    let until_then = Outcome {
        carried: outcome.carried[..half].to_vec(),
        ..outcome
    };
    let value = until_then.value(LEARNED, &market.carriers);
    writeln!(out, "  value of calls {LEARNED} to {half}: {value:.3}")?;
    ensure!(
        before > 0.5 && moved.is_some() && after < before / 2.0,
        "it is not followed: {before} {moved:?} {after}"
    );
    ensure!(value >= 0.95, "{value:.3} of the best one's value");
    Ok(())
}

/// What the carriers take is used, and never more.
fn rates(out: &mut impl Write, workers: usize) -> Result<()> {
    let market = tight(workers);
    let outcome = play(
        out,
        &format!("{workers} workers, 3 calls a second"),
        &market,
    )?;
    let used = f64::from(market.calls) / outcome.placed_in.as_secs_f64() / (market.cps * 3.0);
    writeln!(out, "  {used:.2} of the rates were used")?;
    ensure!(used > 0.5, "the rates were not used");
    Ok(())
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
            ..roomy(workers)
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
            ..roomy(workers)
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
