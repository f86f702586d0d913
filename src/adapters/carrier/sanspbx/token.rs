//! The session token: `gentoken` gives it for the account's keys, every other request shows it.
//!
//! It is renewed before it expires, by one caller while the others wait. Its `expiry_time` has no time
//! zone and is not read; the token itself (a JWT) says for how long it was made, and that needs no
//! clock in common. Asking for a token rings no telephone, so this request may fail and be repeated.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::Instant;
use url::Url;

use super::error::{Document, value_of};
use crate::carrier::client::{self, Purpose};
use crate::carrier::scrub::Scrub;
use crate::carrier::secret::Secret;

/// The static key's header.
const ACCESS_TOKEN: &str = "accesstoken";
/// A token's header.
pub(super) const API_TOKEN: &str = "apitoken";
/// Bytes read of an answer.
const MAX_ANSWER: usize = 64 * 1024;

/// How long tokens are believed in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    /// No token is used longer, whatever it says of itself.
    pub(super) longest: Duration,
    /// A token that is refused at this age was never good: it did not expire.
    pub(super) new: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self {
            longest: Duration::from_secs(15 * 60),
            new: Duration::from_secs(10),
        }
    }
}

/// A session token and since when we have it.
#[derive(Debug, Clone)]
pub(super) struct Token {
    secret: Secret,
    header: HeaderValue,
    since: Instant,
    good_for: Duration,
}

impl Token {
    /// For [`API_TOKEN`].
    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    fn is_good(&self) -> bool {
        self.since.elapsed() < self.good_for
    }
}

/// Why there is no token.
#[derive(Debug, Error)]
pub(super) enum NoToken {
    #[error("the exchange refused our keys: {0}")]
    Refused(String),
    #[error("the exchange limits us: {0}")]
    Limited(String),
    #[error("the exchange gave no token: {0}")]
    Unavailable(String),
}

/// Gets tokens, and keeps the one in use.
pub(super) struct Tokens {
    http: Client,
    url: Url,
    access_token: HeaderValue,
    /// `{"access_key": …}`.
    body: String,
    scrub: Scrub,
    ages: Ages,
    held: Mutex<Option<Token>>,
    /// Taken while a token is fetched.
    fetching: tokio::sync::Mutex<()>,
}

impl Tokens {
    pub(super) fn new(
        purpose: &Purpose,
        url: Url,
        access_token: HeaderValue,
        access_key: &Secret,
        scrub: Scrub,
        ages: Ages,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: client::build(purpose)?,
            url,
            access_token,
            body: serde_json::json!({ "access_key": access_key.expose() }).to_string(),
            scrub,
            ages,
            held: Mutex::new(None),
            fetching: tokio::sync::Mutex::new(()),
        })
    }

    /// The token in use, or a new one. Whoever comes while it is fetched waits for it.
    pub(super) async fn get(&self) -> Result<Token, NoToken> {
        if let Some(token) = self.good() {
            return Ok(token);
        }
        let _fetching = self.fetching.lock().await;
        if let Some(token) = self.good() {
            return Ok(token);
        }
        let token = self.fetch().await?;
        *self.held() = Some(token.clone());
        Ok(token)
    }

    fn good(&self) -> Option<Token> {
        self.held().clone().filter(Token::is_good)
    }

    fn held(&self) -> MutexGuard<'_, Option<Token>> {
        // What it guards is whole at any time.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Too young to have expired: if it is refused, the account is at fault.
    pub(super) fn is_new(&self, token: &Token) -> bool {
        token.since.elapsed() < self.ages.new
    }

    /// `token` was refused: the next caller fetches another, unless somebody did meanwhile.
    pub(super) fn drop(&self, token: &Token) {
        let mut held = self.held();
        if held
            .as_ref()
            .is_some_and(|held| held.secret == token.secret)
        {
            *held = None;
        }
    }

    async fn fetch(&self) -> Result<Token, NoToken> {
        // Counted from before the question: the exchange's clock started no earlier.
        let since = Instant::now();
        let unavailable =
            |error: &dyn std::error::Error| NoToken::Unavailable(self.scrub.chain(error));
        let request = self
            .http
            .post(self.url.clone())
            .header(ACCESS_TOKEN, self.access_token.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(self.body.clone());
        let response = request
            .send()
            .await
            .map_err(|error| unavailable(&error.without_url()))?;
        let status = response.status().as_u16();
        let body = client::read(response, MAX_ANSWER)
            .await
            .map_err(|error| unavailable(&error))?;
        let document = Document::read(&body);
        let said = document.as_ref().and_then(Document::message);
        let said = format!("HTTP {status} {}", said.unwrap_or_default());
        let said = self.scrub.clean(said.trim_end());
        match status {
            200..=299 => {}
            429 => return Err(NoToken::Limited(said)),
            400..=499 => return Err(NoToken::Refused(said)),
            _ => return Err(NoToken::Unavailable(said)),
        }
        let text = serde_json::from_slice(&body)
            .ok()
            .and_then(|body| value_of(&body, &["apitoken"]));
        match (document, text) {
            (Some(document), Some(text)) if document.is_success() => {
                let mut header = HeaderValue::try_from(text.as_str()).map_err(|_| {
                    NoToken::Unavailable("the token cannot be sent in a header".to_owned())
                })?;
                header.set_sensitive(true);
                let lifetime = lifetime(&text).unwrap_or(Duration::MAX);
                Ok(Token {
                    secret: Secret::new(&text),
                    header,
                    since,
                    // A fifth less: a request on its way must not meet the end.
                    good_for: (lifetime / 5 * 4).min(self.ages.longest),
                })
            }
            (Some(document), None) if !document.is_success() => Err(NoToken::Refused(said)),
            _ => Err(NoToken::Unavailable(said)),
        }
    }
}

/// For how long a JWT was made. Nothing of it is verified: it only says when to ask for another.
fn lifetime(jwt: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        iat: u64,
        exp: u64,
    }
    let claims = jwt.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let Claims { iat, exp } = serde_json::from_slice(&claims).ok()?;
    exp.checked_sub(iat)
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_how_long_it_was_made_for() {
        let jwt = |claims: &str| format!("eyJ.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        let minutes = |n: u64| Some(Duration::from_secs(n * 60));
        let table = [
            (jwt(r#"{"iat":1700000000,"exp":1700003600}"#), minutes(60)),
            (jwt(r#"{"iat":1700000000,"exp":1700000000}"#), None),
            (jwt(r#"{"iat":1700000001,"exp":1700000000}"#), None),
            (jwt(r#"{"exp":1700003600}"#), None),
            (jwt("{}"), None),
            ("opaque".to_owned(), None),
            ("a.b.c".to_owned(), None),
            (String::new(), None),
        ];
        for (token, lifetime) in table {
            assert_eq!(super::lifetime(&token), lifetime, "{token}");
        }
    }
}
