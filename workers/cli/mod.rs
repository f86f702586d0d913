//! The command line. Results go to stdout, messages to stderr.

mod campaign;
mod carriers;
mod client;
mod dnc;
mod flows;
mod lists;
mod table;

pub(crate) use table::table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use dialfleet_engine::Role;
use dialfleet_runtime::telemetry;

use crate::config::{self, Config, Environment};
use crate::{boot, dev, doctor, up};

/// Outbound calling campaigns: lead lists in, calls out, never twice and never too many at once.
///
/// Try `dialfleet dev`: it dials a sample campaign over a simulated telephone network.
#[derive(Debug, Parser)]
#[command(name = "dialfleet", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one process with a simulated telephone network: nothing to install, nobody is called
    Dev(dev::DevArgs),
    /// Everything in one process with real carriers; embedded store and queue unless MONGODB_URI / AMQP_URL are set
    Up(up::UpArgs),
    /// The HTTP side: API and carriers' webhooks (needs MONGODB_URI and AMQP_URL)
    Api,
    /// A worker (needs MONGODB_URI and AMQP_URL); run as many as you like
    Worker(WorkerArgs),
    /// Creates or updates indexes, keys and queues
    Migrate,
    /// The simulated telephone network alone, with Twilio- and Telnyx-shaped APIs
    Simulator(dev::SimulatorArgs),
    /// Checks configuration, services, indexes and clocks
    Doctor,
    /// Make, start and watch campaigns on a running Dialfleet
    #[command(subcommand)]
    Campaign(campaign::CampaignCommand),
    /// What is said on a call: flows to begin with, and a check of your own
    #[command(subcommand)]
    Flows(flows::FlowsCommand),
    /// Bring leads in, and look at them
    #[command(subcommand)]
    Leads(lists::LeadsCommand),
    /// Look at deliveries of leads
    #[command(subcommand)]
    Imports(lists::ImportsCommand),
    /// Look at calls
    #[command(subcommand)]
    Calls(lists::CallsCommand),
    /// Look at running workers
    #[command(subcommand)]
    Workers(lists::WorkersCommand),
    /// Look at carriers, and why one is asked before another
    #[command(subcommand)]
    Carriers(carriers::CarriersCommand),
    /// The do-not-call list
    #[command(subcommand)]
    Dnc(dnc::DncCommand),
}

#[derive(Debug, Args)]
struct WorkerArgs {
    /// What it does: ingest, dial, events, plan, reconcile; all of them by default
    #[arg(long, value_delimiter = ',', value_parser = role)]
    roles: Vec<Role>,
}

fn role(name: &str) -> Result<Role, String> {
    Role::parse(name).ok_or_else(|| {
        let known: Vec<&str> = Role::ALL.iter().map(|r| r.name()).collect();
        format!(
            "there is no role \"{name}\"; there are {}",
            known.join(", ")
        )
    })
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// One JSON document, as the API gives it.
    Json,
}

/// Where the API is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Server {
    /// The API's address
    #[arg(long, env = "DIALFLEET_URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// How results are printed
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl Cli {
    /// Runs the command; the exit code is the shell's.
    pub(crate) async fn run(self) -> ExitCode {
        match self.command {
            Command::Campaign(command) => client::exit(campaign::run(command).await),
            Command::Flows(command) => client::exit(flows::run(command).await),
            Command::Leads(command) => client::exit(lists::leads(command).await),
            Command::Imports(command) => client::exit(lists::imports(command).await),
            Command::Calls(command) => client::exit(lists::calls(command).await),
            Command::Workers(command) => client::exit(lists::workers(command).await),
            Command::Carriers(command) => client::exit(carriers::run(command).await),
            Command::Dnc(command) => client::exit(dnc::run(command).await),
            server => server.serve().await,
        }
    }
}

impl Command {
    async fn serve(self) -> ExitCode {
        let quiet = matches!(self, Self::Dev(_) | Self::Doctor);
        let telemetry = match telemetry::init(&config::telemetry(&Environment, quiet)) {
            Ok(guard) => guard,
            Err(error) => {
                complain(&error.into());
                return ExitCode::FAILURE;
            }
        };
        let ended = self.work().await;
        telemetry.flush().await;
        match ended {
            Ok(code) => code,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }

    async fn work(self) -> anyhow::Result<ExitCode> {
        let config = Config::read(&Environment)?;
        match self {
            Self::Dev(args) => dev::run(&config, args).await,
            Self::Simulator(args) => dev::simulator(args).await,
            Self::Up(args) => up::up(&config, args).await,
            Self::Api => up::api(&config).await,
            Self::Worker(args) => {
                let roles = if args.roles.is_empty() {
                    Role::ALL.to_vec()
                } else {
                    args.roles
                };
                up::worker(&config, &roles).await
            }
            Self::Migrate => {
                boot::migrate(&config).await?;
                say("the services are ready");
                Ok(ExitCode::SUCCESS)
            }
            Self::Doctor => doctor::run(&config).await,
            // Client commands never come here: `Cli::run` takes them.
            Self::Campaign(_)
            | Self::Flows(_)
            | Self::Leads(_)
            | Self::Imports(_)
            | Self::Calls(_)
            | Self::Workers(_)
            | Self::Carriers(_)
            | Self::Dnc(_) => Ok(ExitCode::FAILURE),
        }
    }
}

/// Prints a result.
#[expect(clippy::print_stdout, reason = "this is the command line's result")]
pub(crate) fn print(text: &str) {
    println!("{text}");
}

/// Prints a message to the person at the terminal: to stderr, so that results can be piped.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    // A message that cannot be written (a full disk) must not end what it speaks of.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Prints an error with its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    say(&format!("error: {error:#}"));
}

/// A path that may be `-` for stdin.
pub(crate) async fn read_file(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    use anyhow::Context;
    use tokio::io::AsyncReadExt;
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        tokio::io::stdin().read_to_end(&mut bytes).await?;
        return Ok(bytes);
    }
    tokio::fs::read(path)
        .await
        .with_context(|| format!("{} cannot be read", path.display()))
}
