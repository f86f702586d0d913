//! Everything a run starts: a replica set, a broker, workers, APIs, the telephone network, and the
//! wires between them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dialfleet_runtime::service;
use dialfleet_simulator::{Population, Simulator, SimulatorConfig};
use dialfleet_xtask::keeper::Keeper;
use dialfleet_xtask::process::{free_ports, local};
use dialfleet_xtask::rabbitmq::Site;
use tokio_util::task::AbortOnDropHandle;

use super::Options;
use super::process::Process;
use super::seats::Seats;
use super::store::{MEMBERS, ReplicaSet};
use super::wires::{Door, Party, Wires};
use crate::fleet::{ACCOUNT, CARRIER, KEY, TOKEN, free_port, program};

pub(super) const WORKERS: usize = 4;
pub(super) const APIS: usize = 2;
/// How much faster than life calls pass: half a second on average.
const SPEED: f64 = 100.0;
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// How often the processes are looked after.
const LOOK: Duration = Duration::from_millis(200);

/// A running fleet. Dropping it ends every process.
pub(super) struct Fleet {
    /// The witness.
    pub(super) simulator: Simulator,
    pub(super) store: ReplicaSet,
    pub(super) seats: Arc<Seats>,
    pub(super) wires: Arc<Wires>,
    /// Where workers and APIs answer, by party; past the wires.
    pub(super) ports: Vec<(Party, u16)>,
    pub(super) logs: PathBuf,
    broker: Site,
    _supervisor: AbortOnDropHandle<()>,
    _doors: Vec<Door>,
    _names: Process,
    /// Last: it removes the folder.
    _keeper: Arc<Keeper>,
}

impl Fleet {
    /// Starts everything and waits until it is ready to dial.
    pub(super) async fn start(options: &Options) -> Result<Self> {
        let keeper = Arc::new(Keeper::start()?);
        let logs = keeper.folder().join("logs");
        fs::create_dir(&logs)?;
        let wires = Arc::new(Wires::default());
        let seats = Arc::new(Seats::new(keeper.clone(), logs.clone(), wires.clone()));
        let mut doors = Vec::new();

        let servers = free_ports::<MEMBERS>()?.map(local);
        let mut members = Vec::new();
        for (i, server) in servers.into_iter().enumerate() {
            members.push(wires.door(None, vec![(Party::Mongo(i), server)]).await?);
        }
        let store = start_store(&seats, keeper.folder(), servers, &members)?;
        doors.extend(members);

        let broker = Site::new(&program_of("DIALFLEET_RABBITMQ")?, keeper.folder())?;
        let names = Process::start(&mut broker.names()?, &logs.join("epmd.log"), &keeper)?;
        until("epmd", async || broker.names_answer()).await?;
        let site = broker.clone();
        seats.add(Party::Broker, move || site.node())?;
        let door = wires
            .door(None, vec![(Party::Broker, broker.address())])
            .await?;
        let amqp_url = broker.url(door.address);
        doors.push(door);

        let simulator = simulator(options).await?;
        let carrier = wires
            .door(None, vec![(Party::Carrier, simulator.addr())])
            .await?;
        let apis = free_ports::<APIS>()?;
        let ways = (0..).map(Party::Api).zip(apis.map(local)).collect();
        let public = wires.door(Some(Party::Carrier), ways).await?;
        let environment = Environment {
            mongodb_uri: store.uri(),
            amqp_url,
            public_url: format!("http://{}", public.address),
            carriers: keeper.folder().join("carriers.toml"),
        };
        write_carriers(&environment.carriers, carrier.address, options)?;
        doors.extend([carrier, public]);

        until("MongoDB", async || store.initiate().await.map(|()| true)).await?;
        until("the first election", async || Ok(store.is_whole().await)).await?;
        until("RabbitMQ", async || greets(&broker).await).await?;
        let migrated = tokio::process::Command::from(environment.command("migrate", 0))
            .output()
            .await?;
        ensure!(
            migrated.status.success(),
            "dialfleet migrate: {}",
            String::from_utf8_lossy(&migrated.stderr)
        );
        let mut ports = Vec::new();
        for (i, port) in apis.into_iter().enumerate() {
            let environment = environment.clone();
            seats.add(Party::Api(i), move || environment.command("api", port))?;
            ports.push((Party::Api(i), port));
        }
        for i in 0..WORKERS {
            let (environment, port) = (environment.clone(), free_port());
            seats.add(Party::Worker(i), move || {
                environment.command("worker", port)
            })?;
            ports.push((Party::Worker(i), port));
        }
        let fleet = Self {
            simulator,
            store,
            _supervisor: service::spawn(supervise(seats.clone())),
            seats,
            wires,
            ports,
            logs,
            broker,
            _doors: doors,
            _names: names,
            _keeper: keeper,
        };
        fleet.is_well().await?;
        Ok(fleet)
    }

    /// Waits until everything runs and is ready.
    pub(super) async fn is_well(&self) -> Result<()> {
        until("the replica set", async || Ok(self.store.is_whole().await)).await?;
        until("the broker", async || greets(&self.broker).await).await?;
        let client = reqwest::Client::new();
        for (party, port) in &self.ports {
            let url = format!("http://127.0.0.1:{port}/readyz");
            let ready = async || Ok(client.get(&url).send().await?.status().is_success());
            until(&party.to_string(), ready).await?;
        }
        Ok(())
    }

    /// Whether the broker accepts connections.
    pub(super) async fn broker_is_up(&self) -> bool {
        greets(&self.broker).await.unwrap_or(false)
    }

    /// Moves the logs to where they outlive the run.
    pub(super) fn keep_logs(&self, seed: u64) -> Result<PathBuf> {
        let kept =
            std::env::temp_dir().join(format!("dialfleet-chaos-{seed}-{}", std::process::id()));
        fs::rename(&self.logs, &kept).context("the logs cannot be kept")?;
        Ok(kept)
    }
}

fn start_store(
    seats: &Seats,
    folder: &Path,
    servers: [SocketAddr; MEMBERS],
    doors: &[Door],
) -> Result<ReplicaSet> {
    let program = program_of("DIALFLEET_MONGOD")?;
    for (i, server) in servers.into_iter().enumerate() {
        let data = folder.join(format!("mongod-{i}"));
        fs::create_dir(&data)?;
        let program = program.clone();
        seats.add(Party::Mongo(i), move || {
            ReplicaSet::command(&program, server.port(), &data)
        })?;
    }
    let [a, b, c] = doors else {
        bail!("a door for each member");
    };
    ReplicaSet::new(servers, [a, b, c].map(|door| door.address))
}

async fn simulator(options: &Options) -> Result<Simulator> {
    let mut config = SimulatorConfig::new(ACCOUNT, TOKEN);
    config.speed = SPEED;
    config.population = Population {
        seed: options.seed,
        ..Population::default()
    };
    Ok(Simulator::start(config).await?)
}

fn write_carriers(file: &Path, carrier: SocketAddr, options: &Options) -> Result<()> {
    // Three times what has to be reached: outages are made up for, and a worker that is frozen or gone
    // keeps its share of the rate until its lease ends.
    let cps = options.rate * 3;
    let text = format!(
        "[[carrier]]\nid = \"{CARRIER}\"\nkind = \"twilio\"\nbase_url = \"http://{carrier}\"\n\
         account_sid = \"{ACCOUNT}\"\nauth_token = {{ env = \"SIM_TOKEN\" }}\ncps = {cps}\n\
         caller_ids = [\"+442079460000\"]\n"
    );
    Ok(fs::write(file, text)?)
}

/// Asked on a thread that may wait.
async fn greets(broker: &Site) -> Result<bool> {
    let broker = broker.clone();
    tokio::task::spawn_blocking(move || broker.greets()).await?
}

/// What every process is told.
#[derive(Clone)]
struct Environment {
    mongodb_uri: String,
    amqp_url: String,
    public_url: String,
    carriers: PathBuf,
}

impl Environment {
    fn command(&self, role: &str, port: u16) -> Command {
        let mut command = Command::new(program());
        command
            .arg(role)
            .env("MONGODB_URI", &self.mongodb_uri)
            .env("AMQP_URL", &self.amqp_url)
            .env("PUBLIC_URL", &self.public_url)
            .env("DIALFLEET_CARRIERS", &self.carriers)
            .env("DIALFLEET_API_KEY", KEY)
            .env("SIM_TOKEN", TOKEN)
            .env("PORT", port.to_string())
            .env("RUST_LOG", "warn");
        command
    }
}

async fn supervise(seats: Arc<Seats>) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        if let Err(error) = seats.supervise() {
            eprintln!("chaos: {error:#}");
        }
    }
}

/// The path that the environment gives for a program.
fn program_of(variable: &str) -> Result<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    path.with_context(|| {
        format!("{variable} is not set: run `cargo xtask chaos` or `cargo xtask test`")
    })
}

/// Looks until `ready` says yes, for as long as a start may take.
async fn until(what: &str, mut ready: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let end = tokio::time::Instant::now() + STARTS_WITHIN;
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        let last = match ready().await {
            Ok(true) => return Ok(()),
            Ok(false) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        ensure!(
            tokio::time::Instant::now() < end,
            "{what} is not ready after {} s: {last}",
            STARTS_WITHIN.as_secs()
        );
    }
}
