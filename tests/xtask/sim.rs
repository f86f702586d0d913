//! `cargo xtask sim`: builds the simulation for speed and runs it.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

/// Which worlds, and what to show.
#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// How many worlds
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    /// The first world's seed; the others follow it
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Worlds at once; each runs on one thread, and what it does never depends on this
    #[arg(long, value_name = "N", default_value = "one for each core")]
    jobs: String,
    /// Nothing goes wrong
    #[arg(long)]
    quiet: bool,
    /// Tell one line about each good world, and all that is known about a bad one, the engine's log too
    #[arg(long)]
    explain: bool,
    /// Go on after a broken promise, and tell each in one line
    #[arg(long)]
    keep_going: bool,
    /// Take away what the promises rest on: recheck, fence, u2, u3, version or proof. The run should fail
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
}

impl SimArgs {
    /// The arguments as the program takes them.
    fn words(&self) -> Vec<String> {
        let mut words = vec![
            "--seeds".to_owned(),
            self.seeds.to_string(),
            "--seed".to_owned(),
            self.seed.to_string(),
        ];
        if self.jobs.parse::<u32>().is_ok() {
            words.extend(["--jobs".to_owned(), self.jobs.clone()]);
        }
        let flags = [
            ("--quiet", self.quiet),
            ("--explain", self.explain),
            ("--keep-going", self.keep_going),
        ];
        words.extend(
            flags
                .into_iter()
                .filter(|(_, on)| *on)
                .map(|(flag, _)| flag.to_owned()),
        );
        if let Some(mutant) = &self.mutant {
            words.extend(["--mutant".to_owned(), mutant.clone()]);
        }
        words
    }
}

/// Builds it in the profile `sim`, and runs it.
pub(crate) fn run(args: &SimArgs) -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("this package is two folders down")?;
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .args([
            "run",
            "--quiet",
            "--profile",
            "sim",
            "--package",
            "dialfleet-tests",
            "--bin",
            "sim",
            "--",
        ])
        .args(args.words())
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
