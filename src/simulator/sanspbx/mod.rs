//! SansPBX (San Softwares' hosted exchange) as far as independent integrations agree on it, for its
//! vendor publishes no specification: session tokens that expire, placing and ending calls, and one
//! unsigned callback after the call.
//!
//! Here every account shares the path `/pbxadmin/sanpbxapi` and is told apart by its keys; the real
//! ones have a host each. Not here: the media WebSocket, recordings, and what only one integration has
//! seen.

mod calls;
mod token;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use dialfleet_domain::time::Timestamp;

use crate::office::Office;
use wire::ApiError;

/// Calls that can still be named; older ones are forgotten.
const KEPT: usize = 20_000;

/// A SansPBX account that clients may use.
#[derive(Clone)]
pub struct SansPbxAccount {
    /// Its name in the ledger and the fault plan.
    pub name: String,
    /// The static key in the header `Accesstoken`.
    pub access_token: String,
    /// The key in the body of `gentoken`.
    pub access_key: String,
    /// The only application there is.
    pub app_id: u32,
    /// Calling code of the country in which it dials numbers without one.
    pub country_code: String,
    /// How long a session token is good, in real time.
    pub token_lifetime: Duration,
    /// How long it lets a telephone ring, network time: clients cannot say.
    pub ring: Duration,
    /// How long it lets a call last, network time: clients cannot say.
    pub talk: Duration,
}

impl SansPbxAccount {
    /// An account of that name in India: tokens for an hour, 45 s of ringing, an hour of talk.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        access_token: impl Into<String>,
        access_key: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            access_token: access_token.into(),
            access_key: access_key.into(),
            app_id: 2,
            country_code: "91".to_owned(),
            token_lifetime: Duration::from_secs(3_600),
            ring: Duration::from_secs(45),
            talk: Duration::from_secs(3_600),
        }
    }
}

/// One account at the simulated exchange.
pub(crate) struct Front {
    office: Arc<Office>,
    account: SansPbxAccount,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Session tokens and when they expire.
    tokens: BTreeMap<String, Timestamp>,
    issued: u64,
    /// The network's ids of calls by the exchange's, and the other way round.
    calls: BTreeMap<String, String>,
    names: BTreeMap<String, String>,
    /// The exchange's ids, oldest first.
    order: VecDeque<String>,
}

impl Front {
    pub(crate) fn new(account: SansPbxAccount, office: Arc<Office>) -> Arc<Self> {
        Arc::new(Self {
            office,
            account,
            state: Mutex::default(),
        })
    }

    /// Names a call as the exchange does: `api-{appid}-{call_to}-{epoch_ms}`.
    fn name_call(&self, network_id: &str, call_to: &str) -> String {
        let mut state = self.state();
        let mut ms = self.office.now().millis();
        let name = loop {
            let name = format!("api-{}-{call_to}-{ms}", self.account.app_id);
            if !state.calls.contains_key(&name) {
                break name;
            }
            ms += 1;
        };
        state.calls.insert(name.clone(), network_id.to_owned());
        state.names.insert(network_id.to_owned(), name.clone());
        state.order.push_back(name.clone());
        if state.order.len() > KEPT
            && let Some(old) = state.order.pop_front()
            && let Some(id) = state.calls.remove(&old)
        {
            state.names.remove(&id);
        }
        name
    }

    fn callid(&self, network_id: &str) -> Option<String> {
        self.state().names.get(network_id).cloned()
    }

    fn network_id(&self, name: &str) -> Option<String> {
        self.state().calls.get(name).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every SansPBX account of the simulator.
#[derive(Clone)]
pub(crate) struct Fronts(Arc<[Arc<Front>]>);

impl Fronts {
    /// The account of a session token.
    fn admit(&self, headers: &HeaderMap) -> Result<Arc<Front>, ApiError> {
        let given = headers.get("apitoken").and_then(|v| v.to_str().ok());
        let given = given.ok_or_else(|| ApiError::new(401, "Apitoken missing"))?;
        let good = |front: &&Arc<Front>| front.accepts(given);
        let front = self.0.iter().find(good);
        front
            .cloned()
            .ok_or_else(|| ApiError::new(401, "Invalid or expired token"))
    }
}

pub(crate) fn router(fronts: Vec<Arc<Front>>) -> Router {
    Router::new()
        .route("/pbxadmin/sanpbxapi/gentoken", post(token::issue))
        .route("/pbxadmin/sanpbxapi/dialcall", post(calls::dial))
        .route(
            "/pbxadmin/sanpbxapi/calldisconnect",
            post(calls::disconnect),
        )
        .with_state(Fronts(fronts.into()))
}
