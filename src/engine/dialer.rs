//! Step 0 of the dial protocol: a token before anything else. One ring of waiting slots per carrier
//! and one loop that serves it.
//!
//! The dialer is open while this process may dial. When it closes (the process stops, or stands down
//! for a while) what waits goes back to the queue at once: a slot that waits here, where nobody fills
//! it, is a slot that nobody fills.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialfleet_domain::call::attempt::MAX_LEGS;
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::{CampaignId, CarrierId};
use dialfleet_domain::routing::Scored;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};

use crate::fill_slot::{Filled, choose_at_best, choose_for_anybody, fill_slot};
use crate::fleet::Fleet;
use crate::message::FillSlot;
use crate::pace::Token;
use crate::ring::Ring;
use crate::routes::channels::{Reserved, Taken};

/// Fills under way at once per carrier.
const IN_FLIGHT: usize = 48;
/// Offers that wait to be sorted into a ring.
const MAX_OFFERS: usize = 10_000;
/// The first delay after a fence came too late, and the longest.
const HOLD: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Slots that wait for a channel look after so long whether another carrier has one.
const FULL: Duration = Duration::from_secs(1);
/// A wait for pace that is not worth another carrier: two turns of a process that has one seat of a rate.
pub(crate) const SOON: Duration = Duration::from_secs(2);
/// Campaigns whose order of carriers is remembered.
const MAX_ORDERS: usize = 1_000;

/// The waiting slots of this process.
pub struct Dialer {
    inner: Mutex<Inner>,
    /// Written with `inner` locked, so that nothing slips in while it closes.
    open: watch::Sender<bool>,
    offered: Notify,
    waiting: BTreeMap<CarrierId, Notify>,
}

#[derive(Default)]
struct Inner {
    offers: Vec<FillSlot>,
    rings: BTreeMap<CarrierId, Ring>,
    orders: BTreeMap<CampaignId, Vec<CarrierId>>,
    hold: Duration,
    hold_until: Duration,
    down_until: Duration,
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
            inner: Mutex::default(),
            open: watch::Sender::new(true),
            offered: Notify::new(),
            waiting,
        }
    }

    /// Hands a free slot over. Dropped when too many wait; the planner offers it again.
    ///
    /// # Errors
    /// This process does not dial now: the slot is for somebody else.
    pub fn offer(&self, fill: FillSlot) -> Result<(), FillSlot> {
        let mut inner = self.lock();
        if !*self.open.borrow() {
            return Err(fill);
        }
        if inner.offers.len() < MAX_OFFERS {
            inner.offers.push(fill);
            self.offered.notify_one();
        }
        Ok(())
    }

    /// Closes until `until` (uptime), at least: this process may not dial before.
    pub(crate) fn stand_down(&self, until: Duration) {
        let mut inner = self.lock();
        inner.down_until = inner.down_until.max(until);
        self.open.send_replace(false);
    }

    /// Waits until it is open, or until it is closed.
    pub async fn until(&self, open: bool) {
        // The sender is ours, so the channel cannot close.
        let _ = self.open.subscribe().wait_for(|now| *now == open).await;
    }

    /// Opens, unless it stands down for a while longer; then returns for how long.
    fn try_open(&self, now: Duration) -> Option<Duration> {
        let inner = self.lock();
        let left = inner
            .down_until
            .checked_sub(now)
            .filter(|left| !left.is_zero());
        if left.is_none() {
            self.open.send_replace(true);
        }
        left
    }

    /// Closes, and returns everything that waits.
    fn close(&self) -> Vec<FillSlot> {
        let mut inner = self.lock();
        self.open.send_replace(false);
        let mut left = std::mem::take(&mut inner.offers);
        for ring in inner.rings.values_mut() {
            left.extend(std::iter::from_fn(|| ring.take()));
        }
        left
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_offers(&self) -> Vec<FillSlot> {
        std::mem::take(&mut self.lock().offers)
    }

    fn park(&self, carrier: &CarrierId, fill: FillSlot, weight: u32) -> Result<(), FillSlot> {
        let mut inner = self.lock();
        if !*self.open.borrow() {
            return Err(fill);
        }
        inner
            .rings
            .entry(carrier.clone())
            .or_default()
            .join(fill, weight);
        if let Some(bell) = self.waiting.get(carrier) {
            bell.notify_one();
        }
        Ok(())
    }

    /// A carrier may have a channel free.
    pub(crate) fn wake(&self, carrier: &CarrierId) {
        if let Some(bell) = self.waiting.get(carrier) {
            bell.notify_one();
        }
    }

    /// Has the slots that wait for a carrier sorted again: another one may take them.
    fn sort_again(&self, carrier: &CarrierId) {
        let mut inner = self.lock();
        let Inner { rings, offers, .. } = &mut *inner;
        if let Some(ring) = rings.get_mut(carrier) {
            offers.extend(std::iter::from_fn(|| ring.take()));
            self.offered.notify_one();
        }
    }

    fn next(&self, carrier: &CarrierId) -> Option<FillSlot> {
        self.lock().rings.get_mut(carrier)?.take()
    }

    fn has_waiting(&self, carrier: &CarrierId) -> bool {
        let inner = self.lock();
        inner
            .rings
            .get(carrier)
            .is_some_and(|ring| !ring.is_empty())
    }

    /// How many slots wait for a carrier.
    pub(crate) fn waiting(&self, carrier: &CarrierId) -> usize {
        self.lock().rings.get(carrier).map_or(0, Ring::len)
    }

    /// Notes which carriers a campaign's calls want, best first. A slot waits before anybody knows who
    /// will be called in it: the last person stands for the next one.
    pub(crate) fn wants(&self, campaign: &CampaignId, scored: &[Scored]) {
        let order = scored.iter().map(|one| one.carrier.clone()).collect();
        let mut inner = self.lock();
        if inner.orders.len() >= MAX_ORDERS {
            inner.orders.clear();
        }
        inner.orders.insert(campaign.clone(), order);
    }

    /// Sorts carriers by what was noted.
    fn sort(&self, campaign: &CampaignId, carriers: &mut [CarrierId]) {
        if let Some(order) = self.lock().orders.get(campaign) {
            let place = |carrier: &CarrierId| order.iter().position(|one| one == carrier);
            carriers.sort_by_key(|carrier| place(carrier).unwrap_or(order.len()));
        }
    }

    /// A fence came too late: this process or its store is overloaded, so it waits before the next
    /// fill, twice as long each time, and forgets it after a success.
    fn after(&self, fleet: &Fleet, filled: &Filled) {
        let mut inner = self.lock();
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
            | Filled::Stopping
            | Filled::StoreOut => {}
        }
    }

    fn held_for(&self, fleet: &Fleet) -> Duration {
        let inner = self.lock();
        inner.hold_until.saturating_sub(fleet.clock.uptime())
    }
}

/// Serves the dialer of this process until it is told to stop; then gives the waiting slots back to
/// the queue, while the fills under way finish.
pub async fn run(fleet: &Fleet) {
    let Some(dialer) = &fleet.dialer else { return };
    let lanes =
        futures_util::future::join_all(fleet.carriers.keys().map(|c| serve(fleet, dialer, c)));
    futures_util::future::join3(keep(fleet, dialer), sort_offers(fleet, dialer), lanes).await;
}

/// Opens and closes.
async fn keep(fleet: &Fleet, dialer: &Dialer) {
    loop {
        let left = dialer.try_open(fleet.clock.uptime());
        let on = match left {
            Some(left) => fleet.pause(left).await,
            None => tokio::select! {
                biased;
                () = fleet.stopping.cancelled() => false,
                () = dialer.until(false) => true,
            },
        };
        give_back(fleet, dialer.close()).await;
        if !on {
            return;
        }
    }
}

/// Gives slots that wait here to whoever listens on `dial`.
async fn give_back(fleet: &Fleet, left: Vec<FillSlot>) {
    if left.is_empty() {
        return;
    }
    let slots = left.len();
    let failed = fleet.publish_slots(left).await.len();
    tracing::info!(slots, failed, "gave waiting slots back");
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
        let mut refused = Vec::new();
        let mut ids: Vec<CampaignId> = offers.iter().map(|fill| fill.campaign.clone()).collect();
        ids.sort();
        ids.dedup();
        let campaigns = match fleet.campaigns(&ids).await {
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
            let Some(campaign) = found.filter(|c| c.state.may_dial() && fill.slot < c.slots())
            else {
                continue;
            };
            match lane_of(fleet, dialer, campaign) {
                Some(carrier) => {
                    refused.extend(dialer.park(&carrier, fill, campaign.weight).err());
                }
                None => {
                    tracing::warn!(campaign = %campaign.id, "no configured carrier can take this campaign's calls")
                }
            }
        }
        give_back(fleet, refused).await;
    }
}

/// The carrier in whose ring a campaign waits: the best one whose turn comes soon, or else the one
/// whose turn comes first. While none may be asked, the best one: that is where the wait ends.
fn lane_of(fleet: &Fleet, dialer: &Dialer, campaign: &Campaign) -> Option<CarrierId> {
    let mut asked = choose_for_anybody(fleet, campaign).scored;
    if asked.is_empty() {
        asked = choose_at_best(fleet, campaign).scored;
    }
    let mut carriers: Vec<CarrierId> = asked.into_iter().map(|one| one.carrier).collect();
    dialer.sort(&campaign.id, &mut carriers);
    carriers.truncate(MAX_LEGS);
    let wait = |carrier: &CarrierId| {
        let wait = wait_for(fleet, dialer, carrier);
        if wait <= SOON { Duration::ZERO } else { wait }
    };
    // Of equal waits the first one.
    carriers.into_iter().min_by_key(wait)
}

/// How long it takes about until the slots that wait for a carrier have had their turn.
pub(crate) fn wait_for(fleet: &Fleet, dialer: &Dialer, carrier: &CarrierId) -> Duration {
    fleet.pace.wait_behind(carrier, dialer.waiting(carrier))
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
        let full = ready && fleet.routes.channels.is_full(carrier);
        let mut wait = Duration::from_secs(3600);
        if full {
            wait = FULL;
        } else if ready {
            let held = dialer.held_for(fleet);
            let taken = if held > Duration::ZERO {
                Some(Err(held))
            } else {
                fleet.pace.try_take(carrier)
            };
            match taken {
                Some(Ok(token)) => {
                    let draw = fleet.entropy.draw();
                    let channel = match fleet.routes.channels.try_take(carrier, draw) {
                        Taken::Got(channel) => Some(channel),
                        // Full: that is seen in the next turn.
                        Taken::Uncounted | Taken::Full => None,
                    };
                    match dialer.next(carrier) {
                        Some(fill) => fills.push(dial(fleet, dialer, fill, (token, channel))),
                        None => give_both_back(fleet, token, channel),
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
            () = bell.notified(), if fills.len() < IN_FLIGHT && (!ready || full) => {}
            () = fleet.clock.sleep(wait), if ready => {
                if full && fleet.carriers.len() > 1 {
                    dialer.sort_again(carrier);
                }
            }
        }
    }
    while fills.next().await.is_some() {}
}

fn give_both_back(fleet: &Fleet, token: Token, channel: Option<Reserved>) {
    fleet.pace.give_back(token);
    if let Some(channel) = channel {
        fleet.routes.channels.give_back(&channel);
    }
}

async fn dial(
    fleet: &Fleet,
    dialer: &Dialer,
    fill: FillSlot,
    (token, channel): (Token, Option<Reserved>),
) {
    let filled = fill_slot(fleet, &fill, token, channel).await;
    dialer.after(fleet, &filled);
    if filled == Filled::Stopping {
        fleet.hand_off(fill.clone()).await;
    }
    tracing::debug!(campaign = %fill.campaign, slot = fill.slot, ?filled, "slot");
}
