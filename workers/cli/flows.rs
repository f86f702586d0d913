//! `dialfleet flows …`: what is said on a call, without a server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use dialfleet_domain::flow::{Flow, ready};
use serde_json::{Value, json};

use super::client::Done;
use super::table::{self, Column};
use super::{Output, print, read_file, say};

/// Flow commands.
#[derive(Debug, Subcommand)]
pub(crate) enum FlowsCommand {
    /// List the flows that come with the program
    List,
    /// Print one of them, as JSON: a beginning for your own
    Show {
        /// Its name
        name: String,
    },
    /// Check a flow, and say where it is wrong
    Check {
        /// A flow (JSON), or - for stdin
        file: PathBuf,
    },
}

const LIST: [Column; 2] = [("name", "name"), ("for", "about")];

/// Runs a flow command.
///
/// # Errors
/// There is no such flow, or the file cannot be read.
pub(crate) async fn run(command: FlowsCommand) -> Done {
    match command {
        FlowsCommand::List => {
            let rows: Vec<Value> = ready::ALL
                .iter()
                .map(|ready| json!({ "name": ready.name, "about": ready.about }))
                .collect();
            table::list(Output::Table, &json!({ "data": rows }), &LIST);
            say("show one: dialfleet flows show NAME");
            Ok(ExitCode::SUCCESS)
        }
        FlowsCommand::Show { name } => {
            print(named(&name)?.json.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        FlowsCommand::Check { file } => {
            let text = read_file(&file).await?;
            let faults = faults(&text)?;
            for fault in &faults {
                print(fault);
            }
            if faults.is_empty() {
                say("the flow is good");
                Ok(ExitCode::SUCCESS)
            } else {
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

fn named(name: &str) -> anyhow::Result<&'static ready::Ready> {
    ready::named(name).with_context(|| {
        let there: Vec<&str> = ready::ALL.iter().map(|ready| ready.name).collect();
        format!(
            "there is no flow \"{name}\"; there are {}",
            there.join(", ")
        )
    })
}

fn faults(text: &[u8]) -> anyhow::Result<Vec<String>> {
    let value: Value = serde_json::from_slice(text).context("the file is not JSON")?;
    let checked = match Flow::read(&value) {
        Ok(flow) => flow.check().err().unwrap_or_default(),
        Err(fault) => vec![fault],
    };
    Ok(checked.iter().map(ToString::to_string).collect())
}

/// The flow that a name or a file stands for.
pub(super) async fn chosen(name_or_file: &str) -> anyhow::Result<Value> {
    if let Some(ready) = ready::named(name_or_file) {
        return Ok(serde_json::from_str(ready.json)?);
    }
    let path = PathBuf::from(name_or_file);
    if !name_or_file.contains(['.', '/']) && !path.exists() {
        // A name that is none is more likely than a file that is not there.
        named(name_or_file)?;
    }
    let text = read_file(&path).await?;
    serde_json::from_slice(&text).with_context(|| format!("{name_or_file} is not JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_that_is_shown_is_good() {
        for ready in ready::ALL {
            assert_eq!(
                faults(ready.json.as_bytes()).expect("JSON"),
                Vec::<String>::new()
            );
        }
    }

    #[test]
    fn a_fault_says_where_and_what_to_do() {
        let said = faults(br#"{"steps":[{"do":"pause","seconds":61}]}"#).expect("JSON");
        assert_eq!(
            said,
            ["/steps/0/seconds: must be 1 to 60, not 61 (write 60)"]
        );
        let said = faults(br#"{"steps":[{"do":"sing"}]}"#).expect("JSON");
        assert!(
            said.len() == 1 && said[0].starts_with("/steps/0: unknown variant"),
            "{said:?}"
        );
        assert!(faults(b"{").is_err());
        assert!(
            named("mesage")
                .expect_err("none")
                .to_string()
                .contains("message, survey")
        );
    }
}
