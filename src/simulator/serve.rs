//! The simulator as a server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::{self, Control};
use crate::faults::{FaultPlan, Faults};
use crate::fuse::{Fuse, FusedListener};
use crate::media;
use crate::network::Network;
use crate::office::Office;
use crate::sanspbx::{self, SansPbxAccount};
use crate::script::Population;
use crate::telnyx::{self, TelnyxAccount};
use crate::twilio::{self, TwilioAccount};

/// An account at a simulated carrier. Its name is what the ledger and the fault plan call it; it
/// defaults to the carrier's kind.
#[derive(Clone)]
pub enum Account {
    /// Twilio Programmable Voice.
    Twilio(TwilioAccount),
    /// Telnyx Call Control v2.
    Telnyx(TelnyxAccount),
    /// SansPBX.
    SansPbx(SansPbxAccount),
}

/// How to start.
#[derive(Clone)]
pub struct SimulatorConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The accounts that clients may use, of any carriers, on the one network.
    pub accounts: Vec<Account>,
    /// Who can be called, and the seed of everything.
    pub population: Population,
    /// How much faster than life calls pass. HTTP does not.
    pub speed: f64,
    /// What goes wrong from the start.
    pub faults: Faults,
    /// Calls it does not know have ended: a network that was started anew, for a store that was not.
    pub forgot: bool,
}

impl SimulatorConfig {
    /// One Twilio account that never queues, on a free port of the loopback interface; life's own
    /// speed, and no faults.
    #[must_use]
    pub fn new(account_sid: impl Into<String>, auth_token: impl Into<String>) -> Self {
        Self::with([Account::Twilio(TwilioAccount {
            name: "twilio".to_owned(),
            account_sid: account_sid.into(),
            auth_token: auth_token.into(),
            cps: None,
        })])
    }

    /// These accounts, on a free port of the loopback interface; life's own speed, and no faults.
    #[must_use]
    pub fn with(accounts: impl IntoIterator<Item = Account>) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            accounts: accounts.into_iter().collect(),
            population: Population::default(),
            speed: 1.0,
            faults: Faults::default(),
            forgot: false,
        }
    }
}

/// Why the simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be used.
    #[error("cannot listen on {addr}")]
    Listen {
        /// As configured.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No HTTP client for callbacks.
    #[error("cannot build the HTTP client for callbacks")]
    Client(#[source] reqwest::Error),
}

/// A running simulator. Dropping it stops calls and server without waiting for them.
pub struct Simulator {
    addr: SocketAddr,
    network: Arc<Network>,
    faults: Arc<FaultPlan>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Simulator {
    /// Binds and serves; returns when connections are accepted.
    ///
    /// # Errors
    /// The address is taken or not ours, or TLS cannot be set up.
    pub async fn start(config: SimulatorConfig) -> Result<Self, StartError> {
        let at = config.listen;
        let listen = |source| StartError::Listen { addr: at, source };
        let listener = TcpListener::bind(at).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let mut network = Network::new(config.population, config.speed);
        for account in &config.accounts {
            match account {
                Account::Twilio(TwilioAccount {
                    name,
                    cps: Some(cps),
                    ..
                }) => network = network.with_queue(name.clone(), *cps),
                Account::Twilio(_) | Account::Telnyx(_) | Account::SansPbx(_) => {}
            }
        }
        let network = Arc::new(network);
        let faults = Arc::new(FaultPlan::new(network.seed(), config.faults));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let office = Office::new(
            network.clone(),
            faults.clone(),
            callback_client().map_err(StartError::Client)?,
            (tasks.clone(), stop.clone()),
            config.forgot,
            format!("http://{addr}"),
        );
        let control = Control {
            network: network.clone(),
            faults: faults.clone(),
        };
        let app = fronts(config.accounts, &office)
            .merge(media::router(office.clone()))
            .merge(control::router(control));
        let service = app.into_make_service_with_connect_info::<Fuse>();
        let server = axum::serve(FusedListener(listener), service)
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        tasks.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "The simulator's server stopped");
            }
        });
        Ok(Self {
            addr,
            network,
            faults,
            tasks,
            stop,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://…`, for a carrier's `base_url`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The network: scripts and ledger.
    #[must_use]
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// The faults in force.
    #[must_use]
    pub fn faults(&self) -> &Arc<FaultPlan> {
        &self.faults
    }

    /// Stops accepting, drops calls in progress and callbacks not yet delivered, and waits for
    /// every task to end.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The interface of every account.
fn fronts(accounts: Vec<Account>, office: &Arc<Office>) -> Router {
    let (mut twilios, mut telnyxes, mut sanses) = (Vec::new(), Vec::new(), Vec::new());
    for account in accounts {
        match account {
            Account::Twilio(account) => twilios.push(twilio::Front::new(account, office.clone())),
            Account::Telnyx(account) => telnyxes.push(telnyx::Front::new(account, office.clone())),
            Account::SansPbx(account) => sanses.push(sanspbx::Front::new(account, office.clone())),
        }
    }
    twilio::router(twilios)
        .merge(telnyx::router(telnyxes))
        .merge(sanspbx::router(sanses))
}

fn callback_client() -> Result<reqwest::Client, reqwest::Error> {
    let build = |builder: reqwest::ClientBuilder| {
        builder
            .no_proxy()
            .http1_only()
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .user_agent("dialfleet-simulator")
            .build()
    };
    // Without the system's certificates (a bare container) plain HTTP must still work.
    build(reqwest::Client::builder())
        .or_else(|_| build(reqwest::Client::builder().tls_certs_only([])))
}
