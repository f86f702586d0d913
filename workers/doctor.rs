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
use crate::config::{CarrierConfig, Config, Environment};

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
    let carriers = config.carriers(&Environment).map_err(chain)?;
    let prices: Vec<String> = carriers.iter().map(prices).collect();
    let built = boot::carriers(carriers, &clock).map_err(chain)?;
    Ok(format!("{} configured: {}", built.len(), prices.join(", ")))
}

fn prices(carrier: &CarrierConfig) -> String {
    let id = carrier.id();
    match carrier.deck.as_deref() {
        Some(deck) if deck.rows() == 1 => format!("{id} (1 rate, {})", deck.currency()),
        Some(deck) => format!("{id} ({} rates, {})", deck.rows(), deck.currency()),
        None => format!("{id} (no rates)"),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn carriers_are_named_with_their_rates() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("carriers.toml");
        let carrier = |id: &str, rates: &str| {
            format!(
                "[[carrier]]\nid = \"{id}\"\nkind = \"twilio\"\naccount_sid = \"AC1\"\nauth_token = \"token\"\n\
                 cps = 1\ncaller_ids = [\"+442079460000\"]\n{rates}\n"
            )
        };
        let row = |prefix: &str| {
            format!(r#"{{ prefix = "{prefix}", price_per_min = "0.01", currency = "eur" }}"#)
        };
        let text = [
            carrier("a", ""),
            carrier("b", &format!("rates = [{}]", row("44"))),
            carrier("c", &format!("rates = [{}, {}]", row("44"), row("1"))),
        ];
        std::fs::write(&file, text.concat()).expect("written");
        let environment: BTreeMap<String, String> =
            [("DIALFLEET_CARRIERS".to_owned(), file.display().to_string())].into();
        let config = Config::read(&environment).expect("valid");
        assert_eq!(
            carriers(&config),
            Ok("3 configured: a (no rates), b (1 rate, EUR), c (2 rates, EUR)".to_owned())
        );
        std::fs::write(&file, carrier("d", "rates = \"none.csv\"")).expect("written");
        let error = carriers(&config).expect_err("no such file");
        assert!(error.contains("carrier \"d\": rates"), "{error}");
    }
}
