//! `dialfleet`: one program, every role.

mod boot;
mod cli;
mod config;
mod dev;
mod doctor;
mod process;
mod progress;
mod report;
mod up;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    dialfleet_runtime::tls::install();
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::complain(&anyhow::Error::new(error).context("the runtime cannot be started"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(cli.run());
    // What did not end in its time is not waited for.
    runtime.shutdown_background();
    code
}
