//! Real processes of `dialfleet` against the real broker and store, or the embedded ones, with only the
//! telephone network simulated, in the test's own process, where it is the witness.

mod running;

pub use running::Running;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use dialfleet_simulator::{Simulator, SimulatorConfig};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::process::Command;

use crate::wait::until;

/// The bootstrap key of every test fleet.
pub const KEY: &str = "test-key-0123456789";
/// The simulated account.
pub const ACCOUNT: &str = "ACtest";
/// Its token.
pub const TOKEN: &str = "test-token";
/// The carrier's id in carriers.toml.
pub const CARRIER: &str = "sim";

/// The program under test: `DIALFLEET_BIN`, or the one beside this test program.
///
/// # Panics
/// There is none.
#[must_use]
pub fn program() -> PathBuf {
    let path = std::env::var_os("DIALFLEET_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("the test program has a path");
            test.ancestors()
                .nth(2)
                .expect("target/<profile>/deps/<test>")
                .join("dialfleet")
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} is missing: run `cargo xtask test`, or `cargo build -p dialfleet` first",
        path.display()
    );
    path
}

/// An address that the environment must give.
///
/// # Panics
/// It does not.
#[must_use]
pub fn service(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`, or `cargo xtask services` in another terminal"))
}

/// A port that is free now.
///
/// # Panics
/// There is none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

/// A fleet: its services, its network and its processes.
pub struct TestFleet {
    /// The witness.
    pub simulator: Simulator,
    /// Where carriers call back, if not at the API itself.
    pub public_url: Option<String>,
    /// More variables, for processes started from now on.
    pub environment: Vec<(String, String)>,
    /// Bytes that any file of a process started from now on may have: a full disk, without a disk.
    pub file_limit: Option<u64>,
    folder: tempfile::TempDir,
    /// Store and broker are in the one process.
    embedded: bool,
    name: String,
    port: u16,
    api: Option<Running>,
    workers: Vec<Running>,
    client: reqwest::Client,
}

impl TestFleet {
    /// A fleet with no process yet, on a database and queues of its own.
    ///
    /// # Errors
    /// The simulator cannot be started.
    pub async fn new(change: impl FnOnce(&mut SimulatorConfig)) -> anyhow::Result<Self> {
        let mut config = SimulatorConfig::new(ACCOUNT, TOKEN);
        change(&mut config);
        let simulator = Simulator::start(config).await?;
        let folder = tempfile::tempdir()?;
        let carriers = format!(
            "[[carrier]]\nid = \"{CARRIER}\"\nkind = \"twilio\"\nbase_url = \"{}\"\naccount_sid = \"{ACCOUNT}\"\n\
             auth_token = {{ env = \"SIM_TOKEN\" }}\ncps = 1000\ncaller_ids = [\"+442079460000\"]\n",
            simulator.base_url()
        );
        std::fs::write(folder.path().join("carriers.toml"), carriers)?;
        let name = format!("df_{}_{}", std::process::id(), free_port());
        Ok(Self {
            simulator,
            public_url: None,
            environment: Vec::new(),
            file_limit: None,
            folder,
            embedded: false,
            name,
            port: free_port(),
            api: None,
            workers: Vec::new(),
            client: reqwest::Client::new(),
        })
    }

    /// A fleet of one process (`up`) that keeps its state in a folder. It needs no services.
    ///
    /// # Errors
    /// The simulator cannot be started.
    pub async fn embedded(change: impl FnOnce(&mut SimulatorConfig)) -> anyhow::Result<Self> {
        let mut fleet = Self::new(change).await?;
        fleet.embedded = true;
        Ok(fleet)
    }

    /// Replaces carriers.toml, for processes started from now on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn carriers(&self, toml: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(
            self.folder.path().join("carriers.toml"),
            toml,
        )?)
    }

    /// Where an embedded fleet keeps its state.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn state(&self, command: &mut Command) {
        if self.embedded {
            command.env_remove("MONGODB_URI").env_remove("AMQP_URL");
            return;
        }
        let mut uri = service("MONGODB_URI");
        // The database is the path of the URI.
        let query = uri
            .find('?')
            .map(|at| uri.split_off(at))
            .unwrap_or_default();
        let host = uri.trim_end_matches('/').to_owned();
        command
            .env("MONGODB_URI", format!("{host}/{}{query}", self.name))
            .env("AMQP_URL", service("AMQP_URL"))
            .env("DIALFLEET_QUEUE_PREFIX", format!("{}.", self.name));
    }

    fn command(&self, args: &[&str], port: u16) -> Command {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"));
        let mut command = match self.file_limit {
            None => Command::new(program()),
            Some(bytes) => {
                // A write beyond the limit is an error then, not the end of the process.
                let mut shell = Command::new("sh");
                let limit = format!("--fsize={bytes}");
                shell
                    .args(["-c", "trap '' XFSZ; exec prlimit \"$@\"", "sh", &limit])
                    .arg(program());
                shell
            }
        };
        self.state(&mut command);
        command
            .args(args)
            .env(
                "DIALFLEET_CARRIERS",
                self.folder.path().join("carriers.toml"),
            )
            .env("DIALFLEET_API_KEY", KEY)
            .env("SIM_TOKEN", TOKEN)
            .env(
                "PUBLIC_URL",
                self.public_url.clone().unwrap_or_else(|| self.url()),
            )
            .env("DIALFLEET_URL", self.url())
            .envs(self.environment.iter().cloned())
            .env("PORT", port.to_string())
            .env(
                "RUST_LOG",
                std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned()),
            )
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.map_or(Stdio::null(), Stdio::from))
            .kill_on_drop(true);
        command
    }

    /// Where its API is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its database, for tests that look behind the curtain.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.name
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// It fails; the error has the log.
    pub async fn command_to_end(&self, args: &[&str]) -> anyhow::Result<()> {
        let status = self.command(args, 0).status().await?;
        if !status.success() {
            bail!("dialfleet {}: {status}\n{}", args.join(" "), self.log());
        }
        Ok(())
    }

    fn run(&self, args: &[&str], port: u16) -> anyhow::Result<Running> {
        Ok(Running {
            child: self.command(args, port).spawn()?,
            port,
            client: self.client.clone(),
        })
    }

    /// Starts the API (`api` or `up`) and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start_api(&mut self, role: &str) -> anyhow::Result<()> {
        let data = self.data();
        let mut args = vec![role];
        if self.embedded {
            args.extend(["--data-dir", data.to_str().context("a path of text")?]);
        }
        let api = self.run(&args, self.port)?;
        let said = |why: String| format!("{why}\n{}", self.log());
        until("the API is ready", Duration::from_secs(30), async || {
            api.ready().await.map_err(said)
        })
        .await;
        self.api = Some(api);
        Ok(())
    }

    /// The process with the API.
    ///
    /// # Panics
    /// It was not started.
    pub fn api(&mut self) -> &mut Running {
        self.api.as_mut().expect("the API was started")
    }

    /// Starts a worker.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_worker(&mut self) -> anyhow::Result<()> {
        let worker = self.run(&["worker"], free_port())?;
        self.workers.push(worker);
        Ok(())
    }

    /// Waits until every worker is ready.
    pub async fn workers_ready(&self) {
        for worker in &self.workers {
            let said = |why: String| format!("{why}\n{}", self.log());
            until("a worker is ready", Duration::from_secs(30), async || {
                worker.ready().await.map_err(said)
            })
            .await;
        }
    }

    /// Takes the `i`th worker out of the fleet, to be ended.
    pub fn dismiss_worker(&mut self, i: usize) -> Running {
        self.workers.remove(i)
    }

    /// Kills the `i`th worker with SIGKILL, as a power cut would.
    ///
    /// # Errors
    /// There is none.
    pub async fn kill_worker(&mut self, i: usize) -> anyhow::Result<()> {
        self.workers.remove(i).kill().await
    }

    /// How many workers were started and not killed.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Calls the API.
    ///
    /// # Errors
    /// It cannot be reached, or says no: then the error has status and body.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let mut request = self
            .client
            .request(method, format!("{}/v1{path}", self.url()))
            .bearer_auth(KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        read(request.send().await?).await
    }

    /// Brings a CSV file in, and waits until every row is accounted for.
    ///
    /// # Errors
    /// The API says no.
    pub async fn import(&self, campaign: &str, csv: String) -> anyhow::Result<Value> {
        let url = format!("{}/v1/campaigns/{campaign}/imports", self.url());
        let request = self
            .client
            .post(url)
            .bearer_auth(KEY)
            .header("content-type", "text/csv")
            .body(csv);
        let import = read(request.send().await?).await?;
        let path = format!("/imports/{}", import["id"].as_str().unwrap_or_default());
        let done = until(
            "the import is done",
            Duration::from_secs(60),
            async || match self.call(Method::GET, &path, None).await {
                Ok(import) if import["state"] != "open" => Ok(import),
                Ok(import) => Err(import.to_string()),
                Err(error) => Err(error.to_string()),
            },
        )
        .await;
        Ok(done)
    }

    /// Makes a campaign, brings leads in and starts it; returns its id.
    ///
    /// # Errors
    /// The API says no.
    pub async fn launch(&self, campaign: Value, csv: String) -> anyhow::Result<String> {
        let made = self
            .call(Method::POST, "/campaigns", Some(campaign))
            .await?;
        let id = made["id"].as_str().context("an id")?.to_owned();
        self.import(&id, csv).await?;
        self.call(Method::POST, &format!("/campaigns/{id}/start"), None)
            .await?;
        Ok(id)
    }

    /// Waits until a campaign is done, and returns it.
    pub async fn done(&self, campaign: &str, bound: Duration) -> Value {
        let path = format!("/campaigns/{campaign}");
        until("the campaign is done", bound, async || {
            match self.call(Method::GET, &path, None).await {
                Ok(now) if now["state"] == "done" => Ok(now),
                Ok(now) => Err(now.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Runs a client command, such as `campaign list`, against its API.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn client(&self, args: &[&str]) -> anyhow::Result<std::process::Output> {
        let mut command = self.command(args, 0);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command.output().await?)
    }

    /// How often the processes said something.
    #[must_use]
    pub fn said(&self, what: &str) -> usize {
        self.everything_said().matches(what).count()
    }

    fn everything_said(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of what the processes said.
    #[must_use]
    pub fn log(&self) -> String {
        let text = self.everything_said();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

async fn read(answer: reqwest::Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("{status}: {text}");
    }
    if status == StatusCode::NO_CONTENT {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_str(&text)?)
}

/// A CSV file of `n` leads with numbers from ranges that nobody has.
#[must_use]
pub fn leads(n: u32) -> String {
    use std::fmt::Write;
    let mut csv = String::from("phone,ref\n");
    // Ofcom's numbers for drama: 020 7946 0000 to 0999, and the same in other cities.
    let cities = ["20794", "13149", "16149", "12149", "11349"];
    for i in 0..n {
        let (city, rest) = (
            cities[usize::try_from(i / 1_000).unwrap_or(0) % cities.len()],
            i % 1_000,
        );
        let _ = writeln!(csv, "+44{city}60{rest:03},L{i}");
    }
    csv
}
