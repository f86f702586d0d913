//! Twilio Programmable Voice (2010-04-01).
//!
//! * [`dial`]: the only code that can make a telephone ring; [`request`] and [`twiml`] write what it
//!   sends, [`error`] judges what comes back.
//! * [`lookup`]: records, lists, hanging up.
//! * [`callback`] and [`signature`]: what Twilio reports by itself; [`record`]: its words for states.
//!
//! Twilio has no idempotency key for creating calls, so an unclear answer stays unclear until its
//! records have been read. They are read without a `StartTime` filter (days in UTC, and null for
//! calls that have not started).
//!
//! * [`recording`]: recordings are commanded, announced and fetched.
//!
//! A flow that needs to hear nothing goes with the request; of any other Twilio asks for one document
//! after the other. What nobody asked for (a machine answered) replaces the live call's document.
//!
//! Deliberately absent: applications, SIP and client destinations of the call itself.

mod callback;
mod dial;
mod error;
mod lookup;
mod record;
mod recording;
mod request;
mod signature;
#[cfg(test)]
mod tests;
mod twiml;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dialfleet_domain::flow::Action;
use dialfleet_domain::id::{CarrierCallId, CarrierId};
use dialfleet_domain::money::Money;
use dialfleet_domain::phone::E164;
use dialfleet_domain::recording::Recording;
use dialfleet_engine::port::carrier::{
    CallRecord, CallbackNews, CallbackRefused, Capabilities, Carrier, CarrierError, CarrierProfile,
    CommandStyle, DialAnswer, DialRequest, Document, Page, Question, RawCallback, RecordRequest,
    StepRequest,
};
use dialfleet_engine::port::media::{Download, MediaError};
use reqwest::header::HeaderValue;
use thiserror::Error;

use self::dial::Dialer;
use self::lookup::Lookups;
use self::recording::Recorder;
use super::Secret;
use super::client::{self, Purpose};
use super::scrub::Scrub;

/// Where Twilio is.
pub const BASE_URL: &str = "https://api.twilio.com";
/// The name of this kind in carriers.toml.
pub const KIND: &str = "twilio";

/// How long Twilio may hold an accepted call back. Above the account's calls per second it queues
/// up to 24 h instead of refusing; our own pace stays below that rate, so its queue is empty, and
/// what it says in `queue_time` is reported with each accepted call. 60 s is the least age that any
/// proof of absence must have.
const QUEUE_BOUND: Duration = Duration::from_secs(60);
/// The states of a live call, in the order in which a call passes them: one that moves on while the
/// lists are read is seen in a later one.
const LIVE: [&str; 3] = ["queued", "ringing", "in-progress"];

/// A Twilio account as configured.
#[derive(Debug, Clone)]
pub struct TwilioConfig {
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
    /// `AC…`, of the (sub)account that owns the calls.
    pub account_sid: String,
    /// Its primary token. It signs callbacks also when an API key is used for requests.
    pub auth_token: Secret,
    /// `SK…` and its secret, for requests instead of the token.
    pub api_key: Option<(String, Secret)>,
    /// [`BASE_URL`], or a simulator's.
    pub base_url: String,
}

/// Why a Twilio carrier cannot be set up.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The base URL is not an HTTP address.
    #[error("base_url must be https://host or, for a simulator, http://host, without a query")]
    BaseUrl,
    /// The account is not a sid.
    #[error("account_sid must be the letters and digits of the account's sid (AC…)")]
    AccountSid,
    /// The token or the key is empty.
    #[error("auth_token, and both parts of the API key if there is one, must not be empty")]
    Credentials,
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

/// A Twilio account.
pub struct Twilio {
    profile: CarrierProfile,
    account_sid: String,
    auth_token: Secret,
    dialer: Dialer,
    lookups: Lookups,
    recorder: Recorder,
}

impl Twilio {
    /// Sets the carrier up; nothing is sent.
    ///
    /// # Errors
    /// The configuration is at fault, or no HTTP client can be built.
    pub fn new(config: TwilioConfig) -> Result<Self, BuildError> {
        Self::tuned(config, Tuning::default())
    }

    fn tuned(config: TwilioConfig, tuning: Tuning) -> Result<Self, BuildError> {
        let base = client::base_url(&config.base_url).ok_or(BuildError::BaseUrl)?;
        if !is_sid(&config.account_sid) {
            return Err(BuildError::AccountSid);
        }
        if !(config.cps.is_finite() && config.cps > 0.0) {
            return Err(BuildError::Cps);
        }
        let system_roots = tuning.system_roots.unwrap_or(base.scheme() == "https");
        let purpose = |total| {
            let authorization = authorization(&config).ok_or(BuildError::Credentials)?;
            Ok(Purpose {
                connect: tuning.connect,
                total,
                authorization: Some(authorization),
                system_roots,
            })
        };
        let scrub = Scrub::new(
            [&config.auth_token]
                .into_iter()
                .chain(config.api_key.as_ref().map(|(_, secret)| secret))
                .cloned(),
        );
        let mut account = base.clone();
        client::push(
            &mut account,
            &["2010-04-01", "Accounts", &config.account_sid],
        );
        let mut calls = account.clone();
        client::push(&mut calls, &["Calls.json"]);
        let base = base.as_str().trim_end_matches('/').to_owned();
        let dialer = Dialer::new(&purpose(tuning.dial)?, calls, scrub.clone());
        let recorder = Recorder::new(purpose(tuning.lookup)?, account.clone(), scrub.clone());
        let lookups = Lookups::new(&purpose(tuning.lookup)?, base, account, scrub);
        Ok(Self {
            profile: CarrierProfile {
                id: config.id,
                kind: KIND,
                cps: config.cps,
                channels: config.channels,
                caller_ids: config.caller_ids,
                weight: config.weight,
                capabilities: Capabilities {
                    pollable: true,
                    ringing_event: true,
                    longest_call: None,
                    signed_callbacks: true,
                    commands: CommandStyle::Document,
                    queue_bound: QUEUE_BOUND,
                    cannot: &[],
                },
            },
            account_sid: config.account_sid,
            auth_token: config.auth_token,
            dialer: dialer.map_err(BuildError::Client)?,
            lookups: lookups.map_err(BuildError::Client)?,
            recorder: recorder.map_err(BuildError::Client)?,
        })
    }
}

fn is_sid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The `Authorization` of every request; `None` when a part of it is missing.
fn authorization(config: &TwilioConfig) -> Option<HeaderValue> {
    let (user, password) = match &config.api_key {
        Some((sid, secret)) => (sid.as_str(), secret),
        None => (config.account_sid.as_str(), &config.auth_token),
    };
    if config.auth_token.is_empty() || password.is_empty() || !is_sid(user) {
        return None;
    }
    let basic = STANDARD.encode(format!("{user}:{}", password.expose()));
    HeaderValue::try_from(format!("Basic {basic}")).ok()
}

#[async_trait]
impl Carrier for Twilio {
    fn profile(&self) -> &CarrierProfile {
        &self.profile
    }

    async fn dial(&self, request: &DialRequest) -> DialAnswer {
        self.dialer.dial(request::create_form(request)).await
    }

    async fn hang_up(&self, call: &CarrierCallId) -> Result<(), CarrierError> {
        self.lookups.hang_up(call).await
    }

    fn says_cost(&self) -> bool {
        true
    }

    async fn cost(&self, call: &CarrierCallId) -> Result<Option<Money>, CarrierError> {
        self.lookups.cost(call).await
    }

    async fn perform(&self, step: &StepRequest) -> Result<(), CarrierError> {
        if step.page.actions == [Action::Hangup] {
            return self.lookups.hang_up(&step.call_id).await;
        }
        let form = request::update_form(step);
        self.lookups.update(&step.call_id, form).await
    }

    async fn record(&self, request: &RecordRequest) -> Result<(), CarrierError> {
        self.recorder.command(request).await
    }

    async fn fetch(&self, recording: &Recording) -> Result<Download, MediaError> {
        self.recorder.fetch(recording).await
    }

    async fn look(&self, call: &CarrierCallId) -> Result<CallRecord, CarrierError> {
        self.lookups.call(call).await
    }

    async fn find(&self, to: &E164, from: &E164) -> Result<Vec<CallRecord>, CarrierError> {
        self.lookups
            .list(&[("To", to.as_str()), ("From", from.as_str())])
            .await
    }

    async fn live(&self) -> Result<Vec<CallRecord>, CarrierError> {
        let mut calls = BTreeMap::new();
        for status in LIVE {
            let listed = self.lookups.list(&[("Status", status)]).await?;
            calls.extend(listed.into_iter().map(|call| (call.call_id.clone(), call)));
        }
        Ok(calls.into_values().collect())
    }

    fn read_callback(&self, raw: &RawCallback) -> Result<CallbackNews, CallbackRefused> {
        callback::read(&self.account_sid, &self.auth_token, raw)
    }

    fn read_question(&self, raw: &RawCallback) -> Result<Question, CallbackRefused> {
        callback::question(&self.account_sid, &self.auth_token, raw)
    }

    fn write_page(&self, page: &Page) -> Option<Document> {
        match twiml::fetched(page) {
            Ok(body) => Some(Document {
                content_type: "text/xml; charset=utf-8",
                body,
            }),
            Err(error) => {
                tracing::error!(%error, "a page cannot be written as TwiML");
                None
            }
        }
    }
}
