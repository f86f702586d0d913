//! The broker and the store that the tests use: those of the environment, or private ones.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use dialfleet_xtask::keeper::Keeper;
use dialfleet_xtask::process::Service;
use dialfleet_xtask::programs::setting;
use dialfleet_xtask::rabbitmq::Broker;
use dialfleet_xtask::{mongod, rabbitmq};

/// Both services, and who ends the private ones. Fields drop in order: the keeper comes last.
#[derive(Debug)]
pub(crate) struct Services {
    amqp_url: String,
    mongodb_uri: String,
    broker: Option<Broker>,
    store: Option<Service>,
    _keeper: Option<Keeper>,
}

impl Services {
    /// Takes what `AMQP_URL` and `MONGODB_URI` name and starts the rest, both at the same time.
    pub(crate) fn start() -> Result<Self> {
        let (amqp_url, mongodb_uri) = (setting("AMQP_URL"), setting("MONGODB_URI"));
        if let (Some(amqp_url), Some(mongodb_uri)) = (&amqp_url, &mongodb_uri) {
            let (amqp_url, mongodb_uri) = (amqp_url.clone(), mongodb_uri.clone());
            return Ok(Self {
                amqp_url,
                mongodb_uri,
                broker: None,
                store: None,
                _keeper: None,
            });
        }
        let keeper = Keeper::start()?;
        let (broker, store) = thread::scope(|scope| {
            let broker = scope.spawn(|| private(amqp_url, || rabbitmq::start(&keeper)));
            let store = private(mongodb_uri, || mongod::start(&keeper));
            (
                broker
                    .join()
                    .expect("starting RabbitMQ returns errors, it does not panic"),
                store,
            )
        });
        let ((broker, amqp_url), (store, mongodb_uri)) = (broker?, store?);
        Ok(Self {
            amqp_url,
            mongodb_uri,
            broker,
            store,
            _keeper: Some(keeper),
        })
    }

    /// The variables that point a program at these services.
    pub(crate) fn environment(&self) -> [(&'static str, &str); 2] {
        [
            ("AMQP_URL", &self.amqp_url),
            ("MONGODB_URI", &self.mongodb_uri),
        ]
    }

    fn check(&mut self) -> Result<()> {
        self.broker.as_mut().map_or(Ok(()), Broker::check)?;
        self.store.as_mut().map_or(Ok(()), Service::check)
    }
}

/// `cargo xtask services`: holds private services until this process is ended, or one of them fails.
pub(crate) fn hold() -> Result<ExitCode> {
    let mut services = Services::start()?;
    for (name, value) in services.environment() {
        println!("export {name}='{value}'");
    }
    eprintln!("xtask: ready; Ctrl-C ends both and removes their data");
    loop {
        services.check()?;
        thread::sleep(Duration::from_secs(1));
    }
}

fn private<S>(
    given: Option<String>,
    start: impl FnOnce() -> Result<(S, String)>,
) -> Result<(Option<S>, String)> {
    match given {
        Some(address) => Ok((None, address)),
        None => start().map(|(service, address)| (Some(service), address)),
    }
}
