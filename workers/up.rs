//! `dialfleet up | api | worker`: the real thing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use dialfleet_adapters::carrier::Secret;
use dialfleet_engine::Role;
use dialfleet_engine::port::Entropy;
use dialfleet_runtime::shutdown::Shutdown;

use crate::boot::{self, Keep, Part};
use crate::cli::say;
use crate::config::{Config, Environment};
use crate::process::{self, Http};

/// Options of `dialfleet up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Where the embedded store keeps its file
    #[arg(long, default_value = "dialfleet-data")]
    data_dir: PathBuf,
    /// Where HTTP listens (overrides PORT)
    #[arg(long)]
    port: Option<u16>,
}

/// Everything in one process.
///
/// # Errors
/// The configuration is wrong, a service cannot be reached, or a role failed.
pub(crate) async fn up(config: &Config, args: UpArgs) -> anyhow::Result<ExitCode> {
    let carriers = config.carriers(&Environment)?;
    let listener = process::bind(args.port.unwrap_or(config.port)).await?;
    let port = listener.local_addr()?.port();
    let shutdown = Shutdown::new();
    let part = Part {
        keep: Keep::Embedded(Some(args.data_dir)),
        roles: &Role::ALL,
        carriers,
        public_url: public_url(config, port),
        speed: 1.0,
        migrate: true,
    };
    warn_of_rules(config);
    let fleet = boot::boot(config, part, &shutdown).await?;
    tracing::info!(port, public_url = %fleet.settings.public_url, "up");
    process::run(
        fleet,
        &Role::ALL,
        listener,
        Http::Api(api_key(config)),
        shutdown,
    )
    .await?;
    Ok(ExitCode::SUCCESS)
}

/// The HTTP side alone.
///
/// # Errors
/// As [`up`].
pub(crate) async fn api(config: &Config) -> anyhow::Result<ExitCode> {
    let carriers = config.carriers(&Environment)?;
    let listener = process::bind(config.port).await?;
    let shutdown = Shutdown::new();
    let public_url = public_url(config, config.port);
    let part = Part {
        keep: Keep::Services,
        roles: &[],
        carriers,
        public_url,
        speed: 1.0,
        migrate: false,
    };
    let fleet = boot::boot(config, part, &shutdown).await?;
    tracing::info!(port = config.port, public_url = %fleet.settings.public_url, "API up");
    process::run(fleet, &[], listener, Http::Api(api_key(config)), shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

/// A worker.
///
/// # Errors
/// As [`up`].
pub(crate) async fn worker(config: &Config, roles: &[Role]) -> anyhow::Result<ExitCode> {
    let carriers = config.carriers(&Environment)?;
    let listener = process::bind(config.port).await?;
    let shutdown = Shutdown::new();
    let public_url = public_url(config, config.port);
    let part = Part {
        keep: Keep::Services,
        roles,
        carriers,
        public_url,
        speed: 1.0,
        migrate: false,
    };
    warn_of_rules(config);
    let fleet = boot::boot(config, part, &shutdown).await?;
    let names: Vec<&str> = roles.iter().map(|r| r.name()).collect();
    tracing::info!(worker = %fleet.settings.worker, roles = names.join(","), "worker up");
    process::run(fleet, roles, listener, Http::Ops, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

fn public_url(config: &Config, port: u16) -> String {
    config.public_url.clone().unwrap_or_else(|| {
        let url = format!("http://127.0.0.1:{port}");
        tracing::warn!(%url, "PUBLIC_URL is not set: carriers outside this machine cannot report to us");
        url
    })
}

fn api_key(config: &Config) -> Secret {
    config.api_key.clone().unwrap_or_else(|| {
        let key = random_key();
        say(&format!(
            "DIALFLEET_API_KEY is not set; this process takes {}",
            key.expose()
        ));
        key
    })
}

/// A key for this run.
pub(crate) fn random_key() -> Secret {
    use std::fmt::Write;
    let mut random = [0; 20];
    dialfleet_adapters::system::SystemEntropy.fill(&mut random);
    let mut key = String::from("dlr_");
    for byte in random {
        let _ = write!(key, "{byte:02x}");
    }
    Secret::new(&key)
}

/// The law is not data here yet, and nobody may believe that it is.
fn warn_of_rules(config: &Config) {
    if config.rules.is_some() {
        tracing::warn!("DIALFLEET_RULES is set, but this version has no legal rules to replace");
    }
    tracing::warn!(
        "legal calling rules are not built in: campaign schedules and the do-not-call list are all that is enforced"
    );
}
