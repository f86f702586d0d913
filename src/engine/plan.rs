//! When to look at a campaign, and what to offer it: every free slot, as soon as a lead is due.

use std::collections::BTreeSet;
use std::time::Duration;

use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::CampaignId;

use crate::fleet::Fleet;
use crate::message::FillSlot;
use crate::port::store::Answer;

/// Campaigns claimed in one turn.
pub(crate) const MAX_WAKES: usize = 64;
/// A planner that dies with claimed campaigns is succeeded after this.
const LEASE: Duration = Duration::from_secs(15);
/// While a campaign drains or waits for something that sends no signal.
const SOON: Duration = Duration::from_secs(1);
/// A slot of a campaign that is dialing is offered if it is free for so long: less than anybody notices,
/// and longer than it mostly takes from a call's end to the next call's intent.
const SETTLES: Duration = Duration::from_millis(300);
/// The longest the scan of all running campaigns may take.
const SCAN_PERIOD_S: usize = 60;
/// Campaigns one scan turn reads at least.
const SCAN_PAGE: usize = 50;
/// Slots of one campaign that a scan turn offers at most. A campaign whose carriers are the bottleneck
/// has many free slots, all of them waiting in a dialer's ring already; offering each again every few
/// seconds would be most of the broker's load.
const SCAN_OFFERS: usize = 32;

/// One turn of the planner: campaigns whose time has come.
///
/// # Errors
/// The store failed.
pub async fn plan_due(fleet: &Fleet) -> Answer<usize> {
    let now = fleet.clock.now();
    let due = fleet.store.claim_wakes(now, now + LEASE, MAX_WAKES).await?;
    plan(fleet, &due).await?;
    Ok(due.len())
}

/// Offers the free slots of those that have leads to call, and says of the others when to look again.
/// They must have been read before anything else here is.
async fn plan(fleet: &Fleet, campaigns: &[Campaign]) -> Answer<()> {
    let is_running = |c: &&Campaign| c.state == CampaignState::Running;
    let (running, others): (Vec<_>, Vec<_>) = campaigns.iter().partition(is_running);
    for campaign in others {
        unless_corrupt(attend(fleet, campaign).await)?;
    }
    let offered = offer_free_slots(fleet, &running, usize::MAX).await?;
    for (campaign, offered) in running.into_iter().zip(offered) {
        let Some(due) = offered else { continue };
        let next = if due {
            // The fills take it from here; whoever finds no lead any more sets the next time.
            let settled = fleet
                .store
                .settle_wake(&campaign.id, campaign.wake_seq, None);
            settled.await.map(drop)
        } else {
            rest(fleet, campaign).await
        };
        unless_corrupt(next)?;
    }
    Ok(())
}

/// What cannot be read is one campaign's trouble, and the alarm rings elsewhere; the others go on.
fn unless_corrupt<T>(answer: Answer<T>) -> Answer<Option<T>> {
    match answer {
        Err(error) if error.is_corrupt() => {
            tracing::warn!(%error, "a campaign could not be planned");
            Ok(None)
        }
        answer => answer.map(Some),
    }
}

/// Sees to a campaign that begins no calls: one that drains is paused when its last call is over.
async fn attend(fleet: &Fleet, campaign: &Campaign) -> Answer<()> {
    let (store, now, seen) = (&fleet.store, fleet.clock.now(), campaign.wake_seq);
    if campaign.state != CampaignState::Draining {
        store.settle_wake(&campaign.id, seen, None).await?;
    } else if store.taken_slots(&campaign.id).await?.is_empty() {
        let (from, to) = (CampaignState::Draining, CampaignState::Paused);
        store
            .finish_campaign(&campaign.id, seen, from, to, now)
            .await?;
    } else {
        store
            .settle_wake(&campaign.id, seen, Some(now + SOON))
            .await?;
    }
    Ok(())
}

/// Publishes a `fill_slot` for the free slots of each campaign, at most `most`, if a lead of it is due.
/// Returns whether one was; nothing for a campaign of which something cannot be read.
async fn offer_free_slots(
    fleet: &Fleet,
    campaigns: &[&Campaign],
    most: usize,
) -> Answer<Vec<Option<bool>>> {
    let mut found = Vec::with_capacity(campaigns.len());
    for campaign in campaigns {
        found.push(unless_corrupt(free_slots(fleet, campaign, most).await)?);
    }
    let in_use = |free: &Option<Free>| free.as_ref().is_some_and(|free| free.others > 0);
    if found.iter().flatten().any(in_use) {
        // Nobody knows of a slot that was freed a moment ago whether it is being filled. It mostly is.
        fleet.pause(SETTLES).await;
    }
    let mut due = Vec::with_capacity(campaigns.len());
    for (campaign, found) in campaigns.iter().zip(found) {
        due.push(match found {
            None => None,
            Some(None) => Some(false),
            Some(Some(free)) => unless_corrupt(offer(fleet, campaign, free).await)?.map(|()| true),
        });
    }
    Ok(due)
}

/// Slots of a campaign that has leads to call.
struct Free {
    slots: Vec<u32>,
    /// How many are taken.
    others: usize,
}

async fn free_slots(fleet: &Fleet, campaign: &Campaign, most: usize) -> Answer<Option<Free>> {
    let now = fleet.clock.now();
    let next = fleet.store.next_due(&campaign.id).await?;
    if next.is_none_or(|due| due > now) {
        return Ok(None);
    }
    let taken = fleet.store.taken_slots(&campaign.id).await?;
    let free = (0..campaign.limit).filter(|slot| !taken.contains(slot));
    Ok(Some(Free {
        slots: free.take(most).collect(),
        others: taken.len(),
    }))
}

/// Offers what is still free.
async fn offer(fleet: &Fleet, campaign: &Campaign, free: Free) -> Answer<()> {
    let mut slots = free.slots;
    if slots.is_empty() {
        return Ok(());
    }
    if free.others > 0 {
        let taken = fleet.store.taken_slots(&campaign.id).await?;
        slots.retain(|slot| !taken.contains(slot));
    }
    tracing::debug!(campaign = %campaign.id, slots = slots.len(), "free slots are offered");
    let fill = |slot| FillSlot {
        campaign: campaign.id.clone(),
        slot,
        generation: campaign.generation,
        freed_at: None,
    };
    let mut left = fleet
        .publish_slots(slots.into_iter().map(fill).collect())
        .await;
    // Without the broker this process fills them itself: dialing goes on.
    if let Some(dialer) = &fleet.dialer {
        left = left
            .into_iter()
            .filter_map(|fill| dialer.offer(fill).err())
            .collect();
    }
    if !left.is_empty() {
        let soon = fleet.clock.now() + SOON;
        fleet.store.wake(&[(campaign.id.clone(), soon)]).await?;
    }
    Ok(())
}

/// No lead of this campaign is due: sets the time of the next one, or ends the campaign if nothing
/// can come any more. `campaign` must have been read before the leads were: everything that makes a
/// lead due sooner adds to `wake_seq`, and then this loses.
pub(crate) async fn rest(fleet: &Fleet, campaign: &Campaign) -> Answer<()> {
    let seen = campaign.wake_seq;
    if let Some(due) = fleet.store.next_due(&campaign.id).await? {
        fleet
            .store
            .settle_wake(&campaign.id, seen, Some(due))
            .await?;
        return Ok(());
    }
    // Imports first: the leads of one that has ended are there when they are asked for.
    let open = crate::import::expects_leads(fleet, &campaign.id).await?
        || fleet.store.has_open_leads(&campaign.id).await?
        // Nothing came yet: a campaign that was started before its leads waits for them.
        || fleet.store.lead_counts(&campaign.id).await?.total() == 0;
    if open {
        fleet.store.settle_wake(&campaign.id, seen, None).await?;
        return Ok(());
    }
    let now = fleet.clock.now();
    let answer = fleet
        .store
        .finish_campaign(
            &campaign.id,
            seen,
            CampaignState::Running,
            CampaignState::Done,
            now,
        )
        .await?;
    if answer == crate::port::store::Cas::Won {
        tracing::info!(campaign = %campaign.id, "done: every lead has reached a final state");
        crate::order::announce(fleet, &campaign.id).await;
    }
    Ok(())
}

/// The safety net: reads all running campaigns, a page a turn, and offers free slots whose
/// wake-up was lost. Returns where the next turn goes on. Called once a second by the one process
/// that holds the duty.
///
/// # Errors
/// The store failed.
pub async fn scan(
    fleet: &Fleet,
    after: Option<CampaignId>,
    running: &mut usize,
) -> Answer<Option<CampaignId>> {
    let page = SCAN_PAGE.max(*running / SCAN_PERIOD_S + 1);
    let states = [CampaignState::Running, CampaignState::Draining];
    let campaigns = fleet
        .store
        .campaigns_in(&states, after.as_ref(), page)
        .await?;
    let full = campaigns.len() == page;
    *running = if after.is_none() {
        campaigns.len()
    } else {
        (*running).max(page) + usize::from(full) * page
    };
    let now = fleet.clock.now();
    // Whatever their wake-ups say: one slot that was handed to a process that died is found here.
    let dialing: Vec<&Campaign> = campaigns.iter().filter(|c| c.state.may_dial()).collect();
    let offered = offer_free_slots(fleet, &dialing, SCAN_OFFERS).await?;
    let offered: BTreeSet<&CampaignId> = dialing
        .iter()
        .zip(offered)
        .filter_map(|(campaign, offered)| (offered != Some(false)).then_some(&campaign.id))
        .collect();
    let is_overdue =
        |c: &&Campaign| !offered.contains(&c.id) && c.wake_at.is_none_or(|at| at + LEASE < now);
    let overdue: Vec<Campaign> = campaigns.iter().filter(is_overdue).cloned().collect();
    plan(fleet, &overdue).await?;
    let last = campaigns.last().map(|campaign| campaign.id.clone());
    Ok(last.filter(|_| full))
}
