//! `cargo xtask test`: build, start the services, run, and say what the tests said.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};
use dialfleet_xtask::programs::on_path;
use serde_json::Value;

use crate::services::Services;
use crate::{chaos, doctests, sim};

/// Builds and runs the suites; `args` go to the test runner, and `-p` among them narrows what is built.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let root = root()?;
    // The whole workspace is chosen although one program is wanted: features are then resolved as for the tests, and
    // nothing is compiled twice.
    let binary = build(root, "dialfleet", &["--workspace"])?;
    let services = Services::start()?;
    let mut failed = None;
    // Before the suites, whose summary should be the last thing on the screen.
    if args.is_empty() && doctests::exist_below(&root.join("src"))? {
        failed = failure(cargo(root, &services).args(["test", "--quiet", "--workspace", "--doc"]))?;
    }
    let mut suites = cargo(root, &services);
    if on_path("cargo-nextest").is_some() {
        suites.args(["nextest", "run"]);
    } else {
        suites.args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    }
    if !chooses_packages(args) {
        suites.arg("--workspace");
    }
    // Process-level tests start the real program, and one of them services that it kills. Worlds by the thousand want
    // the simulation as it is built for speed.
    suites.args(args).env("DIALFLEET_BIN", binary);
    if includes_tests(args) {
        suites
            .envs(chaos::programs()?)
            .env("DIALFLEET_SIM", sim::program()?);
    }
    let failed = failure(&mut suites)?.or(failed);
    Ok(failed.unwrap_or(ExitCode::SUCCESS))
}

/// Where the workspace is.
pub(crate) fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("this package is two folders down")
}

/// Builds a program and returns where cargo put it.
pub(crate) fn build(root: &Path, program: &str, how: &[&str]) -> Result<PathBuf> {
    let output = cargo_command(root)
        .args(["build", "--message-format", "json-render-diagnostics"])
        .args(["--bin", program])
        .args(how)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the program `{program}` does not build");
    }
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == program)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo did not say where it put the program `{program}`"))
}

fn cargo(root: &Path, services: &Services) -> Command {
    let mut command = cargo_command(root);
    command.envs(services.environment());
    command
}

fn cargo_command(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn chooses_packages(args: &[String]) -> bool {
    args.iter()
        .any(|arg| arg.starts_with("-p") || arg.starts_with("--package") || arg == "--workspace")
}

/// Whether the tests of whole fleets are among what is chosen.
fn includes_tests(args: &[String]) -> bool {
    !chooses_packages(args)
        || args
            .iter()
            .any(|arg| arg == "--workspace" || arg.ends_with("dialfleet-tests"))
}

fn failure(command: &mut Command) -> Result<Option<ExitCode>> {
    let status = command.status().context("cannot run cargo")?;
    Ok((!status.success()).then(|| exit_code(status)))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    // No code means that a signal ended it.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
