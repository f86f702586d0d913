//! The dial protocol: fill one free slot, once.
//!
//! ```text
//! 0 TOKEN    taken by the dialer before this begins (see `dialer`)
//! 1 PICK     claim a due lead; the gate says whether it may be called
//! 2 ROUTE    order the carriers
//! 3 INTENT   write the attempt: U1 to U4 decide whether it may exist
//! 4 RECHECK  read campaign, do-not-call list and lead again, and ask the gate again
//! 5 FENCE    too long since that reading, or stopping: withdraw
//! 6 POST     exactly one request
//! 7 RESULT   placed, refused (perhaps the next leg: 4 to 6 again), or unknown
//! ```
//!
//! Every exit without a POST gives back the claim and the token. Nothing is ever sent without this
//! process's own acknowledged intent, and nothing is ever sent twice.

mod conclude;
mod leg;
mod pick;
mod refused;
mod route;

use std::time::Duration;

use dialfleet_domain::call::event::Withdrawal;
use dialfleet_domain::call::{Attempt, CallEvent, Refusal, RefusalClass};
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::gate::{self, Why, gate};
use dialfleet_domain::id::Nonce;
use dialfleet_domain::lead::{Lead, LeadState};
use dialfleet_domain::phone::area::Group;
use dialfleet_domain::routing::{Decision, Hop};
use dialfleet_domain::time::Timestamp;

use self::conclude::{conclude, withdrawn};
use self::leg::{intend, request};
use self::pick::{facts, pick, release, taken};
pub(crate) use self::route::{choose_at_best, choose_for_anybody};

use self::refused::go_on;
use self::route::{Held, again_at, choose, prepare};
use crate::fleet::Fleet;
use crate::message::FillSlot;
use crate::mutant::{Part, lacks};
use crate::pace::{Reply, Token, TooLate};
use crate::port::Carrier;
use crate::port::carrier::{DialAnswer, DialRequest};
use crate::port::store::{Answer, IntentAnswer};
use crate::routes::channels::{self, Reserved};
use crate::{budget, plan, todo};

/// Leads passed over for one slot before it is left to the planner.
const MAX_PASSES: usize = 8;
/// The longest time between reading the facts and sending the request.
const FENCE: Duration = Duration::from_secs(3);
/// The longest time between a leg's intent and its request. With the request's own 6 s this is what
/// the sweeper counts on: from 10 s on an empty list is proof, from 15 s on the intent is its own.
const LEG_FENCE: Duration = Duration::from_secs(4);
/// How long a call waits for a moment of its carrier's rhythm, of the time the fence gives it.
const PACE_PATIENCE: Duration = Duration::from_millis(2_500);
/// When a lead whose phone is locked by another call is looked at again.
const PHONE_BUSY_RETRY: Duration = Duration::from_secs(30);
/// When a campaign whose live calls have reserved the rest of its budget is looked at again.
const BUDGET_AGAIN: Duration = Duration::from_secs(1);
/// What became of a free slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// A request was sent.
    Dialed,
    /// No lead is due, or the ones that are must wait.
    Nothing,
    /// The slot was not free.
    SlotBusy,
    /// The campaign does not dial, or the slot is above its limit.
    Closed,
    /// No carrier can take a call of this campaign now.
    NoCarrier,
    /// Withdrawn: too much time had passed, or this process is stopping.
    Fenced,
    /// This process is stopping and wrote nothing: the slot is somebody else's to fill.
    Stopping,
    /// The store did not answer; the sweeper and the planner sort it out.
    StoreOut,
}

/// Fills a slot, if there is anything to fill it with.
pub async fn fill_slot(
    fleet: &Fleet,
    fill: &FillSlot,
    token: Token,
    channel: Option<Reserved>,
) -> Filled {
    let mut held = Held {
        token: Some(token),
        channel,
        ..Held::default()
    };
    // On the heap: many wait side by side, and each is large.
    let filled = match Box::pin(fill_or_fail(fleet, fill, &mut held)).await {
        Ok(filled) => filled,
        Err(error) => {
            tracing::warn!(%error, campaign = %fill.campaign, slot = fill.slot, "a slot could not be filled");
            Filled::StoreOut
        }
    };
    held.give_back(fleet).await;
    filled
}

async fn fill_or_fail(fleet: &Fleet, fill: &FillSlot, held: &mut Held) -> Answer<Filled> {
    for _ in 0..MAX_PASSES {
        let Some(campaign) = fleet.campaign(&fill.campaign).await? else {
            return Ok(Filled::Closed);
        };
        if fleet.stopping.is_cancelled() {
            return Ok(Filled::Stopping);
        }
        // Somebody may be dialed again who has just said no.
        if !fleet.opt_outs.is_empty() {
            return Ok(Filled::StoreOut);
        }
        if let Some(not) = not_free(fleet, fill, &campaign).await? {
            return Ok(not);
        }
        let now = fleet.clock.now();
        let anybody = choose_for_anybody(fleet, &campaign);
        if anybody.chain.is_empty() {
            // Nobody can be called, so no lead is taken for it.
            let again = again_at(&anybody, now);
            fleet.store.wake(&[(campaign.id, again)]).await?;
            tracing::debug!(campaign = %fill.campaign, why = %anybody.why, "no carrier");
            return Ok(Filled::NoCarrier);
        }
        let Some(lead) = pick(fleet, &campaign).await? else {
            plan::rest(fleet, &campaign).await?;
            return Ok(Filled::Nothing);
        };
        if fleet.stopping.is_cancelled() {
            give_up(fleet, campaign, &lead, fleet.clock.now()).await?;
            return Ok(Filled::Stopping);
        }
        let (mut decision, group) = choose(fleet, &campaign, &lead).await?;
        if !prepare(fleet, &mut decision, &group, held).await? {
            tracing::debug!(campaign = %campaign.id, why = %decision.why, "no carrier");
            let again = again_at(&decision, fleet.clock.now());
            if decision.chain.is_empty() && !choose_for_anybody(fleet, &campaign).chain.is_empty() {
                // It is about this person: the others shall not wait behind.
                defer(fleet, &lead, again, Why::NoCarrier).await?;
                continue;
            }
            give_up(fleet, campaign, &lead, again).await?;
            return Ok(Filled::NoCarrier);
        }
        if let Some(filled) = pay(fleet, &campaign, &lead, &decision).await? {
            return Ok(filled);
        }
        let intent_at = fleet.clock.uptime();
        let hops = decision.chain.clone();
        let (attempt, nonce) = intend(fleet, (&campaign, &lead), fill.slot, decision, held);
        match fleet
            .store
            .insert_attempts(std::slice::from_ref(&attempt))
            .await
            .first()
        {
            Some(IntentAnswer::Acknowledged) => {
                held.channel_taken(fleet);
                let ours = (nonce, intent_at);
                return Ok(dial(fleet, fill, attempt, ours, (hops, group), held).await);
            }
            Some(IntentAnswer::AttemptExists) => todo::catch_up(fleet, &lead.id).await?,
            Some(IntentAnswer::SlotBusy) => {
                let now = fleet.clock.now();
                if fleet
                    .store
                    .next_due(&campaign.id)
                    .await?
                    .is_some_and(|due| due <= now)
                {
                    // There was another lead all the time, so nobody saw none: no look at the campaign, which
                    // would offer slots that are being filled and so end here again.
                    release(fleet, &lead, LeadState::Ready, None, None).await?;
                } else {
                    give_up(fleet, campaign, &lead, now).await?;
                }
                return Ok(Filled::SlotBusy);
            }
            Some(IntentAnswer::PhoneBusy) => {
                let until = fleet.clock.now() + PHONE_BUSY_RETRY;
                defer(fleet, &lead, until, Why::PhoneBusy).await?;
            }
            Some(IntentAnswer::ChannelBusy) => {
                let carrier = attempt.legs[0].carrier.clone();
                held.channel_taken(fleet);
                release(fleet, &lead, LeadState::Ready, None, None).await?;
                channels::count(fleet, &carrier).await?;
            }
            Some(IntentAnswer::Unclear) | None => return Ok(Filled::StoreOut),
        }
    }
    // Many leads had to be passed over: let the planner go on, so that others get their turn.
    fleet
        .store
        .wake(&[(fill.campaign.clone(), fleet.clock.now())])
        .await?;
    Ok(Filled::Nothing)
}

/// Why a slot is not to be filled, if it is not.
async fn not_free(fleet: &Fleet, fill: &FillSlot, campaign: &Campaign) -> Answer<Option<Filled>> {
    if !campaign.state.may_dial() || fill.slot >= campaign.slots() {
        return Ok(Some(Filled::Closed));
    }
    // What the planner offers may be under way already: look, before a lead is taken for nothing.
    // When the store is slow, these offers would make it slower still.
    if fill.freed_at.is_none() || campaign.former_limit.is_some() {
        let taken = fleet.store.taken_slots(&campaign.id).await?;
        if taken.contains(&fill.slot) {
            return Ok(Some(Filled::SlotBusy));
        }
        // A lowered limit: calls from above it still count.
        let live = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        if campaign.former_limit.is_some() && live >= campaign.slots() {
            return Ok(Some(Filled::Closed));
        }
    }
    Ok(None)
}

/// Whether the campaign's budget pays for the call; if not, the lead is given back, and the campaign
/// waits for its live calls or pauses.
async fn pay(
    fleet: &Fleet,
    campaign: &Campaign,
    lead: &Lead,
    decision: &Decision,
) -> Answer<Option<Filled>> {
    let why = match budget::ask(fleet, campaign, decision).await? {
        None | Some(budget::Answered::Allow { .. }) => return Ok(None),
        Some(budget::Answered::Wait { .. }) => None,
        Some(budget::Answered::Pause(why)) => Some(why),
    };
    let again = fleet.clock.now() + BUDGET_AGAIN;
    give_up(fleet, campaign.clone(), lead, again).await?;
    if let Some(why) = why {
        budget::pause(fleet, campaign, why).await?;
    }
    Ok(Some(Filled::Closed))
}

/// Gives a lead back until later.
async fn defer(fleet: &Fleet, lead: &Lead, until: Timestamp, why: Why) -> Answer<()> {
    fleet.metrics.gate(why.name());
    release(fleet, lead, LeadState::Ready, Some(until), Some(why)).await
}

/// Gives a lead back, and has the campaign looked at: somebody may have seen no lead while this one
/// was held.
async fn give_up(fleet: &Fleet, campaign: Campaign, lead: &Lead, wake: Timestamp) -> Answer<()> {
    release(fleet, lead, LeadState::Ready, None, None).await?;
    fleet.store.wake(&[(campaign.id, wake)]).await
}

/// Steps 4 to 7, once per leg. The intent is ours and durable.
async fn dial(
    fleet: &Fleet,
    fill: &FillSlot,
    mut attempt: Attempt,
    (mut nonce, mut intent_at): (Nonce, Duration),
    (chain, group): (Vec<Hop>, Group),
    held: &mut Held,
) -> Filled {
    let mut hops = chain.into_iter().skip(1);
    let mut sent = false;
    loop {
        let read_at = fleet.clock.uptime();
        let go = match recheck(fleet, &attempt, fill.slot).await {
            Ok(Ok(facts)) => Ok(facts),
            Ok(Err(why)) => Err(why),
            // Without fresh facts nothing is sent; the sweeper settles the row if we cannot.
            Err(error) => {
                tracing::warn!(%error, attempt = %attempt.id, "the facts could not be read again");
                Err(Withdrawal::FenceLate)
            }
        };
        let Some((leg, current)) = attempt.current_leg() else {
            return Filled::Closed;
        };
        let current = current.clone();
        let Some(carrier) = fleet.carriers.get(&current.carrier) else {
            return withdrawn(fleet, attempt, Withdrawal::NoCarrier, sent).await;
        };
        let (campaign, lead) = match go {
            Ok(facts) => facts,
            Err(why) => return withdrawn(fleet, attempt, why, sent).await,
        };
        debug_assert!(
            attempt.is_mine(&nonce),
            "only the holder of the nonce may send"
        );
        let request = request(
            fleet,
            (&campaign, &lead),
            &attempt,
            (leg, &current),
            carrier.as_ref(),
        );
        // The carrier's rhythm.
        let paced = match held.token.take() {
            Some(token) => tokio::select! {
                biased;
                () = fleet.stopping.cancelled() => Err(TooLate),
                paced = fleet.pace.on_time(token, PACE_PATIENCE) => paced,
            },
            None => Err(TooLate),
        };
        // FENCE: the last thing before the request.
        let now = fleet.clock.uptime();
        if fleet.stopping.is_cancelled() {
            return withdrawn(fleet, attempt, Withdrawal::Shutdown, sent).await;
        }
        if paced.is_err() || !fleet.opt_outs.is_empty() {
            return withdrawn(fleet, attempt, Withdrawal::FenceLate, sent).await;
        }
        let late = now.saturating_sub(read_at) > FENCE || now.saturating_sub(intent_at) > LEG_FENCE;
        if late && !lacks(Part::Fence) {
            return withdrawn(fleet, attempt, Withdrawal::FenceLate, sent).await;
        }
        if let (Some(freed_at), false) = (fill.freed_at, sent) {
            fleet.metrics.refill(fleet.clock.now().since(freed_at));
        }
        sent = true;
        let answer = post(fleet, carrier.as_ref(), &request).await;
        let sent_leg = (&current, &group);
        let probes = &mut held.probes;
        fleet
            .routes
            .answered(fleet, sent_leg, &answer, campaign.caps, probes);
        let refusal = match answer {
            DialAnswer::Accepted { call_id, .. } => {
                conclude(fleet, attempt, CallEvent::Accepted { leg, call_id }).await;
                return Filled::Dialed;
            }
            DialAnswer::Unclear(message) if lacks(Part::Unclear) => Refusal {
                class: RefusalClass::Failover,
                code: "unclear".to_owned(),
                message,
            },
            DialAnswer::Unclear(_) => {
                conclude(fleet, attempt, CallEvent::Unclear { leg }).await;
                return Filled::Dialed;
            }
            DialAnswer::Refused(refusal) => refusal,
        };
        let refused = (leg, refusal);
        match go_on(
            fleet,
            attempt,
            &campaign,
            refused,
            (&mut hops, &group),
            held,
        )
        .await
        {
            // The next leg is written, by us and nobody else: go on with it.
            Some((after, fresh, at)) => (attempt, nonce, intent_at) = (after, fresh, at),
            None => return Filled::Dialed,
        }
    }
}

/// RECHECK: everything that may have changed since the lead was picked.
async fn recheck(
    fleet: &Fleet,
    attempt: &Attempt,
    slot: u32,
) -> Answer<Result<(Campaign, Lead), Withdrawal>> {
    let (campaign, lead, listed) = futures_util::future::try_join3(
        fleet.campaign(&attempt.campaign),
        fleet.store.leads(std::slice::from_ref(&attempt.lead)),
        facts(fleet, &attempt.tenant, &attempt.phone),
    )
    .await?;
    let (Some(campaign), Some(lead)) = (campaign, lead.into_iter().next().flatten()) else {
        return Ok(Err(Withdrawal::CampaignChanged));
    };
    if lacks(Part::Recheck) {
        return Ok(Ok((campaign, lead)));
    }
    if !campaign.state.may_dial() || slot >= campaign.slots() {
        return Ok(Err(Withdrawal::CampaignChanged));
    }
    // Every intent is written before its own count, so two cannot both slip below the limit.
    if campaign.former_limit.is_some() && taken(fleet, &campaign).await? > campaign.slots() {
        return Ok(Err(Withdrawal::CampaignChanged));
    }
    if lead.claim.as_ref() != Some(&attempt.claim) || lead.n + 1 != attempt.n {
        return Ok(Err(Withdrawal::GateClosed));
    }
    match gate(&campaign, &lead, listed, fleet.clock.now()) {
        gate::Verdict::Allow => Ok(Ok((campaign, lead))),
        gate::Verdict::Closed => Ok(Err(Withdrawal::CampaignChanged)),
        gate::Verdict::Defer { why, .. } | gate::Verdict::Refuse { why } => {
            fleet.metrics.gate(why.name());
            Ok(Err(Withdrawal::GateClosed))
        }
    }
}

/// POST: the one place from which a telephone can be made to ring.
async fn post(fleet: &Fleet, carrier: &dyn Carrier, request: &DialRequest) -> DialAnswer {
    let id = carrier.profile().id.as_str();
    let began = fleet.clock.uptime();
    let answer = carrier.dial(request).await;
    fleet
        .metrics
        .dial_time(id, fleet.clock.uptime().saturating_sub(began));
    let reply = match &answer {
        DialAnswer::Accepted { .. } => Reply::Taken,
        DialAnswer::Refused(_) => Reply::Refused,
        DialAnswer::Unclear(_) => Reply::Unclear,
    };
    fleet.pace.answered(&carrier.profile().id, reply);
    match &answer {
        DialAnswer::Accepted { queued_for, .. } => {
            fleet.metrics.dial(id, "accepted");
            if *queued_for > Duration::from_secs(2) {
                let queued_ms = u64::try_from(queued_for.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(
                    carrier = id,
                    queued_ms,
                    "the carrier holds calls back: our rate is above its limit"
                );
            }
        }
        DialAnswer::Refused(refusal) => {
            fleet.metrics.dial(id, "refused");
            tracing::info!(attempt = %request.attempt, carrier = id, code = %refusal.code, message = %refusal.message, "refused");
        }
        DialAnswer::Unclear(why) => {
            fleet.metrics.dial(id, "unclear");
            tracing::warn!(attempt = %request.attempt, carrier = id, %why, "nobody knows whether the call was placed");
        }
    }
    answer
}
