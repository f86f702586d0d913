//! The one request that makes a telephone ring: sent at most once, and what it means when no answer
//! comes.
//!
//! Retries and redirects are off in every client (see [`super::client`]), and the body is a stream
//! with one item: a layer below that sent the request a second time would have no body left, and with
//! a `Content-Length` that is not met no server can act on it.

use std::convert::Infallible;

use bytes::Bytes;
use dialfleet_domain::call::{Refusal, RefusalClass};
use dialfleet_engine::port::carrier::DialAnswer;
use futures_util::{future, stream};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, RequestBuilder};

use super::client::{self, BodyError};
use super::scrub::Scrub;

/// Bytes read of an answer; a call's record has some 2 kB.
const MAX_ANSWER: usize = 64 * 1024;

/// A carrier's answer: its status, and its body as far as it came.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body: Result<Bytes, BodyError>,
}

/// Sends `body` once. `Err`: no answer came, and that is what became of the call.
pub(super) async fn post(
    request: RequestBuilder,
    kind: &'static str,
    body: String,
    scrub: &Scrub,
) -> Result<Answered, DialAnswer> {
    let length = body.len();
    let once = stream::once(future::ready(Ok::<_, Infallible>(Bytes::from(body))));
    let request = request
        .header(CONTENT_TYPE, kind)
        .header(CONTENT_LENGTH, length)
        .body(Body::wrap_stream(once));
    match request.send().await {
        Err(error) => Err(not_answered(&error.without_url(), scrub)),
        Ok(response) => Ok(Answered {
            status: response.status().as_u16(),
            body: client::read(response, MAX_ANSWER).await,
        }),
    }
}

/// Only what failed before a connection stood is known not to have been sent: a connect failure or
/// time-out is told apart from the total one by where it happened.
fn not_answered(error: &reqwest::Error, scrub: &Scrub) -> DialAnswer {
    let said = scrub.chain(error);
    let refused = |class, code: &str| {
        DialAnswer::Refused(Refusal {
            class,
            code: code.to_owned(),
            message: said.clone(),
        })
    };
    if error.is_builder() {
        refused(RefusalClass::ConfigFault, "request")
    } else if error.is_dns() {
        refused(RefusalClass::Failover, "dns")
    } else if error.is_connect() {
        refused(RefusalClass::Failover, "connect")
    } else {
        DialAnswer::Unclear(said)
    }
}
