//! `sim`, which `cargo xtask sim` builds and runs: worlds on all cores until a promise breaks, or all of them.

mod market;

use std::io::Write;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use dialfleet_tests::sim::{Failure, Mutant, Options, Sum, crash_everywhere, run, run_many};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often a long run says how far it is.
const TELL: Duration = Duration::from_secs(60);

/// Run whole worlds in virtual time from seeds, on all cores, until a promise breaks
///
/// One world is a fleet of the real engine with everything that can go wrong going wrong: processes that crash at any of
/// their awaits, freeze, stop and come back; writes, messages and callbacks that are lost, late, repeated or unclear;
/// carriers that refuse, hang and lose requests; clocks that jump; people who change their minds. Then everything heals,
/// and every lead must come to its end and every slot be free. The checks are made outside of the engine, by what the
/// simulated network saw.
///
/// The same seed is the same world, event for event. The run stops at the first broken promise and prints the last events
/// before it and the command that repeats it. The exit code is 0 when there is none.
#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo xtask sim",
    after_help = "Examples:\n  cargo xtask sim --seeds 20000\n  cargo xtask sim --seeds 1 --seed 4711 --explain\n  \
                  cargo xtask sim --mutant fence"
)]
struct Args {
    /// How many worlds
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    /// The first world's seed; the others follow it
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Worlds at once [default: one for each core]; each runs on one thread, and what it does never depends on this
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Nothing goes wrong
    #[arg(long)]
    quiet: bool,
    /// Let things go wrong for N times as long: more attempts under faults for the time a world takes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10))]
    bad_times: u32,
    /// Let every second person who answers press the key that means an opt-out, most of them on several campaigns' lists
    #[arg(long)]
    opt_outs: bool,
    /// Tell one line about each good world, and all that is known about a bad one, the engine's log too
    #[arg(long)]
    explain: bool,
    /// Go on after a broken promise, and tell each in one line
    #[arg(long)]
    keep_going: bool,
    /// Take away what the promises rest on: recheck, opt-out, unclear, fence, u2, u3, u4, version or proof.
    /// The run should fail
    #[arg(long, value_name = "NAME")]
    mutant: Option<Mutant>,
    /// Instead: kill a process before and after every method of every port, whatever the seeds
    #[arg(long, conflicts_with_all = ["seeds", "seed", "jobs", "quiet", "bad_times", "opt_outs", "explain", "keep_going", "mutant"])]
    everywhere: bool,
    /// Instead: route thousands of calls over carriers of different price and quality, with workers that come and go
    #[arg(long, conflicts_with_all = ["everywhere", "seeds", "seed", "jobs", "quiet", "opt_outs", "explain", "keep_going", "mutant"])]
    market: bool,
}

impl Args {
    fn options(&self) -> Options {
        let base = if self.quiet {
            Options::quiet()
        } else {
            Options::swarm()
        };
        Options {
            bad_times: self.bad_times,
            opt_outs: self.opt_outs,
            mutant: self.mutant,
            ..base
        }
    }

    /// The command that repeats one world.
    fn again(&self, seed: u64) -> String {
        let quiet = if self.quiet { " --quiet" } else { "" };
        let bad_times = match self.bad_times {
            1 => String::new(),
            n => format!(" --bad-times {n}"),
        };
        let opt_outs = if self.opt_outs { " --opt-outs" } else { "" };
        let mutant = self
            .mutant
            .map_or_else(String::new, |m| format!(" --mutant {m}"));
        format!(
            "cargo xtask sim --seeds 1 --seed {seed}{quiet}{bad_times}{opt_outs}{mutant} --explain"
        )
    }

    /// What went wrong: one line, or everything that is known.
    fn tell(&self, out: &mut impl Write, failure: &Failure) -> Result<()> {
        if self.keep_going {
            writeln!(out, "seed {}: {}", failure.seed, failure.what)?;
            return Ok(());
        }
        let all = self
            .explain
            .then(|| run(failure.seed, &self.options().explained()).err())
            .flatten();
        writeln!(out, "{}", all.as_ref().unwrap_or(failure))?;
        writeln!(out, "\nto repeat it: {}\n", self.again(failure.seed))?;
        Ok(())
    }
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let mut out = std::io::stdout().lock();
    if args.market {
        market::check(&mut out)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.everywhere {
        let crashes = crash_everywhere();
        return Ok(match &crashes {
            Ok(places) => {
                writeln!(out, "killed at {places} places, and every promise was kept")?;
                ExitCode::SUCCESS
            }
            Err(error) => {
                writeln!(out, "{error}")?;
                ExitCode::FAILURE
            }
        });
    }
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let jobs = args.jobs.unwrap_or_else(cores);
    let (began, mut told) = (Instant::now(), Ok(()));
    let last = args.seed.saturating_add(args.seeds);
    let (mut so_far, mut said) = (Sum::default(), began);
    let sum = run_many(args.seed..last, &args.options(), jobs, |_, world| {
        so_far.add(world);
        if said.elapsed() >= TELL {
            said = Instant::now();
            // Not where the result goes: how often this is said depends on the machine. Whoever reads it may have gone;
            // the run goes on for its exit code.
            let _ = writeln!(
                std::io::stderr(),
                "{} s: {so_far}",
                began.elapsed().as_secs()
            );
        }
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
        args.seed,
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
