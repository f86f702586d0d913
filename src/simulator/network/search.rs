//! Which calls there are. A carrier is asked for the calls in progress and for those to one number
//! again and again, and its history grows; neither may cost a walk through all of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{CallView, Network};

/// What calls are looked for; the default is all of them.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// Only those in progress.
    pub live: bool,
    /// Only those to this number.
    pub to: Option<&'a str>,
    /// None numbered lower.
    pub since: u64,
    /// Only those numbered lower.
    pub before: u64,
    /// So many of the newest are passed over.
    pub skip: usize,
    /// No more than these.
    pub limit: usize,
}

impl Default for Search<'_> {
    fn default() -> Self {
        Self {
            live: false,
            to: None,
            since: 0,
            before: u64::MAX,
            skip: 0,
            limit: usize::MAX,
        }
    }
}

impl Network {
    /// The calls that are looked for and that `wanted` accepts, newest first.
    #[must_use]
    pub fn calls(&self, search: &Search<'_>, wanted: impl Fn(&CallView) -> bool) -> Vec<CallView> {
        let state = self.lock();
        let serials = search.since..search.before.max(search.since);
        let empty = BTreeSet::new();
        let few = match search.to {
            Some(to) => Some(state.index.to.get(to).unwrap_or(&empty)),
            None => search.live.then_some(&state.index.live),
        };
        let calls: Box<dyn Iterator<Item = _>> = match few {
            Some(few) => Box::new(
                few.range(serials)
                    .filter_map(|at| state.calls.get(at))
                    .rev(),
            ),
            None => Box::new(state.calls.range(serials).map(|(_, call)| call).rev()),
        };
        calls
            .map(|call| &call.view)
            .filter(|view| !(search.live && view.status.is_terminal()) && wanted(view))
            .skip(search.skip)
            .take(search.limit)
            .cloned()
            .collect()
    }
}

/// Calls by what they are looked for by.
#[derive(Debug, Default)]
pub(super) struct Index {
    live: BTreeSet<u64>,
    to: BTreeMap<String, BTreeSet<u64>>,
}

impl Index {
    pub(super) fn placed(&mut self, serial: u64, to: &str) {
        self.live.insert(serial);
        self.to.entry(to.to_owned()).or_default().insert(serial);
    }

    pub(super) fn ended(&mut self, serial: u64) {
        self.live.remove(&serial);
    }

    pub(super) fn forgotten(&mut self, serial: u64, to: &str) {
        if let Some(serials) = self.to.get_mut(to) {
            serials.remove(&serial);
            if serials.is_empty() {
                self.to.remove(to);
            }
        }
    }
}
