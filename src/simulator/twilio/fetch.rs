//! Asks for documents: signed, and strict about what comes back.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, USER_AGENT};

use super::callback::Fields;
use super::document::{Fault, Target};
use super::{Front, sign};

const PATIENCE: Duration = Duration::from_secs(15);
/// Longest document.
const MAX_BYTES: usize = 64 * 1_024;

pub(super) async fn document(
    front: &Arc<Front>,
    target: &Target,
    fields: &Fields,
) -> Result<String, Fault> {
    let invalid = || Fault::new(11100, format!("Invalid URL format: {}", target.url));
    let url = target.url.split('#').next().unwrap_or_default();
    let mut url = reqwest::Url::parse(url).map_err(|_| invalid())?;
    let http = &front.office.http;
    let request = if target.post {
        let signed = fields.iter().map(|(key, value)| (*key, value.as_str()));
        let signature = sign(&front.auth_token, url.as_str(), signed);
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        http.post(url)
            .header("X-Twilio-Signature", signature)
            .header(
                CONTENT_TYPE,
                "application/x-www-form-urlencoded; charset=UTF-8",
            )
            .body(body.finish())
    } else {
        url.query_pairs_mut().extend_pairs(fields);
        let signature = sign(&front.auth_token, url.as_str(), []);
        http.get(url).header("X-Twilio-Signature", signature)
    };
    let request = request
        .header(USER_AGENT, "TwilioProxy/1.1")
        .timeout(PATIENCE);
    let failed = |error: reqwest::Error| {
        let code = if error.is_timeout() { 11205 } else { 11200 };
        Fault::new(
            code,
            format!("HTTP retrieval failure: {}", error.without_url()),
        )
    };
    let response = request.send().await.map_err(failed)?;
    let status = response.status();
    if !status.is_success() {
        return Err(Fault::new(
            11200,
            format!("HTTP retrieval failure: {status}"),
        ));
    }
    let kind = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    let kind = kind
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let body = response.bytes().await.map_err(failed)?;
    if body.len() > MAX_BYTES {
        return Err(Fault::new(11750, "Response body is too large"));
    }
    if !["text/xml", "application/xml"].contains(&kind.as_str()) {
        return Err(Fault::new(12300, format!("Invalid Content-Type {kind:?}")));
    }
    String::from_utf8(body.into())
        .map_err(|_| Fault::new(12100, "Document parse failure: not UTF-8"))
}
