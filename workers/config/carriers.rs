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
//! ```

use std::path::Path;

use anyhow::{Context, bail, ensure};
use dialfleet_adapters::carrier::Secret;
use dialfleet_adapters::carrier::twilio::{BASE_URL, TwilioConfig};
use dialfleet_domain::id::CarrierId;
use dialfleet_domain::phone::E164;
use serde::Deserialize;

use super::Source;

/// One carrier account, ready to be built.
#[derive(Debug, Clone)]
pub(crate) enum CarrierConfig {
    /// Twilio Programmable Voice, or anything that speaks its API.
    Twilio(TwilioConfig),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    carrier: Vec<Entry>,
}

/// A value, or the variable that holds it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value<T> {
    Plain(T),
    Env { env: String },
}

impl Value<String> {
    fn text(&self, source: &dyn Source) -> anyhow::Result<String> {
        match self {
            Self::Plain(text) => Ok(text.clone()),
            Self::Env { env } => {
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
    /// Kept for cost routing; nothing reads it yet.
    rates: Option<toml::Value>,
    account_sid: Option<Value<String>>,
    auth_token: Option<Value<String>>,
    api_key: Option<Value<String>>,
    api_secret: Option<Value<String>>,
}

/// Reads the file.
///
/// # Errors
/// The file cannot be read, or a carrier in it is wrong; says which and why.
pub(crate) fn read(path: &Path, source: &dyn Source) -> anyhow::Result<Vec<CarrierConfig>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    parse(&text, source).with_context(|| format!("{} is not usable", path.display()))
}

fn parse(text: &str, source: &dyn Source) -> anyhow::Result<Vec<CarrierConfig>> {
    let file: File = toml::from_str(text)?;
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
        carriers.push(carrier(entry, source).with_context(|| format!("carrier \"{id}\""))?);
    }
    Ok(carriers)
}

fn carrier(entry: Entry, source: &dyn Source) -> anyhow::Result<CarrierConfig> {
    // It is a path segment of the callback address.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure!(
        !entry.id.is_empty() && entry.id.chars().all(plain),
        "id may have letters, digits, - and _ only"
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
        entry.channels.is_none_or(|c| c > 0),
        "channels must be at least 1"
    );
    if entry.rates.is_some() {
        tracing::warn!(carrier = %entry.id, "rates are not used by this version: carriers are tried in order");
    }
    if entry.channels.is_some() {
        tracing::warn!(carrier = %entry.id, "channels is not enforced by this version: keep the campaigns' limits below it");
    }
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
            let need = |value: &Option<Value<String>>, name: &str| {
                value
                    .as_ref()
                    .with_context(|| format!("{name} is missing"))?
                    .text(source)
            };
            let api_key = match (&entry.api_key, &entry.api_secret) {
                (Some(key), Some(secret)) => {
                    Some((key.text(source)?, Secret::new(&secret.text(source)?)))
                }
                (None, None) => None,
                _ => bail!("api_key and api_secret belong together"),
            };
            Ok(CarrierConfig::Twilio(TwilioConfig {
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
        "telnyx" | "sanspbx" => bail!(
            "kind \"{}\" is not supported by this version; \"twilio\" is",
            entry.kind
        ),
        other => bail!("kind \"{other}\" is not known; \"twilio\" is"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const GOOD: &str = r#"
[[carrier]]
id = "t1"
kind = "twilio"
account_sid = "AC1"
auth_token = { env = "TOKEN" }
cps = 2.5
caller_ids = ["+442079460000"]
"#;

    #[test]
    fn a_good_file_and_what_can_be_wrong_with_it() {
        let env = BTreeMap::from([("TOKEN".to_owned(), "hunter2".to_owned())]);
        let carriers = parse(GOOD, &env).expect("good");
        let CarrierConfig::Twilio(twilio) = &carriers[0];
        assert_eq!(
            (twilio.auth_token.expose(), twilio.base_url.as_str()),
            ("hunter2", BASE_URL)
        );
        let cases = [
            (GOOD.replace("TOKEN", "NOPE"), "NOPE"),
            (GOOD.replace("twilio", "pigeon"), "pigeon"),
            (GOOD.replace("cps = 2.5", "cps = 0"), "cps"),
            (GOOD.replace("+442079460000", "12"), "caller id"),
            (GOOD.replace("account_sid = \"AC1\"\n", ""), "account_sid"),
            (GOOD.replace("\"t1\"", "\"t/1\""), "id may have"),
            (format!("{GOOD}{GOOD}"), "two carriers"),
            (format!("{GOOD}surprise = 1\n"), "surprise"),
            (String::new(), "no [[carrier]]"),
        ];
        for (text, needle) in cases {
            let error = format!("{:#}", parse(&text, &env).expect_err(needle));
            assert!(error.contains(needle), "{needle}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
