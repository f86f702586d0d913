//! Channels: how many calls a carrier account takes at once, over the whole fleet.
//!
//! A channel is held as a slot is: by the attempt document, from the intent to the end, and the store's
//! unique index U4 says whether one is free. What is kept here is a memory of that, read again about
//! once a second and moved along by this process's own calls: it chooses a number that is probably
//! free, keeps slots waiting while there is none, and wakes them when one may be. Where it is wrong the
//! index says so, and it is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dialfleet_domain::call::Leg;
use dialfleet_domain::id::CarrierId;

use crate::fleet::Fleet;
use crate::port::carrier::CarrierProfile;
use crate::port::store::Answer;

/// See the module.
#[derive(Default)]
pub(crate) struct Channels {
    lanes: Mutex<BTreeMap<CarrierId, Lane>>,
}

struct Lane {
    total: u32,
    /// By attempts, as far as is known here.
    taken: BTreeSet<u32>,
    /// By this process, for intents that are not written yet.
    mine: BTreeSet<u32>,
}

/// A channel for an intent that is about to be written: given back unless it was.
#[derive(Debug, PartialEq, Eq)]
pub struct Reserved {
    pub(crate) carrier: CarrierId,
    pub(crate) number: u32,
}

/// The answer to whoever wants a channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// This carrier's are not counted.
    Uncounted,
    /// This one.
    Got(Reserved),
    /// As many calls as it takes are live.
    Full,
}

impl Channels {
    pub(crate) fn new<'a>(carriers: impl Iterator<Item = &'a CarrierProfile>) -> Self {
        let lane = |profile: &CarrierProfile| {
            let lane = Lane {
                total: profile.channels?,
                taken: BTreeSet::new(),
                mine: BTreeSet::new(),
            };
            Some((profile.id.clone(), lane))
        };
        Self {
            lanes: Mutex::new(carriers.filter_map(lane).collect()),
        }
    }

    fn lanes(&self) -> MutexGuard<'_, BTreeMap<CarrierId, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a channel that is probably free; `draw` says which, so that processes seldom meet.
    pub(crate) fn try_take(&self, carrier: &CarrierId, draw: u64) -> Taken {
        let mut lanes = self.lanes();
        let Some(lane) = lanes.get_mut(carrier) else {
            return Taken::Uncounted;
        };
        if lane.is_full() {
            return Taken::Full;
        }
        let held = |number: &u32| lane.taken.contains(number) || lane.mine.contains(number);
        let free: Vec<u32> = (0..lane.total).filter(|number| !held(number)).collect();
        let count = u64::try_from(free.len()).unwrap_or(u64::MAX);
        let drawn = usize::try_from(draw % count.max(1)).ok();
        let Some(number) = drawn.and_then(|at| free.get(at)).copied() else {
            return Taken::Full;
        };
        lane.mine.insert(number);
        Taken::Got(Reserved {
            carrier: carrier.clone(),
            number,
        })
    }

    /// It was not used.
    pub(crate) fn give_back(&self, reserved: &Reserved) {
        if let Some(lane) = self.lanes().get_mut(&reserved.carrier) {
            lane.mine.remove(&reserved.number);
        }
    }

    /// An attempt holds it: ours, or one that was faster.
    pub(crate) fn taken(&self, reserved: &Reserved) {
        if let Some(lane) = self.lanes().get_mut(&reserved.carrier) {
            lane.mine.remove(&reserved.number);
            lane.taken.insert(reserved.number);
        }
    }

    /// A leg's call is over.
    fn freed(&self, carrier: &CarrierId, number: u32) {
        if let Some(lane) = self.lanes().get_mut(carrier) {
            lane.taken.remove(&number);
        }
    }

    /// Whether there is no channel to be had: they are taken, or reserved here for intents.
    pub(crate) fn is_full(&self, carrier: &CarrierId) -> bool {
        self.lanes().get(carrier).is_some_and(Lane::is_full)
    }

    /// Whether as many calls as the carrier takes are live, as far as is known here. What is reserved
    /// does not count: whoever asks may be the one who has it.
    pub(crate) fn is_taken(&self, carrier: &CarrierId) -> bool {
        let full = |lane: &Lane| u32::try_from(lane.taken.len()).map_or(true, |n| n >= lane.total);
        self.lanes().get(carrier).is_some_and(full)
    }

    /// How many channels a carrier has, and how many of them are taken; `None` if they are not counted.
    pub(crate) fn counts(&self, carrier: &CarrierId) -> Option<(u32, u32)> {
        let lanes = self.lanes();
        let lane = lanes.get(carrier)?;
        Some((
            lane.total,
            u32::try_from(lane.taken.len()).unwrap_or(u32::MAX),
        ))
    }
}

impl Lane {
    /// A lowered number counts the live calls above it.
    fn is_full(&self) -> bool {
        let held = self.taken.union(&self.mine).count();
        u32::try_from(held).map_or(true, |held| held >= self.total)
    }
}

/// Reads which channels of every carrier are taken, and wakes what waits for those that are free.
pub(super) async fn learn(fleet: &Fleet) -> Answer<()> {
    let carriers: Vec<CarrierId> = fleet.routes.channels.lanes().keys().cloned().collect();
    for carrier in carriers {
        count(fleet, &carrier).await?;
    }
    Ok(())
}

/// The same of one carrier.
pub(crate) async fn count(fleet: &Fleet, carrier: &CarrierId) -> Answer<()> {
    let taken = fleet.store.taken_channels(carrier).await?;
    if let Some(lane) = fleet.routes.channels.lanes().get_mut(carrier) {
        lane.taken = taken.into_iter().collect();
    }
    wake(fleet, carrier);
    Ok(())
}

/// A leg's call is over: whoever waits for its carrier may go on.
pub(crate) fn free(fleet: &Fleet, leg: &Leg) {
    if let Some(number) = leg.channel {
        fleet.routes.channels.freed(&leg.carrier, number);
        wake(fleet, &leg.carrier);
    }
}

fn wake(fleet: &Fleet, carrier: &CarrierId) {
    if let Some(dialer) = &fleet.dialer
        && !fleet.routes.channels.is_full(carrier)
    {
        dialer.wake(carrier);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(total: u32) -> (Channels, CarrierId) {
        let id = CarrierId::parse("c").expect("valid");
        let lane = Lane {
            total,
            taken: BTreeSet::new(),
            mine: BTreeSet::new(),
        };
        let lanes = Mutex::new(BTreeMap::from([(id.clone(), lane)]));
        (Channels { lanes }, id)
    }

    fn got(taken: Taken) -> Reserved {
        match taken {
            Taken::Got(reserved) => reserved,
            Taken::Uncounted | Taken::Full => panic!("{taken:?}"),
        }
    }

    #[test]
    fn a_channel_is_given_once_until_it_is_free() {
        let (channels, id) = channels(2);
        let one = got(channels.try_take(&id, 7));
        let other = got(channels.try_take(&id, 7));
        assert_ne!(one, other);
        assert_eq!(channels.try_take(&id, 7), Taken::Full);
        channels.taken(&one);
        assert_eq!(channels.try_take(&id, 7), Taken::Full, "written is taken");
        channels.give_back(&other);
        assert_eq!(got(channels.try_take(&id, 1)), other, "the only free one");
        channels.freed(&id, one.number);
        assert_eq!(got(channels.try_take(&id, 1)), one);
        let stranger = CarrierId::parse("d").expect("valid");
        assert_eq!(channels.try_take(&stranger, 0), Taken::Uncounted);
        assert!(!channels.is_full(&stranger));
    }

    #[test]
    fn calls_above_a_lowered_number_count() {
        let (channels, id) = channels(2);
        channels.lanes().get_mut(&id).expect("there").taken = BTreeSet::from([4, 9]);
        assert_eq!(channels.try_take(&id, 0), Taken::Full);
        assert_eq!(channels.counts(&id), Some((2, 2)));
    }
}
