//! The session token: `gentoken` gives it for the account's keys, every other request shows it.
//!
//! It is renewed before it expires, once for all callers, who go on with the old one meanwhile. Its `expiry_time` has no time
//! zone and is not read; the token itself (a JWT) says for how long it was made, and that needs no
//! clock in common. Asking for a token rings no telephone, so this request may fail and be repeated.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dialfleet_runtime::service;
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
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
    /// From this age on another is asked for, if not before.
    pub(super) renew: Duration,
    /// A token that is refused at this age was never good: it did not expire.
    pub(super) new: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self {
            longest: Duration::from_secs(15 * 60),
            renew: Duration::from_secs(10 * 60),
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
    renew_after: Duration,
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

    /// Time to ask for another.
    fn is_ageing(&self) -> bool {
        self.since.elapsed() >= self.renew_after
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
    desk: Arc<Desk>,
    /// The request under way, if any: of nobody in particular, so that a caller who gives up does not
    /// take it along.
    fetching: tokio::sync::Mutex<Option<AbortOnDropHandle<Result<Token, NoToken>>>>,
}

/// Where tokens are asked for, and where the one in use lies.
struct Desk {
    http: Client,
    url: Url,
    access_token: HeaderValue,
    /// `{"access_key": …}`.
    body: String,
    scrub: Scrub,
    ages: Ages,
    held: Mutex<Option<Token>>,
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
        let desk = Desk {
            http: client::build(purpose)?,
            url,
            access_token,
            body: serde_json::json!({ "access_key": access_key.expose() }).to_string(),
            scrub,
            ages,
            held: Mutex::new(None),
        };
        Ok(Self {
            desk: Arc::new(desk),
            fetching: tokio::sync::Mutex::new(None),
        })
    }

    /// The token in use, or a new one when it is too old: whoever comes then waits for it.
    pub(super) async fn get(&self) -> Result<Token, NoToken> {
        if let Some(token) = self.desk.good() {
            if token.is_ageing()
                && let Ok(mut fetching) = self.fetching.try_lock()
            {
                self.fetch(&mut fetching);
            }
            return Ok(token);
        }
        let mut fetching = self.fetching.lock().await;
        if let Some(token) = self.desk.good() {
            return Ok(token);
        }
        let fetched = self.fetch(&mut fetching).await;
        *fetching = None;
        fetched.unwrap_or_else(|error| Err(NoToken::Unavailable(error.to_string())))
    }

    /// The request under way, or a new one.
    fn fetch<'a>(
        &self,
        fetching: &'a mut Option<AbortOnDropHandle<Result<Token, NoToken>>>,
    ) -> &'a mut AbortOnDropHandle<Result<Token, NoToken>> {
        // What ended before was a renewal that nobody waited for.
        *fetching = fetching.take().filter(|task| !task.is_finished());
        fetching.get_or_insert_with(|| {
            let desk = self.desk.clone();
            service::spawn(async move {
                let token = desk.fetch().await?;
                *desk.held() = Some(token.clone());
                Ok(token)
            })
        })
    }

    /// Too young to have expired: if it is refused, the account is at fault.
    pub(super) fn is_new(&self, token: &Token) -> bool {
        token.since.elapsed() < self.desk.ages.new
    }

    /// `token` was refused: the next caller fetches another, unless somebody did meanwhile.
    pub(super) fn drop(&self, token: &Token) {
        let mut held = self.desk.held();
        if held
            .as_ref()
            .is_some_and(|held| held.secret == token.secret)
        {
            *held = None;
        }
    }
}

impl Desk {
    fn good(&self) -> Option<Token> {
        self.held().clone().filter(Token::is_good)
    }

    fn held(&self) -> MutexGuard<'_, Option<Token>> {
        // What it guards is whole at any time.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
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
                // A fifth less: a request on its way must not meet the end.
                let lifetime = lifetime(&text).unwrap_or(Duration::MAX) / 5 * 4;
                Ok(Token {
                    secret: Secret::new(&text),
                    header,
                    since,
                    good_for: lifetime.min(self.ages.longest),
                    renew_after: (lifetime / 2).min(self.ages.renew),
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
