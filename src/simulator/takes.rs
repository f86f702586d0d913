//! Recordings of calls: made in network time, kept after the call.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dialfleet_domain::time::Timestamp;

use crate::dice::Dice;
use crate::network::CallView;

/// Recordings kept.
const KEPT: usize = 20_000;

/// Where a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Running,
    Paused,
    Complete,
}

/// How a recording is made, and who is told about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Two channels, one for each side.
    pub(crate) dual: bool,
    /// `inbound`, `outbound` or `both`.
    pub(crate) track: String,
    /// What started it, in the carrier's words.
    pub(crate) source: &'static str,
    pub(crate) callback: Option<String>,
    pub(crate) events: Vec<String>,
    pub(crate) client_state: Option<String>,
    /// `wav` or `mp3`, where only one is made.
    pub(crate) format: String,
}

/// One recording.
#[derive(Debug, Clone)]
pub(crate) struct Take {
    /// 32 hexadecimal digits.
    pub(crate) id: String,
    pub(crate) call_id: String,
    pub(crate) carrier: String,
    pub(crate) phone: String,
    pub(crate) plan: Plan,
    pub(crate) stage: Stage,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    /// Network time.
    pub(crate) length: Duration,
    running_since: Timestamp,
    requests: u64,
}

/// The recordings.
#[derive(Default)]
pub(crate) struct Takes {
    all: BTreeMap<String, Take>,
    order: VecDeque<String>,
    made: u64,
}

impl Takes {
    pub(crate) fn start(&mut self, call: &CallView, plan: Plan, seed: u64, now: Timestamp) -> Take {
        let nth = self.made;
        self.made += 1;
        let dice = Dice::new(seed);
        let (high, low) = (
            dice.roll("take-high", &call.call_id, nth),
            dice.roll("take-low", &call.call_id, nth),
        );
        let id = format!("{high:016x}{low:016x}");
        let take = Take {
            id: id.clone(),
            call_id: call.call_id.clone(),
            carrier: call.dial.carrier.clone(),
            phone: call.dial.to.clone(),
            plan,
            stage: Stage::Running,
            started_at: now,
            ended_at: None,
            length: Duration::ZERO,
            running_since: now,
            requests: 0,
        };
        self.all.insert(id.clone(), take.clone());
        self.order.push_back(id);
        if self.order.len() > KEPT
            && let Some(old) = self.order.pop_front()
        {
            self.all.remove(&old);
        }
        take
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Take> {
        self.all.get(id)
    }

    /// The recordings of a call, oldest first.
    pub(crate) fn of_call(&self, call_id: &str) -> Vec<Take> {
        let known = self.order.iter().filter_map(|id| self.all.get(id));
        known.filter(|t| t.call_id == call_id).cloned().collect()
    }

    /// The one of a call that is being made, if any.
    pub(crate) fn running(&self, call_id: &str) -> Option<&Take> {
        let mut newest_first = self.order.iter().rev().filter_map(|id| self.all.get(id));
        newest_first.find(|t| t.call_id == call_id && t.stage != Stage::Complete)
    }

    /// Halts, continues or completes a recording. `None`: there is no such one, or it was complete.
    pub(crate) fn turn(&mut self, id: &str, to: Stage, now: Timestamp, speed: f64) -> Option<Take> {
        let take = self.all.get_mut(id)?;
        match take.stage {
            Stage::Complete => return None,
            Stage::Paused => {}
            Stage::Running => take.length += now.since(take.running_since).mul_f64(speed),
        }
        take.running_since = now;
        take.stage = to;
        if to == Stage::Complete {
            take.ended_at = Some(now);
        }
        Some(take.clone())
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Take> {
        self.all.remove(id)
    }

    /// Numbers the requests for a recording from 0.
    pub(crate) fn requested(&mut self, id: &str) -> u64 {
        let Some(take) = self.all.get_mut(id) else {
            return 0;
        };
        take.requests += 1;
        take.requests - 1
    }
}
