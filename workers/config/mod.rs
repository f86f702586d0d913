//! What a process is told from outside. The only reader of the environment; every error names its
//! variable, and all errors are said at once.

pub(crate) mod carriers;
mod media;
mod source;

use std::path::PathBuf;

use dialfleet_adapters::carrier::Secret;
use dialfleet_runtime::telemetry::{Format, TelemetryConfig};

pub(crate) use carriers::{CarrierConfig, Vendor};
pub(crate) use media::MediaConfig;
pub(crate) use source::{Environment, Source};

/// The port unless `PORT` says otherwise.
pub(crate) const DEFAULT_PORT: u16 = 8080;

/// The configuration of a process.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// `MONGODB_URI`: the store; absent means the embedded one.
    pub(crate) mongodb_uri: Option<Secret>,
    /// `AMQP_URL`: the broker; absent means the in-process queue.
    pub(crate) amqp_url: Option<Secret>,
    /// `DIALFLEET_QUEUE_PREFIX`: before every queue's name, so that several fleets share a broker.
    pub(crate) queue_prefix: String,
    /// `PUBLIC_URL`: what carriers call back, without a slash at the end.
    pub(crate) public_url: Option<String>,
    /// `PORT`: where HTTP listens.
    pub(crate) port: u16,
    /// `DIALFLEET_API_KEY`: the bootstrap key.
    pub(crate) api_key: Option<Secret>,
    /// `DIALFLEET_CARRIERS`: path of carriers.toml.
    pub(crate) carriers_file: Option<PathBuf>,
    /// `DIALFLEET_RULES`: folder of legal rules.
    pub(crate) rules: Option<PathBuf>,
    /// `MEDIA_…`: recordings.
    pub(crate) media: MediaConfig,
}

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// A sentence for each variable that is wrong, together.
    pub(crate) fn read(source: &dyn Source) -> anyhow::Result<Self> {
        let mut wrong = Vec::new();
        let mut note = |result: Result<Option<String>, String>| {
            result.unwrap_or_else(|why| {
                wrong.push(why);
                None
            })
        };
        let mongodb_uri = note(url(
            source,
            "MONGODB_URI",
            &["mongodb://", "mongodb+srv://"],
        ));
        let amqp_url = note(url(source, "AMQP_URL", &["amqp://", "amqps://"]));
        let public_url = note(url(source, "PUBLIC_URL", &["http://", "https://"]));
        let api_key = note(source.secret("DIALFLEET_API_KEY"));
        let port = source.get("PORT");
        if api_key.as_ref().is_some_and(|key| key.len() < 16) {
            wrong.push("DIALFLEET_API_KEY needs at least 16 characters".to_owned());
        }
        let port = match port.as_deref().map(str::parse) {
            None => DEFAULT_PORT,
            Some(Ok(port)) => port,
            Some(Err(_)) => {
                wrong.push("PORT must be a number from 0 to 65535".to_owned());
                DEFAULT_PORT
            }
        };
        let media = MediaConfig::read(source, &mut wrong);
        if !wrong.is_empty() {
            anyhow::bail!("the environment is not usable:\n  {}", wrong.join("\n  "));
        }
        Ok(Self {
            mongodb_uri: mongodb_uri.as_deref().map(Secret::new),
            queue_prefix: source.get("DIALFLEET_QUEUE_PREFIX").unwrap_or_default(),
            amqp_url: amqp_url.as_deref().map(Secret::new),
            public_url: public_url.map(|url| url.trim_end_matches('/').to_owned()),
            port,
            api_key: api_key.as_deref().map(Secret::new),
            carriers_file: source.get("DIALFLEET_CARRIERS").map(PathBuf::from),
            rules: source.get("DIALFLEET_RULES").map(PathBuf::from),
            media,
        })
    }

    /// The configured carriers.
    ///
    /// # Errors
    /// The file cannot be read, or a carrier in it is wrong.
    pub(crate) fn carriers(&self, source: &dyn Source) -> anyhow::Result<Vec<CarrierConfig>> {
        let Some(path) = &self.carriers_file else {
            anyhow::bail!(
                "DIALFLEET_CARRIERS is not set: it names the file with the carrier accounts (see .env.example)"
            );
        };
        carriers::read(path, source)
    }
}

fn url(source: &dyn Source, name: &str, schemes: &[&str]) -> Result<Option<String>, String> {
    match source.secret(name)? {
        Some(url) if !schemes.iter().any(|s| url.starts_with(s)) => {
            Err(format!("{name} must begin with {}", schemes.join(" or ")))
        }
        other => Ok(other),
    }
}

/// What telemetry is told: `RUST_LOG`, `DIALFLEET_LOG_FORMAT`, `OTEL_EXPORTER_OTLP_ENDPOINT`.
pub(crate) fn telemetry(source: &dyn Source, quiet: bool) -> TelemetryConfig {
    let json = source.get("DIALFLEET_LOG_FORMAT").is_some_and(|f| f == "json")
        // Cloud Run sets one of these; its log collector reads JSON.
        || source.get("K_SERVICE").is_some()
        || source.get("CLOUD_RUN_WORKER_POOL").is_some();
    TelemetryConfig {
        format: if json { Format::Json } else { Format::Pretty },
        filter: source.get("RUST_LOG").unwrap_or_else(|| {
            if quiet {
                "warn".to_owned()
            } else {
                String::new()
            }
        }),
        otlp_endpoint: source.get("OTEL_EXPORTER_OTLP_ENDPOINT"),
        service: "dialfleet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn source(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn all_errors_at_once_each_with_its_variable() {
        let env = source(&[
            ("MONGODB_URI", "localhost"),
            ("PORT", "x"),
            ("DIALFLEET_API_KEY", "short"),
        ]);
        let error = Config::read(&env)
            .expect_err("three things are wrong")
            .to_string();
        for name in ["MONGODB_URI", "PORT", "DIALFLEET_API_KEY"] {
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn defaults_are_the_embedded_ones() {
        let config = Config::read(&source(&[("PUBLIC_URL", "https://x.example/")])).expect("valid");
        assert!(config.mongodb_uri.is_none() && config.amqp_url.is_none());
        assert_eq!(
            (config.port, config.public_url.as_deref()),
            (DEFAULT_PORT, Some("https://x.example"))
        );
    }

    #[test]
    fn every_variable_is_in_the_example_file() {
        let example = include_str!("../../.env.example");
        for name in [
            "AMQP_URL",
            "MONGODB_URI",
            "PUBLIC_URL",
            "PORT",
            "DIALFLEET_CARRIERS",
            "DIALFLEET_API_KEY",
            "DIALFLEET_RULES",
            "RUST_LOG",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "DIALFLEET_LOG_FORMAT",
            "DIALFLEET_QUEUE_PREFIX",
            "DIALFLEET_URL",
            "MEDIA_URL",
            "MEDIA_KEYS",
            "MEDIA_MAX_MB",
            "MEDIA_S3_ENDPOINT",
            "MEDIA_S3_REGION",
            "MEDIA_S3_KEY_ID",
            "MEDIA_S3_SECRET",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "TRANSCRIBER",
            "GOOGLE_SPEECH_PROJECT",
            "GOOGLE_SPEECH_LOCATION",
            "GOOGLE_SPEECH_MODEL",
            "GOOGLE_SPEECH_BUCKET",
            "GOOGLE_SPEECH_URL",
            "GOOGLE_STORAGE_URL",
            "GOOGLE_METADATA_URL",
        ] {
            assert!(example.contains(name), "{name} is not in .env.example");
        }
    }
}
