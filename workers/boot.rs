//! The one wiring list: configuration → adapters → the fleet's ports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use dialfleet_adapters::amqp::{AmqpConfig, AmqpQueue};
use dialfleet_adapters::carrier::sanspbx::SansPbx;
use dialfleet_adapters::carrier::telnyx::Telnyx;
use dialfleet_adapters::carrier::twilio::Twilio;
use dialfleet_adapters::local::{FileSpool, LocalQueue};
use dialfleet_adapters::media::{Objects, Place};
use dialfleet_adapters::mongo::MongoStore;
use dialfleet_adapters::speech::google::Google;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_adapters::system::{SystemClock, SystemEntropy};
use dialfleet_domain::id::{CarrierId, TenantId, WorkerId};
use dialfleet_engine::dialer::Dialer;
use dialfleet_engine::media::MediaRoom;
use dialfleet_engine::pace::Pace;
use dialfleet_engine::port::media::Transcriber;
use dialfleet_engine::port::store::MacKey;
use dialfleet_engine::port::{Carrier, Clock, Entropy, Queue, Store};
use dialfleet_engine::routes::Routes;
use dialfleet_engine::time::FleetClock;
use dialfleet_engine::token::CallbackKeys;
use dialfleet_engine::{Fleet, Role, Settings};
use dialfleet_engine::{audit, import};
use dialfleet_runtime::metrics::Metrics;
use dialfleet_runtime::shutdown::Shutdown;

use crate::config::{CarrierConfig, Config};

/// How long a confirmed publish may take.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);

/// The folder of recordings, in the data folder.
const MEDIA_FOLDER: &str = "media";

/// Where a process keeps its state.
#[derive(Debug, Clone)]
pub(crate) enum Keep {
    /// In the services that the environment names: several processes share them.
    Services,
    /// In the services that the environment names; what it does not name is embedded: in a file
    /// under the folder, or in memory.
    Embedded(Option<PathBuf>),
}

/// What a process is besides its configuration.
pub(crate) struct Part<'a> {
    /// Where state is kept.
    pub(crate) keep: Keep,
    /// What it does.
    pub(crate) roles: &'a [Role],
    /// Its carriers.
    pub(crate) carriers: Vec<CarrierConfig>,
    /// Where carriers reach it.
    pub(crate) public_url: String,
    /// How much faster than life the simulated network is; 1 otherwise.
    pub(crate) speed: f64,
    /// The unique indexes are made here too, so that a first start needs no other command.
    pub(crate) migrate: bool,
}

/// Builds the fleet.
///
/// # Errors
/// A service cannot be reached or is not ready, or a carrier cannot be built.
pub(crate) async fn boot(
    config: &Config,
    part: Part<'_>,
    shutdown: &Shutdown,
) -> anyhow::Result<Arc<Fleet>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let (store, queue) = state(config, &part.keep, part.migrate, &clock).await?;
    let decks: BTreeMap<CarrierId, _> = part
        .carriers
        .iter()
        .map(|config| (config.id().clone(), config.deck.clone()))
        .collect();
    let carriers = carriers(part.carriers, &clock)?;
    let keys = keys(store.as_ref(), entropy.as_ref()).await?;
    let rates = carriers
        .values()
        .map(|c| (c.profile().id.clone(), c.profile().cps));
    let dialer = part
        .roles
        .contains(&Role::Dial)
        .then(|| Dialer::new(carriers.keys()));
    let settings = Settings {
        worker: WorkerId::mint(clock.now(), entropy.id_bits()),
        tenant: TenantId::parse("default")?,
        public_url: part.public_url,
        speed: part.speed,
    };
    let media = media(config, &part.keep, &clock)?;
    let fleet = Fleet {
        media,
        pace: Pace::new(clock.clone(), rates),
        routes: Routes::new(carriers.iter().map(|(id, carrier)| {
            let deck = decks.get(id).cloned().flatten();
            (carrier.profile(), deck)
        })),
        store,
        queue,
        carriers,
        clock: FleetClock::new(clock),
        entropy,
        metrics: Metrics::new(),
        settings,
        keys,
        opt_outs: match &part.keep {
            Keep::Embedded(Some(folder)) => {
                dialfleet_engine::opt_out::OptOuts::with(Arc::new(FileSpool::new(folder)))?
            }
            Keep::Embedded(None) | Keep::Services => dialfleet_engine::opt_out::OptOuts::default(),
        },
        dialer,
        stopping: shutdown.stopping(),
    };
    audit::look_around(&fleet).await?;
    if part.roles.contains(&Role::Dial) {
        let names: Vec<&str> = part.roles.iter().map(|r| r.name()).collect();
        audit::beat(&fleet, &names, fleet.clock.now()).await?;
    }
    let alone = matches!(part.keep, Keep::Embedded(_)) && config.mongodb_uri.is_none();
    if alone {
        import::end_interrupted_imports(&fleet).await?;
    }
    Ok(Arc::new(fleet))
}

async fn state(
    config: &Config,
    keep: &Keep,
    migrate: bool,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<(Arc<dyn Store>, Arc<dyn Queue>)> {
    let embedded = match keep {
        Keep::Services => {
            if config.mongodb_uri.is_none() || config.amqp_url.is_none() {
                bail!(
                    "several processes need common services: set MONGODB_URI and AMQP_URL (or run `dialfleet up`, all in one)"
                );
            }
            None
        }
        Keep::Embedded(folder) if config.mongodb_uri.is_none() || config.amqp_url.is_none() => {
            Some(open(folder.as_deref(), clock)?)
        }
        Keep::Embedded(_) => None,
    };
    let store: Arc<dyn Store> = match (&config.mongodb_uri, &embedded) {
        (Some(uri), _) => {
            let mongo = MongoStore::connect(uri.expose(), "dialfleet")
                .await
                .context("MongoDB (MONGODB_URI)")?;
            if migrate {
                mongo.migrate().await?;
            }
            mongo
                .check_indexes()
                .await
                .context("the database is not ready: run `dialfleet migrate`")?;
            Arc::new(mongo)
        }
        (None, Some(sqlite)) => Arc::new(sqlite.clone()),
        (None, None) => bail!("there is no store"),
    };
    let queue: Arc<dyn Queue> = match (&config.amqp_url, embedded) {
        (Some(url), _) => {
            let amqp = AmqpConfig {
                url: url.expose().to_owned(),
                prefix: config.queue_prefix.clone(),
                connection_name: "dialfleet".to_owned(),
                confirm_timeout: CONFIRM_TIMEOUT,
            };
            Arc::new(
                AmqpQueue::connect(amqp)
                    .await
                    .context("RabbitMQ (AMQP_URL)")?,
            )
        }
        (None, Some(sqlite)) => Arc::new(LocalQueue::new(Some(sqlite)).await?),
        (None, None) => bail!("there is no queue"),
    };
    Ok((store, queue))
}

fn open(folder: Option<&Path>, clock: &Arc<dyn Clock>) -> anyhow::Result<SqliteStore> {
    match folder {
        Some(folder) => Ok(SqliteStore::open(folder, clock.clone())?),
        None => Ok(SqliteStore::in_memory(clock.clone())?),
    }
}

/// Where recordings are kept: as configured, else beside the data.
fn media(config: &Config, keep: &Keep, clock: &Arc<dyn Clock>) -> anyhow::Result<MediaRoom> {
    let place = match (&config.media.place, keep) {
        (Some(place), _) => place.clone(),
        (None, Keep::Embedded(Some(folder))) => Place::Folder(folder.join(MEDIA_FOLDER)),
        (None, Keep::Embedded(None)) => Place::Memory,
        (None, Keep::Services) => {
            tracing::info!("MEDIA_URL is not set: nothing can be recorded");
            return Ok(MediaRoom::none());
        }
    };
    let objects = Objects::open(&place, config.media.keys.clone()).context("MEDIA_URL")?;
    let transcriber = config.media.transcriber.clone();
    let transcriber = transcriber.map(|google| Google::new(google, clock.clone()));
    let transcriber = transcriber.transpose().context("TRANSCRIBER")?;
    Ok(MediaRoom::new(
        Arc::new(objects),
        transcriber.map(|google| Arc::new(google) as Arc<dyn Transcriber>),
        config.media.max_bytes,
    ))
}

/// Builds the carriers; nothing is sent.
///
/// # Errors
/// One cannot be built; says which and why.
pub(crate) fn carriers(
    configs: Vec<CarrierConfig>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<BTreeMap<CarrierId, Arc<dyn Carrier>>> {
    use crate::config::Vendor;
    let mut carriers: BTreeMap<CarrierId, Arc<dyn Carrier>> = BTreeMap::new();
    for config in configs {
        let id = config.id().clone();
        let built = || -> anyhow::Result<Arc<dyn Carrier>> {
            Ok(match config.vendor {
                Vendor::Twilio(twilio) => Arc::new(Twilio::new(twilio)?),
                Vendor::Telnyx(telnyx) => Arc::new(Telnyx::new(telnyx, clock.clone())?),
                Vendor::SansPbx(sans) => Arc::new(SansPbx::new(sans)?),
            })
        };
        let carrier = built().with_context(|| format!("carrier {id}"))?;
        carriers.insert(id, carrier);
    }
    Ok(carriers)
}

async fn keys(store: &dyn Store, entropy: &dyn Entropy) -> anyhow::Result<CallbackKeys> {
    let mut random = [0; 32];
    entropy.fill(&mut random);
    let candidate: MacKey = CallbackKeys::mint(&random);
    Ok(CallbackKeys::new(&store.mac_keys(&candidate).await?)?)
}

/// Creates what the services need: indexes and keys in MongoDB, queues in RabbitMQ.
///
/// # Errors
/// A service cannot be reached or refuses.
pub(crate) async fn migrate(config: &Config) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (store, _) = state(config, &Keep::Services, true, &clock).await?;
    keys(store.as_ref(), &SystemEntropy).await?;
    Ok(())
}
