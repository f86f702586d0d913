//! carriers.toml: the carrier accounts.
//!
//! ```toml
//! [[carrier]]
//! id = "twilio-main"
//! kind = "twilio"
//! account_sid = "AC…"
//! auth_token = { env = "TWILIO_AUTH_TOKEN" }
//! cps = 1
//! caller_ids = ["+442079460000"]
//! rates = "twilio.csv"
//! ```

mod rates;
mod sanspbx;
mod telnyx;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use dialfleet_adapters::carrier::Secret;
use dialfleet_adapters::carrier::sanspbx::SansPbxConfig;
use dialfleet_adapters::carrier::telnyx::TelnyxConfig;
use dialfleet_adapters::carrier::twilio::{BASE_URL, TwilioConfig};
use dialfleet_domain::call::{Ending, RefusalClass};
use dialfleet_domain::id::CarrierId;
use dialfleet_domain::phone::E164;
use dialfleet_domain::rates::RateDeck;
use dialfleet_domain::tariff::FeesDraft;
use serde::Deserialize;

use super::Source;

/// One carrier account, and what it charges.
#[derive(Debug, Clone)]
pub(crate) struct CarrierConfig {
    /// Whose it is, and how it is reached.
    pub(crate) vendor: Vendor,
    /// Its prices; absent when the file has none.
    pub(crate) deck: Option<Arc<RateDeck>>,
}

/// One carrier account, ready to be built.
#[derive(Debug, Clone)]
pub(crate) enum Vendor {
    /// Twilio Programmable Voice, or anything that speaks its API.
    Twilio(TwilioConfig),
    /// Telnyx Call Control v2.
    Telnyx(TelnyxConfig),
    /// SansPBX; experimental.
    SansPbx(SansPbxConfig),
}

impl CarrierConfig {
    /// The carrier's id.
    pub(crate) fn id(&self) -> &CarrierId {
        match &self.vendor {
            Vendor::Twilio(config) => &config.id,
            Vendor::Telnyx(config) => &config.id,
            Vendor::SansPbx(config) => &config.id,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    carrier: Vec<Entry>,
}

/// A value, or the variable that holds it.
#[derive(Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a text, or { env = \"NAME\" }"
)]
enum Value<T> {
    Plain(T),
    Env { env: String },
}

impl Value<String> {
    fn text(&self, source: &dyn Source) -> anyhow::Result<String> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Env { env } => {
                // Whoever writes the secret where the name belongs shall not find it in a log.
                let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
                if env.is_empty() || env.len() > 100 || !env.chars().all(plain) {
                    bail!("env must be the name of a variable: capitals, digits and _");
                }
                let value = source.secret(env).map_err(anyhow::Error::msg)?;
                value.with_context(|| format!("the variable {env} is not set"))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    kind: String,
    base_url: Option<Value<String>>,
    cps: f64,
    channels: Option<u32>,
    caller_ids: Vec<Value<String>>,
    weight: Option<u32>,
    rates: Option<rates::Rates>,
    fees: Option<FeesDraft>,
    account_sid: Option<Value<String>>,
    auth_token: Option<Value<String>>,
    api_key: Option<Value<String>>,
    api_secret: Option<Value<String>>,
    // Telnyx, besides `api_key`
    connection_id: Option<Value<String>>,
    public_key: Option<Value<String>>,
    // SansPBX
    access_token: Option<Value<String>>,
    access_key: Option<Value<String>>,
    api_user: Option<Value<String>>,
    api_password: Option<Value<String>>,
    app_id: Option<u32>,
    number_format: Option<String>,
    caller_id_format: Option<String>,
    country_code: Option<String>,
    max_call_s: Option<u64>,
    callback_sources: Option<Vec<String>>,
    trusted_proxies: Option<Vec<String>>,
    refusals: Option<BTreeMap<String, RefusalClass>>,
    dispositions: Option<BTreeMap<String, Ending>>,
}

fn need(value: Option<&Value<String>>, name: &str, source: &dyn Source) -> anyhow::Result<String> {
    value
        .with_context(|| format!("{name} is missing"))?
        .text(source)
}

/// Reads the file.
///
/// # Errors
/// The file cannot be read, or a carrier in it is wrong; says which and why.
pub(crate) fn read(path: &Path, source: &dyn Source) -> anyhow::Result<Vec<CarrierConfig>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text, folder, source).with_context(|| format!("{} is not usable", path.display()))
}

/// `folder` is where the paths in it begin.
fn parse(text: &str, folder: &Path, source: &dyn Source) -> anyhow::Result<Vec<CarrierConfig>> {
    let file: File = toml::from_str(text).map_err(|error| without_values(text, &error))?;
    ensure!(!file.carrier.is_empty(), "there is no [[carrier]] in it");
    let mut ids = std::collections::BTreeSet::new();
    let mut carriers = Vec::new();
    for entry in file.carrier {
        ensure!(
            ids.insert(entry.id.clone()),
            "two carriers are called \"{}\"",
            entry.id
        );
        let id = entry.id.clone();
        let carrier = carrier(entry, folder, source);
        carriers.push(carrier.with_context(|| format!("carrier \"{id}\""))?);
    }
    Ok(carriers)
}

/// What is wrong, and where. The library would show the line itself and the value in it, which may be
/// a token.
fn without_values(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let message = error.message();
    let begins = ["invalid type: string ", "invalid value: string "];
    let message = match message.rfind(", expected ") {
        Some(end) if begins.iter().any(|b| message.starts_with(b)) => {
            format!("a text is not right here{}", &message[end..])
        }
        _ => message.to_owned(),
    };
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return anyhow::anyhow!(message);
    };
    let n = before.matches('\n').count();
    let line = text.split('\n').nth(n).unwrap_or_default();
    let is_key = |key: &&str| key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    match line
        .split_once('=')
        .map(|(key, _)| key.trim())
        .filter(is_key)
    {
        Some(key) => anyhow::anyhow!("line {}, {key}: {message}", n + 1),
        None => anyhow::anyhow!("line {}: {message}", n + 1),
    }
}

fn carrier(mut entry: Entry, folder: &Path, source: &dyn Source) -> anyhow::Result<CarrierConfig> {
    let (rates, fees) = (entry.rates.take(), entry.fees.take());
    Ok(CarrierConfig {
        vendor: vendor(entry, source)?,
        deck: rates::read(rates, fees, folder)?,
    })
}

fn vendor(entry: Entry, source: &dyn Source) -> anyhow::Result<Vendor> {
    // It is a path segment of the callback address.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        (1..=64).contains(&entry.id.len()) && entry.id.chars().all(plain),
        "id may have letters, digits, - and _ only, 64 at most"
    );
    ensure!(
        entry.cps > 0.0 && entry.cps <= 1_000.0,
        "cps must be above 0 and at most 1000"
    );
    ensure!(
        entry.weight.is_none_or(|w| (1..=1_000).contains(&w)),
        "weight must be 1 to 1000"
    );
    ensure!(
        entry.channels.is_none_or(|c| (1..=10_000).contains(&c)),
        "channels must be 1 to 10000"
    );
    let mut caller_ids = Vec::new();
    for number in &entry.caller_ids {
        let text = number.text(source)?;
        caller_ids
            .push(E164::parse(&text, None).with_context(|| "a caller id is not a valid number")?);
    }
    ensure!(
        !caller_ids.is_empty(),
        "caller_ids needs at least one number"
    );
    match entry.kind.as_str() {
        "twilio" => {
            let need = |value: &Option<Value<String>>, name| need(value.as_ref(), name, source);
            let api_key = match (&entry.api_key, &entry.api_secret) {
                (Some(key), Some(secret)) => {
                    Some((key.text(source)?, Secret::new(&secret.text(source)?)))
                }
                (None, None) => None,
                _ => bail!("api_key and api_secret belong together"),
            };
            Ok(Vendor::Twilio(TwilioConfig {
                id: CarrierId::parse(entry.id.clone())?,
                cps: entry.cps,
                channels: entry.channels,
                caller_ids,
                weight: entry.weight.unwrap_or(1),
                account_sid: need(&entry.account_sid, "account_sid")?,
                auth_token: Secret::new(&need(&entry.auth_token, "auth_token")?),
                api_key,
                base_url: match &entry.base_url {
                    Some(url) => url.text(source)?.trim_end_matches('/').to_owned(),
                    None => BASE_URL.to_owned(),
                },
            }))
        }
        "sanspbx" => Ok(Vendor::SansPbx(sanspbx::read(entry, caller_ids, source)?)),
        "telnyx" => Ok(Vendor::Telnyx(telnyx::read(entry, caller_ids, source)?)),
        other => bail!("kind \"{other}\" is not known; \"twilio\", \"telnyx\" and \"sanspbx\" are"),
    }
}

#[cfg(test)]
#[path = "carriers_tests.rs"]
mod tests;
