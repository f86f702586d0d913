//! When to look at a campaign, and what to offer it: every free slot, as soon as a lead is due.

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
    let n = due.len();
    for campaign in due {
        unless_corrupt(plan_campaign(fleet, &campaign).await)?;
    }
    Ok(n)
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

/// Offers a campaign's free slots if a lead is due, or says when to look again. `campaign` must have
/// been read before anything else here is.
async fn plan_campaign(fleet: &Fleet, campaign: &Campaign) -> Answer<()> {
    match campaign.state {
        CampaignState::Running => {
            if offer_free_slots(fleet, campaign, usize::MAX).await? {
                // The fills take it from here; whoever finds no lead any more sets the next time.
                fleet
                    .store
                    .settle_wake(&campaign.id, campaign.wake_seq, None)
                    .await?;
            } else {
                rest(fleet, campaign).await?;
            }
        }
        CampaignState::Draining => {
            let now = fleet.clock.now();
            if fleet.store.taken_slots(&campaign.id).await?.is_empty() {
                fleet
                    .store
                    .finish_campaign(
                        &campaign.id,
                        campaign.wake_seq,
                        CampaignState::Draining,
                        CampaignState::Paused,
                        now,
                    )
                    .await?;
            } else {
                fleet
                    .store
                    .settle_wake(&campaign.id, campaign.wake_seq, Some(now + SOON))
                    .await?;
            }
        }
        CampaignState::Draft
        | CampaignState::Paused
        | CampaignState::Stopped
        | CampaignState::Done => {
            fleet
                .store
                .settle_wake(&campaign.id, campaign.wake_seq, None)
                .await?;
        }
    }
    Ok(())
}

/// Publishes a `fill_slot` for free slots, at most `most`, if a lead is due. Returns whether one was.
async fn offer_free_slots(fleet: &Fleet, campaign: &Campaign, most: usize) -> Answer<bool> {
    let now = fleet.clock.now();
    if fleet
        .store
        .next_due(&campaign.id)
        .await?
        .is_none_or(|due| due > now)
    {
        return Ok(false);
    }
    let taken = fleet.store.taken_slots(&campaign.id).await?;
    let free = (0..campaign.slots())
        .filter(|slot| !taken.contains(slot))
        .take(most);
    let fills = free.map(|slot| FillSlot {
        campaign: campaign.id.clone(),
        slot,
        generation: campaign.generation,
        freed_at: None,
    });
    let mut left = fleet.publish_slots(fills.collect()).await;
    // Without the broker this process fills them itself: dialing goes on.
    if let Some(dialer) = &fleet.dialer {
        left = left
            .into_iter()
            .filter_map(|fill| dialer.offer(fill).err())
            .collect();
    }
    if !left.is_empty() {
        fleet
            .store
            .wake(&[(campaign.id.clone(), now + SOON)])
            .await?;
    }
    Ok(true)
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

async fn scan_campaign(fleet: &Fleet, campaign: &Campaign, overdue: bool) -> Answer<()> {
    // Whatever its wake-up says: one slot that was handed to a process that died is found here.
    let offered =
        campaign.state.may_dial() && offer_free_slots(fleet, campaign, SCAN_OFFERS).await?;
    if !offered && overdue {
        plan_campaign(fleet, campaign).await?;
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
    let mut last = None;
    for campaign in campaigns {
        let overdue = campaign
            .wake_at
            .is_none_or(|at| at + LEASE < fleet.clock.now());
        unless_corrupt(scan_campaign(fleet, &campaign, overdue).await)?;
        last = Some(campaign.id);
    }
    Ok(last.filter(|_| full))
}
