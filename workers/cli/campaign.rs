//! `dialfleet campaign …`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Body, Done, call, segment};
use super::table::{self, Column};
use super::{Output, Server, read_file, say};

/// Campaign commands.
#[derive(Debug, Subcommand)]
pub(crate) enum CampaignCommand {
    /// Make a campaign, from a TOML file or from flags
    Create(CreateArgs),
    /// List campaigns, newest first
    List(Server),
    /// Show a campaign: state, counts, slots
    Show(OneArgs),
    /// Start dialing
    Start(OneArgs),
    /// No new calls; live calls finish
    Pause(OneArgs),
    /// Go on after a pause
    Resume(OneArgs),
    /// Take no new leads; pause when the live calls have ended
    Drain(OneArgs),
    /// End for good; live calls are hung up
    Stop(OneArgs),
    /// Change how many concurrent calls it may have
    Limit(LimitArgs),
}

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// A campaign file (TOML; the fields of POST /v1/campaigns)
    file: Option<PathBuf>,
    /// Its name (overrides the file's)
    #[arg(long)]
    name: Option<String>,
    /// Concurrent calls at most (overrides the file's)
    #[arg(long)]
    concurrency: Option<u32>,
    #[command(flatten)]
    server: Server,
}

/// Which campaign.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The campaign's id (cmp_…)
    id: String,
    #[command(flatten)]
    server: Server,
}

/// The new limit.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// The campaign's id (cmp_…)
    id: String,
    /// Concurrent calls at most
    concurrency: u32,
    #[command(flatten)]
    server: Server,
}

const LIST: [Column; 5] = [
    ("id", "id"),
    ("name", "name"),
    ("state", "state"),
    ("concurrency", "concurrency"),
    ("created", "created_at"),
];
const SHOW: [Column; 10] = [
    ("id", "id"),
    ("name", "name"),
    ("state", "state"),
    ("status", "status.message"),
    ("concurrency", "concurrency"),
    ("leads", "counts.leads"),
    ("pending", "counts.pending"),
    ("live", "counts.live"),
    ("done", "counts.done"),
    ("outcomes", "counts.outcomes"),
];

/// Runs a campaign command.
///
/// # Errors
/// The API cannot be reached or says no.
pub(crate) async fn run(command: CampaignCommand) -> Done {
    match command {
        CampaignCommand::Create(args) => create(args).await,
        CampaignCommand::List(server) => {
            let value = call(&server, Method::GET, "/campaigns", Body::Empty).await?;
            table::list(server.output, &value, &LIST);
            Ok(ExitCode::SUCCESS)
        }
        CampaignCommand::Show(args) => {
            let value = call(
                &args.server,
                Method::GET,
                &format!("/campaigns/{}", segment(&args.id)),
                Body::Empty,
            )
            .await?;
            table::one(args.server.output, &value, &SHOW);
            Ok(ExitCode::SUCCESS)
        }
        CampaignCommand::Start(args) => order(args, "start").await,
        CampaignCommand::Pause(args) => order(args, "pause").await,
        CampaignCommand::Resume(args) => order(args, "resume").await,
        CampaignCommand::Drain(args) => order(args, "drain").await,
        CampaignCommand::Stop(args) => order(args, "stop").await,
        CampaignCommand::Limit(args) => {
            let path = format!("/campaigns/{}", segment(&args.id));
            let body = Body::Json(json!({ "concurrency": args.concurrency }));
            let value = call(&args.server, Method::PATCH, &path, body).await?;
            table::one(args.server.output, &value, &SHOW);
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn create(args: CreateArgs) -> Done {
    let mut new = match &args.file {
        Some(path) => {
            let bytes = read_file(path).await?;
            let text = String::from_utf8(bytes).context("the campaign file is not UTF-8 text")?;
            let value: toml::Value = toml::from_str(&text)
                .with_context(|| format!("{} is not usable", path.display()))?;
            serde_json::to_value(value)?
        }
        None => json!({}),
    };
    if let Some(name) = args.name {
        new["name"] = Value::from(name);
    }
    if let Some(concurrency) = args.concurrency {
        new["concurrency"] = Value::from(concurrency);
    }
    if new["name"].is_null() {
        anyhow::bail!("a campaign needs a name: --name, or `name` in the file");
    }
    let value = call(&args.server, Method::POST, "/campaigns", Body::Json(new)).await?;
    table::one(args.server.output, &value, &SHOW);
    if matches!(args.server.output, Output::Table) {
        say(&format!(
            "next: dialfleet leads import FILE --campaign {}",
            value["id"].as_str().unwrap_or_default()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn order(args: OneArgs, verb: &str) -> Done {
    let path = format!("/campaigns/{}/{verb}", segment(&args.id));
    let value = call(&args.server, Method::POST, &path, Body::Empty).await?;
    table::one(args.server.output, &value, &SHOW);
    Ok(ExitCode::SUCCESS)
}
