//! The one request that makes a telephone ring, and what its answer means.
//!
//! Nothing else can send it: the HTTP client is private to this file and knows one URL. It leaves at
//! most once, also when the exchange refuses the session token: the next call gets a new one.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use dialfleet_domain::call::{Refusal, RefusalClass};
use dialfleet_domain::id::CarrierCallId;
use dialfleet_engine::port::carrier::{DialAnswer, DialRequest};
use reqwest::Client;
use serde_json::json;
use tokio::time::{Instant, timeout};
use url::Url;

use super::error::{Document, Judge, Verdict};
use super::number::{NumberFormat, Unwritable};
use super::token::{API_TOKEN, NoToken, Tokens};
use crate::carrier::client::{self, BodyError, Purpose};
use crate::carrier::once;
use crate::carrier::scrub::Scrub;

pub(super) const JSON: &str = "application/json";

/// What is the same in every call.
pub(super) struct Plan {
    pub(super) app_id: u32,
    pub(super) to: NumberFormat,
    pub(super) from: NumberFormat,
}

/// Places calls.
pub(super) struct Dialer {
    http: Client,
    url: Url,
    plan: Plan,
    judge: Judge,
    scrub: Scrub,
    /// For token and call together.
    total: Duration,
    /// For the token alone.
    token: Duration,
}

impl Dialer {
    /// `url` is the account's `dialcall`.
    pub(super) fn new(
        purpose: &Purpose,
        token: Duration,
        url: Url,
        plan: Plan,
        judge: Judge,
        scrub: Scrub,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: client::build(purpose)?,
            url,
            plan,
            judge,
            scrub,
            total: purpose.total,
            token,
        })
    }

    /// Has a token, if there is one to be had.
    pub(super) async fn prepare(&self, tokens: &Tokens) {
        // What went wrong is found again by the request.
        let _ = timeout(self.token, tokens.get()).await;
    }

    /// Sends the dial request once.
    pub(super) async fn dial(&self, tokens: &Tokens, request: &DialRequest) -> DialAnswer {
        let began = Instant::now();
        let body = match self.body(request) {
            Ok(body) => body,
            Err(why) => return refused(unwritable(why), "number", why.to_string()),
        };
        // Whatever goes wrong with the token, nothing was sent that could ring.
        let token = match timeout(self.token, tokens.get()).await {
            Ok(Ok(token)) => token,
            Ok(Err(why)) => {
                let (class, code) = no_token(&why);
                return refused(class, code, why.to_string());
            }
            Err(_) => {
                let said = "no session token in time".to_owned();
                return refused(RefusalClass::Failover, "connect", said);
            }
        };
        let scrub = self.scrub.also(token.secret().clone());
        let post = self
            .http
            .post(self.url.clone())
            .header(API_TOKEN, token.header())
            .timeout(self.total.saturating_sub(began.elapsed()));
        let answer = match once::post(post, JSON, body, &scrub).await {
            Ok(answer) => answer,
            Err(unanswered) => return unanswered,
        };
        let new = tokens.is_new(&token);
        let (answer, token_refused) = self.answered(answer.status, answer.body, new, &scrub);
        if token_refused {
            tokens.drop(&token);
        }
        answer
    }

    /// The attempt goes along for those who listen to the call; never anything that proves something.
    fn body(&self, request: &DialRequest) -> Result<String, Unwritable> {
        let body = json!({
            "appid": self.plan.app_id,
            "call_to": self.plan.to.write(&request.to)?,
            "caller_id": self.plan.from.write(&request.from)?,
            "status_callback": request.callback_url,
            "custom_field": { "attempt": request.attempt.as_str(), "leg": request.leg },
        });
        Ok(body.to_string())
    }

    fn answered(
        &self,
        status: u16,
        body: Result<Bytes, BodyError>,
        token_is_new: bool,
        scrub: &Scrub,
    ) -> (DialAnswer, bool) {
        let document = match &body {
            Ok(body) => Document::read(body),
            // Half of a success proves nothing.
            Err(error) if (200..300).contains(&status) => {
                return (DialAnswer::Unclear(scrub.chain(error)), false);
            }
            Err(_) => None,
        };
        let accepted = document
            .as_ref()
            .filter(|document| (200..300).contains(&status) && document.is_success())
            .and_then(Document::call_id);
        if let Some(call_id) = accepted.as_deref().and_then(call_id) {
            let queued_for = Duration::ZERO;
            return (
                DialAnswer::Accepted {
                    call_id,
                    queued_for,
                },
                false,
            );
        }
        let message = document
            .as_ref()
            .and_then(Document::message)
            .unwrap_or_default();
        let code = format!("HTTP {status}");
        let message = scrub.clean(&message);
        match self.judge.judge(status, document.as_ref()) {
            Verdict::Refused(class) => (refused(class, &code, message), false),
            Verdict::TokenRefused => {
                let class = if token_is_new {
                    RefusalClass::ConfigFault
                } else {
                    RefusalClass::RetryLater
                };
                (refused(class, &code, message), true)
            }
            Verdict::Unclear => {
                let said = format!("{code}: {message}");
                (
                    DialAnswer::Unclear(scrub.clean(said.trim_end_matches(": "))),
                    false,
                )
            }
        }
    }
}

fn refused(class: RefusalClass, code: &str, message: String) -> DialAnswer {
    DialAnswer::Refused(Refusal {
        class,
        code: code.to_owned(),
        message,
    })
}

const fn unwritable(why: Unwritable) -> RefusalClass {
    match why {
        Unwritable::Abroad | Unwritable::Unreadable => RefusalClass::Failover,
    }
}

const fn no_token(why: &NoToken) -> (RefusalClass, &'static str) {
    match why {
        NoToken::Refused(_) => (RefusalClass::ConfigFault, "token"),
        NoToken::Limited(_) => (RefusalClass::RetryLater, "token"),
        // The next call would not get further: this code leaves the carrier alone for a moment.
        NoToken::Unavailable(_) => (RefusalClass::Failover, "connect"),
    }
}

/// The exchange's name for a call has the number called in it (`api-2-09…-1700…`), and names of calls
/// are printed. So it is kept as base64url.
pub(super) fn call_id(theirs: &str) -> Option<CarrierCallId> {
    (!theirs.is_empty())
        .then(|| CarrierCallId::parse(URL_SAFE_NO_PAD.encode(theirs)).ok())
        .flatten()
}

/// Their name again; `None` for one that we did not make.
pub(super) fn their_id(call: &CarrierCallId) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(call.as_str()).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_calls_come_back_as_they_were_and_print_no_number() {
        let theirs = "api-2-09876543210-1700000000000";
        let ours = call_id(theirs).unwrap();
        assert!(!ours.to_string().contains("9876543210"));
        assert_eq!(their_id(&ours).as_deref(), Some(theirs));
        assert_eq!(call_id(""), None);
        assert_eq!(call_id(&"x".repeat(200)), None, "too long for an id");
        assert_eq!(their_id(&CarrierCallId::parse("=").unwrap()), None);
    }
}
