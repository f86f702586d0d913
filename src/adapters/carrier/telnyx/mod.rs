//! Telnyx Call Control v2.
//!
//! * [`request`]: the JSON that makes a telephone ring, sent once by [`crate::carrier::once`];
//!   [`error`] judges what comes back. Telnyx suggests to send a command again with the same
//!   `command_id`, which it ignores for 60 s; we never do: after that minute it would ring twice.
//! * [`flow`]: what happens after the answer is a series of commands, each given when the event of
//!   the one before it has come; [`action`]: which command an action is; [`voice`]: who speaks.
//! * [`lookup`]: the status of a call, its events, webhooks that were not delivered, active calls.
//! * [`callback`], [`signature`] and [`state`]: what Telnyx reports by itself, and how we know that it
//!   belongs to the address it came to; [`record`]: its words for how a call ended.
//!
//! * [`recording`]: recordings are commanded, announced and fetched.
//!
//! There is no event for ringing, and events have no order. A call's own status carries no cause: it
//! is read from the webhooks' records ([`lookup`]).
//!
//! Deliberately absent: several destinations for one call, conferences, synchronous detection (Telnyx has
//! none; the flow begins at the answer).

mod action;
mod callback;
mod error;
mod flow;
mod http;
mod lookup;
mod record;
mod recording;
mod request;
mod signature;
mod state;
#[cfg(test)]
mod tests;
mod voice;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dialfleet_domain::id::{CarrierCallId, CarrierId};
use dialfleet_domain::phone::E164;
use dialfleet_domain::recording::Recording;
use dialfleet_engine::port::Clock;
use dialfleet_engine::port::carrier::{
    CallRecord, CallbackNews, CallbackRefused, Capabilities, Carrier, CarrierError, CarrierProfile,
    CommandStyle, DialAnswer, DialRequest, RawCallback, RecordRequest, StepRequest,
};
use dialfleet_engine::port::media::{Download, MediaError};
use reqwest::Client;
use reqwest::header::HeaderValue;
use thiserror::Error;
use url::Url;

use self::http::Api;
use self::signature::PublicKey;
use super::client::{self, Purpose, push};
use super::media::Fetcher;
use super::once;
use super::scrub::Scrub;
use super::secret::Secret;

/// Where Telnyx is.
pub const BASE_URL: &str = "https://api.telnyx.com";
/// The name of this kind in carriers.toml.
pub const KIND: &str = "telnyx";

/// Telnyx refuses what it cannot dial at once; this is the least age that any proof of absence must
/// have.
const QUEUE_BOUND: Duration = Duration::from_secs(60);

/// A Telnyx account as configured.
#[derive(Debug, Clone)]
pub struct TelnyxConfig {
    /// The carrier's id in carriers.toml.
    pub id: CarrierId,
    /// Calls per second the account has.
    pub cps: f64,
    /// Concurrent calls at most, if limited.
    pub channels: Option<u32>,
    /// Numbers we may show.
    pub caller_ids: Vec<E164>,
    /// Preference when a campaign names no order.
    pub weight: u32,
    /// `KEY…`: the bearer token of requests.
    pub api_key: Secret,
    /// The Call Control application that calls are placed with. Its webhook API version must be 2.
    pub connection_id: String,
    /// Base64 of the account's Ed25519 key, as the portal shows it: verifies webhooks.
    pub public_key: String,
    /// [`BASE_URL`], or a simulator's.
    pub base_url: String,
}

/// Why a Telnyx carrier cannot be set up.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The base URL is not an HTTP address.
    #[error("base_url must be https://host or, for a simulator, http://host, without a query")]
    BaseUrl,
    /// The application has no usable id.
    #[error("connection_id must be the id of a Call Control application: digits, as a rule")]
    ConnectionId,
    /// The key is empty, or no header can carry it.
    #[error("api_key must be the account's API key (KEY…)")]
    ApiKey,
    /// Not the key of a signature.
    #[error("public_key must be Base64 of 32 bytes, as the portal shows it")]
    PublicKey,
    /// The pace is not a rate.
    #[error("cps must be a number above 0")]
    Cps,
    /// No HTTP client; in a container this mostly means that CA certificates are missing.
    #[error("cannot build the HTTP client (are the system's CA certificates installed?)")]
    Client(#[source] reqwest::Error),
}

/// How long things may take, and whom to trust.
#[derive(Debug, Clone, Copy)]
struct Tuning {
    connect: Duration,
    dial: Duration,
    lookup: Duration,
    /// `None`: for https addresses only.
    system_roots: Option<bool>,
}

impl Default for Tuning {
    /// The dial's total fits into the time a stopping process has (10 s).
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            dial: Duration::from_secs(6),
            lookup: Duration::from_secs(5),
            system_roots: None,
        }
    }
}

/// A Telnyx account.
pub struct Telnyx {
    profile: CarrierProfile,
    connection_id: String,
    public_key: PublicKey,
    clock: Arc<dyn Clock>,
    /// Knows one address, `POST /v2/calls`; nothing else can place a call.
    dialer: Client,
    calls: Url,
    scrub: Scrub,
    api: Api,
    fetcher: Fetcher,
}

impl Telnyx {
    /// Sets the carrier up; nothing is sent. The clock judges how old a webhook is.
    ///
    /// # Errors
    /// The configuration is at fault, or no HTTP client can be built.
    pub fn new(config: TelnyxConfig, clock: Arc<dyn Clock>) -> Result<Self, BuildError> {
        Self::tuned(config, clock, Tuning::default())
    }

    fn tuned(
        config: TelnyxConfig,
        clock: Arc<dyn Clock>,
        tuning: Tuning,
    ) -> Result<Self, BuildError> {
        let root = config.base_url.trim().trim_end_matches('/');
        let root = root.strip_suffix("/v2").unwrap_or(root);
        let mut base = client::base_url(root).ok_or(BuildError::BaseUrl)?;
        push(&mut base, &["v2"]);
        if !is_id(&config.connection_id) {
            return Err(BuildError::ConnectionId);
        }
        if !(config.cps.is_finite() && config.cps > 0.0) {
            return Err(BuildError::Cps);
        }
        let public_key = PublicKey::parse(&config.public_key).ok_or(BuildError::PublicKey)?;
        let authorization = authorization(&config.api_key).ok_or(BuildError::ApiKey)?;
        let purpose = |total| Purpose {
            connect: tuning.connect,
            total,
            authorization: Some(authorization.clone()),
            system_roots: tuning.system_roots.unwrap_or(base.scheme() == "https"),
        };
        // Its links are keys themselves.
        let links = Purpose {
            authorization: None,
            ..purpose(tuning.lookup)
        };
        let client = |total| client::build(&purpose(total)).map_err(BuildError::Client);
        let scrub = Scrub::new([config.api_key.clone()]);
        let mut calls = base.clone();
        push(&mut calls, &["calls"]);
        Ok(Self {
            dialer: client(tuning.dial)?,
            fetcher: Fetcher::new(links, base.clone(), scrub.clone())
                .map_err(BuildError::Client)?,
            api: Api::new(client(tuning.lookup)?, base, scrub.clone()),
            profile: CarrierProfile {
                id: config.id,
                kind: KIND,
                cps: config.cps,
                channels: config.channels,
                caller_ids: config.caller_ids,
                weight: config.weight,
                capabilities: Capabilities {
                    pollable: true,
                    ringing_event: false,
                    longest_call: None,
                    signed_callbacks: true,
                    commands: CommandStyle::Commands,
                    queue_bound: QUEUE_BOUND,
                    cannot: &[],
                },
            },
            connection_id: config.connection_id,
            public_key,
            clock,
            calls,
            scrub,
        })
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn authorization(key: &Secret) -> Option<HeaderValue> {
    let key = Some(key.expose()).filter(|key| !key.is_empty() && !key.contains(' '))?;
    HeaderValue::try_from(format!("Bearer {key}")).ok()
}

#[async_trait]
impl Carrier for Telnyx {
    fn profile(&self) -> &CarrierProfile {
        &self.profile
    }

    async fn dial(&self, request: &DialRequest) -> DialAnswer {
        let body = request::dial(request, &self.profile.id, &self.connection_id);
        let post = self.dialer.post(self.calls.clone());
        match once::post(post, http::JSON, body, &self.scrub).await {
            Err(answer) => answer,
            Ok(answered) => error::answer(answered, &self.scrub),
        }
    }

    async fn hang_up(&self, call: &CarrierCallId) -> Result<(), CarrierError> {
        flow::hang_up(&self.api, &self.profile.id, call).await
    }

    async fn perform(&self, step: &StepRequest) -> Result<(), CarrierError> {
        flow::perform(&self.api, &self.profile.id, step).await
    }

    async fn record(&self, request: &RecordRequest) -> Result<(), CarrierError> {
        recording::perform(&self.api, &self.profile.id, request).await
    }

    async fn fetch(&self, recording: &Recording) -> Result<Download, MediaError> {
        recording::fetch(&self.api, &self.fetcher, recording).await
    }

    async fn look(&self, call: &CarrierCallId) -> Result<CallRecord, CarrierError> {
        lookup::call(&self.api, call, self.clock.now()).await
    }

    async fn find(&self, to: &E164, from: &E164) -> Result<Vec<CallRecord>, CarrierError> {
        let now = self.clock.now();
        lookup::find(&self.api, &self.connection_id, (to, from), now).await
    }

    async fn live(&self) -> Result<Vec<CallRecord>, CarrierError> {
        lookup::live(&self.api, &self.connection_id, self.clock.now()).await
    }

    fn read_callback(&self, raw: &RawCallback) -> Result<CallbackNews, CallbackRefused> {
        callback::read(&self.connection_id, &self.public_key, raw, self.clock.now())
    }
}
