//! What somebody is promised who does not want to be called again, and from when. It holds for every
//! campaign of the tenant, whatever becomes of the call, of processes and of the store:
//!
//! | from when | no call to the number |
//! |---|---|
//! | the key was pressed, while that call lasts | is placed: the phone is locked by it. The network's ledger sees two calls at once |
//! | the key is written down with the call that lasts | leaves, is placed or rings, at any later time. The phone stays locked until the number is on the list, also after the call, and whoever reads the list after that sees it |
//! | the person was told that it is done | the same; and the number is on the list by then |
//! | the number is on the list, also by an order | leaves later than the fence allows, if its facts were read before; none of later facts |
//! | the person was told that it could not be recorded yet | nothing yet, but in the end the number is on the list |
//!
//! What is left: a key that is heard of after the end of the call, when the phone is free already: the
//! number gets on the list at once, but a call of another campaign may begin before. And a key that no
//! process could write down, because the store was out or the process died over it, and that nobody was
//! told about. The carrier says that something went wrong then, or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The wishes of one world, by phone.
#[derive(Default)]
pub(super) struct Wishes {
    /// Written down with a call that is not settled yet, or confirmed to the person: since when.
    final_since: BTreeMap<String, Duration>,
    /// In the list: since when.
    listed: BTreeMap<String, Duration>,
    /// Heard that it is done, or that it will be.
    told: BTreeSet<String>,
    /// How many heard that it is done.
    confirmed: u64,
}

impl Wishes {
    /// A key that means an opt-out was written down with the call on which it was pressed.
    pub(super) fn written(&mut self, phone: &str, now: Duration) {
        self.final_since.entry(phone.to_owned()).or_insert(now);
    }

    /// A number got into the list.
    pub(super) fn listed(&mut self, phone: &str, now: Duration) {
        self.listed.entry(phone.to_owned()).or_insert(now);
    }

    /// Somebody hears that it is done. Returns whether it is.
    pub(super) fn confirmed(&mut self, phone: &str, now: Duration) -> bool {
        self.confirmed += 1;
        self.told.insert(phone.to_owned());
        self.final_since.entry(phone.to_owned()).or_insert(now);
        self.listed.contains_key(phone)
    }

    /// Somebody hears that it could not be done yet.
    pub(super) fn put_off(&mut self, phone: &str) {
        self.told.insert(phone.to_owned());
    }

    /// How long ago it was that no call to this number could begin any more, if it may not begin now.
    /// `slack`: what a call may be under way with, on facts from before the number was on the list.
    pub(super) fn forbid(&self, phone: &str, now: Duration, slack: Duration) -> Option<Duration> {
        let final_since = self.final_since.get(phone).copied();
        let listed = self.listed.get(phone).map(|at| *at + slack);
        let since = final_since.into_iter().chain(listed).min()?;
        (since < now).then(|| now - since)
    }

    /// Who must be on the list in the end.
    pub(super) fn promised(&self) -> BTreeSet<String> {
        self.told
            .union(&self.final_since.keys().cloned().collect())
            .cloned()
            .collect()
    }

    /// How many were told that it is done.
    pub(super) fn count(&self) -> u64 {
        self.confirmed
    }
}
