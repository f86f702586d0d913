//! Access tokens: for a service account's key, by a signed assertion (RFC 7523); on one of Google's
//! own machines, from its metadata server.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::Clock;
use dialfleet_engine::port::media::TranscribeError;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

use crate::carrier::Secret;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long an assertion holds: the most that Google takes.
const HOLDS_S: i64 = 3_600;
/// A token is replaced so long before its end.
const EARLY: Duration = Duration::from_secs(300);

/// A service account.
pub(super) struct Account {
    email: String,
    key_id: Option<String>,
    pub(super) project_id: Option<String>,
    token_uri: String,
    key: RsaKeyPair,
}

impl Account {
    /// Reads a key file; `None` if it is not one.
    pub(super) fn read(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct File {
            client_email: String,
            private_key: String,
            #[serde(default)]
            private_key_id: Option<String>,
            #[serde(default)]
            project_id: Option<String>,
            token_uri: String,
        }
        let file: File = serde_json::from_str(text).ok()?;
        let body = file.private_key.trim();
        let body = body.strip_prefix("-----BEGIN PRIVATE KEY-----")?;
        let body = body.strip_suffix("-----END PRIVATE KEY-----")?;
        let body: String = body.split_whitespace().collect();
        let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(body).ok()?).ok()?;
        Some(Self {
            email: file.client_email,
            key_id: file.private_key_id,
            project_id: file.project_id,
            token_uri: file.token_uri,
            key,
        })
    }

    fn assertion(&self, now: Timestamp) -> Option<String> {
        let iat = now.millis() / 1_000;
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id });
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_uri,
            "iat": iat,
            "exp": iat + HOLDS_S,
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &random,
                signed.as_bytes(),
                &mut signature,
            )
            .ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Gets tokens, and keeps the last one while it is good.
pub(super) struct Tokens {
    http: Client,
    account: Option<Account>,
    metadata: String,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<(Secret, Duration)>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u64,
}

impl Tokens {
    pub(super) fn new(
        http: Client,
        account: Option<Account>,
        metadata: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            http,
            account,
            metadata,
            clock,
            last: Mutex::new(None),
        }
    }

    /// A token that is good for a while. Whoever comes while one is being fetched waits for it.
    pub(super) async fn get(&self) -> Result<Secret, TranscribeError> {
        let mut last = self.last.lock().await;
        let now = self.clock.uptime();
        if let Some((token, until)) = &*last
            && *until > now
        {
            return Ok(token.clone());
        }
        let granted = self.ask().await?;
        let token = Secret::new(&granted.access_token);
        let good = Duration::from_secs(granted.expires_in).saturating_sub(EARLY);
        *last = Some((token.clone(), now + good));
        Ok(token)
    }

    /// The last one was refused.
    pub(super) async fn forget(&self) {
        *self.last.lock().await = None;
    }

    async fn ask(&self) -> Result<Granted, TranscribeError> {
        let request = match &self.account {
            Some(account) => {
                let assertion = account.assertion(self.clock.now());
                let assertion = assertion.ok_or_else(|| no("the key does not sign"))?;
                self.http
                    .post(&account.token_uri)
                    .form(&[("grant_type", GRANT), ("assertion", &assertion)])
            }
            None => {
                let path = "/computeMetadata/v1/instance/service-accounts/default/token";
                self.http
                    .get(format!("{}{path}", self.metadata))
                    .header("metadata-flavor", "Google")
            }
        };
        let answer = request.timeout(Duration::from_secs(10)).send().await;
        let answer = answer.map_err(|_| no("nobody answers"))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(no(&format!("HTTP {}", status.as_u16())));
        }
        answer
            .json()
            .await
            .map_err(|_| no("the answer cannot be read"))
    }
}

fn no(why: &str) -> TranscribeError {
    TranscribeError::Unavailable(format!("Google gives no token: {why}"))
}
