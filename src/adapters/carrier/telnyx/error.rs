//! What Telnyx's errors mean: HTTP status first, then the code (the published examples use codes that
//! the catalogue gives another meaning), then the `D` or `P` code that ends a refusal's sentence.

use std::time::Duration;

use bytes::Bytes;
use dialfleet_domain::call::{Refusal, RefusalClass};
use dialfleet_domain::id::CarrierCallId;
use dialfleet_engine::port::carrier::DialAnswer;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::carrier::once::Answered;
use crate::carrier::scrub::Scrub;

/// What a code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Over a limit of rate or concurrency.
    Later,
    /// No route here; another carrier may have one.
    Elsewhere,
    /// Not a number that can be called.
    BadNumber,
    /// Our fault: the caller id is not ours, not verified, or has a bad reputation.
    CallerId,
    /// Our fault: that destination is not allowed, or its spending limit is reached.
    Country,
    /// Our fault: credentials, funds, account level, outbound profile.
    Account,
    /// Our fault: the request itself, or the application it names.
    Request,
    /// A field is wrong: which one says whose fault it is.
    Field,
}

/// Telnyx's documented API codes that can keep a call from being placed.
const CODES: &[(Meaning, &[u32])] = &[
    (Meaning::Later, &[10_008, 10_011, 90_103]),
    (Meaning::Field, &[10_002, 10_015, 10_016]),
    (
        Meaning::Request,
        &[10_003, 10_004, 10_005, 10_006, 10_014, 10_023, 10_028],
    ),
    (Meaning::Account, &[10_009, 10_010]),
];

/// The codes at the end of a refusal's `detail`, letter and number.
const REASONS: &[(Meaning, &[(&str, u8)])] = &[
    (
        Meaning::Later,
        &[("D", 1), ("D", 2), ("D", 3), ("D", 9), ("D", 22), ("P", 5)],
    ),
    (
        Meaning::Elsewhere,
        // 41 and 58 say that the number is blocked; that is believed when a second carrier agrees.
        &[
            ("PE", 1),
            ("PE", 2),
            ("PE", 3),
            ("PE", 4),
            ("PE", 5),
            ("PE", 6),
            ("D", 40),
            ("D", 41),
            ("D", 58),
        ],
    ),
    (
        Meaning::BadNumber,
        &[("D", 11), ("D", 14), ("D", 50), ("D", 53), ("D", 59)],
    ),
    (
        Meaning::Country,
        &[("D", 12), ("D", 13), ("D", 24), ("D", 39)],
    ),
    (
        Meaning::CallerId,
        &[
            ("D", 35),
            ("D", 36),
            ("D", 46),
            ("D", 49),
            ("D", 51),
            ("D", 54),
            ("D", 63),
            ("D", 64),
        ],
    ),
    (
        Meaning::Account,
        &[
            ("D", 7),
            ("D", 10),
            ("D", 15),
            ("D", 16),
            ("D", 17),
            ("D", 25),
            ("D", 26),
            ("D", 29),
            ("D", 38),
            ("D", 44),
            ("D", 60),
        ],
    ),
];

/// A command on a call that has ended.
const CALL_ENDED: u32 = 90_018;
/// A command before the answer; the answer may be on its way.
const NOT_ANSWERED: u32 = 90_034;
/// No such call, or no such thing.
const NO_CALL: [u32; 2] = [90_015, 10_005];

impl Meaning {
    fn of_code(code: u32) -> Option<Self> {
        let row = CODES.iter().find(|(_, codes)| codes.contains(&code))?;
        Some(row.0)
    }

    fn of_reason(reason: &Reason) -> Option<Self> {
        let is =
            |(letters, number): &(&str, u8)| *letters == reason.letters && *number == reason.number;
        let row = REASONS.iter().find(|(_, reasons)| reasons.iter().any(is))?;
        Some(row.0)
    }

    const fn class(self) -> RefusalClass {
        match self {
            Self::Later => RefusalClass::RetryLater,
            Self::Elsewhere => RefusalClass::Failover,
            Self::BadNumber => RefusalClass::BadNumber,
            Self::CallerId => RefusalClass::CallerIdFault,
            Self::Country => RefusalClass::DestinationFault,
            Self::Account | Self::Request | Self::Field => RefusalClass::ConfigFault,
        }
    }
}

/// `D13`, `PE2`, `P05`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reason {
    letters: &'static str,
    number: u8,
}

impl Reason {
    /// The last one in a sentence.
    fn last_in(detail: &str) -> Option<Self> {
        let words = detail.rsplit(|c: char| !c.is_ascii_alphanumeric());
        words.filter_map(Self::read).next()
    }

    fn read(word: &str) -> Option<Self> {
        // The longer first: PE is not a P with an odd number.
        let (letters, digits) = ["PE", "D", "P"]
            .into_iter()
            .find_map(|letters| Some((letters, word.strip_prefix(letters)?)))?;
        let number = (1..=2).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| number)?;
        Some(Self { letters, number })
    }
}

/// Telnyx's error document: `{"errors":[{code, title, detail, source}]}`. A gateway's own error page
/// is not one.
#[derive(Debug, Deserialize)]
pub(super) struct ApiErrors {
    errors: Vec<ApiError>,
}

#[derive(Debug, Deserialize)]
struct ApiError {
    #[serde(deserialize_with = "number")]
    code: Option<u32>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    detail: Option<String>,
    #[serde(default)]
    source: Option<Source>,
}

#[derive(Debug, Deserialize)]
struct Source {
    #[serde(default)]
    pointer: Option<String>,
}

/// Codes are numbers written as text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64().and_then(|n| n.try_into().ok()),
        _ => None,
    })
}

impl ApiErrors {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let errors: Self = serde_json::from_slice(body).ok()?;
        (!errors.errors.is_empty()).then_some(errors)
    }

    /// The first error in a few words, code first.
    pub(super) fn sentence(&self) -> String {
        let Some(first) = self.errors.first() else {
            return String::new();
        };
        let code = first.code.map(|code| code.to_string());
        let words = [code.as_ref(), first.title.as_ref(), first.detail.as_ref()];
        let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
        words.join(" ")
    }

    pub(super) fn is_about_no_call(&self) -> bool {
        self.has(&NO_CALL)
    }

    fn has(&self, codes: &[u32]) -> bool {
        let code = |error: &ApiError| error.code.is_some_and(|code| codes.contains(&code));
        self.errors.iter().any(code)
    }

    /// The error that decides: the number is only at fault if nothing else is.
    fn decisive(&self, status: u16) -> Option<(&ApiError, Option<Meaning>)> {
        let mut judged = self.errors.iter().map(|e| (e, e.meaning(status)));
        let first = judged.next()?;
        Some(if first.1 == Some(Meaning::BadNumber) {
            judged
                .find(|(_, meaning)| *meaning != Some(Meaning::BadNumber))
                .unwrap_or(first)
        } else {
            first
        })
    }
}

impl ApiError {
    fn reason(&self, status: u16) -> Option<Reason> {
        let detail = self.detail.as_deref().filter(|_| status == 403)?;
        Reason::last_in(detail)
    }

    fn meaning(&self, status: u16) -> Option<Meaning> {
        if let Some(reason) = self.reason(status) {
            // A refusal for a reason that is not in the list is our account's business.
            return Some(Meaning::of_reason(&reason).unwrap_or(Meaning::Account));
        }
        match self.code.and_then(Meaning::of_code) {
            Some(Meaning::Field) => Some(match self.pointer() {
                Some("/to") => Meaning::BadNumber,
                Some("/from") => Meaning::CallerId,
                Some(_) | None => Meaning::Request,
            }),
            other => other,
        }
    }

    fn pointer(&self) -> Option<&str> {
        self.source.as_ref()?.pointer.as_deref()
    }

    /// The code as it is kept: with the reason, if there is one.
    fn name(&self, status: u16) -> String {
        let code = self
            .code
            .map_or_else(|| format!("HTTP {status}"), |code| code.to_string());
        match self.reason(status) {
            Some(Reason { letters, number }) => format!("{code} {letters}{number}"),
            None => code,
        }
    }
}

/// What became of a Dial command that was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Nothing was placed.
    Refused(RefusalClass),
    /// It may have been.
    Unclear,
}

/// Judges the answer to a Dial by its status (not 2xx) and its error document.
fn judge(status: u16, errors: Option<&ApiErrors>) -> Verdict {
    match (status, errors) {
        // Documented as refused, whatever the code.
        (429, _) => Verdict::Refused(RefusalClass::RetryLater),
        // A proxy's time-out: the request may have gone through before.
        (408, _) => Verdict::Unclear,
        // Ours, whatever the words; never the number's.
        (401 | 402, _) | (403, None) => Verdict::Refused(RefusalClass::ConfigFault),
        (400..=499, Some(errors)) => {
            let meaning = errors.decisive(status).and_then(|(_, meaning)| meaning);
            // Not in the list: never held against the number.
            Verdict::Refused(meaning.map_or(RefusalClass::ConfigFault, Meaning::class))
        }
        // 5xx, an unfollowed redirect, or an error page that is not Telnyx's: nobody documented that
        // nothing was placed.
        _ => Verdict::Unclear,
    }
}

/// What became of a command on a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// It is being done, or was.
    Taken,
    /// The call is over: nothing left to do.
    CallEnded,
    /// Telnyx knows no such call.
    NoCall,
    /// It may be given again.
    Later,
    /// It would be refused again.
    Never,
}

/// Judges the answer to a command.
pub(super) fn command(status: u16, errors: Option<&ApiErrors>) -> Command {
    match (status, errors) {
        (200..=299, _) => Command::Taken,
        (404 | 422, Some(errors)) if errors.has(&[CALL_ENDED]) => Command::CallEnded,
        (404 | 422, Some(errors)) if errors.is_about_no_call() => Command::NoCall,
        (422, Some(errors)) if errors.has(&[NOT_ANSWERED]) => Command::Later,
        // Credentials may be put right; the rest passes.
        (401..=403 | 408 | 429, _) => Command::Later,
        (400..=499, Some(_)) => Command::Never,
        _ => Command::Later,
    }
}

/// `data` of the answer to Dial.
#[derive(Deserialize)]
struct Dialed {
    data: DialedCall,
}

#[derive(Deserialize)]
struct DialedCall {
    call_control_id: String,
}

/// Reads the answer to Dial.
pub(super) fn answer(answered: Answered, scrub: &Scrub) -> DialAnswer {
    let Answered { status, body } = answered;
    if (200..300).contains(&status) {
        return match body {
            Ok(body) => accepted(status, &body, scrub),
            Err(error) => DialAnswer::Unclear(scrub.chain(&error)),
        };
    }
    let errors = body.ok().and_then(|body| ApiErrors::read(&body));
    let first = errors.as_ref().and_then(|errors| errors.decisive(status));
    let code = first.map_or_else(|| format!("HTTP {status}"), |(error, _)| error.name(status));
    let text = |error: &ApiError| error.detail.clone().or_else(|| error.title.clone());
    let message = first.and_then(|(error, _)| text(error)).unwrap_or_default();
    match judge(status, errors.as_ref()) {
        Verdict::Refused(class) => DialAnswer::Refused(Refusal {
            class,
            code,
            message: scrub.clean(&message),
        }),
        Verdict::Unclear => {
            DialAnswer::Unclear(scrub.clean(&format!("HTTP {status}, {code}: {message}")))
        }
    }
}

/// The answer to a suppressed repetition is not documented; nothing is ever repeated, so the call in
/// a 2xx answer is the one just placed.
fn accepted(status: u16, body: &Bytes, scrub: &Scrub) -> DialAnswer {
    let unclear =
        |why: &str| DialAnswer::Unclear(scrub.clean(&format!("HTTP {status}, but {why}")));
    let Ok(dialed) = serde_json::from_slice::<Dialed>(body) else {
        return unclear("the answer is not a call");
    };
    match CarrierCallId::parse(dialed.data.call_control_id) {
        Err(_) => unclear("the call has no usable call_control_id"),
        Ok(call_id) => DialAnswer::Accepted {
            call_id,
            queued_for: Duration::ZERO,
        },
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
