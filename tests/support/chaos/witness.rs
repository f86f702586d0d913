//! What the telephone network saw, call by call, and when calls were placed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dialfleet_simulator::{CallView, Network, Search};

/// The window in which dialing is said to go on or to stand still.
const WINDOW_MS: i64 = 1_000;
/// Dialing stands still below this part of its usual rate.
const STILL: f64 = 0.25;
/// A fault that stops dialing does so within this.
const STOPS_WITHIN_MS: i64 = 4_000;

/// A moment, in milliseconds since the epoch: the network's clock and ours are one.
pub(super) type Ms = i64;

pub(super) fn now() -> Ms {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(0))
}

/// A poisoned witness is still one.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) attempt: String,
    pub(super) campaign: String,
    pub(super) placed_at: Ms,
    pub(super) ended_at: Option<Ms>,
    pub(super) answered: bool,
}

impl Seen {
    fn of(call: &CallView) -> Self {
        Self {
            attempt: call.dial.attempt_key.clone(),
            campaign: call.dial.campaign_key.clone(),
            placed_at: call.placed_at.millis(),
            ended_at: call.ended_at.map(|at| at.millis()),
            answered: call.party.is_some(),
        }
    }

    /// The attempt's id without its number.
    pub(super) fn lead(&self) -> &str {
        self.attempt
            .rsplit_once(':')
            .map_or(&self.attempt, |(lead, _)| lead)
    }
}

/// Every call there was: the network itself forgets old ones.
#[derive(Debug, Default)]
pub(super) struct Witness {
    calls: BTreeMap<u64, Seen>,
    leads: BTreeMap<String, BTreeSet<String>>,
    /// Every call before this one has ended.
    open: u64,
}

impl Witness {
    /// With these calls.
    #[cfg(test)]
    pub(super) fn of(calls: impl Iterator<Item = Seen>) -> Self {
        Self {
            calls: (0..).zip(calls).collect(),
            ..Self::default()
        }
    }

    /// Takes down what is new.
    pub(super) fn look(&mut self, network: &Network) {
        let open = self.open;
        let search = Search {
            since: open,
            ..Search::default()
        };
        for call in network.calls(&search, |_| true) {
            let seen = Seen::of(&call);
            let leads = self.leads.entry(seen.campaign.clone()).or_default();
            leads.insert(seen.lead().to_owned());
            self.calls.insert(call.serial, seen);
        }
        let live = self.calls.range(open..).find(|(_, c)| c.ended_at.is_none());
        let next = self.calls.last_key_value().map_or(0, |(last, _)| last + 1);
        self.open = live.map_or(next, |(serial, _)| *serial);
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = &Seen> {
        self.calls.values()
    }

    /// How many leads of a campaign have been called.
    pub(super) fn leads_called(&self, campaign: &str) -> usize {
        self.leads.get(campaign).map_or(0, BTreeSet::len)
    }

    /// When calls were placed, in order.
    pub(super) fn pulse(&self) -> Pulse {
        Pulse(self.calls().map(|call| call.placed_at).collect())
    }
}

/// The times of all placed calls, in order.
#[derive(Debug)]
pub(super) struct Pulse(Vec<Ms>);

impl Pulse {
    /// Calls placed from `from` until before `to`.
    pub(super) fn between(&self, from: Ms, to: Ms) -> usize {
        let before = |ms| self.0.partition_point(|at| *at < ms);
        before(to).saturating_sub(before(from))
    }

    /// The median of the windows between `from` and `to`.
    pub(super) fn usual(&self, from: Ms, to: Ms) -> f64 {
        let step = usize::try_from(WINDOW_MS).unwrap_or(1);
        let mut counts: Vec<usize> = (from..to)
            .step_by(step)
            .map(|at| self.between(at, at + WINDOW_MS))
            .collect();
        counts.sort_unstable();
        counts.get(counts.len() / 2).map_or(0.0, |n| count(*n))
    }

    /// How long after `fault` dialing was back at a good part of `usual` calls per window; 0 when it
    /// never stood still, `None` when it did not come back before `end`.
    pub(super) fn resumed(&self, fault: Ms, usual: f64, end: Ms) -> Option<Ms> {
        let step = usize::try_from(WINDOW_MS / 10).unwrap_or(1);
        let least = usual * STILL;
        let stands = |at: &Ms| count(self.between(*at, *at + WINDOW_MS)) < least;
        let Some(stopped) = (fault..fault + STOPS_WITHIN_MS).step_by(step).find(stands) else {
            return Some(0);
        };
        let back = (stopped..end).step_by(step).find(|at| !stands(at))?;
        Some(back - fault)
    }
}

/// Counts here are far below what a double holds exactly.
pub(super) fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_measured_from_the_fault_to_its_end() {
        // 20 calls a second, but for two calls from 10 s to 16 s.
        let steady = |from: Ms, to: Ms| (from..to).step_by(50);
        let mut times: Vec<Ms> = steady(0, 10_000).chain(steady(16_000, 30_000)).collect();
        times.extend([12_000, 14_500]);
        times.sort_unstable();
        let pulse = Pulse(times);
        let back = pulse.resumed(9_900, 20.0, 30_000).unwrap();
        assert!((5_000..=6_200).contains(&back), "{back}");
        assert_eq!(pulse.resumed(20_000, 20.0, 30_000), Some(0));
        assert_eq!(pulse.resumed(28_500, 20.0, 30_000), None);
    }
}
