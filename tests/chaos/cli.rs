//! `chaos [--seconds N] [--every N] [--rate N] [--seed N] [--leads N]`: real faults against a real fleet;
//! started by `cargo xtask chaos`, which says what the options are.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dialfleet_tests::chaos::{Options, run};

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut options = Options {
        load: Duration::from_secs(600),
        every: Duration::from_secs(10),
        rate: 50,
        seed: 1,
        leads: None,
        freeze: Duration::from_secs(30),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let number: u32 = args
            .next()
            .with_context(|| format!("{arg} needs a number"))?
            .parse()
            .with_context(|| format!("{arg}: not a number"))?;
        let seconds = Duration::from_secs(number.into());
        match arg.as_str() {
            "--seconds" => options.load = seconds,
            "--every" => options.every = seconds,
            "--rate" => options.rate = number,
            "--seed" => options.seed = number.into(),
            "--leads" => options.leads = Some(number),
            _ => bail!("{arg} is no option"),
        }
    }
    let verdict = run(&options).await?;
    println!("{verdict}");
    Ok(if verdict.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
