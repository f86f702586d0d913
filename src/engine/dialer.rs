//! Step 0 of the dial protocol: a token before anything else. One ring of waiting slots per carrier
//! and one loop that serves it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::{CampaignId, CarrierId};
use dialfleet_domain::routing::route;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;

use crate::fill_slot::{Filled, candidates, fill_slot};
use crate::fleet::Fleet;
use crate::message::{FillSlot, Payload};
use crate::pace::Token;
use crate::ring::Ring;

/// Fills under way at once per carrier.
const IN_FLIGHT: usize = 48;
/// Offers that wait to be sorted into a ring.
const MAX_OFFERS: usize = 10_000;
/// The first delay after a fence came too late, and the longest.
const HOLD: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The waiting slots of this process.
#[derive(Default)]
pub struct Dialer {
    inner: Mutex<Inner>,
    offered: Notify,
    waiting: BTreeMap<CarrierId, Notify>,
}

#[derive(Default)]
struct Inner {
    offers: Vec<FillSlot>,
    rings: BTreeMap<CarrierId, Ring>,
    hold: Duration,
    hold_until: Duration,
}

impl Dialer {
    /// A dialer with a ring for each carrier.
    #[must_use]
    pub fn new<'a>(carriers: impl IntoIterator<Item = &'a CarrierId>) -> Self {
        let waiting = carriers
            .into_iter()
            .map(|c| (c.clone(), Notify::new()))
            .collect();
        Self {
            waiting,
            ..Self::default()
        }
    }

    /// Hands a free slot over. Dropped when too many wait; the planner offers it again.
    pub fn offer(&self, fill: FillSlot) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.offers.len() < MAX_OFFERS {
            inner.offers.push(fill);
            self.offered.notify_one();
        }
    }

    fn take_offers(&self) -> Vec<FillSlot> {
        std::mem::take(
            &mut self
                .inner
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .offers,
        )
    }

    fn park(&self, carrier: &CarrierId, fill: FillSlot, weight: u32) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .rings
            .entry(carrier.clone())
            .or_default()
            .join(fill, weight);
        if let Some(bell) = self.waiting.get(carrier) {
            bell.notify_one();
        }
    }

    fn next(&self, carrier: &CarrierId) -> Option<FillSlot> {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .rings
            .get_mut(carrier)?
            .take()
    }

    fn has_waiting(&self, carrier: &CarrierId) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner
            .rings
            .get(carrier)
            .is_some_and(|ring| !ring.is_empty())
    }

    fn drain(&self) -> Vec<FillSlot> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = std::mem::take(&mut inner.offers);
        for ring in inner.rings.values_mut() {
            left.extend(std::iter::from_fn(|| ring.take()));
        }
        left
    }

    /// A fence came too late: this process or its store is overloaded, so it waits before the next
    /// fill, twice as long each time, and forgets it after a success.
    fn after(&self, fleet: &Fleet, filled: &Filled) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match filled {
            Filled::Fenced => {
                inner.hold = (inner.hold * 2).clamp(HOLD.0, HOLD.1);
                let jitter = 0.5
                    + f64::from(u32::try_from(fleet.entropy.draw() >> 32).unwrap_or(0))
                        / f64::from(u32::MAX)
                        / 2.0;
                inner.hold_until = fleet.clock.uptime() + inner.hold.mul_f64(jitter);
            }
            Filled::Dialed => inner.hold = Duration::ZERO,
            Filled::Nothing
            | Filled::SlotBusy
            | Filled::Closed
            | Filled::NoCarrier
            | Filled::StoreOut => {}
        }
    }

    fn held_for(&self, fleet: &Fleet) -> Duration {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.hold_until.saturating_sub(fleet.clock.uptime())
    }
}

/// Serves the dialer of this process until it is told to stop; then lets the fills under way finish
/// and gives the waiting slots back to the queue.
pub async fn run(fleet: &Fleet) {
    let Some(dialer) = &fleet.dialer else { return };
    let sort = sort_offers(fleet, dialer);
    let lanes =
        futures_util::future::join_all(fleet.carriers.keys().map(|c| serve(fleet, dialer, c)));
    futures_util::future::join(sort, lanes).await;
    let left = dialer.drain();
    if !left.is_empty() {
        let messages = left
            .iter()
            .map(|f| f.message(format!("{}/{}", f.campaign, f.slot)))
            .collect();
        let failed = fleet
            .queue
            .publish(messages)
            .await
            .into_iter()
            .filter(Result::is_err)
            .count();
        tracing::info!(slots = left.len(), failed, "gave waiting slots back");
    }
}

/// Sorts offered slots into the rings. A campaign that cannot dial is dropped here already.
async fn sort_offers(fleet: &Fleet, dialer: &Dialer) {
    loop {
        tokio::select! {
            biased;
            () = fleet.stopping.cancelled() => return,
            () = dialer.offered.notified() => {}
        }
        let offers = dialer.take_offers();
        let mut ids: Vec<CampaignId> = offers.iter().map(|fill| fill.campaign.clone()).collect();
        ids.sort();
        ids.dedup();
        let campaigns = match fleet.store.campaigns(&ids).await {
            Ok(campaigns) => campaigns,
            Err(error) => {
                tracing::warn!(%error, "free slots were dropped; the planner will find them");
                continue;
            }
        };
        for fill in offers {
            let found = ids
                .binary_search(&fill.campaign)
                .ok()
                .and_then(|i| campaigns[i].as_ref());
            let Some(campaign) = found.filter(|c| c.state.may_dial() && fill.slot < c.limit) else {
                continue;
            };
            match lane_of(fleet, campaign) {
                Some(carrier) => dialer.park(&carrier, fill, campaign.weight),
                None => {
                    tracing::warn!(campaign = %campaign.id, "none of the campaign's carriers is configured")
                }
            }
        }
    }
}

/// The carrier in whose ring a campaign waits: the one that would be asked now. While none can be,
/// its first one: that is where the wait ends.
fn lane_of(fleet: &Fleet, campaign: &Campaign) -> Option<CarrierId> {
    let mut candidates = candidates(fleet);
    for resting in [true, false] {
        if !resting {
            candidates.iter_mut().for_each(|c| c.excluded = None);
        }
        if let Some(hop) = route(campaign, &candidates, None, 0)
            .chain
            .into_iter()
            .next()
        {
            return Some(hop.carrier);
        }
    }
    None
}

/// Serves one carrier's ring: token, then slot, then the protocol.
async fn serve(fleet: &Fleet, dialer: &Dialer, carrier: &CarrierId) {
    let Some(bell) = dialer.waiting.get(carrier) else {
        return;
    };
    let mut fills = FuturesUnordered::new();
    loop {
        if fleet.stopping.is_cancelled() {
            break;
        }
        let ready = fills.len() < IN_FLIGHT && dialer.has_waiting(carrier);
        let mut wait = Duration::from_secs(3600);
        if ready {
            let held = dialer.held_for(fleet);
            let taken = if held > Duration::ZERO {
                Some(Err(held))
            } else {
                fleet.pace.try_take(carrier)
            };
            match taken {
                Some(Ok(token)) => {
                    match dialer.next(carrier) {
                        Some(fill) => fills.push(dial(fleet, dialer, fill, token)),
                        None => fleet.pace.give_back(token),
                    }
                    continue;
                }
                Some(Err(time)) => {
                    fleet.metrics.pace_wait(carrier.as_str(), time);
                    wait = time;
                }
                None => return,
            }
        }
        tokio::select! {
            biased;
            () = fleet.stopping.cancelled() => break,
            Some(()) = fills.next() => {}
            () = bell.notified(), if fills.len() < IN_FLIGHT && !ready => {}
            () = fleet.clock.sleep(wait), if ready => {}
        }
    }
    while fills.next().await.is_some() {}
}

async fn dial(fleet: &Fleet, dialer: &Dialer, fill: FillSlot, token: Token) {
    let filled = fill_slot(fleet, &fill, token).await;
    dialer.after(fleet, &filled);
    tracing::debug!(campaign = %fill.campaign, slot = fill.slot, ?filled, "slot");
}
