//! Ending a call. Nothing here can place one, so a refused session token is renewed and the request
//! sent once more.

use dialfleet_domain::id::CarrierCallId;
use dialfleet_engine::port::carrier::CarrierError;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde_json::json;
use url::Url;

use super::dial::{JSON, their_id};
use super::error::{Document, Judge, plain, says};
use super::token::{API_TOKEN, NoToken, Tokens};
use crate::carrier::client::{self, Purpose};
use crate::carrier::scrub::Scrub;

/// Bytes read of an answer.
const MAX_ANSWER: usize = 64 * 1024;
/// Plain parts of sentences that say that the call is over.
const OVER: [&str; 8] = [
    "already disconnected",
    "already ended",
    "already completed",
    "already hangup",
    "already hung up",
    "call is not active",
    "no active call",
    "call not active",
];
/// Parts of those that say that there is no such call: not the same thing.
const UNKNOWN: [&str; 6] = [
    "call not found",
    "callid not found",
    "no such call",
    "invalid callid",
    "invalid call id",
    "call does not exist",
];

/// Ends calls.
pub(super) struct Ender {
    http: Client,
    url: Url,
    judge: Judge,
    scrub: Scrub,
}

struct Answer {
    status: u16,
    document: Option<Document>,
}

impl Ender {
    /// `url` is the account's `calldisconnect`.
    pub(super) fn new(
        purpose: &Purpose,
        url: Url,
        judge: Judge,
        scrub: Scrub,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: client::build(purpose)?,
            url,
            judge,
            scrub,
        })
    }

    pub(super) async fn hang_up(
        &self,
        tokens: &Tokens,
        call: &CarrierCallId,
    ) -> Result<(), CarrierError> {
        let callid = their_id(call).ok_or(CarrierError::NotFound)?;
        let body = json!({ "callid": callid }).to_string();
        let mut tries = 2;
        loop {
            tries -= 1;
            let token = tokens.get().await.map_err(|error| match error {
                NoToken::Refused(said) => CarrierError::Unauthorized(said),
                NoToken::Limited(said) | NoToken::Unavailable(said) => {
                    CarrierError::Unavailable(said)
                }
            })?;
            let scrub = self.scrub.also(token.secret().clone());
            let request = self
                .http
                .post(self.url.clone())
                .header(API_TOKEN, token.header())
                .header(CONTENT_TYPE, JSON)
                .body(body.clone());
            let answer = send(request, &scrub).await?;
            let refused = self
                .judge
                .is_token_refused(answer.status, answer.document.as_ref());
            if refused {
                tokens.drop(&token);
                if tries > 0 {
                    continue;
                }
            }
            return verdict(&answer, refused, &scrub);
        }
    }
}

async fn send(request: reqwest::RequestBuilder, scrub: &Scrub) -> Result<Answer, CarrierError> {
    let unavailable = |error: &dyn std::error::Error| CarrierError::Unavailable(scrub.chain(error));
    let response = request
        .send()
        .await
        .map_err(|error| unavailable(&error.without_url()))?;
    let status = response.status().as_u16();
    let body = client::read(response, MAX_ANSWER)
        .await
        .map_err(|error| unavailable(&error))?;
    Ok(Answer {
        status,
        document: Document::read(&body),
    })
}

fn verdict(answer: &Answer, token_refused: bool, scrub: &Scrub) -> Result<(), CarrierError> {
    let message = answer.document.as_ref().and_then(Document::message);
    let message = message.unwrap_or_default();
    let said = scrub.clean(format!("HTTP {} {message}", answer.status).trim_end());
    let says_any = |parts: &[&str]| parts.iter().any(|words| says(&plain(&message), words));
    match (answer.status, &answer.document) {
        _ if token_refused => Err(CarrierError::Unauthorized(said)),
        (200..=299, Some(document)) if document.is_success() => Ok(()),
        (200..=499, Some(_)) if says_any(&OVER) => Err(CarrierError::AlreadyEnded),
        // Only in its own words; a gateway knows nothing about calls.
        (200..=499, Some(_)) if says_any(&UNKNOWN) => Err(CarrierError::NotFound),
        (403, _) => Err(CarrierError::Unauthorized(said)),
        _ => Err(CarrierError::Unavailable(said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carrier::Secret;

    fn of(status: u16, body: &str) -> &'static str {
        let answer = Answer {
            status,
            document: Document::read(body.as_bytes()),
        };
        match verdict(&answer, false, &Scrub::new([Secret::new("s")])) {
            Ok(()) => "ok",
            Err(CarrierError::AlreadyEnded) => "over",
            Err(CarrierError::NotFound) => "unknown",
            Err(CarrierError::Unauthorized(_)) => "unauthorized",
            Err(CarrierError::Unavailable(_)) => "unavailable",
            Err(CarrierError::Unsupported) => "unsupported",
        }
    }

    #[test]
    fn only_a_clear_word_confirms_the_end() {
        let table = [
            (
                200,
                r#"{"status":"success","msg":"Call disconnected"}"#,
                "ok",
            ),
            (200, r#"{"status":"success"}"#, "ok"),
            (
                200,
                r#"{"status":"error","msg":"Call is already disconnected"}"#,
                "over",
            ),
            (400, r#"{"status":"error","msg":"No active call"}"#, "over"),
            (
                200,
                r#"{"status":"error","msg":"Call not found"}"#,
                "unknown",
            ),
            (
                404,
                r#"{"status":"error","msg":"Invalid callid"}"#,
                "unknown",
            ),
            (404, "<html>", "unavailable"),
            (403, "<html>", "unauthorized"),
            (200, r#"{"status":"error","msg":"oops"}"#, "unavailable"),
            (200, "", "unavailable"),
            (200, r#"{"msg":"done"}"#, "unavailable"),
            (429, "", "unavailable"),
            (
                500,
                r#"{"status":"error","msg":"Call not found"}"#,
                "unavailable",
            ),
            (500, r#"{"status":"success"}"#, "unavailable"),
        ];
        for (status, body, expected) in table {
            assert_eq!(of(status, body), expected, "{status} {body}");
        }
    }
}
