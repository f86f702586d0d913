//! What an answer of the exchange means for a call that was to be placed: the HTTP status first, then
//! the words of its own document.
//!
//! The vendor publishes no list of errors. So only two things are believed to be refusals: a 4xx that
//! keeps every request out, and a sentence that names what was wrong with the request, which nobody
//! writes about a call that was placed. Everything else is unclear. What a real account says besides
//! can be added to the configuration (`refusals`).

use std::collections::BTreeMap;

use dialfleet_domain::call::RefusalClass;
use serde_json::Value;

/// What a sentence says, in the order of `SAYINGS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The session token is not, or no longer, good.
    Token,
    /// Over a limit.
    Limit,
    /// Credentials, funds, permissions.
    Account,
    /// The caller id is not ours.
    CallerId,
    /// The number, as the exchange wants numbers written. Whether number or format is at fault cannot
    /// be told from here, so it is never held against the number: another carrier's word is needed.
    Number,
    /// The request itself.
    Request,
}

/// Parts of sentences, as [`plain`] writes them.
const SAYINGS: &[(Meaning, &[&str])] = &[
    (
        Meaning::Token,
        &[
            "invalid token",
            "invalid apitoken",
            "invalid api token",
            "token invalid",
            "token is invalid",
            "token expired",
            "token is expired",
            "token has expired",
            "expired token",
            "token missing",
            "unauthorized",
            "unauthorised",
            "unauthenticated",
        ],
    ),
    (
        Meaning::Limit,
        &[
            "too many requests",
            "rate limit",
            "cps limit",
            "channel limit",
            "call limit exceeded",
            "call limit reached",
            "no channel available",
            "no channels available",
            "no free channel",
        ],
    ),
    (
        Meaning::Account,
        &[
            "insufficient balance",
            "insufficient funds",
            "insufficient credit",
            "low balance",
            "account suspended",
            "account disabled",
            "account expired",
            "access denied",
            "permission denied",
            "authentication failed",
            "invalid access key",
            "invalid accesstoken",
        ],
    ),
    (
        Meaning::CallerId,
        &[
            "invalid caller id",
            "invalid callerid",
            "invalid did",
            "caller id not allowed",
            "callerid not allowed",
        ],
    ),
    (
        Meaning::Number,
        &[
            "invalid call to",
            "invalid number",
            "invalid phone number",
            "invalid mobile number",
            "invalid destination",
        ],
    ),
    (
        Meaning::Request,
        &[
            "invalid appid",
            "invalid app id",
            "appid not found",
            "missing parameter",
            "required parameter",
            "invalid parameter",
            "invalid request",
            "invalid json",
        ],
    ),
];

/// What became of a dial request that was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was placed.
    Refused(RefusalClass),
    /// Nothing was placed, because of the session token.
    TokenRefused,
    /// It may have been.
    Unclear,
}

/// The exchange's own document: `{status, msg | data}`. A gateway's error page is not one.
#[derive(Debug)]
pub(super) struct Document(Value);

impl Document {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let this = Self(serde_json::from_slice(body).ok()?);
        (this.0.is_object() && (this.status().is_some() || this.message().is_some()))
            .then_some(this)
    }

    fn status(&self) -> Option<String> {
        text(field(&self.0, &["status"])?)
    }

    /// Its sentence.
    pub(super) fn message(&self) -> Option<String> {
        value_of(&self.0, &["msg", "message", "error"])
    }

    pub(super) fn is_success(&self) -> bool {
        self.status()
            .is_some_and(|status| status.eq_ignore_ascii_case("success"))
    }

    /// The name of a call, wherever it stands: `data.msg.callid`, `data.callid` and `call_id` were
    /// all seen.
    pub(super) fn call_id(&self) -> Option<String> {
        value_of(&self.0, &["callid", "call_id"])
    }
}

/// The text or number of a field, its name in any case, wherever it stands. Empty is none.
pub(super) fn value_of(document: &Value, names: &[&str]) -> Option<String> {
    find(document, names, DEPTH).and_then(text)
}

/// How deep answers are searched; `data.msg.callid` is the deepest known.
const DEPTH: u8 = 4;

/// A field of an object, its name in any case. The first name that is there counts.
fn field<'a>(value: &'a Value, names: &[&str]) -> Option<&'a Value> {
    let object = value.as_object()?;
    names.iter().find_map(|name| {
        let mut fields = object.iter();
        fields
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}

/// As [`field`], but among texts and numbers only, and inside other objects, too.
fn find<'a>(value: &'a Value, names: &[&str], depth: u8) -> Option<&'a Value> {
    let here = field(value, names).filter(|value| value.is_string() || value.is_number());
    here.or_else(|| {
        let inner = value.as_object().filter(|_| depth > 0)?;
        inner
            .values()
            .find_map(|value| find(value, names, depth - 1))
    })
}

/// A text that is not empty, or a number as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A sentence as sentences are compared: lower case, single blanks for everything that is neither
/// letter nor digit.
pub(super) fn plain(sentence: &str) -> String {
    let lower = sentence.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether `sentence` (plain) has `words` in it, whole words only.
pub(super) fn says(sentence: &str, words: &str) -> bool {
    format!(" {sentence} ").contains(&format!(" {words} "))
}

/// Judges answers; knows what the configuration added to the table.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    /// Plain parts of sentences.
    refusals: Vec<(String, RefusalClass)>,
}

impl Judge {
    pub(super) fn new(refusals: &BTreeMap<String, RefusalClass>) -> Self {
        let known = refusals.iter().map(|(words, class)| (plain(words), *class));
        Self {
            refusals: known.filter(|(words, _)| !words.is_empty()).collect(),
        }
    }

    /// The answer to a dial request that was not accepted, by its status and its document.
    pub(super) fn judge(&self, status: u16, document: Option<&Document>) -> Verdict {
        let said = document
            .and_then(Document::message)
            .and_then(|message| self.by_words(&plain(&message)));
        match (status, document) {
            // Its own word that it failed, with a reason that means that nothing was tried.
            (200..=299, Some(document))
                if document.status().is_some() && !document.is_success() =>
            {
                match document.call_id() {
                    None => said.unwrap_or(Verdict::Unclear),
                    Some(_) => Verdict::Unclear,
                }
            }
            (401, _) => Verdict::TokenRefused,
            (429, _) => Verdict::Refused(RefusalClass::RetryLater),
            // A proxy's time-out, and "there is one already": the call may exist.
            (408 | 409, _) => Verdict::Unclear,
            (400..=499, Some(_)) => said.unwrap_or(Verdict::Refused(RefusalClass::ConfigFault)),
            // No page of whatever kind comes with these from anything that dials.
            (402 | 403 | 404 | 405 | 407 | 413 | 415, None) => {
                Verdict::Refused(RefusalClass::ConfigFault)
            }
            // 5xx, an unfollowed redirect, success without a call, somebody else's error page.
            _ => Verdict::Unclear,
        }
    }

    fn by_words(&self, sentence: &str) -> Option<Verdict> {
        let configured = self
            .refusals
            .iter()
            .find(|(words, _)| says(sentence, words));
        if let Some((_, class)) = configured {
            return Some(Verdict::Refused(*class));
        }
        let (meaning, _) = SAYINGS
            .iter()
            .find(|(_, parts)| parts.iter().any(|words| says(sentence, words)))?;
        Some(match meaning {
            Meaning::Token => Verdict::TokenRefused,
            Meaning::Limit => Verdict::Refused(RefusalClass::RetryLater),
            Meaning::Number => Verdict::Refused(RefusalClass::Failover),
            Meaning::CallerId => Verdict::Refused(RefusalClass::CallerIdFault),
            Meaning::Account | Meaning::Request => Verdict::Refused(RefusalClass::ConfigFault),
        })
    }

    /// Whether an answer to any request says that the session token was refused.
    pub(super) fn is_token_refused(&self, status: u16, document: Option<&Document>) -> bool {
        // 2xx and 4xx alike: nothing else of the verdict matters to whoever asks this.
        (200..=499).contains(&status) && self.judge(status, document) == Verdict::TokenRefused
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
