//! `sim [--seeds N] [--seed FIRST] [--quiet] [--explain] [--keep-going]`: runs worlds until a promise
//! breaks, or all of them. `--explain` tells everything about it, and one line about each good world.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use dialfleet_tests::sim::{Options, run};

fn main() -> Result<ExitCode> {
    let (mut seeds, mut first, mut options) = (100_u64, 0_u64, Options::swarm());
    let (mut explain, mut keep_going) = (false, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || -> Result<u64> {
            args.next()
                .with_context(|| format!("{arg} needs a number"))?
                .parse()
                .context("not a number")
        };
        match arg.as_str() {
            "--seeds" => seeds = number()?,
            "--seed" => first = number()?,
            "--quiet" => options = Options::quiet(),
            "--explain" => explain = true,
            "--keep-going" => keep_going = true,
            _ => {
                bail!("usage: sim [--seeds N] [--seed FIRST] [--quiet] [--explain] [--keep-going]")
            }
        }
    }
    let mut out = std::io::stdout().lock();
    let began = Instant::now();
    let (mut attempts, mut rings, mut crashes, mut failures) = (0, 0, 0, 0_u64);
    let mut virtual_s = 0.0;
    for seed in first..first.saturating_add(seeds) {
        match run(seed, &options) {
            Ok(report) => {
                attempts += report.attempts;
                rings += report.rings;
                crashes += report.crashes;
                virtual_s += report.virtual_time.as_secs_f64();
                if explain {
                    writeln!(out, "{report:?}")?;
                }
            }
            Err(failure) if keep_going => {
                failures += 1;
                writeln!(out, "seed {seed}: {}", failure.what)?;
            }
            Err(failure) => {
                let told = if explain {
                    run(seed, &options.explained()).err().unwrap_or(failure)
                } else {
                    failure
                };
                writeln!(out, "{told}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let s = began.elapsed().as_secs_f64();
    let per_s = f64::from(u32::try_from(seeds).unwrap_or(u32::MAX)) / s;
    writeln!(
        out,
        "{seeds} worlds from seed {first}: {failures} failures, {attempts} attempts, {rings} rings, {crashes} crashes, \
         {virtual_s:.0} s of virtual time in {s:.1} s, {per_s:.1} seeds/s"
    )?;
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
