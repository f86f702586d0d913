//! When a carrier is left alone.

use std::time::Duration;

/// How long a carrier is left alone after "too many requests"; then twice as long after each further
/// one that comes soon, up to eight times.
const LIMITED_REST: Duration = Duration::from_secs(1);
/// Soon is within so long after the end of the rest, and before it has taken so many requests: where
/// it refuses one in twenty, a fleet that stands still for seconds would be the wrong answer.
const SOON: (Duration, u32) = (Duration::from_secs(4), 20);
/// So many unclear answers in a row, and a carrier is left alone for so long; then twice as long after
/// each further one, up to eight times. Others may still reach it, and slots wait here meanwhile.
const UNCLEAR_IN_A_ROW: u32 = 3;
const UNCLEAR_REST: Duration = Duration::from_secs(1);
/// Doublings.
const MOST: u32 = 3;

/// What a carrier said to a request, as far as that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It takes the call.
    Taken,
    /// It does not, whatever the reason.
    Refused,
    /// Nobody knows.
    Unclear,
}

/// How a carrier answers. Times are uptimes.
#[derive(Debug, Default)]
pub(super) struct Rest {
    until: Duration,
    /// How often in a row it told us to slow down.
    limited: u32,
    /// When the rest ends that it told us to take last.
    limited_until: Duration,
    /// What it has taken since it told us.
    taken: u32,
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
        if now < self.limited_until {
            // Under way when the rest began: the same peak.
            return Duration::ZERO;
        }
        let again = self.limited_until > Duration::ZERO
            && now < self.limited_until + SOON.0
            && self.taken < SOON.1;
        self.limited = if again { self.limited + 1 } else { 0 };
        let rest = LIMITED_REST * 2_u32.pow(self.limited.min(MOST));
        self.limited_until = now + rest;
        self.taken = 0;
        self.extend(now + rest);
        if again { rest } else { Duration::ZERO }
    }

    /// It answered. After a few answers in a row that nobody understands it is left alone, longer each
    /// time: the way to it is broken, perhaps only from here, and each of them holds a slot and a
    /// person until it is cleared up.
    pub(super) fn answered(&mut self, reply: Reply, now: Duration) {
        self.taken = self.taken.saturating_add(u32::from(reply == Reply::Taken));
        let clearly = reply != Reply::Unclear;
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
            rest.answered(Reply::Refused, now);
            everybody.push(rest.limited(now).as_secs());
            now += rest.left(now).unwrap();
            assert_eq!(rest.left(now), None);
        }
        assert_eq!(everybody, [0, 2, 4, 8, 8, 8]);
        // Much later it begins anew.
        assert_eq!(rest.limited(now + at(4)), at(0));
    }

    #[test]
    fn what_was_under_way_tells_nothing_new() {
        let mut rest = Rest::default();
        for ms in 0..1_000 {
            assert_eq!(rest.limited(at(100) + Duration::from_millis(ms)), at(0));
        }
        assert_eq!(rest.left(at(101)), None);
        assert_eq!(rest.limited(at(101)), at(2));
    }

    #[test]
    fn too_many_requests_now_and_then_stop_only_who_was_told() {
        for (taken, everybody) in [(SOON.1 - 1, at(2)), (SOON.1, at(0))] {
            let mut rest = Rest::default();
            rest.limited(at(100));
            for _ in 0..taken {
                rest.answered(Reply::Taken, at(101));
            }
            rest.answered(Reply::Unclear, at(101));
            rest.answered(Reply::Refused, at(102));
            assert_eq!(rest.limited(at(102)), everybody, "{taken} taken");
        }
    }

    #[test]
    fn what_nobody_understands_is_left_alone_longer_each_time() {
        let mut rest = Rest::default();
        let mut now = at(100);
        let mut rests = Vec::new();
        for _ in 0..8 {
            rest.answered(Reply::Unclear, now);
            let left = rest.left(now).unwrap_or_default();
            rests.push(left.as_secs());
            now += left;
        }
        assert_eq!(rests, [0, 0, 1, 2, 4, 8, 8, 8]);
        for clear in [Reply::Taken, Reply::Refused] {
            rest.answered(clear, now);
            rest.answered(Reply::Unclear, now);
            assert_eq!(rest.left(now), None);
        }
    }
}
