//! Google Cloud Speech-to-Text, version 2.
//!
//! Short sound is sent with the question and answered at once. Longer sound must lie in a bucket of
//! Google's: it is put there for as long as it takes ([`GoogleConfig::bucket`]; a lifecycle rule of a
//! day on it clears up after a process that died), and the answer comes as an operation that is asked
//! after. [`auth`] gets the tokens, [`answer`] reads what was heard.

mod answer;
mod auth;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use dialfleet_engine::port::Clock;
use dialfleet_engine::port::media::{Heard, MediaError, Speech, TranscribeError, Transcriber};
use futures_util::TryStreamExt;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use thiserror::Error;

use self::answer::{Operation, Recognized};
use self::auth::Tokens;
use crate::carrier::Secret;

/// Where Google is.
const SPEECH: &str = "speech.googleapis.com";
const STORAGE: &str = "https://storage.googleapis.com";
/// The metadata server of Google's own machines.
pub const METADATA: &str = "http://metadata.google.internal";
/// Bytes that may go with the question: 10 MB in Base64.
const MOST_INLINE: u64 = 7_000_000;
/// A minute is the most; nobody knows how exactly a carrier measures.
const LONGEST_INLINE_MS: u64 = 55_000;
/// Bytes of a second of plain telephone sound: a guess where nobody says how long it is.
const BYTES_A_SECOND: u64 = 16_000;
/// Bytes of an answer.
const MAX_ANSWER: usize = 32 * 1024 * 1024;
/// Characters of Google's own sentence that are kept.
const MAX_SAID: usize = 200;
/// What is put into the bucket.
const FOLDER: &str = "dialfleet-speech";
/// Parts an operation's name from the object that belongs to it: in neither of them.
const AND: char = '#';

/// How it is reached.
#[derive(Debug, Clone)]
pub struct GoogleConfig {
    /// The text of a service account's key file; without it, the machine's own account.
    pub credentials: Option<Secret>,
    /// The project; absent means that of the service account.
    pub project: Option<String>,
    /// Where it is done, such as `eu`; `global` by default.
    pub location: String,
    /// Which model, such as `long` or `telephony`.
    pub model: String,
    /// The bucket for long sound; without one it is refused.
    pub bucket: Option<String>,
    /// Where Google is instead: a test's.
    pub speech_url: Option<String>,
    /// Where its storage is instead.
    pub storage_url: Option<String>,
    /// Where the metadata server is: [`METADATA`].
    pub metadata_url: String,
}

/// Why it cannot be used.
#[derive(Debug, Error)]
pub enum GoogleError {
    /// The key file is not one.
    #[error(
        "the Google credentials are not a service account's key file (JSON with client_email and private_key)"
    )]
    Credentials,
    /// Nobody says whose project it is.
    #[error("GOOGLE_SPEECH_PROJECT is not set, and the credentials name no project")]
    Project,
    /// No HTTP client; in a container this mostly means that CA certificates are missing.
    #[error("cannot build the HTTP client (are the system's CA certificates installed?)")]
    Client(#[source] reqwest::Error),
}

/// The transcriber.
pub struct Google {
    http: Client,
    tokens: Tokens,
    /// `…/v2/`.
    api: String,
    /// `projects/…/locations/…/recognizers/_`.
    recognizer: String,
    storage: String,
    bucket: Option<String>,
    model: String,
}

impl Google {
    /// Sets it up; nothing is sent. The clock dates what is signed.
    ///
    /// # Errors
    /// See [`GoogleError`].
    pub fn new(config: GoogleConfig, clock: Arc<dyn Clock>) -> Result<Self, GoogleError> {
        let location = &config.location;
        let api = config
            .speech_url
            .unwrap_or_else(|| match location.as_str() {
                "global" => format!("https://{SPEECH}"),
                place => format!("https://{place}-{SPEECH}"),
            });
        let storage = config.storage_url.unwrap_or_else(|| STORAGE.to_owned());
        let all_plain = api.starts_with("http://") && storage.starts_with("http://");
        let http = client(all_plain).map_err(GoogleError::Client)?;
        let account = config.credentials.as_ref();
        let account = account
            .map(|text| auth::Account::read(text.expose()).ok_or(GoogleError::Credentials))
            .transpose()?;
        let own = account.as_ref().and_then(|a| a.project_id.clone());
        let project = config.project.or(own).ok_or(GoogleError::Project)?;
        Ok(Self {
            tokens: Tokens::new(http.clone(), account, config.metadata_url, clock),
            http,
            api: format!("{}/v2/", api.trim_end_matches('/')),
            recognizer: format!("projects/{project}/locations/{location}/recognizers/_"),
            storage: storage.trim_end_matches('/').to_owned(),
            bucket: config.bucket,
            model: config.model,
        })
    }

    fn config(&self, speech: &Speech) -> Value {
        let mut features = json!({
            "enableWordTimeOffsets": true,
            "enableAutomaticPunctuation": true,
        });
        if speech.channels > 1 {
            features["multiChannelMode"] = json!("SEPARATE_RECOGNITION_PER_CHANNEL");
        }
        json!({
            "autoDecodingConfig": {},
            "languageCodes": [speech.language],
            "model": self.model,
            "features": features,
        })
    }

    async fn at_once(&self, speech: Speech) -> Result<Heard, TranscribeError> {
        let config = self.config(&speech);
        let sound = speech
            .body
            .try_fold(BytesMut::new(), async |mut all, chunk| {
                all.extend_from_slice(&chunk);
                Ok(all)
            });
        let sound = sound.await.map_err(|error| unread(&error))?;
        let body = json!({ "config": config, "content": STANDARD.encode(&sound) });
        let url = format!("{}{}:recognize", self.api, self.recognizer);
        let answer = self.send(self.http.post(url).json(&body)).await?;
        Ok(Heard::All(read::<Recognized>(&answer)?.turns()))
    }

    async fn batch(&self, speech: Speech) -> Result<Heard, TranscribeError> {
        let Some(bucket) = &self.bucket else {
            let why = "it is longer than a minute, and GOOGLE_SPEECH_BUCKET is not set";
            return Err(TranscribeError::Refused(why.to_owned()));
        };
        let config = self.config(&speech);
        let object = format!("{FOLDER}/{}", speech.name);
        let put = self
            .http
            .post(format!("{}/upload/storage/v1/b/{bucket}/o", self.storage))
            .query(&[("uploadType", "media"), ("name", &object)])
            .header(CONTENT_TYPE, &speech.content_type)
            .header(reqwest::header::CONTENT_LENGTH, speech.bytes)
            .body(reqwest::Body::wrap_stream(speech.body));
        self.send(put).await?;
        let body = json!({
            "config": config,
            "files": [{ "uri": format!("gs://{bucket}/{object}") }],
            "recognitionOutputConfig": { "inlineResponseConfig": {} },
        });
        let url = format!("{}{}:batchRecognize", self.api, self.recognizer);
        let answer = self.send(self.http.post(url).json(&body)).await?;
        let operation: Operation = read(&answer)?;
        Ok(Heard::Later(format!("{}{AND}{object}", operation.name)))
    }

    /// Deletes what was put there for an operation. The bucket's own rule does it otherwise.
    async fn clear(&self, object: &str) {
        let Some(bucket) = &self.bucket else { return };
        let object = object.replace('/', "%2F");
        let url = format!("{}/storage/v1/b/{bucket}/o/{object}", self.storage);
        if let Err(error) = self.send(self.http.delete(url)).await {
            tracing::debug!(%error, "sound that was written down is still in Google's bucket");
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, TranscribeError> {
        let token = self.tokens.get().await?;
        let answer = request.bearer_auth(token.expose()).send().await;
        let mut answer = answer.map_err(unreachable_google)?;
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable_google)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(refused("the transcriber's answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let said = answer::sentence(&body);
        let said: String = said.chars().take(MAX_SAID).collect();
        let why = format!("Google says HTTP {status} {said}");
        Err(match status {
            // What is asked for is wrong, or not there; credentials may be put right.
            400 | 404 => TranscribeError::Refused(why),
            401 => {
                self.tokens.forget().await;
                TranscribeError::Unavailable(why)
            }
            _ => TranscribeError::Unavailable(why),
        })
    }
}

#[async_trait]
impl Transcriber for Google {
    async fn begin(&self, speech: Speech) -> Result<Heard, TranscribeError> {
        let guess = speech.bytes / BYTES_A_SECOND * 1_000;
        let long = speech.duration_ms.unwrap_or(guess) > LONGEST_INLINE_MS;
        if long || speech.bytes > MOST_INLINE {
            self.batch(speech).await
        } else {
            self.at_once(speech).await
        }
    }

    async fn go_on(&self, operation: &str) -> Result<Heard, TranscribeError> {
        let (name, object) = operation.split_once(AND).unwrap_or((operation, ""));
        let answer = self.send(self.http.get(format!("{}{name}", self.api)));
        let now: Operation = read(&answer.await?)?;
        match now.result()? {
            None => Ok(Heard::Later(operation.to_owned())),
            Some(turns) => {
                if !object.is_empty() {
                    self.clear(object).await;
                }
                Ok(Heard::All(turns))
            }
        }
    }
}

fn client(all_plain: bool) -> Result<Client, reqwest::Error> {
    let builder = Client::builder()
        .user_agent(concat!("dialfleet/", env!("CARGO_PKG_VERSION")))
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(Duration::from_secs(5))
        // The upload of the longest recording; whoever asked has a shorter limit of its own.
        .timeout(Duration::from_secs(480));
    if all_plain {
        builder.tls_certs_only([]).build()
    } else {
        builder.build()
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, TranscribeError> {
    let why = |error: serde_json::Error| format!("Google's answer cannot be read: {error}");
    serde_json::from_slice(body).map_err(|error| TranscribeError::Unavailable(why(error)))
}

fn unread(error: &MediaError) -> TranscribeError {
    TranscribeError::Unavailable(format!("the recording could not be read: {error}"))
}

fn refused(why: &str) -> TranscribeError {
    TranscribeError::Refused(why.to_owned())
}

/// The address says nothing that anybody needs, and the text of a failed upload would.
fn unreachable_google(error: reqwest::Error) -> TranscribeError {
    let error = error.without_url();
    tracing::debug!(%error, "Google does not answer");
    let why = if error.is_timeout() {
        "it took too long"
    } else {
        "the connection failed"
    };
    TranscribeError::Unavailable(format!("Google does not answer: {why}"))
}
