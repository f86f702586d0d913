//! `cargo xtask chaos`: build, find the services' programs, and let the harness start, break and judge.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use dialfleet_xtask::{mongod, rabbitmq};

use crate::suite;

/// Options of `cargo xtask chaos`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long faults strike, in seconds
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// Seconds from one fault to the next
    #[arg(long, default_value_t = 10)]
    every: u32,
    /// Calls a second that must be placed on average, outages included; the carrier takes twice as many
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Decides which faults strike whom, and what the telephone network does
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leads at most [default: as many as can be called]
    #[arg(long)]
    leads: Option<u32>,
}

/// Runs it; the exit code is the judgement.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let root = suite::root()?;
    let program = suite::build(root, "dialfleet", &["--release", "--package", "dialfleet"])?;
    // The simulation's profile: fast, quick to build, and `cargo xtask sim` has built most of it already.
    let sim = ["--profile", "sim", "--package", "dialfleet-tests"];
    let harness = suite::build(root, "chaos", &sim)?;
    let mut command = Command::new(harness);
    command
        .env("DIALFLEET_BIN", program)
        .envs(programs()?)
        .args(["--seconds", &options.seconds.to_string()])
        .args(["--every", &options.every.to_string()])
        .args(["--rate", &options.rate.to_string()])
        .args(["--seed", &options.seed.to_string()]);
    if let Some(leads) = options.leads {
        command.args(["--leads", &leads.to_string()]);
    }
    let status = command.status().context("cannot run the harness")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The services that the harness starts by itself, found or installed: the variables that name their programs.
pub(crate) fn programs() -> Result<[(&'static str, PathBuf); 2]> {
    Ok([
        ("DIALFLEET_MONGOD", mongod::program()?),
        ("DIALFLEET_RABBITMQ", rabbitmq::program()?),
    ])
}
