//! `Range: bytes=…` of RFC 9110, one range of it: what players ask for.

use std::ops::Range;

/// What of a thing is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All: nothing else was asked for, or nothing that is understood.
    All,
    /// These bytes.
    Part(Range<u64>),
    /// None that is there.
    Nothing,
}

/// What `header` asks for of something that has `bytes`. Several ranges are allowed to be answered
/// with everything.
pub(crate) fn asked(header: Option<&str>, bytes: u64) -> Asked {
    let Some(ranges) = header.and_then(|h| h.trim().strip_prefix("bytes=")) else {
        return Asked::All;
    };
    let Some((first, last)) = ranges
        .trim()
        .split_once('-')
        .filter(|_| !ranges.contains(','))
    else {
        return Asked::All;
    };
    let range = match (number(first), number(last)) {
        // The last so many.
        (None, Some(n)) if first.is_empty() => bytes.saturating_sub(n)..bytes,
        (Some(from), None) if last.is_empty() => from..bytes,
        (Some(from), Some(to)) if from <= to => from..to.saturating_add(1).min(bytes),
        _ => return Asked::All,
    };
    if range.start < range.end {
        Asked::Part(range)
    } else {
        Asked::Nothing
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood() {
        let part = |range| Asked::Part(range);
        let table = [
            (None, Asked::All),
            (Some("bytes=0-0"), part(0..1)),
            (Some("bytes=2-5"), part(2..6)),
            (Some("bytes=2-"), part(2..10)),
            (Some("bytes=-3"), part(7..10)),
            (Some("bytes=-99"), part(0..10)),
            (Some("bytes=5-99999999999999999999999"), part(5..10)),
            (Some("bytes=10-"), Asked::Nothing),
            (Some("bytes=-0"), Asked::Nothing),
            (Some("bytes=5-4"), Asked::All),
            (Some("bytes=0-1,4-5"), Asked::All),
            (Some("lines=1-2"), Asked::All),
            (Some("bytes=x-y"), Asked::All),
            (Some("bytes=-"), Asked::All),
            (Some("bytes=+1-2"), Asked::All),
        ];
        for (header, expected) in table {
            assert_eq!(asked(header, 10), expected, "{header:?}");
        }
    }
}
