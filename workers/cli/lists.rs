//! `dialfleet leads|imports|calls|workers …`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::client::{Body, Done, call, segment};
use super::table::{self, Column};
use super::{Output, Server, carriers, print, read_file, say};

/// Lead commands.
#[derive(Debug, Subcommand)]
pub(crate) enum LeadsCommand {
    /// Bring a CSV or NDJSON file in, and wait until every row is accounted for
    Import(ImportArgs),
    /// List a campaign's leads
    List(LeadListArgs),
}

/// Which file, into which campaign.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file, or - for stdin; `.ndjson` and `.jsonl` are read as NDJSON, anything else as CSV
    file: PathBuf,
    /// The campaign's id (cmp_…)
    #[arg(long)]
    campaign: String,
    #[command(flatten)]
    server: Server,
}

/// Which leads.
#[derive(Debug, Args)]
pub(crate) struct LeadListArgs {
    /// The campaign's id (cmp_…)
    #[arg(long)]
    campaign: String,
    /// Only in this state: ready, claimed, done, suppressed
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

/// Which page.
#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// Rows at most
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Where the last page ended
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: Server,
}

impl PageArgs {
    fn query(&self, filters: &[(&str, Option<&str>)]) -> String {
        let mut query = format!("?limit={}", self.limit);
        for (name, value) in filters.iter().chain(&[("cursor", self.cursor.as_deref())]) {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", segment(value)));
            }
        }
        query
    }

    async fn show(&self, path: &str, columns: &[Column]) -> Done {
        let value = call(&self.server, Method::GET, path, Body::Empty).await?;
        table::list(self.server.output, &value, columns);
        if let (Output::Table, Some(cursor)) = (self.server.output, value["next_cursor"].as_str()) {
            say(&format!("more: --cursor {cursor}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Import commands.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportsCommand {
    /// Show an import: rows accepted, duplicate, rejected, parked
    Show(OneArgs),
    /// List the rows that were not taken, with line and reason
    Errors(ErrorsArgs),
}

/// Call commands.
#[derive(Debug, Subcommand)]
pub(crate) enum CallsCommand {
    /// List calls, newest first
    List(CallListArgs),
    /// Show a call with its history
    Show(OneArgs),
}

/// Which calls.
#[derive(Debug, Args)]
pub(crate) struct CallListArgs {
    /// Only of this campaign
    #[arg(long)]
    campaign: Option<String>,
    /// Only live ones
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    page: PageArgs,
}

/// Which row errors.
#[derive(Debug, Args)]
pub(crate) struct ErrorsArgs {
    /// The import's id (imp_…)
    id: String,
    #[command(flatten)]
    page: PageArgs,
}

/// Which one.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// Its id
    id: String,
    #[command(flatten)]
    server: Server,
}

/// Worker commands.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// List running workers
    List(Server),
}

const LEADS: [Column; 8] = [
    ("ref", "ref"),
    ("phone", "phone"),
    ("state", "state"),
    ("attempts", "attempts"),
    ("last outcome", "last_outcome"),
    ("due", "due_at"),
    ("reason", "reason"),
    ("cost", "cost"),
];
const IMPORT: [Column; 8] = [
    ("id", "id"),
    ("campaign", "campaign"),
    ("state", "state"),
    ("accepted", "accepted"),
    ("duplicate", "duplicate"),
    ("rejected", "rejected"),
    ("parked", "parked"),
    ("error", "error"),
];
const ERRORS: [Column; 3] = [("line", "line"), ("code", "code"), ("message", "message")];
const CALLS: [Column; 8] = [
    ("id", "id"),
    ("phone", "phone"),
    ("state", "state"),
    ("outcome", "outcome"),
    ("carrier", "carrier"),
    ("created", "created_at"),
    ("seconds", "duration_s"),
    ("cost", "cost"),
];
const WORKERS: [Column; 4] = [
    ("id", "id"),
    ("roles", "roles"),
    ("version", "version"),
    ("heard", "beat_at"),
];

/// Runs a lead command.
///
/// # Errors
/// The file cannot be read, or the API cannot be reached or says no.
pub(crate) async fn leads(command: LeadsCommand) -> Done {
    match command {
        LeadsCommand::Import(args) => import(args).await,
        LeadsCommand::List(args) => {
            let query = args.page.query(&[("state", args.state.as_deref())]);
            args.page
                .show(
                    &format!("/campaigns/{}/leads{query}", segment(&args.campaign)),
                    &LEADS,
                )
                .await
        }
    }
}

async fn import(args: ImportArgs) -> Done {
    let bytes = read_file(&args.file).await?;
    let json_lines = args
        .file
        .extension()
        .is_some_and(|e| e == "ndjson" || e == "jsonl");
    let kind = if json_lines {
        "application/x-ndjson"
    } else {
        "text/csv"
    };
    let path = format!("/campaigns/{}/imports", segment(&args.campaign));
    let mut import = call(&args.server, Method::POST, &path, Body::File(kind, bytes)).await?;
    let path = format!(
        "/imports/{}",
        segment(import["id"].as_str().unwrap_or_default())
    );
    while import["state"] == "open" {
        tokio::time::sleep(Duration::from_millis(300)).await;
        import = call(&args.server, Method::GET, &path, Body::Empty).await?;
    }
    table::one(args.server.output, &import, &IMPORT);
    let errors = call(
        &args.server,
        Method::GET,
        &format!("{path}/errors?limit=20"),
        Body::Empty,
    )
    .await?;
    for error in errors["data"].as_array().into_iter().flatten() {
        say(&format!(
            "line {}: {}",
            error["line"],
            error["message"].as_str().unwrap_or_default()
        ));
    }
    if !errors["next_cursor"].is_null() {
        say(&format!(
            "… all of them: dialfleet imports errors {}",
            import["id"].as_str().unwrap_or_default()
        ));
    }
    let partial = import["state"] != "done" || import["rejected"].as_u64().unwrap_or(0) > 0;
    Ok(if partial {
        ExitCode::from(6)
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs an import command.
///
/// # Errors
/// The API cannot be reached or says no.
pub(crate) async fn imports(command: ImportsCommand) -> Done {
    match command {
        ImportsCommand::Show(args) => {
            let value = call(
                &args.server,
                Method::GET,
                &format!("/imports/{}", segment(&args.id)),
                Body::Empty,
            )
            .await?;
            table::one(args.server.output, &value, &IMPORT);
            Ok(ExitCode::SUCCESS)
        }
        ImportsCommand::Errors(args) => {
            args.page
                .show(
                    &format!(
                        "/imports/{}/errors{}",
                        segment(&args.id),
                        args.page.query(&[])
                    ),
                    &ERRORS,
                )
                .await
        }
    }
}

/// Runs a call command.
///
/// # Errors
/// The API cannot be reached or says no.
pub(crate) async fn calls(command: CallsCommand) -> Done {
    match command {
        CallsCommand::List(args) => {
            let live = args.live.then_some("true");
            let query = args
                .page
                .query(&[("campaign", args.campaign.as_deref()), ("live", live)]);
            args.page.show(&format!("/calls{query}"), &CALLS).await
        }
        CallsCommand::Show(args) => {
            let value = call(
                &args.server,
                Method::GET,
                &format!("/calls/{}", segment(&args.id)),
                Body::Empty,
            )
            .await?;
            table::one(args.server.output, &value, &CALLS);
            if matches!(args.server.output, Output::Table) {
                if value["decision"].is_object() {
                    carriers::decision(&value["decision"]);
                }
                timeline(&value);
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn timeline(value: &Value) {
    for moment in value["timeline"].as_array().into_iter().flatten() {
        let text = |key: &str| moment[key].as_str().unwrap_or_default().to_owned();
        print(&format!(
            "{}  {:<14} {}",
            text("at"),
            text("event"),
            text("note")
        ));
    }
}

/// Runs a worker command.
///
/// # Errors
/// The API cannot be reached or says no.
pub(crate) async fn workers(command: WorkersCommand) -> Done {
    let WorkersCommand::List(server) = command;
    let value = call(&server, Method::GET, "/workers", Body::Empty).await?;
    table::list(server.output, &value, &WORKERS);
    Ok(ExitCode::SUCCESS)
}
