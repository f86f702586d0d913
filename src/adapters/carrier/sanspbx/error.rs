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
            Meaning::Account | Meaning::CallerId | Meaning::Request => {
                Verdict::Refused(RefusalClass::ConfigFault)
            }
        })
    }

    /// Whether an answer to any request says that the session token was refused.
    pub(super) fn is_token_refused(&self, status: u16, document: Option<&Document>) -> bool {
        // 2xx and 4xx alike: nothing else of the verdict matters to whoever asks this.
        (200..=499).contains(&status) && self.judge(status, document) == Verdict::TokenRefused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RefusalClass::{BadNumber, ConfigFault, Failover, RetryLater};

    fn judge(status: u16, body: &str) -> Verdict {
        let judge = Judge::new(&BTreeMap::new());
        judge.judge(status, Document::read(body.as_bytes()).as_ref())
    }

    fn said(message: &str) -> String {
        serde_json::json!({"status": "error", "msg": message}).to_string()
    }

    #[test]
    fn sentences_are_judged_by_the_table() {
        let refused = Verdict::Refused;
        let table = [
            ("Invalid token", Verdict::TokenRefused),
            ("INVALID APITOKEN.", Verdict::TokenRefused),
            (
                "Token has expired, please login again",
                Verdict::TokenRefused,
            ),
            ("token_expired", Verdict::TokenRefused),
            ("Unauthorized", Verdict::TokenRefused),
            ("Too many requests", refused(RetryLater)),
            ("CPS rate-limit hit", refused(RetryLater)),
            ("Channel limit exceeded", refused(RetryLater)),
            ("No channels available", refused(RetryLater)),
            ("Insufficient balance in account", refused(ConfigFault)),
            ("Account suspended", refused(ConfigFault)),
            ("Access denied for this IP", refused(ConfigFault)),
            ("Invalid caller_id", refused(ConfigFault)),
            ("Invalid DID", refused(ConfigFault)),
            ("Invalid call_to", refused(Failover)),
            ("invalid mobile number", refused(Failover)),
            ("Invalid appid", refused(ConfigFault)),
            ("Missing parameter: call_to", refused(ConfigFault)),
            ("Invalid request", refused(ConfigFault)),
        ];
        for (message, verdict) in table {
            assert_eq!(judge(200, &said(message)), verdict, "{message}");
            assert_eq!(judge(400, &said(message)), verdict, "{message} with 400");
            assert_eq!(
                judge(500, &said(message)),
                Verdict::Unclear,
                "{message} with 500"
            );
        }
    }

    #[test]
    fn sentences_that_could_be_about_a_placed_call_are_unclear() {
        for message in [
            "",
            "failed",
            "Call failed",
            "call did not connect",
            "Originate failed",
            "No answer",
            "User busy",
            "Something went wrong",
            "Internal error",
            "invalidated tokens",
            "numbers",
            "time limit exceeded",
            "the customer did not answer",
        ] {
            assert_eq!(judge(200, &said(message)), Verdict::Unclear, "{message}");
            // A 4xx with the exchange's own document is a refusal whatever it says.
            let refused = Verdict::Refused(ConfigFault);
            assert_eq!(judge(422, &said(message)), refused, "{message} with 422");
        }
    }

    #[test]
    fn statuses_with_and_without_a_document() {
        let refused = |class| Verdict::Refused(class);
        let own = said("no");
        let table = [
            (401, "", Verdict::TokenRefused),
            (401, own.as_str(), Verdict::TokenRefused),
            (429, "", refused(RetryLater)),
            (429, own.as_str(), refused(RetryLater)),
            (402, "<html>", refused(ConfigFault)),
            (403, "<html>", refused(ConfigFault)),
            (404, "<html>", refused(ConfigFault)),
            (405, "", refused(ConfigFault)),
            (407, "", refused(ConfigFault)),
            (413, "", refused(ConfigFault)),
            (415, "", refused(ConfigFault)),
            (400, own.as_str(), refused(ConfigFault)),
            (404, own.as_str(), refused(ConfigFault)),
            (400, "<html>", Verdict::Unclear),
            (422, "", Verdict::Unclear),
            (408, own.as_str(), Verdict::Unclear),
            (409, own.as_str(), Verdict::Unclear),
            (200, "", Verdict::Unclear),
            (200, "<html>", Verdict::Unclear),
            (200, "[]", Verdict::Unclear),
            (200, r#"{"msg":"Invalid token"}"#, Verdict::Unclear),
            (200, r#"{"status":"success"}"#, Verdict::Unclear),
            (
                200,
                r#"{"status":"success","msg":"Invalid token"}"#,
                Verdict::Unclear,
            ),
            // It names a call and says that it failed: believe neither.
            (
                200,
                r#"{"status":"error","msg":"channel limit","callid":"api-1"}"#,
                Verdict::Unclear,
            ),
            (301, "", Verdict::Unclear),
            (307, own.as_str(), Verdict::Unclear),
            (500, own.as_str(), Verdict::Unclear),
            (502, "", Verdict::Unclear),
            (503, own.as_str(), Verdict::Unclear),
            (504, "<html>", Verdict::Unclear),
        ];
        for (status, body, verdict) in table {
            assert_eq!(judge(status, body), verdict, "{status} {body}");
        }
    }

    #[test]
    fn the_configuration_adds_rows_and_overrules_the_table() {
        let rows = BTreeMap::from([
            ("Subscriber barred!".to_owned(), BadNumber),
            ("channel limit".to_owned(), ConfigFault),
            (" - ".to_owned(), BadNumber),
        ]);
        let judge = Judge::new(&rows);
        let of =
            |message: &str| judge.judge(200, Document::read(said(message).as_bytes()).as_ref());
        assert_eq!(of("the subscriber barred it"), Verdict::Refused(BadNumber));
        assert_eq!(of("Channel limit!"), Verdict::Refused(ConfigFault));
        assert_eq!(of("barred"), Verdict::Unclear);
    }

    #[test]
    fn no_saying_is_listed_twice_and_all_are_plain() {
        let all: Vec<&str> = SAYINGS
            .iter()
            .flat_map(|(_, parts)| parts.iter().copied())
            .collect();
        for (n, words) in all.iter().enumerate() {
            assert_eq!(&plain(words), words);
            assert!(!all[n + 1..].contains(words), "{words}");
        }
    }

    #[test]
    fn a_call_is_named_in_many_places() {
        for body in [
            r#"{"status":"success","data":{"msg":{"callid":"api-2-1"}}}"#,
            r#"{"status":"success","data":{"callid":"api-2-1"}}"#,
            r#"{"Status":"SUCCESS","Data":{"CallID":"api-2-1"}}"#,
            r#"{"status":"success","call_id":"api-2-1","msg":"queued"}"#,
        ] {
            let document = Document::read(body.as_bytes()).unwrap();
            assert!(document.is_success(), "{body}");
            assert_eq!(document.call_id().as_deref(), Some("api-2-1"), "{body}");
        }
        for body in [
            r#"{"status":"success","data":{"callid":""}}"#,
            r#"{"status":"success","data":{"callid":null}}"#,
            r#"{"status":"success","data":["callid"]}"#,
            r#"{"status":"success","data":{"a":{"b":{"c":{"d":{"callid":"x"}}}}}}"#,
        ] {
            assert_eq!(
                Document::read(body.as_bytes()).unwrap().call_id(),
                None,
                "{body}"
            );
        }
        for body in ["", "{}", "[]", "\"status\"", r#"{"code":1}"#, "<html>"] {
            assert!(Document::read(body.as_bytes()).is_none(), "{body}");
        }
    }
}
