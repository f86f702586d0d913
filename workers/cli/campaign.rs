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
    Start(StartArgs),
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
    /// Change what it may cost; one that paused because of it goes on with `resume`
    Budget(BudgetArgs),
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
    /// What is said: a name of `dialfleet flows list`, or a file (overrides the campaign file's)
    #[arg(long)]
    flow: Option<String>,
    #[command(flatten)]
    server: Server,
}

/// What to start.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Also if leads lack what the flow says; they are left out
    #[arg(long)]
    skip_incomplete: bool,
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

/// The new budget.
#[derive(Debug, Args)]
pub(crate) struct BudgetArgs {
    /// The campaign's id (cmp_…)
    id: String,
    /// How much in all, such as 100.00; `none`: as much as it takes
    amount: String,
    /// The currency in which its carriers bill
    #[arg(default_value = "USD")]
    currency: String,
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
const SHOW: [Column; 12] = [
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
    ("spent", "cost.spent"),
    ("reserved", "cost.reserved"),
];
/// What the API says only when it is not the default.
const SETTINGS: [Column; 6] = [
    ("stream capacity", "stream_capacity"),
    ("budget", "budget.total"),
    ("paused by", "paused_by"),
    ("routing", "routing"),
    ("caps", "caps"),
    ("presence", "presence"),
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
            show(args.server.output, &value);
            Ok(ExitCode::SUCCESS)
        }
        CampaignCommand::Start(args) => {
            let body = if args.skip_incomplete {
                Body::Json(json!({ "skip_incomplete": true }))
            } else {
                Body::Empty
            };
            give(args.one, "start", body).await
        }
        CampaignCommand::Pause(args) => order(args, "pause").await,
        CampaignCommand::Resume(args) => order(args, "resume").await,
        CampaignCommand::Drain(args) => order(args, "drain").await,
        CampaignCommand::Stop(args) => order(args, "stop").await,
        CampaignCommand::Budget(args) => {
            let path = format!("/campaigns/{}", segment(&args.id));
            let total = json!({ "amount": args.amount, "currency": args.currency });
            let budget = match args.amount.as_str() {
                "none" => Value::Null,
                _ => json!({ "total": total }),
            };
            let body = Body::Json(json!({ "budget": budget }));
            let value = call(&args.server, Method::PATCH, &path, body).await?;
            show(args.server.output, &value);
            Ok(ExitCode::SUCCESS)
        }
        CampaignCommand::Limit(args) => {
            let path = format!("/campaigns/{}", segment(&args.id));
            let body = Body::Json(json!({ "concurrency": args.concurrency }));
            let value = call(&args.server, Method::PATCH, &path, body).await?;
            show(args.server.output, &value);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn show(output: Output, value: &Value) {
    table::one(output, value, &columns(value));
}

fn columns(value: &Value) -> Vec<Column> {
    let said = SETTINGS
        .into_iter()
        .filter(|(_, path)| !path.split('.').fold(value, |v, key| &v[key]).is_null());
    SHOW.into_iter().chain(said).collect()
}

async fn create(args: CreateArgs) -> Done {
    let mut new = match &args.file {
        Some(path) => {
            let bytes = read_file(path).await?;
            let text = String::from_utf8(bytes).context("the campaign file is not UTF-8 text")?;
            read(&text).with_context(|| format!("{} is not usable", path.display()))?
        }
        None => json!({}),
    };
    if let Some(name) = args.name {
        new["name"] = Value::from(name);
    }
    if let Some(concurrency) = args.concurrency {
        new["concurrency"] = Value::from(concurrency);
    }
    if let Some(flow) = args.flow {
        new["flow"] = super::flows::chosen(&flow).await?;
    }
    if new["name"].is_null() {
        anyhow::bail!("a campaign needs a name: --name, or `name` in the file");
    }
    let value = call(&args.server, Method::POST, "/campaigns", Body::Json(new)).await?;
    show(args.server.output, &value);
    if matches!(args.server.output, Output::Table) {
        say(&format!(
            "next: dialfleet leads import FILE --campaign {}",
            value["id"].as_str().unwrap_or_default()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A campaign file as the body of a request. TOML has types for dates and times; the API takes texts.
fn read(text: &str) -> anyhow::Result<Value> {
    let table: toml::Table = toml::from_str(text)?;
    Ok(as_json(toml::Value::Table(table)))
}

fn as_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(n) => n.into(),
        toml::Value::Float(n) => n.into(),
        toml::Value::Boolean(b) => b.into(),
        toml::Value::Datetime(at) => {
            let text = at.to_string();
            let minute = at
                .date
                .is_none()
                .then(|| text.strip_suffix(":00"))
                .flatten();
            match minute.filter(|minute| minute.len() == 5) {
                Some(minute) => minute.into(),
                None => text.into(),
            }
        }
        toml::Value::Array(items) => items.into_iter().map(as_json).collect(),
        toml::Value::Table(table) => table
            .into_iter()
            .map(|(name, value)| (name, as_json(value)))
            .collect(),
    }
}

async fn order(args: OneArgs, verb: &str) -> Done {
    give(args, verb, Body::Empty).await
}

async fn give(args: OneArgs, verb: &str, body: Body) -> Done {
    let path = format!("/campaigns/{}/{verb}", segment(&args.id));
    let value = call(&args.server, Method::POST, &path, body).await?;
    show(args.server.output, &value);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use dialfleet_domain::caller_id::Presence;
    use dialfleet_domain::routing::Strategy;
    use dialfleet_engine::create::NewCampaign;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    #[test]
    fn dates_and_times_may_be_written_without_quotes() {
        let file = "name = \"a\"\n[schedule]\nexcept = [2026-12-25]\n\
                    windows = [{ days = [\"mon\"], from = 09:00, to = 17:30:00 }]\n";
        let schedule = json!({
            "except": ["2026-12-25"],
            "windows": [{ "days": ["mon"], "from": "09:00", "to": "17:30" }],
        });
        let body = read(file).expect("good");
        assert_eq!(body, json!({ "name": "a", "schedule": schedule }));
        serde_json::from_value::<NewCampaign>(body).expect("a campaign");
    }

    #[test]
    fn routing_caps_and_presence_are_settings_of_a_file() {
        let file = "name = \"a\"\npresence = \"country\"\n[routing]\nstrategy = \"weighted\"\n\
                    weights = { cost = 1, quality = 1 }\nexplore_percent = 0\n[caps]\nhourly = 15\n";
        let body = read(file).expect("good");
        let new: NewCampaign = serde_json::from_value(body.clone()).expect("a campaign");
        assert_eq!(new, toml::from_str(file).expect("a campaign"));
        assert_eq!(new.routing.strategy, Some(Strategy::Weighted));
        assert_eq!(
            (new.routing.weights.quality, new.routing.explore_percent),
            (1, 0)
        );
        assert_eq!((new.caps.hourly, new.caps.daily), (Some(15), None));
        assert_eq!(new.presence, Presence::Country);
        // Shown when the API says them.
        let titles = |value: &Value| columns(value).len() - SHOW.len();
        assert_eq!((titles(&body), titles(&json!({ "name": "a" }))), (3, 0));
        for bad in [
            "[routing]\nstratgy = \"cost\"",
            "[routing]\nexplore_percent = -1",
            "[caps]\nweekly = 1",
            "presence = \"state\"",
        ] {
            let file = format!("name = \"a\"\n{bad}\n");
            assert!(toml::from_str::<NewCampaign>(&file).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_the_bundled_file_shows_can_be_said() {
        let file = include_str!("../sample/campaign.toml");
        let shown: Vec<&str> = file
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .collect();
        let new: NewCampaign = toml::from_str(&shown.join("\n")).expect("a campaign");
        new.routing.check().expect("good");
        new.caps.check().expect("good");
        assert_eq!(new.presence, Presence::Country);
        assert_ne!((new.routing, new.caps), Default::default());
        let quiet: NewCampaign = toml::from_str(file).expect("a campaign");
        assert_eq!((quiet.routing, quiet.caps), Default::default());
    }

    #[test]
    fn odd_files_are_refused_or_sent_as_they_are() {
        for file in ["\0", "a", "[a]\n[a]", "name = [", &"[".repeat(100_000)] {
            assert!(!read(file).expect_err(file).to_string().is_empty());
        }
        let odd = read(
            "name = nan\nweight = inf\nx = 9223372036854775807\ny = 1979-05-27T07:32:00.5Z\nz = 00:00:00.5",
        );
        let odd = odd.expect("TOML");
        assert_eq!((&odd["name"], &odd["weight"]), (&Value::Null, &Value::Null));
        assert_eq!(
            (&odd["y"], &odd["z"]),
            (&json!("1979-05-27T07:32:00.5Z"), &json!("00:00:00.5"))
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 1_500,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(7),
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_spoiled_file(edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..6)) {
            let mut bytes = include_str!("../sample/campaign.toml").as_bytes().to_vec();
            for (at, how, byte) in edits {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes[at] ^= 1 << (byte % 8),
                    2 => bytes.insert(at, b"\"'[]{}=.,#\n\\"[usize::from(byte) % 12]),
                    _ => drop(bytes.remove(at)),
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            // As `campaign create` reads it, and as the demonstration does.
            if let Ok(body) = read(&text) {
                prop_assert!(body.is_object());
                let _ = serde_json::from_value::<NewCampaign>(body);
            }
            if let Err(error) = toml::from_str::<NewCampaign>(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
