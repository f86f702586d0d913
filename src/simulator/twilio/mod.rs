//! Twilio Programmable Voice (2010-04-01) as a dialer sees it: create, look up, list and end
//! calls; signed status callbacks; answering machine detection; TwiML, executed strictly; recordings.
//!
//! Every callback and every call's progress is a task of the simulator's tracker. Not here: the
//! `StartTime` list filters, notifications, conferences, and status callbacks of dialed numbers and
//! streams.

mod attributes;
mod callback;
mod calls;
mod conversation;
mod detection;
mod document;
mod fetch;
mod nouns;
mod progress;
mod recordings;
mod request;
mod signature;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::mpsc;

pub use signature::sign;

use crate::office::Office;
use request::Source;
use wire::ApiError;

/// A Twilio account that clients may use.
#[derive(Clone)]
pub struct TwilioAccount {
    /// Its name in the ledger and the fault plan.
    pub name: String,
    /// The account that clients must name.
    pub account_sid: String,
    /// Its token: password of requests, key of callback signatures.
    pub auth_token: String,
    /// Calls a second above which it queues, silently.
    pub cps: Option<u32>,
}

/// One account at the simulated carrier.
pub(crate) struct Front {
    office: Arc<Office>,
    name: String,
    account_sid: String,
    auth_token: String,
    authorization: String,
    /// Where the conversations of answered calls take other documents.
    conversations: Mutex<BTreeMap<String, mpsc::Sender<Source>>>,
}

impl Front {
    pub(crate) fn new(account: TwilioAccount, office: Arc<Office>) -> Arc<Self> {
        let basic = STANDARD.encode(format!("{}:{}", account.account_sid, account.auth_token));
        Arc::new(Self {
            office,
            name: account.name,
            account_sid: account.account_sid,
            auth_token: account.auth_token,
            authorization: format!("Basic {basic}"),
            conversations: Mutex::default(),
        })
    }

    fn conversations(&self) -> MutexGuard<'_, BTreeMap<String, mpsc::Sender<Source>>> {
        self.conversations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every Twilio account of the simulator.
#[derive(Clone)]
pub(crate) struct Fronts(Arc<[Arc<Front>]>);

impl Fronts {
    /// The account of a path, if the request may use it.
    fn admit(&self, account: &str, headers: &HeaderMap) -> Result<Arc<Front>, ApiError> {
        let given = headers
            .get(header::AUTHORIZATION)
            .map(axum::http::HeaderValue::as_bytes);
        let known = |front: &&Arc<Front>| given == Some(front.authorization.as_bytes());
        let mut allowed = self.0.iter().filter(known).peekable();
        if allowed.peek().is_none() {
            return Err(ApiError::new(401, 20003, "Authenticate"));
        }
        let front = allowed.find(|front| front.account_sid == account);
        front
            .cloned()
            .ok_or_else(|| ApiError::not_found(&format!("/2010-04-01/Accounts/{account}")))
    }

    /// As [`Self::admit`], and not struck by the fault of look-ups.
    fn admit_read(
        &self,
        account: &str,
        headers: &HeaderMap,
        what: &str,
    ) -> Result<Arc<Front>, ApiError> {
        let front = self.admit(account, headers)?;
        if front.office.read_fails(&front.name, what) {
            return Err(ApiError::internal());
        }
        Ok(front)
    }
}

pub(crate) fn router(fronts: Vec<Arc<Front>>) -> Router {
    Router::new()
        .route(
            "/2010-04-01/Accounts/{account}/Calls.json",
            post(calls::create).get(calls::list),
        )
        .route(
            "/2010-04-01/Accounts/{account}/Calls/{file}",
            get(calls::fetch).post(calls::update),
        )
        .route(
            "/2010-04-01/Accounts/{account}/Calls/{call}/Recordings.json",
            post(recordings::create).get(recordings::list),
        )
        .route(
            "/2010-04-01/Accounts/{account}/Calls/{call}/Recordings/{file}",
            post(recordings::update),
        )
        .route(
            "/2010-04-01/Accounts/{account}/Recordings/{file}",
            get(recordings::fetch).delete(recordings::delete),
        )
        .with_state(Fronts(fronts.into()))
}
