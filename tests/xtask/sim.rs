//! `cargo xtask sim`: builds the simulation for speed and runs it.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::suite;

/// Builds it in the profile `sim`, and runs it; it reads its arguments itself.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let status = Command::new(program()?)
        .args(args)
        .status()
        .context("cannot run the simulation")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The program, built.
pub(crate) fn program() -> Result<PathBuf> {
    let how = ["--profile", "sim", "--package", "dialfleet-tests"];
    suite::build(suite::root()?, "sim", &how)
}
