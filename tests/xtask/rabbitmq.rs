//! A private RabbitMQ: found or installed, and started beside whatever else this machine runs.
//!
//! Everything a node shares by default is its own here: home (the Erlang cookie), configuration, data, logs, plugin
//! list, ports, and epmd, Erlang's name server, which would otherwise be one daemon for the machine that outlives us.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::debian;
use crate::keeper::Keeper;
use crate::process::{Service, free_ports, local};
use crate::programs::on_path;

/// Debian's package: its program on PATH insists on a system user, the one in here runs as anybody.
const DEBIAN_HOME: &str = "/usr/lib/rabbitmq/lib";
const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// Small write-ahead log (default 512 MB); the queues of a test are small and short-lived.
const CONFIG: &str = "raft.wal_max_size_bytes = 33554432\nlog.console.level = info\n";

/// A running node.
#[derive(Debug)]
pub struct Broker {
    node: Service,
    names: Service,
}

impl Broker {
    /// An error when one of its processes has ended.
    pub fn check(&mut self) -> Result<()> {
        self.names.check()?;
        self.node.check()
    }
}

/// Starts a node that accepts connections; returns it and its address (user guest, virtual host `/`).
pub fn start(keeper: &Keeper) -> Result<(Broker, String)> {
    let program = program()?;
    let mut tries = 3;
    loop {
        tries -= 1;
        match start_on_free_ports(&program, keeper) {
            Err(error) if tries > 0 => {
                eprintln!("xtask: RabbitMQ did not start, trying other ports: {error:#}")
            }
            done => return done,
        }
    }
}

fn start_on_free_ports(program: &Path, keeper: &Keeper) -> Result<(Broker, String)> {
    let site = Site::new(program, keeper.folder())?;
    let mut names = Service::spawn("epmd", &mut site.names()?, site.log("epmd"), keeper)?;
    names.wait_ready(STARTS_WITHIN, || site.names_answer())?;
    let mut node = Service::spawn("RabbitMQ", &mut site.node(), site.log("rabbitmq"), keeper)?;
    node.wait_ready(STARTS_WITHIN, || site.greets())?;
    Ok((Broker { node, names }, site.url(site.address())))
}

/// Where one node lives: its folder and its ports. It may be started there again and again.
#[derive(Debug, Clone)]
pub struct Site {
    program: PathBuf,
    folder: PathBuf,
    amqp: u16,
    distribution: u16,
    epmd: u16,
}

impl Site {
    /// A new site in a folder below `parent`, on ports that are free now.
    pub fn new(program: &Path, parent: &Path) -> Result<Self> {
        let [amqp, distribution, epmd] = free_ports()?;
        let folder = parent.join(format!("rabbitmq-{amqp}"));
        fs::create_dir(&folder).context("cannot make the data folder of RabbitMQ")?;
        for (file, text) in [
            ("rabbitmq.conf", CONFIG),
            ("enabled_plugins", "[].\n"),
            ("advanced.config", "[].\n"),
            ("rabbitmq-env.conf", ""),
        ] {
            fs::write(folder.join(file), text)?;
        }
        Ok(Self {
            program: program.to_owned(),
            folder,
            amqp,
            distribution,
            epmd,
        })
    }

    /// Where it listens for AMQP.
    pub fn address(&self) -> SocketAddr {
        local(self.amqp)
    }

    /// The URL of the broker behind `address`: user guest, virtual host `/`.
    pub fn url(&self, address: SocketAddr) -> String {
        format!("amqp://guest:guest@{address}/%2f")
    }

    /// A log in the site's folder.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    /// Erlang's name server, which has to run before the node.
    pub fn names(&self) -> Result<Command> {
        let program = on_path("epmd").context("Erlang's `epmd` is not on PATH")?;
        let mut command = Command::new(program);
        // Without -daemon it stays our child.
        command.args(["-address", "127.0.0.1", "-port", &self.epmd.to_string()]);
        Ok(command)
    }

    /// Whether the name server answers.
    pub fn names_answer(&self) -> Result<bool> {
        Ok(TcpStream::connect(local(self.epmd)).map(|_| true)?)
    }

    /// The node.
    pub fn node(&self) -> Command {
        // Its start is work for seconds. Among the many processes of a test on two cores that becomes a
        // minute. Where that is not permitted, `nice` goes on without.
        let mut command = Command::new("nice");
        command.args(["-n", "-10"]).arg(&self.program);
        // Settings of the developer's own broker must not leak into this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RABBITMQ_") {
                command.env_remove(name);
            }
        }
        let file = |name: &str| self.folder.join(name);
        command
            .env("HOME", &self.folder)
            .env("LC_ALL", "C.UTF-8")
            .env("ERL_EPMD_PORT", self.epmd.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env(
                "RABBITMQ_NODENAME",
                format!("dialfleet-{}@localhost", self.amqp),
            )
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.amqp.to_string())
            .env("RABBITMQ_DIST_PORT", self.distribution.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", file("rabbitmq-env.conf"))
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", file("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", file("data"))
            .env("RABBITMQ_LOG_BASE", file("log"))
            .env("RABBITMQ_LOGS", "-")
            // Killed in a bad moment it would leave one wherever the test was started.
            .env("ERL_CRASH_DUMP", file("erl_crash.dump"))
            // Two cores for everything: an idle scheduler must sleep, not spin.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+sbwt none +sbwtdcpu none +sbwtdio none",
            );
        command
    }

    /// Whether the node answers an AMQP 0-9-1 header with a method frame (`connection.start`). Its listener opens
    /// last, so then everything else is there too.
    pub fn greets(&self) -> Result<bool> {
        let mut stream = TcpStream::connect_timeout(&self.address(), Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut frame = [0; 11];
        stream.read_exact(&mut frame)?;
        let [kind, _, _, _, _, _, _, class @ ..] = frame;
        Ok(kind == 1 && class == [0, 10, 0, 10])
    }
}

/// Finds RabbitMQ's program, or installs it.
pub fn program() -> Result<PathBuf> {
    if let Some(program) = installed()? {
        return Ok(program);
    }
    debian::install(&["rabbitmq-server"]).context("no RabbitMQ here; set AMQP_URL instead")?;
    installed()?.context("the package rabbitmq-server was installed, but its program is not there")
}

fn installed() -> Result<Option<PathBuf>> {
    let debian = Path::new(DEBIAN_HOME);
    if debian.is_dir() {
        for entry in fs::read_dir(debian).with_context(|| format!("cannot read {DEBIAN_HOME}"))? {
            let program = entry?.path().join("sbin/rabbitmq-server");
            if program.is_file() {
                return Ok(Some(program));
            }
        }
        bail!("{DEBIAN_HOME} is there, but has no rabbitmq-server in it");
    }
    Ok(on_path("rabbitmq-server"))
}
