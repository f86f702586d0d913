//! SansPBX (San Softwares' hosted exchange). **Experimental**: its vendor publishes no specification;
//! what is here is what independent integrations agree on, and it is strict where they do not.
//!
//! * [`dial`]: the only code that can make a telephone ring; [`number`] writes the numbers it sends,
//!   [`token`] gets the session token, [`error`] judges what comes back.
//! * [`hang_up`]: ends a call. [`callback`]: the one report, after the call.
//!
//! It cannot be asked about calls, lists none, has no idempotency key, and is told neither how long to
//! ring nor how long to talk; so an unclear answer stays unclear until its callback comes or the
//! longest call is over, and counts as a call.
//!
//! Deliberately absent: the campaign's flow and machine detection (what a person hears is the
//! application that `app_id` names at the exchange), recordings, and addresses seen in one integration
//! only.

mod callback;
mod dial;
mod error;
mod hang_up;
mod number;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dialfleet_domain::call::{Ending, RefusalClass};
use dialfleet_domain::id::{CarrierCallId, CarrierId};
use dialfleet_domain::phone::E164;
use dialfleet_domain::routing::Feature;
use dialfleet_engine::port::carrier::{
    CallRecord, CallbackNews, CallbackRefused, Capabilities, Carrier, CarrierError, CarrierProfile,
    CommandStyle, DialAnswer, DialRequest, RawCallback,
};
use reqwest::header::HeaderValue;
use thiserror::Error;
use url::Url;

use self::callback::Reader;
use self::dial::{Dialer, Plan};
use self::error::Judge;
use self::hang_up::Ender;
pub use self::number::BadFormat;
use self::number::NumberFormat;
use self::token::{Ages, Tokens};
use super::Secret;
use super::client::{self, Purpose};
use super::scrub::Scrub;
pub use super::source::BadNetwork;
use super::source::Sources;

/// The name of this kind in carriers.toml.
pub const KIND: &str = "sanspbx";
/// How most integrations write the number to call.
pub const TO_FORMAT: &str = "0{national}";
/// How the caller id is written unless configured otherwise.
pub const FROM_FORMAT: &str = "{national}";
/// The calling code of the exchange's country unless configured otherwise.
pub const COUNTRY_CODE: &str = "91";
/// How long a call may live there unless configured otherwise.
pub const LONGEST_CALL: Duration = Duration::from_secs(3_600);

/// A SansPBX account as configured.
#[derive(Debug, Clone)]
pub struct SansPbxConfig {
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
    /// `https://<tenant's host>/pbxadmin/sanpbxapi`: every account has its own.
    pub base_url: String,
    /// The static key, sent as the header `Accesstoken`.
    pub access_token: Secret,
    /// The key in the body of `gentoken`.
    pub access_key: Secret,
    /// User and password, for accounts that want them besides.
    pub basic: Option<(String, Secret)>,
    /// The application at the exchange that talks to whoever answers.
    pub app_id: u32,
    /// How the number to call is written, such as [`TO_FORMAT`].
    pub to_format: String,
    /// How the caller id is written, such as [`FROM_FORMAT`].
    pub from_format: String,
    /// Calling code of the country in which numbers without one are dialed, digits only.
    pub country_code: String,
    /// The longest the exchange lets a call live, from the request to its end.
    pub longest_call: Duration,
    /// Networks from which callbacks come.
    pub callback_sources: Vec<String>,
    /// Networks of the proxies before us whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// What the exchange says besides what we know when it refuses a call: a part of its sentence, and
    /// what to do. A call that may have been placed must not be in it.
    pub refusals: BTreeMap<String, RefusalClass>,
    /// Words for the end of a call besides those we know.
    pub dispositions: BTreeMap<String, Ending>,
}

/// Why a SansPBX carrier cannot be set up.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The base URL is not an HTTP address.
    #[error(
        "base_url must be https://host/path or, for a simulator, http://host/path, without a query"
    )]
    BaseUrl,
    /// A key is empty, or cannot be sent.
    #[error(
        "access_token, access_key, and both of api_user and api_password if there is one, must not be empty or have control characters"
    )]
    Credentials,
    /// The pace is not a rate.
    #[error("cps must be a number above 0")]
    Cps,
    /// A number format is not one.
    #[error("number_format or caller_id_format: {0}")]
    Format(#[from] BadFormat),
    /// The calling code is not one.
    #[error("country_code must be the 1 to 3 digits of a country's calling code, such as 91")]
    CountryCode,
    /// A caller id cannot be written for the exchange.
    #[error(
        "{0} of caller_ids is not of country_code's country, and caller_id_format leaves the country out"
    )]
    CallerId(E164),
    /// A network is not one.
    #[error("callback_sources or trusted_proxies: {0}")]
    Network(#[from] BadNetwork),
    /// Nobody may call back.
    #[error(
        "callback_sources must name the networks from which the exchange calls back: its callbacks are not signed"
    )]
    NoSources,
    /// No call fits.
    #[error("max_call_s must be 60 to 86400")]
    LongestCall,
    /// No HTTP client; in a container this mostly means that CA certificates are missing.
    #[error("cannot build the HTTP client (are the system's CA certificates installed?)")]
    Client(#[source] reqwest::Error),
}

/// How long things may take, and whom to trust.
#[derive(Debug, Clone, Copy)]
struct Tuning {
    connect: Duration,
    /// A session token, when a call waits for one.
    token: Duration,
    /// Token and call together.
    dial: Duration,
    /// Ending a call, and a token otherwise.
    other: Duration,
    ages: Ages,
    /// `None`: for https addresses only.
    system_roots: Option<bool>,
}

impl Default for Tuning {
    /// The dial's total is what the engine counts on: nothing leaves later than 6 s after it asked.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            token: Duration::from_secs(2),
            dial: Duration::from_secs(6),
            other: Duration::from_secs(5),
            ages: Ages::default(),
            system_roots: None,
        }
    }
}

/// A SansPBX account.
pub struct SansPbx {
    profile: CarrierProfile,
    tokens: Tokens,
    dialer: Dialer,
    ender: Ender,
    reader: Reader,
}

impl SansPbx {
    /// Sets the carrier up; nothing is sent.
    ///
    /// # Errors
    /// The configuration is at fault, or no HTTP client can be built.
    pub fn new(config: SansPbxConfig) -> Result<Self, BuildError> {
        Self::tuned(config, Tuning::default())
    }

    fn tuned(config: SansPbxConfig, tuning: Tuning) -> Result<Self, BuildError> {
        let base = client::base_url(&config.base_url).ok_or(BuildError::BaseUrl)?;
        if !(config.cps.is_finite() && config.cps > 0.0) {
            return Err(BuildError::Cps);
        }
        if !(60..=86_400).contains(&config.longest_call.as_secs()) {
            return Err(BuildError::LongestCall);
        }
        let plan = plan(&config)?;
        let sources = Sources::new(&config.callback_sources, &config.trusted_proxies)?;
        if sources.is_empty() {
            return Err(BuildError::NoSources);
        }
        let keys = Keys::of(&config).ok_or(BuildError::Credentials)?;
        let scrub = Scrub::new(
            [&config.access_token, &config.access_key]
                .into_iter()
                .chain(config.basic.as_ref().map(|(_, password)| password))
                .cloned(),
        );
        let judge = Judge::new(&config.refusals);
        let system_roots = tuning.system_roots.unwrap_or(base.scheme() == "https");
        let purpose = |total, authorization| Purpose {
            connect: tuning.connect,
            total,
            authorization,
            system_roots,
        };
        let at = |name: &str| {
            let mut url: Url = base.clone();
            client::push(&mut url, &[name]);
            url
        };
        let tokens = Tokens::new(
            &purpose(tuning.other, keys.basic),
            at("gentoken"),
            keys.access_token,
            &config.access_key,
            scrub.clone(),
            tuning.ages,
        );
        let dialer = Dialer::new(
            &purpose(tuning.dial, None),
            tuning.token,
            at("dialcall"),
            plan,
            judge.clone(),
            scrub.clone(),
        );
        let ender = Ender::new(
            &purpose(tuning.other, None),
            at("calldisconnect"),
            judge,
            scrub,
        );
        Ok(Self {
            profile: CarrierProfile {
                id: config.id,
                kind: KIND,
                cps: config.cps,
                channels: config.channels,
                caller_ids: config.caller_ids,
                weight: config.weight,
                capabilities: Capabilities {
                    pollable: false,
                    ringing_event: false,
                    longest_call: Some(config.longest_call),
                    signed_callbacks: false,
                    commands: CommandStyle::Document,
                    // Nobody says so; it is for proofs by asking, and this carrier cannot be asked.
                    queue_bound: Duration::ZERO,
                    // What is said, or which program gets the audio, is configured there.
                    cannot: &[
                        Feature::AsyncAmd,
                        Feature::SyncAmd,
                        Feature::Play,
                        Feature::Gather,
                        Feature::Record,
                        Feature::Transfer,
                    ],
                },
            },
            tokens: tokens.map_err(BuildError::Client)?,
            dialer: dialer.map_err(BuildError::Client)?,
            ender: ender.map_err(BuildError::Client)?,
            reader: Reader::new(sources, &config.dispositions),
        })
    }
}

fn plan(config: &SansPbxConfig) -> Result<Plan, BuildError> {
    let code = config.country_code.as_str();
    if !(1..=3).contains(&code.len()) || !code.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BuildError::CountryCode);
    }
    let plan = Plan {
        app_id: config.app_id,
        to: NumberFormat::parse(&config.to_format, code)?,
        from: NumberFormat::parse(&config.from_format, code)?,
    };
    for number in &config.caller_ids {
        plan.from
            .write(number)
            .map_err(|_| BuildError::CallerId(number.clone()))?;
    }
    Ok(plan)
}

/// What goes into headers.
struct Keys {
    access_token: HeaderValue,
    basic: Option<HeaderValue>,
}

impl Keys {
    fn of(config: &SansPbxConfig) -> Option<Self> {
        if config.access_token.is_empty() || config.access_key.is_empty() {
            return None;
        }
        let basic = match &config.basic {
            None => None,
            Some((user, password)) if user.is_empty() || password.is_empty() => return None,
            Some((user, password)) => {
                let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
                Some(HeaderValue::try_from(format!("Basic {pair}")).ok()?)
            }
        };
        let mut access_token = HeaderValue::try_from(config.access_token.expose()).ok()?;
        access_token.set_sensitive(true);
        Some(Self {
            access_token,
            basic,
        })
    }
}

#[async_trait]
impl Carrier for SansPbx {
    fn profile(&self) -> &CarrierProfile {
        &self.profile
    }

    async fn prepare(&self) {
        self.dialer.prepare(&self.tokens).await;
    }

    async fn dial(&self, request: &DialRequest) -> DialAnswer {
        self.dialer.dial(&self.tokens, request).await
    }

    async fn hang_up(&self, call: &CarrierCallId) -> Result<(), CarrierError> {
        self.ender.hang_up(&self.tokens, call).await
    }

    async fn look(&self, _: &CarrierCallId) -> Result<CallRecord, CarrierError> {
        Err(CarrierError::Unsupported)
    }

    async fn find(&self, _: &E164, _: &E164) -> Result<Vec<CallRecord>, CarrierError> {
        Err(CarrierError::Unsupported)
    }

    async fn live(&self) -> Result<Vec<CallRecord>, CarrierError> {
        Err(CarrierError::Unsupported)
    }

    fn read_callback(&self, raw: &RawCallback) -> Result<CallbackNews, CallbackRefused> {
        self.reader.read(raw)
    }
}
