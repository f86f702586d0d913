//! `sim`: runs worlds on all cores until a promise breaks, or all of them. `cargo xtask sim --help` says
//! what it takes.

use std::io::Write;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use dialfleet_tests::sim::{Failure, Options, run, run_many};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What to do.
struct Args {
    seeds: u64,
    first: u64,
    jobs: NonZeroUsize,
    options: Options,
    quiet: bool,
    explain: bool,
    keep_going: bool,
}

impl Args {
    fn read() -> Result<Self> {
        let mut read = Self {
            seeds: 1_000,
            first: 0,
            jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            options: Options::swarm(),
            quiet: false,
            explain: false,
            keep_going: false,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--seeds" => read.seeds = value()?.parse().context("--seeds")?,
                "--seed" => read.first = value()?.parse().context("--seed")?,
                "--jobs" => read.jobs = value()?.parse().context("--jobs")?,
                "--mutant" => {
                    let mutant = value()?.parse().map_err(anyhow::Error::msg)?;
                    read.options.mutant = Some(mutant);
                }
                "--quiet" => read.quiet = true,
                "--explain" => read.explain = true,
                "--keep-going" => read.keep_going = true,
                _ => bail!("{arg}? `cargo xtask sim --help` says what there is"),
            }
        }
        if read.quiet {
            read.options = Options {
                mutant: read.options.mutant,
                ..Options::quiet()
            };
        }
        Ok(read)
    }

    /// The command that repeats one world.
    fn again(&self, seed: u64) -> String {
        let quiet = if self.quiet { " --quiet" } else { "" };
        let mutant = self
            .options
            .mutant
            .map_or_else(String::new, |m| format!(" --mutant {m}"));
        format!("cargo xtask sim --seeds 1 --seed {seed}{quiet}{mutant} --explain")
    }

    /// What went wrong: one line, or everything that is known.
    fn tell(&self, out: &mut impl Write, failure: &Failure) -> Result<()> {
        if self.keep_going {
            writeln!(out, "seed {}: {}", failure.seed, failure.what)?;
            return Ok(());
        }
        let all = self
            .explain
            .then(|| run(failure.seed, &self.options.explained()).err())
            .flatten();
        writeln!(out, "{}", all.as_ref().unwrap_or(failure))?;
        writeln!(out, "\nto repeat it: {}\n", self.again(failure.seed))?;
        Ok(())
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::read()?;
    let mut out = std::io::stdout().lock();
    let (began, mut told) = (Instant::now(), Ok(()));
    let last = args.first.saturating_add(args.seeds);
    let sum = run_many(args.first..last, &args.options, args.jobs, |_, world| {
        told = match world {
            Ok(report) if args.explain => writeln!(out, "{report:?}").map_err(Into::into),
            Ok(_) => Ok(()),
            Err(failure) => args.tell(&mut out, failure),
        };
        let enough = told.is_err() || world.is_err() && !args.keep_going;
        if enough {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    told?;
    let wall_s = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let (seeds_per_s, per_s) = (sum.worlds as f64 / wall_s, sum.attempts as f64 / wall_s);
    writeln!(
        out,
        "seeds {} to {}: {sum} in {wall_s:.1} s",
        args.first,
        last.saturating_sub(1)
    )?;
    writeln!(
        out,
        "{seeds_per_s:.1} worlds/s, {per_s:.0} attempts/s; the slowest to come to rest was seed {}: {:.0} s",
        sum.slowest.1,
        sum.slowest.0.as_secs_f64()
    )?;
    Ok(if sum.violations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
