//! `dialfleet carriers …`

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::client::{Body, Done, call, segment};
use super::table::{self, Column, table};
use super::{Output, Server, print};

const CARRIERS: [Column; 10] = [
    ("CARRIER", "id"),
    ("KIND", "kind"),
    ("CPS", "cps"),
    ("CALLER IDS", "caller_ids"),
    ("CHANNELS", "channels"),
    ("TAKEN", "channels_taken"),
    ("COST 24 H", "cost_24h"),
    ("BREAKER", "breaker"),
    ("UNTIL", "until"),
    ("WHY", "why"),
];

/// Commands about carriers.
#[derive(Debug, Subcommand)]
pub(crate) enum CarriersCommand {
    /// Show every carrier, and whether it may be asked now
    List(Server),
    /// Say whom a call to a number would be given now, and why
    #[command(
        after_help = "Examples:\n  dialfleet carriers explain --to +442079460119\n  \
                      dialfleet carriers explain --to +442079460119 --campaign cmp_1 --without twilio-main"
    )]
    Explain(ExplainArgs),
}

/// What is asked.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The number, in E.164 (+442079460119)
    #[arg(long, value_name = "NUMBER")]
    to: String,
    /// As this campaign would; without it nothing is ordered or limited
    #[arg(long, value_name = "ID")]
    campaign: Option<String>,
    /// As if these carriers had been asked already
    #[arg(long, value_name = "CARRIERS", value_delimiter = ',')]
    without: Vec<String>,
    #[command(flatten)]
    server: Server,
}

/// Runs a command about carriers.
///
/// # Errors
/// The API cannot be reached or says no.
pub(crate) async fn run(command: CarriersCommand) -> Done {
    match command {
        CarriersCommand::List(server) => {
            let value = call(&server, Method::GET, "/carriers", Body::Empty).await?;
            table::list(server.output, &value, &CARRIERS);
        }
        CarriersCommand::Explain(args) => {
            let mut path = format!("/carriers/explain?to={}", segment(&args.to));
            if let Some(campaign) = &args.campaign {
                path.push_str(&format!("&campaign={}", segment(campaign)));
            }
            if !args.without.is_empty() {
                path.push_str(&format!("&without={}", segment(&args.without.join(","))));
            }
            let value = call(&args.server, Method::GET, &path, Body::Empty).await?;
            match args.server.output {
                Output::Json => table::json(&value),
                Output::Table => decision(&value),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A decision: the sentence, and the carriers it was made among.
pub(crate) fn decision(value: &Value) {
    let mut table = table();
    table.set_header([
        "",
        "CARRIER",
        "FROM",
        "PER MIN",
        "PER CALL",
        "ANSWERED",
        "DELIVERED",
        "PDD",
        "CALLS",
        "SCORE",
        "LEFT OUT",
    ]);
    for one in value["carriers"].as_array().into_iter().flatten() {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let figure = |key: &str, show: &dyn Fn(f64) -> String| {
            one[key].as_f64().map(show).unwrap_or_default()
        };
        table.add_row([
            one["place"]
                .as_u64()
                .map(|n| n.to_string())
                .unwrap_or_default(),
            text("carrier"),
            text("from"),
            money(&one["per_minute"]),
            money(&one["per_call"]),
            figure("asr", &|asr| format!("{:.0} %", asr * 100.0)),
            figure("ner", &|ner| format!("{:.0} %", ner * 100.0)),
            figure("pdd_s", &|pdd| format!("{pdd:.1} s")),
            figure("calls", &|calls| format!("{calls:.0}")),
            figure("score", &|score| format!("{score:.3}")),
            text("left_out"),
        ]);
    }
    print(value["why"].as_str().unwrap_or_default());
    print(&table.to_string());
}

/// An amount with its currency.
fn money(value: &Value) -> String {
    match (value["amount"].as_str(), value["currency"].as_str()) {
        (Some(amount), Some(currency)) => format!("{amount} {currency}"),
        _ => String::new(),
    }
}
