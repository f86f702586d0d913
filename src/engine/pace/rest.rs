//! When a carrier is left alone.

use std::time::Duration;

/// How long a carrier is left alone after "too many requests"; then twice as long after each further
/// one that comes soon, up to eight times.
const LIMITED_REST: Duration = Duration::from_secs(1);
/// Soon is within so long after the end of the rest, unless more answers than this came in between:
/// where one in twenty is refused, twenty times fewer calls would be the wrong answer.
const SOON: (Duration, u32) = (Duration::from_secs(4), 20);
/// So many unclear answers in a row, and a carrier is left alone for so long; then twice as long after
/// each further one, up to eight times. Others may still reach it, and slots wait here meanwhile.
const UNCLEAR_IN_A_ROW: u32 = 3;
const UNCLEAR_REST: Duration = Duration::from_secs(1);
/// Doublings.
const MOST: u32 = 3;

/// How a carrier answers, as far as that is a reason to leave it alone. Times are uptimes.
#[derive(Debug, Default)]
pub(super) struct Rest {
    until: Duration,
    /// How often in a row it told us to slow down, and until when the next time counts.
    limited: u32,
    limited_until: Duration,
    /// Answers since it did.
    since: u32,
    /// Answers in a row that nobody understood.
    unclear: u32,
}

impl Rest {
    /// How long it is left alone yet.
    pub(super) fn left(&self, now: Duration) -> Option<Duration> {
        let left = self.until.saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// Leaves it alone until `until` at least.
    pub(super) fn extend(&mut self, until: Duration) {
        self.until = self.until.max(until);
    }

    /// It said "too many requests". It is left alone from here, longer each time that it says so again
    /// soon. Returns how long everybody should leave it alone: one answer may be the peak of a moment,
    /// and each process hears what is meant for it.
    pub(super) fn limited(&mut self, now: Duration) -> Duration {
        let again = now < self.limited_until && self.since < SOON.1;
        self.limited = if again { self.limited + 1 } else { 0 };
        let rest = LIMITED_REST * 2_u32.pow(self.limited.min(MOST));
        self.limited_until = now + rest + SOON.0;
        self.since = 0;
        self.extend(now + rest);
        if again { rest } else { Duration::ZERO }
    }

    /// It answered. After a few answers in a row that nobody understands it is left alone, longer each
    /// time: the way to it is broken, perhaps only from here, and each of them holds a slot and a
    /// person until it is cleared up.
    pub(super) fn answered(&mut self, clearly: bool, now: Duration) {
        self.since = self.since.saturating_add(1);
        self.unclear = if clearly { 0 } else { self.unclear + 1 };
        if let Some(again) = self.unclear.checked_sub(UNCLEAR_IN_A_ROW) {
            self.extend(now + UNCLEAR_REST * 2_u32.pow(again.min(MOST)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn too_many_requests_again_and_again_stop_everybody_longer_each_time() {
        let mut rest = Rest::default();
        let mut now = at(100);
        let mut everybody = Vec::new();
        for _ in 0..6 {
            rest.answered(true, now);
            everybody.push(rest.limited(now).as_secs());
            now += rest.left(now).unwrap();
            assert_eq!(rest.left(now), None);
        }
        assert_eq!(everybody, [0, 2, 4, 8, 8, 8]);
        // Much later it begins anew.
        assert_eq!(rest.limited(now + at(4)), at(0));
    }

    #[test]
    fn too_many_requests_now_and_then_stop_only_who_was_told() {
        let mut rest = Rest::default();
        for second in 0..10 {
            let now = at(100 + 2 * second);
            for _ in 0..SOON.1 {
                rest.answered(true, now);
            }
            assert_eq!(rest.limited(now), at(0));
            assert_eq!(rest.left(now), Some(LIMITED_REST));
        }
    }

    #[test]
    fn what_nobody_understands_is_left_alone_longer_each_time() {
        let mut rest = Rest::default();
        let mut now = at(100);
        let mut rests = Vec::new();
        for _ in 0..8 {
            rest.answered(false, now);
            let left = rest.left(now).unwrap_or_default();
            rests.push(left.as_secs());
            now += left;
        }
        assert_eq!(rests, [0, 0, 1, 2, 4, 8, 8, 8]);
        rest.answered(true, now);
        rest.answered(false, now);
        assert_eq!(rest.left(now), None);
    }
}
