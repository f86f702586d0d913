//! Callbacks as Twilio posts them: signed forms, retried as the connection overrides in the URL's
//! fragment say.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use reqwest::{Client, RequestBuilder};

use super::{Front, sign};
use crate::courier::{Failure, Letter, Parcel};

/// First pause before a retry; doubles.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// What stands for the sequence number of a detection result, which has none.
pub(super) const DETECTION_SEQ: u32 = 100;
/// The same of a recording that begins; the next is that of one that is complete.
pub(super) const RECORDING_SEQ: u32 = 200;

pub(super) type Fields = Vec<(&'static str, String)>;

/// A status callback.
pub(super) fn status(
    front: Arc<Front>,
    url: &str,
    call_sid: &str,
    seq: u32,
    mut fields: Fields,
) -> Parcel {
    fields.push(("SequenceNumber", seq.to_string()));
    parcel(front, url, format!("{call_sid}-{seq}"), fields)
}

/// The result of asynchronous answering machine detection.
pub(super) fn detection(front: Arc<Front>, url: &str, call_sid: &str, fields: Fields) -> Parcel {
    parcel(front, url, format!("{call_sid}-{DETECTION_SEQ}"), fields)
}

/// Any other callback; `token` is the same for every try.
pub(super) fn parcel(front: Arc<Front>, url: &str, token: String, fields: Fields) -> Parcel {
    let overrides = Overrides::of(url);
    let pauses = (0..overrides.retries).map(|nth| RETRY_PAUSE * 2_u32.pow(nth));
    Parcel {
        name: token.clone(),
        letter: Arc::new(Form {
            front,
            fields,
            token,
        }),
        tries: std::iter::once(Duration::ZERO)
            .chain(pauses)
            .map(|pause| (pause, url.to_owned()))
            .collect(),
        read: overrides.read,
        total: overrides.total,
        again: overrides.again,
    }
}

struct Form {
    front: Arc<Front>,
    fields: Fields,
    token: String,
}

impl Letter for Form {
    fn request(&self, http: &Client, url: &str, _nth: u32) -> RequestBuilder {
        let url = url.split('#').next().unwrap_or(url);
        let signed = self
            .fields
            .iter()
            .map(|(key, value)| (*key, value.as_str()));
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(&self.fields);
        http.post(url)
            .header(
                "X-Twilio-Signature",
                sign(&self.front.auth_token, url, signed),
            )
            .header("I-Twilio-Idempotency-Token", &self.token)
            .header(USER_AGENT, "TwilioProxy/1.1")
            .header(
                CONTENT_TYPE,
                "application/x-www-form-urlencoded; charset=UTF-8",
            )
            .body(body.finish())
    }
}

/// Connection overrides of a callback URL: `#rt=15000&tt=15000&rc=1&rp=ct`. (`ct` stays at its
/// default: the connect timeout belongs to the client.)
struct Overrides {
    read: Duration,
    total: Duration,
    retries: u32,
    again: Vec<Failure>,
}

impl Overrides {
    fn of(url: &str) -> Self {
        let max = Duration::from_millis(15_000);
        let mut found = Self {
            read: max,
            total: max,
            retries: 1,
            again: vec![Failure::Connect],
        };
        let fragment = url.split_once('#').map_or("", |(_, fragment)| fragment);
        for (key, value) in form_urlencoded::parse(fragment.as_bytes()) {
            let number = value.parse::<u32>().ok();
            let millis = number.map(|n| Duration::from_millis(u64::from(n.clamp(100, 15_000))));
            match key.as_ref() {
                "rt" => found.read = millis.unwrap_or(found.read),
                "tt" => found.total = millis.unwrap_or(found.total),
                "rc" => found.retries = number.unwrap_or(found.retries).min(5),
                "rp" => found.again = value.split(',').flat_map(failures).copied().collect(),
                _ => {}
            }
        }
        found
    }
}

fn failures(policy: &str) -> &'static [Failure] {
    use Failure::{Broken, Connect, Refused, Silence};
    match policy {
        "all" => &[Connect, Silence, Refused, Broken],
        "4xx" => &[Refused],
        "5xx" => &[Broken],
        "ct" => &[Connect],
        "rt" => &[Silence],
        _ => &[],
    }
}
