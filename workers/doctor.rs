//! `dialfleet doctor`: is everything there?

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use dialfleet_adapters::amqp::{AmqpConfig, AmqpQueue};
use dialfleet_adapters::mongo::MongoStore;
use dialfleet_adapters::system::SystemClock;
use dialfleet_engine::audit::MAX_SKEW;
use dialfleet_engine::port::Clock;
use dialfleet_engine::port::Queue;
use dialfleet_engine::port::store::RecordStore;

use crate::boot;
use crate::cli::print;
use crate::config::{Config, Environment};

/// What a check found: a sentence, and whether it is good.
type Finding = Result<String, String>;

/// Checks everything and prints a line for each. Exit code 0 when all is well,
/// 1 when something is wrong.
///
/// # Errors
/// None: what is wrong is printed.
pub(crate) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let mut wrong = 0;
    let mut show = |what: &str, finding: Finding| match finding {
        Ok(text) => print(&format!("ok     {what}: {text}")),
        Err(text) => {
            wrong += 1;
            print(&format!("WRONG  {what}: {text}"));
        }
    };
    show("carriers", carriers(config));
    show("store", store(config).await);
    show("broker", broker(config).await);
    show("public address", public_url(config));
    Ok(if wrong == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn carriers(config: &Config) -> Finding {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let built = config
        .carriers(&Environment)
        .and_then(|carriers| boot::carriers(carriers, &clock));
    match built {
        Ok(carriers) => Ok(format!("{} configured", carriers.len())),
        Err(error) => Err(format!("{error:#}")),
    }
}

async fn store(config: &Config) -> Finding {
    let Some(uri) = &config.mongodb_uri else {
        return Ok("embedded (MONGODB_URI is not set)".to_owned());
    };
    let store = MongoStore::connect(uri.expose(), "dialfleet-doctor")
        .await
        .map_err(chain)?;
    store
        .check_indexes()
        .await
        .map_err(|e| format!("{}; run `dialfleet migrate`", chain(e)))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let there = store.clock().await.map_err(chain)?;
    let here = clock.now();
    let skew = here.since(there).max(there.since(here));
    if skew > MAX_SKEW {
        return Err(format!(
            "its clock and this machine's differ by {} ms",
            skew.as_millis()
        ));
    }
    Ok(format!(
        "MongoDB, indexes right, clocks within {} ms",
        skew.as_millis()
    ))
}

async fn broker(config: &Config) -> Finding {
    let Some(url) = &config.amqp_url else {
        return Ok("in-process (AMQP_URL is not set)".to_owned());
    };
    let amqp = AmqpConfig {
        url: url.expose().to_owned(),
        prefix: config.queue_prefix.clone(),
        connection_name: "dialfleet-doctor".to_owned(),
        confirm_timeout: Duration::from_secs(5),
    };
    let queue = AmqpQueue::connect(amqp).await.map_err(chain)?;
    let depths = queue.depths().await.map_err(chain)?;
    let text: Vec<String> = depths
        .iter()
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    Ok(format!("RabbitMQ, waiting: {}", text.join(", ")))
}

fn public_url(config: &Config) -> Finding {
    match &config.public_url {
        Some(url) if url.starts_with("https://") => Ok(url.clone()),
        Some(url) => Ok(format!("{url} (carriers should be given https)")),
        None => Err("PUBLIC_URL is not set: carriers cannot report to us".to_owned()),
    }
}

fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
