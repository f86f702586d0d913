//! `dialfleet dev`: everything in one process, over a simulated telephone network.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use dialfleet_adapters::carrier::Secret;
use dialfleet_adapters::carrier::twilio::TwilioConfig;
use dialfleet_domain::campaign::{Campaign, CampaignState, Order};
use dialfleet_domain::id::{CampaignId, CarrierId, ImportId};
use dialfleet_domain::import::ImportState;
use dialfleet_domain::phone::E164;
use dialfleet_domain::routing::Strategy;
use dialfleet_engine::create::{NewCampaign, create};
use dialfleet_engine::import::import_file;
use dialfleet_engine::intake::Format;
use dialfleet_engine::order;
use dialfleet_engine::{Fleet, Role};
use dialfleet_runtime::service::Services;
use dialfleet_runtime::shutdown::Shutdown;
use dialfleet_simulator::{Account, Simulator, SimulatorConfig, TelnyxAccount, TwilioAccount};
use std::time::Duration;

use crate::boot::{self, Keep, Part};
use crate::cli::{read_file, say};
use crate::config::{CarrierConfig, Config, Vendor};
use crate::process::{self, Http};
use crate::progress;
use crate::report::{Report, Rows};
use crate::up::random_key;

/// The simulated Twilio account.
const ACCOUNT: &str = "ACdialfleetdev";
/// Its token: nothing secret, it guards a simulator on this machine.
const TOKEN: &str = "dialfleet-dev-token";
/// The simulated Telnyx account.
const TELNYX_KEY: &str = "KEY-simulated";
/// Its application.
const TELNYX_CONNECTION: &str = "1000000000000000001";
/// The rate of the simulated account: high enough that the slots are what limits.
const CPS: f64 = 2_000.0;
/// The caller id of the simulated account.
const CALLER_ID: &str = "+442079460000";
/// Bad rows printed; the rest is in the report and the API.
const SHOWN_ERRORS: usize = 1_000;

/// Options of `dialfleet dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// A CSV (or .ndjson) file of leads instead of the bundled 200
    #[arg(long, value_name = "FILE")]
    leads: Option<PathBuf>,
    /// A campaign file (TOML) instead of the bundled one
    #[arg(long, value_name = "FILE")]
    campaign: Option<PathBuf>,
    /// How much faster than life ring, talk and retry times pass
    #[arg(long, default_value_t = 60.0)]
    speed: f64,
    /// Seed of the simulated network
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where HTTP listens (overrides PORT)
    #[arg(long)]
    port: Option<u16>,
    /// End when every lead has reached a final state
    #[arg(long)]
    exit_when_done: bool,
    /// Write the figures of the run to this file (JSON)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep the state in this folder, and go on with it next time; in memory otherwise. (The simulated
    /// network dies with the process: calls that were live then are given up after about two minutes)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Options of `dialfleet simulator`.
#[derive(Debug, Args)]
pub(crate) struct SimulatorArgs {
    /// Where it listens
    #[arg(long, default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    /// Account sid that clients must use
    #[arg(long, default_value = ACCOUNT)]
    account_sid: String,
    /// Auth token that clients must use; it signs the callbacks
    #[arg(long, default_value = TOKEN)]
    auth_token: String,
    /// How much faster than life calls pass
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Seed of everything that happens
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Calls per second above which it queues, as Twilio does
    #[arg(long)]
    cps: Option<u32>,
    /// API key that clients of its Telnyx account must use
    #[arg(long, default_value = TELNYX_KEY)]
    telnyx_api_key: String,
    /// Application that clients of its Telnyx account must name
    #[arg(long, default_value = TELNYX_CONNECTION)]
    telnyx_connection_id: String,
}

/// Runs the demonstration.
///
/// # Errors
/// The files cannot be used, the port is taken, or a role failed.
pub(crate) async fn run(config: &Config, args: DevArgs) -> anyhow::Result<ExitCode> {
    if !(args.speed >= 1.0 && args.speed <= 10_000.0) {
        bail!("--speed must be 1 to 10000");
    }
    let (new, leads, format) = files(&args).await?;
    let listener = match args.port {
        Some(port) => process::bind(port).await?,
        // Nobody asked for this port: another one is as good.
        None => match process::bind(config.port).await {
            Ok(listener) => listener,
            Err(_) => process::bind(0).await?,
        },
    };
    let port = listener.local_addr()?.port();
    let mut simulated = SimulatorConfig::new(ACCOUNT, TOKEN);
    simulated.speed = args.speed;
    simulated.population.seed = args.seed;
    simulated.forgot = args.data_dir.is_some();
    let simulator = Simulator::start(simulated)
        .await
        .context("the simulated network cannot be started")?;
    let shutdown = Shutdown::new();
    let part = Part {
        keep: Keep::Embedded(args.data_dir.clone()),
        roles: &Role::ALL,
        carriers: vec![carrier(simulator.base_url())?],
        public_url: format!("http://127.0.0.1:{port}"),
        speed: args.speed,
        migrate: true,
    };
    // The demonstration is embedded whatever services the environment names: it must not touch them.
    let embedded = Config {
        mongodb_uri: None,
        amqp_url: None,
        ..config.clone()
    };
    let fleet = boot::boot(&embedded, part, &shutdown).await?;
    let key = config.api_key.clone().unwrap_or_else(random_key);
    say(&format!(
        "Dialfleet on http://127.0.0.1:{port}, simulated network, {} times life's speed",
        args.speed
    ));
    say(&format!("API key: {}", key.expose()));

    shutdown.listen()?;
    let mut services = Services::new(shutdown.clone());
    let http = Http::Api(key);
    process::start(
        &mut services,
        &fleet,
        &Role::ALL,
        listener,
        http,
        shutdown.clone(),
    );
    let services = dialfleet_runtime::service::spawn(services.run());
    let dialed = dial(&fleet, &simulator, new, &leads, format, &args).await;
    shutdown.stop("the demonstration is over");
    let stopped = services.await.context("the services")?;
    simulator.shutdown().await;
    let clean = dialed?;
    stopped?;
    Ok(if clean {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn files(args: &DevArgs) -> anyhow::Result<(NewCampaign, Vec<u8>, Format)> {
    let campaign = match &args.campaign {
        Some(path) => String::from_utf8(read_file(path).await?)
            .context("the campaign file is not UTF-8 text")?,
        None => include_str!("sample/campaign.toml").to_owned(),
    };
    let what = args
        .campaign
        .as_ref()
        .map_or("the bundled campaign".to_owned(), |p| {
            p.display().to_string()
        });
    let new: NewCampaign =
        toml::from_str(&campaign).with_context(|| format!("{what} is not usable"))?;
    let Some(path) = &args.leads else {
        return Ok((
            new,
            include_bytes!("sample/leads.csv").to_vec(),
            Format::Csv,
        ));
    };
    let json_lines = path
        .extension()
        .is_some_and(|e| e == "ndjson" || e == "jsonl");
    let format = if json_lines {
        Format::Ndjson
    } else {
        Format::Csv
    };
    Ok((new, read_file(path).await?, format))
}

fn carrier(base_url: String) -> anyhow::Result<CarrierConfig> {
    let vendor = Vendor::Twilio(TwilioConfig {
        id: CarrierId::parse("simulated")?,
        cps: CPS,
        channels: None,
        caller_ids: vec![E164::parse(CALLER_ID, None)?],
        weight: 1,
        account_sid: ACCOUNT.to_owned(),
        auth_token: Secret::new(TOKEN),
        api_key: None,
        base_url,
    });
    Ok(CarrierConfig { vendor, deck: None })
}

/// Makes the campaign, dials it, and reports. Returns whether every promise was kept.
async fn dial(
    fleet: &Arc<Fleet>,
    simulator: &Simulator,
    mut new: NewCampaign,
    leads: &[u8],
    format: Format,
    args: &DevArgs,
) -> anyhow::Result<bool> {
    let began = fleet.clock.uptime();
    let (campaign, rows) = match unfinished(fleet, &new.name).await? {
        Some(campaign) => {
            say(&format!(
                "going on with campaign \"{}\" ({})",
                campaign.name, campaign.id
            ));
            // Read once more, unless it was read to its end: rows that are there already are named.
            let imports = fleet.store.list_imports(&campaign.id, 100).await?;
            let read = imports.iter().any(|i| i.state == ImportState::Done);
            let rows = if read {
                Rows::default()
            } else {
                import(fleet, &campaign.id, leads, format).await?
            };
            (campaign, rows)
        }
        None => {
            // The bundled carrier is the only one there is.
            new.carriers.clear();
            new.caller_ids.clear();
            if new.routing.strategy == Some(Strategy::Assigned) {
                new.routing.strategy = None;
                new.routing.carrier = None;
            }
            let campaign = create(fleet, &fleet.settings.tenant, new).await?;
            let rows = import(fleet, &campaign.id, leads, format).await?;
            (campaign, rows)
        }
    };
    if campaign.state != CampaignState::Running {
        order::order(fleet, &fleet.settings.tenant, &campaign.id, Order::Start).await?;
    }
    let done = progress::watch(fleet, &campaign.id, args.exit_when_done).await?;
    let wall_s = fleet.clock.uptime().saturating_sub(began).as_secs_f64();
    let ledger = simulator.network().ledger();
    let report = Report::gather(fleet, &campaign.id, &ledger, rows, wall_s).await?;
    report.show();
    if let Some(path) = &args.report {
        report.write(path).await?;
        say(&format!("report: {}", path.display()));
    }
    if !done {
        say("stopped before every lead had reached a final state");
        return Ok(!args.exit_when_done);
    }
    Ok(report.is_clean(campaign.slots()))
}

/// A campaign of that name that an earlier run with the same data folder did not finish.
async fn unfinished(fleet: &Fleet, name: &str) -> anyhow::Result<Option<Campaign>> {
    let campaigns = fleet
        .store
        .list_campaigns(&fleet.settings.tenant, None, 50)
        .await?
        .items;
    let open = [
        CampaignState::Draft,
        CampaignState::Running,
        CampaignState::Paused,
    ];
    Ok(campaigns
        .into_iter()
        .find(|c| c.name == name && open.contains(&c.state)))
}

async fn import(
    fleet: &Fleet,
    campaign: &CampaignId,
    leads: &[u8],
    format: Format,
) -> anyhow::Result<Rows> {
    let import = import_file(fleet, &fleet.settings.tenant, campaign, leads, format)
        .await
        .context("the leads cannot be used")?;
    while fleet
        .store
        .import(&import.id)
        .await?
        .is_some_and(|i| i.state == ImportState::Open)
    {
        if !fleet.pause(Duration::from_millis(20)).await {
            bail!("stopped while the leads were read");
        }
    }
    let rows = rows(fleet, &import.id).await?;
    for error in rows.errors.iter().take(SHOWN_ERRORS) {
        say(&error.sentence());
    }
    if rows.errors.len() > SHOWN_ERRORS {
        say(&format!(
            "… and {} more rows (all of them are in the report)",
            rows.errors.len() - SHOWN_ERRORS
        ));
    }
    say(&format!(
        "{} leads taken, {} duplicate rows, {} rejected rows",
        rows.accepted, rows.duplicate, rows.rejected
    ));
    Ok(rows)
}

async fn rows(fleet: &Fleet, id: &ImportId) -> anyhow::Result<Rows> {
    let total = fleet
        .store
        .import(id)
        .await?
        .map(|i| i.total())
        .unwrap_or_default();
    let mut rows = Rows {
        accepted: total.accepted,
        duplicate: total.duplicate,
        rejected: total.rejected,
        errors: Vec::new(),
    };
    let mut after = 0;
    loop {
        let page = fleet.store.row_errors(id, after, 500).await?;
        let Some(last) = page.last() else {
            return Ok(rows);
        };
        after = last.line;
        rows.errors.extend(page.into_iter().map(Into::into));
    }
}

/// Runs the simulated network alone, until a signal.
///
/// # Errors
/// The address cannot be used.
pub(crate) async fn simulator(args: SimulatorArgs) -> anyhow::Result<ExitCode> {
    let telnyx = TelnyxAccount::new(args.telnyx_api_key, args.telnyx_connection_id);
    let public_key = telnyx.public_key();
    let mut config = SimulatorConfig::with([
        Account::Twilio(TwilioAccount {
            name: "twilio".to_owned(),
            account_sid: args.account_sid,
            auth_token: args.auth_token,
            cps: args.cps,
        }),
        Account::Telnyx(telnyx),
    ]);
    config.listen = args.listen;
    config.speed = args.speed;
    config.population.seed = args.seed;
    let simulator = Simulator::start(config)
        .await
        .context("the simulated network cannot be started")?;
    say(&format!(
        "simulated network on {} (its own count: {}/_sim/ledger)",
        simulator.base_url(),
        simulator.base_url()
    ));
    say(&format!(
        "public key of its Telnyx account's webhooks: {public_key}"
    ));
    let shutdown = Shutdown::new();
    shutdown.listen()?;
    shutdown.stopping().cancelled().await;
    simulator.shutdown().await;
    Ok(ExitCode::SUCCESS)
}
