//! HTTP clients for carriers, with every default that matters written out.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderValue;
use reqwest::{Client, ClientBuilder, Response};
use url::Url;

/// An idle connection is dropped after this, sooner than load balancers do (60 s and more): a
/// request that meets a closing connection may come out unclear. At 1 call a second it is reused.
const POOL_IDLE: Duration = Duration::from_secs(10);

/// What one client is for.
pub(super) struct Purpose {
    pub(super) connect: Duration,
    pub(super) total: Duration,
    /// Sent with every request.
    pub(super) authorization: Option<HeaderValue>,
    /// Whether the system's certificates are loaded; without them plain HTTP works (a simulator, in
    /// a container that has none) and no HTTPS server is trusted.
    pub(super) system_roots: bool,
}

/// Reads the configured address of a carrier: `https://host` or, for a simulator, `http://host`, with
/// a path perhaps. Credentials in it would end up in errors and logs.
pub(super) fn base_url(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    let usable = matches!(url.scheme(), "http" | "https") && url.has_host() && plain && anonymous;
    usable.then_some(url)
}

/// Appends path segments, percent-encoded.
pub(super) fn push(url: &mut Url, segments: &[&str]) {
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
}

/// Builds a client that sends what it is given, once, where it is told.
///
/// No retries (reqwest repeats some refused requests unless told not to), no redirects (a `307`
/// would repeat a POST), HTTP/1.1 only (no streams refused half-way), and no proxy from the
/// environment, which only the configuration may read.
///
/// Connections are reused. hyper-util puts a request on another connection when a reused one turns
/// out dead before the request was taken from its queue, which is before its first byte; this
/// cannot be switched off through reqwest. A client with `pool_max_idle_per_host(0)` would avoid it
/// at the price of a TLS handshake for each call; instead the one request that must never be
/// repeated has a body that exists once (see [`super::once`]).
pub(super) fn build(purpose: &Purpose) -> Result<Client, reqwest::Error> {
    let authorization = purpose.authorization.clone().map(|mut value| {
        value.set_sensitive(true);
        (reqwest::header::AUTHORIZATION, value)
    });
    let headers = authorization.into_iter().collect();
    let builder = ClientBuilder::new()
        .user_agent(concat!("dialfleet/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .http1_only()
        .tcp_nodelay(true)
        .pool_idle_timeout(POOL_IDLE)
        .connect_timeout(purpose.connect)
        .timeout(purpose.total);
    let builder = if purpose.system_roots {
        builder
    } else {
        builder.tls_certs_only([])
    };
    builder.build()
}

/// Why an answer's body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the answer broke off")]
    Broken(#[source] reqwest::Error),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// Reads a body to its end, at most `limit` bytes.
pub(super) async fn read(mut response: Response, limit: usize) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(None) => return Ok(body.freeze()),
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => {
                return Err(BodyError::TooLong(limit));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Err(error) => return Err(BodyError::Broken(error.without_url())),
        }
    }
}
