//! Who may use which part of a carrier's rate.
//!
//! A carrier's rate is cut into a fixed number of seats. A process dials on the seats it holds, by a
//! lease with an end, so that the whole fleet never exceeds the rate, whoever comes, goes or dies:
//! a seat is given up before somebody else takes it. At a low rate there are fewer seats than
//! processes; then they go round among those that have something to dial.

use std::collections::BTreeMap;
use std::time::Duration;

use dialfleet_domain::id::WorkerId;
use dialfleet_domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a seat is held without being renewed.
pub(super) const LEASE: Duration = Duration::from_secs(12);
/// Renewed when less than this is left.
const RENEW: Duration = Duration::from_secs(8);
/// How long one process keeps a seat while others wait and there are not enough for all.
const ROUND: Duration = Duration::from_secs(5);
/// Most seats a carrier has.
const MAX_SEATS: u32 = 32;

/// Into how many seats a rate (calls per second) is cut: none has less than about one call a second.
pub(super) fn seats_of(cps: f64) -> u32 {
    (1..=MAX_SEATS)
        .rev()
        .find(|n| f64::from(*n) <= cps)
        .unwrap_or(1)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    by: WorkerId,
    until: Timestamp,
}

/// The note about one carrier's seats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seats {
    /// By seat; those that nobody holds are absent.
    held: BTreeMap<u32, Held>,
    /// Who has something to dial, and until when we believe it.
    wanting: BTreeMap<WorkerId, Timestamp>,
}

impl Seats {
    /// The seats that `me` holds at `now`.
    pub(super) fn of(&self, me: &WorkerId, now: Timestamp) -> Vec<u32> {
        let mine = self
            .held
            .iter()
            .filter(|(_, h)| h.by == *me && h.until > now);
        mine.map(|(seat, _)| *seat).collect()
    }

    /// Takes a turn for `me`: renews, takes and gives up. Returns what the note should say, or
    /// `None` when it may stay as it is.
    pub(super) fn turn(
        &self,
        total: u32,
        me: &WorkerId,
        wants: bool,
        now: Timestamp,
    ) -> Option<Self> {
        let mut next = self.clone();
        next.held
            .retain(|seat, held| held.until > now && *seat < total);
        next.wanting.retain(|_, until| *until > now);
        if wants {
            next.wanting.entry(me.clone()).or_insert(now + LEASE);
        } else {
            next.wanting.remove(me);
        }
        let mine = next.of(me, now);
        let share = next.share(total, me, wants, &mine, now);
        for seat in &mine {
            if !share.contains(seat) {
                next.held.remove(seat);
            }
        }
        for seat in share {
            let free = next.held.get(&seat).is_none_or(|held| held.by == *me);
            if free {
                let (by, until) = (me.clone(), now + LEASE);
                next.held.insert(seat, Held { by, until });
            }
        }
        let stale = |until: &Timestamp| *until < now + RENEW;
        let due = self.held.values().any(|h| h.by == *me && stale(&h.until))
            || wants && self.wanting.get(me).is_none_or(stale);
        if due && wants {
            next.wanting.insert(me.clone(), now + LEASE);
        }
        let others = |seats: &Self| {
            seats
                .held
                .iter()
                .map(|(s, h)| (*s, h.by.clone()))
                .collect::<Vec<_>>()
        };
        let changed = others(&next) != others(self)
            || self.wanting.contains_key(me) != next.wanting.contains_key(me);
        // A note that merely could be younger is left alone: every write makes the others read.
        (due || changed).then_some(next)
    }

    /// Gives up everything of `me`.
    pub(super) fn without(&self, me: &WorkerId) -> Option<Self> {
        let mut next = self.clone();
        next.held.retain(|_, held| held.by != *me);
        next.wanting.remove(me);
        (next != *self).then_some(next)
    }

    /// The seats that are `me`'s by right, and those that nobody else wants.
    fn share(
        &self,
        total: u32,
        me: &WorkerId,
        wants: bool,
        mine: &[u32],
        now: Timestamp,
    ) -> Vec<u32> {
        let claimants: Vec<&WorkerId> = self.wanting.keys().collect();
        let Some(n) = u32::try_from(claimants.len()).ok().filter(|n| *n > 0) else {
            // Nobody has anything to dial: what one has is kept, for the next call.
            return mine.to_vec();
        };
        let rank = claimants.iter().position(|who| *who == me);
        let Some(rank) = rank.filter(|_| wants).and_then(|r| u32::try_from(r).ok()) else {
            return Vec::new();
        };
        // Interleaved, so that the moments of one process are spread evenly; and going round, when
        // there are fewer seats than processes.
        let round = now.millis().unsigned_abs() / u64::try_from(ROUND.as_millis()).unwrap_or(1);
        let turn = if n > total {
            u32::try_from(round % u64::from(n)).unwrap_or(0)
        } else {
            0
        };
        let place = (rank + n - turn) % n;
        (0..total).filter(|seat| seat % n == place).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn worker(n: u8) -> WorkerId {
        WorkerId::parse(format!("wrk_{n}")).expect("an id")
    }

    fn at(s: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000) + Duration::from_secs(s)
    }

    #[test]
    fn a_rate_has_seats_of_about_a_call_a_second() {
        let table = [
            (0.2, 1),
            (1.0, 1),
            (1.9, 1),
            (2.0, 2),
            (10.0, 10),
            (1_000.0, 32),
        ];
        for (cps, seats) in table {
            assert_eq!(seats_of(cps), seats, "{cps}");
        }
    }

    #[test]
    fn one_takes_all_and_shares_with_the_next() {
        let (a, b) = (worker(1), worker(2));
        let alone = Seats::default().turn(4, &a, true, at(0)).expect("news");
        assert_eq!(alone.of(&a, at(1)), [0, 1, 2, 3]);
        assert_eq!(alone.turn(4, &a, true, at(1)), None, "nothing new");
        let asked = alone.turn(4, &b, true, at(1)).expect("b wants");
        assert_eq!(asked.of(&b, at(1)), [0_u32; 0], "all are taken still");
        let given = asked.turn(4, &a, true, at(2)).expect("a gives up");
        assert_eq!(given.of(&a, at(2)), [0, 2]);
        let both = given.turn(4, &b, true, at(2)).expect("b takes");
        assert_eq!(
            (both.of(&a, at(3)), both.of(&b, at(3))),
            (vec![0, 2], vec![1, 3])
        );
        // b is killed: its seats come back when its lease has ended.
        let mut seats = both;
        for s in 3..30 {
            seats = seats.turn(4, &a, true, at(s)).unwrap_or(seats);
        }
        assert_eq!(seats.of(&a, at(30)), [0, 1, 2, 3]);
    }

    #[test]
    fn a_single_seat_goes_round_and_an_idle_holder_lets_go() {
        let workers = [worker(1), worker(2), worker(3)];
        let mut seats = Seats::default();
        let mut turns = [0; 3];
        for s in 0..60 {
            for (i, who) in workers.iter().enumerate() {
                seats = seats.turn(1, who, true, at(s)).unwrap_or(seats);
                turns[i] += seats.of(who, at(s)).len();
            }
        }
        assert!(turns.iter().all(|t| *t >= 12), "{turns:?}");
        // Only the third still wants it.
        for s in 60..75 {
            for (i, who) in workers.iter().enumerate() {
                seats = seats.turn(1, who, i == 2, at(s)).unwrap_or(seats);
            }
        }
        assert_eq!(seats.of(&workers[2], at(75)), [0]);
    }

    proptest! {
        /// Whoever comes and goes: nobody's seat is taken before its end unless he gave it up, and
        /// everybody who stays and wants gets his part.
        #[test]
        fn nobody_loses_a_seat_and_everybody_gets_a_part(
            total in 1_u32..12,
            steps in prop::collection::vec((0_u8..5, any::<bool>(), 0_u64..3), 1..200),
        ) {
            let mut seats = Seats::default();
            let mut s = 0;
            for (who, wants, pass) in steps {
                s += pass;
                let me = worker(who);
                let before = seats.clone();
                if let Some(next) = seats.turn(total, &me, wants, at(s)) {
                    for (seat, held) in &before.held {
                        if held.by != me && held.until > at(s) {
                            prop_assert_eq!(next.held.get(seat), Some(held));
                        }
                    }
                    seats = next;
                }
            }
            // Three stay.
            for _ in 0..20 {
                s += 1;
                for who in 0..3 {
                    seats = seats.turn(total, &worker(who), true, at(s)).unwrap_or(seats);
                }
            }
            let got: Vec<usize> = (0..3).map(|who| seats.of(&worker(who), at(s)).len()).collect();
            if total >= 3 {
                prop_assert_eq!(got.iter().sum::<usize>(), total as usize, "{:?}", got);
                prop_assert!(got.iter().all(|n| *n >= total as usize / 3), "{:?}", got);
            }
        }
    }
}
