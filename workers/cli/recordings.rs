//! `dialfleet recordings …`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::client::{Body, Done, call, download, segment};
use super::table::{self, Column};
use super::{Output, Server, print, say};

/// What a list shows.
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("CALL", "call"),
    ("STATE", "state"),
    ("BYTES", "bytes"),
    ("MS", "duration_ms"),
    ("TRANSCRIPT", "transcript"),
    ("ANNOUNCED", "announced_at"),
    ("REASON", "reason"),
];

/// Recording commands.
#[derive(Debug, Subcommand)]
pub(crate) enum RecordingsCommand {
    /// List recordings, newest first
    List(ListArgs),
    /// Save the sound of a recording
    Get(GetArgs),
    /// Print what was said in a recording
    Transcript(IdArgs),
    /// Delete a recording and its transcript
    Delete(IdArgs),
    /// Try again what was put aside
    Retry(IdArgs),
}

/// Which ones.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only of this campaign
    #[arg(long)]
    campaign: Option<String>,
    /// Only of this call
    #[arg(long)]
    call: Option<String>,
    /// Only those that are announced, stored, parked or deleted
    #[arg(long)]
    state: Option<String>,
    /// How many at most, 1 to 200
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    server: Server,
}

/// Which one, and where to.
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The recording
    id: String,
    /// The file; by default the recording's id with the ending of its type
    #[arg(long, short = 'O')]
    file: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

/// Which one.
#[derive(Debug, Args)]
pub(crate) struct IdArgs {
    /// The recording
    id: String,
    #[command(flatten)]
    server: Server,
}

/// Runs a recording command.
///
/// # Errors
/// The API cannot be reached or says no, or the file cannot be written.
pub(crate) async fn run(command: RecordingsCommand) -> Done {
    match command {
        RecordingsCommand::List(args) => list(args).await?,
        RecordingsCommand::Get(args) => get(args).await?,
        RecordingsCommand::Transcript(args) => {
            let path = format!("/recordings/{}/transcript", segment(&args.id));
            let value = call(&args.server, Method::GET, &path, Body::Empty).await?;
            match args.server.output {
                Output::Json => table::json(&value),
                Output::Table => value["turns"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .for_each(turn),
            }
        }
        RecordingsCommand::Delete(args) => {
            let path = format!("/recordings/{}", segment(&args.id));
            call(&args.server, Method::DELETE, &path, Body::Empty).await?;
            say("deleted");
        }
        RecordingsCommand::Retry(args) => {
            let path = format!("/recordings/{}/retry", segment(&args.id));
            call(&args.server, Method::POST, &path, Body::Empty).await?;
            say("it is tried again");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let mut path = format!("/recordings?limit={}", args.limit);
    let filters = [
        ("campaign", &args.campaign),
        ("call", &args.call),
        ("state", &args.state),
    ];
    for (name, value) in filters {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", segment(value)));
        }
    }
    let value = call(&args.server, Method::GET, &path, Body::Empty).await?;
    table::list(args.server.output, &value, COLUMNS);
    Ok(())
}

async fn get(args: GetArgs) -> anyhow::Result<()> {
    let path = format!("/recordings/{}/media", segment(&args.id));
    let (name, bytes) = download(&args.server, &path).await?;
    // The name comes from the server: only its last part is used.
    let name = name
        .as_deref()
        .and_then(|name| std::path::Path::new(name).file_name());
    let name = name.map_or_else(|| PathBuf::from("recording.bin"), PathBuf::from);
    let file = args.file.unwrap_or(name);
    tokio::fs::write(&file, &bytes)
        .await
        .with_context(|| format!("{} cannot be written", file.display()))?;
    say(&format!("{}: {} bytes", file.display(), bytes.len()));
    Ok(())
}

fn turn(turn: &Value) {
    let ms = turn["start_ms"].as_u64().unwrap_or_default();
    let (minutes, seconds) = (ms / 60_000, ms / 1_000 % 60);
    let text = turn["text"].as_str().unwrap_or_default();
    print(&format!(
        "{minutes:02}:{seconds:02}  {}  {text}",
        turn["channel"]
    ));
}
