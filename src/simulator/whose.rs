//! Whose call it is: what counts and faults go by.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Read from the callback URL.
pub(crate) struct Whose {
    pub(crate) attempt: String,
    pub(crate) campaign: String,
    pub(crate) leg: String,
}

impl Whose {
    /// Dialfleet is called back at `…/webhooks/<kind>/<carrier>/<attempt>/<leg>/<mac>`, the attempt
    /// being base64url of `<campaign>:<ref>:<n>`. For any other client the URL is the attempt (none:
    /// each call is its own) and the caller id is the campaign.
    pub(crate) fn of(url: &str, from: &str) -> Self {
        let path = url.split(['#', '?']).next().unwrap_or(url);
        let mut parts = path.rsplit('/');
        let tail: [Option<&str>; 6] = std::array::from_fn(|_| parts.next());
        if let [
            Some(_mac),
            Some(leg),
            Some(attempt),
            Some(_carrier),
            Some(_kind),
            Some("webhooks"),
        ] = tail
            && let Ok(bytes) = URL_SAFE_NO_PAD.decode(attempt)
            && let Ok(attempt) = String::from_utf8(bytes)
            && let Some((campaign, _)) = attempt.split_once(':')
        {
            let campaign = campaign.to_owned();
            return Self {
                attempt,
                campaign,
                leg: leg.to_owned(),
            };
        }
        Self {
            attempt: url.to_owned(),
            campaign: from.to_owned(),
            leg: String::new(),
        }
    }
}

/// Whether it is written as an E.164 number.
pub(crate) fn is_e164(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Whether a carrier would call back there.
pub(crate) fn is_http(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|h| !h.contains('_'))
    })
}
