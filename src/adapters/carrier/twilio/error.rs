//! What Twilio's errors mean for a call that was to be placed: HTTP status first, then the code,
//! because the same code means other things elsewhere.

use std::ops::RangeInclusive;

use dialfleet_domain::call::RefusalClass;
use serde::Deserialize;

/// The call ended before the update: nothing left to end.
pub(super) const NOT_IN_PROGRESS: u32 = 21220;

/// What a code says, in the order of `CODES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Over a limit, or a passing trouble.
    Later,
    /// Twilio's own failure: the call may exist.
    Ambiguous,
    /// Unreachable from here, or on Twilio's blocklist: a second carrier's word is needed before it
    /// is the number's fault.
    Elsewhere,
    /// Not a number that can be called.
    BadNumber,
    /// The caller id is not ours, not valid, or has a bad reputation.
    CallerId,
    /// No permission for that destination.
    Country,
    /// Credentials, funds, trial limits.
    Account,
    /// The request itself.
    Request,
    /// Our callback or document.
    Webhooks,
}

const fn code(code: u32) -> RangeInclusive<u32> {
    code..=code
}

/// Twilio's documented codes that can keep a call from being placed.
const CODES: &[(Meaning, &[RangeInclusive<u32>])] = &[
    (
        Meaning::Later,
        &[
            code(20429),
            code(10004),
            code(32016),
            code(15002),
            code(16021),
        ],
    ),
    (Meaning::Ambiguous, &[code(20500), code(20503)]),
    (
        Meaning::Elsewhere,
        &[
            code(13224),
            code(21214),
            code(21216),
            code(13225),
            code(32203),
        ],
    ),
    (
        Meaning::BadNumber,
        &[
            code(21211),
            code(21217),
            code(13223),
            code(13226),
            code(32101),
            code(21201),
            code(21202),
        ],
    ),
    (
        Meaning::CallerId,
        &[
            code(21210),
            code(21212),
            code(21213),
            code(13214),
            code(13247),
            code(13248),
            code(32017),
        ],
    ),
    (
        Meaning::Country,
        &[code(21215), code(13227), code(32205), code(21203)],
    ),
    (
        Meaning::Account,
        &[
            code(20003),
            code(20005),
            code(10001),
            code(10002),
            code(20006),
            code(20008),
            code(21219),
        ],
    ),
    (
        Meaning::Request,
        &[
            code(21205),
            code(21206),
            code(21208),
            code(21209),
            code(21218),
            code(21234),
            code(20001),
            code(20422),
            code(32018),
        ],
    ),
    (
        Meaning::Webhooks,
        &[
            code(11200),
            code(11205),
            code(11206),
            code(11210),
            code(11215),
            code(11220),
            11235..=11237,
            code(11750),
            code(12100),
            code(12200),
            code(12300),
            code(31920),
            code(31921),
            code(15003),
        ],
    ),
];

fn meaning(code: u32) -> Option<Meaning> {
    let row = CODES
        .iter()
        .find(|(_, codes)| codes.iter().any(|range| range.contains(&code)))?;
    Some(row.0)
}

/// Twilio's error document: `{code, message, more_info, status}`. A gateway's own error page is
/// not one.
#[derive(Debug, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    code: Option<u32>,
    message: String,
    #[serde(default)]
    status: Option<u16>,
}

impl ApiError {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let error: Self = serde_json::from_slice(body).ok()?;
        (error.code.is_some() || error.status.is_some()).then_some(error)
    }

    pub(super) fn code(&self) -> Option<u32> {
        self.code
    }

    /// It speaks of another failure than the one it came with.
    fn contradicts(&self) -> bool {
        self.status
            .is_some_and(|status| !(400..=499).contains(&status))
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

/// What became of a create request that was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was placed.
    Refused(RefusalClass),
    /// It may have been.
    Unclear,
}

/// Judges the answer to a create request by its status (not 2xx) and its error document.
pub(super) fn judge(status: u16, error: Option<&ApiError>) -> Verdict {
    match (status, error) {
        // Documented as never processed, whatever the code.
        (429, _) => Verdict::Refused(RefusalClass::RetryLater),
        // A proxy's time-out: the request may have gone through before.
        (408, _) => Verdict::Unclear,
        (400..=499, Some(error)) if !error.contradicts() => by_code(error.code),
        (401 | 403, None) => Verdict::Refused(RefusalClass::ConfigFault),
        // 5xx, an unfollowed redirect, or an error page that is not Twilio's: nobody documented
        // that nothing was placed.
        _ => Verdict::Unclear,
    }
}

fn by_code(code: Option<u32>) -> Verdict {
    let class = match code.and_then(meaning) {
        Some(Meaning::Ambiguous) => return Verdict::Unclear,
        Some(Meaning::Later) => RefusalClass::RetryLater,
        Some(Meaning::Elsewhere) => RefusalClass::Failover,
        Some(Meaning::BadNumber) => RefusalClass::BadNumber,
        Some(Meaning::CallerId) => RefusalClass::CallerIdFault,
        Some(Meaning::Country) => RefusalClass::DestinationFault,
        Some(Meaning::Account | Meaning::Request | Meaning::Webhooks)
        // Not in the list: never held against the number.
        | None => RefusalClass::ConfigFault,
    };
    Verdict::Refused(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use RefusalClass::{
        BadNumber, CallerIdFault, ConfigFault, DestinationFault, Failover, RetryLater,
    };

    #[test]
    fn codes_of_a_400_are_judged_by_the_table() {
        let table: [(RefusalClass, &[u32]); 6] = [
            (RetryLater, &[20429, 10004, 32016, 15002, 16021]),
            (Failover, &[13224, 21214, 21216, 13225, 32203]),
            (
                BadNumber,
                &[21211, 21217, 13223, 13226, 32101, 21201, 21202],
            ),
            (
                CallerIdFault,
                &[21210, 21212, 21213, 13214, 13247, 13248, 32017],
            ),
            (DestinationFault, &[21215, 13227, 32205, 21203]),
            (
                ConfigFault,
                &[
                    20003, 20005, 10001, 10002, 20006, 20008, 21219, 21205, 21206, 21208, 21209,
                    21218, 21234, 20001, 20422, 32018, 11200, 11205, 11206, 11210, 11215, 11220,
                    11235, 11236, 11237, 11750, 12100, 12200, 12300, 31920, 31921, 15003, 21220,
                    20404, 31931, 99999, 0,
                ],
            ),
        ];
        for (class, codes) in table {
            for &code in codes {
                let body =
                    format!(r#"{{"code":{code},"message":"m","more_info":"u","status":400}}"#);
                let error = ApiError::read(body.as_bytes());
                assert_eq!(
                    judge(400, error.as_ref()),
                    Verdict::Refused(class),
                    "{code}"
                );
                assert_eq!(
                    judge(500, error.as_ref()),
                    Verdict::Unclear,
                    "{code} with 500"
                );
                assert_eq!(
                    judge(429, error.as_ref()),
                    Verdict::Refused(RetryLater),
                    "{code} with 429"
                );
            }
        }
        for code in [20500, 20503] {
            let body = format!(r#"{{"code":{code},"message":"m"}}"#);
            assert_eq!(
                judge(400, ApiError::read(body.as_bytes()).as_ref()),
                Verdict::Unclear
            );
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut ranges: Vec<_> = CODES.iter().flat_map(|(_, codes)| codes.iter()).collect();
        ranges.sort_by_key(|range| *range.start());
        for pair in ranges.windows(2) {
            assert!(pair[0].end() < pair[1].start(), "{pair:?}");
        }
    }

    #[test]
    fn statuses_without_an_error_document() {
        let refused = |class| Verdict::Refused(class);
        let table = [
            (429, refused(RetryLater)),
            (401, refused(ConfigFault)),
            (403, refused(ConfigFault)),
            (400, Verdict::Unclear),
            (404, Verdict::Unclear),
            (408, Verdict::Unclear),
            (302, Verdict::Unclear),
            (307, Verdict::Unclear),
            (500, Verdict::Unclear),
            (502, Verdict::Unclear),
            (503, Verdict::Unclear),
            (504, Verdict::Unclear),
        ];
        for (status, verdict) in table {
            assert_eq!(judge(status, None), verdict, "{status}");
        }
    }

    #[test]
    fn only_twilios_own_document_counts() {
        for body in [
            "",
            "<html>Bad Request</html>",
            "[]",
            "{}",
            r#"{"message":"m"}"#,
            r#"{"code":1}"#,
        ] {
            assert!(ApiError::read(body.as_bytes()).is_none(), "{body}");
        }
        let old = ApiError::read(br#"{"status":404,"message":"m","code":null}"#).unwrap();
        assert_eq!(judge(404, Some(&old)), Verdict::Refused(ConfigFault));
    }
}
