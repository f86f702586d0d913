//! The dial protocol: fill one free slot, once.
//!
//! ```text
//! 0 TOKEN    taken by the dialer before this begins (see `dialer`)
//! 1 PICK     claim a due lead; the gate says whether it may be called
//! 2 ROUTE    order the carriers
//! 3 INTENT   write the attempt: U1, U2 and U3 decide whether it may exist
//! 4 RECHECK  read campaign, do-not-call list and lead again, and ask the gate again
//! 5 FENCE    too long since that reading, or stopping: withdraw
//! 6 POST     exactly one request
//! 7 RESULT   placed, refused (perhaps the next leg: 4 to 6 again), or unknown
//! ```
//!
//! Every exit without a POST gives back the claim and the token. Nothing is ever sent without this
//! process's own acknowledged intent, and nothing is ever sent twice.

use std::time::Duration;

use dialfleet_domain::call::attempt::NewAttempt;
use dialfleet_domain::call::event::Withdrawal;
use dialfleet_domain::call::{
    Attempt, CallEvent, CallState, Leg, LegState, Refusal, RefusalClass, Verdict,
};
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::gate::{self, Facts, Why, gate};
use dialfleet_domain::id::{AttemptId, CarrierId, ClaimToken, Nonce, TenantId};
use dialfleet_domain::lead::{Lead, LeadState};
use dialfleet_domain::phone::E164;
use dialfleet_domain::routing::{Candidate, Decision, Hop, route};
use dialfleet_domain::time::Timestamp;

use crate::fleet::Fleet;
use crate::message::FillSlot;
use crate::pace::Token;
use crate::port::Carrier;
use crate::port::carrier::{DialAnswer, DialRequest};
use crate::port::store::{Answer, ClaimRequest, IntentAnswer, Release};
use crate::{plan, todo};

/// Leads passed over for one slot before it is left to the planner.
const MAX_PASSES: usize = 8;
/// The longest time between reading the facts and sending the request.
const FENCE: Duration = Duration::from_secs(3);
/// The longest time between a leg's intent and its request. With the request's own 6 s this is what
/// the sweeper counts on: from 10 s on an empty list is proof, from 15 s on the intent is its own.
const LEG_FENCE: Duration = Duration::from_secs(4);
/// When a lead whose phone is locked by another call is looked at again.
const PHONE_BUSY_RETRY: Duration = Duration::from_secs(30);
/// How long a leg after a refusal waits for its carrier's token.
const NEXT_LEG_PATIENCE: Duration = Duration::from_secs(2);
/// A result that could not be written is written again, twice as long after each time, until this is over.
const WRITE_PATIENCE: Duration = Duration::from_secs(12);
const WRITE_AGAIN: Duration = Duration::from_millis(200);
/// How long a carrier is left alone after "too many requests", and after refusing our account.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

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
    /// The store did not answer; the sweeper and the planner sort it out.
    StoreOut,
}

/// Fills a slot, if there is anything to fill it with.
pub async fn fill_slot(fleet: &Fleet, fill: &FillSlot, token: Token) -> Filled {
    let mut token = Some(token);
    let filled = match fill_or_fail(fleet, fill, &mut token).await {
        Ok(filled) => filled,
        Err(error) => {
            tracing::warn!(%error, campaign = %fill.campaign, slot = fill.slot, "a slot could not be filled");
            Filled::StoreOut
        }
    };
    if let Some(token) = token {
        fleet.pace.give_back(token);
    }
    filled
}

async fn fill_or_fail(fleet: &Fleet, fill: &FillSlot, token: &mut Option<Token>) -> Answer<Filled> {
    for _ in 0..MAX_PASSES {
        let Some(campaign) = fleet.campaign(&fill.campaign).await? else {
            return Ok(Filled::Closed);
        };
        if !campaign.state.may_dial()
            || fill.slot >= campaign.limit
            || fleet.stopping.is_cancelled()
        {
            return Ok(Filled::Closed);
        }
        // A lowered limit: calls from above it still count.
        if campaign.former_limit.is_some() && taken(fleet, &campaign).await? >= campaign.limit {
            return Ok(Filled::Closed);
        }
        let Some(lead) = pick(fleet, &campaign).await? else {
            plan::rest(fleet, &campaign).await?;
            return Ok(Filled::Nothing);
        };
        let first = token.as_ref().map(Token::carrier);
        let decision = route(&campaign, &candidates(fleet), first, fleet.entropy.draw());
        // The token is of the carrier that is asked, and of no other.
        let paid = match (decision.chain.first(), token.take()) {
            (Some(hop), Some(held)) if *held.carrier() == hop.carrier => Some(held),
            (Some(hop), held) => {
                held.into_iter().for_each(|held| fleet.pace.give_back(held));
                fleet.pace.try_take(&hop.carrier).and_then(Result::ok)
            }
            (None, held) => {
                held.into_iter().for_each(|held| fleet.pace.give_back(held));
                None
            }
        };
        *token = paid;
        if token.is_none() {
            release(fleet, &lead, LeadState::Ready, None, None).await?;
            tracing::debug!(campaign = %campaign.id, why = %decision.why, "no carrier");
            let later = fleet.clock.now() + REST.0;
            fleet.store.wake(&[(campaign.id, later)]).await?;
            return Ok(Filled::NoCarrier);
        }
        let intent_at = fleet.clock.uptime();
        let (attempt, nonce) = intend(fleet, &campaign, &lead, fill.slot, &decision);
        match fleet
            .store
            .insert_attempts(std::slice::from_ref(&attempt))
            .await
            .first()
        {
            Some(IntentAnswer::Acknowledged) => {
                let leg = (nonce, intent_at);
                return Ok(dial(fleet, fill, attempt, leg, decision.chain, token).await);
            }
            Some(IntentAnswer::AttemptExists) => todo::catch_up(fleet, &lead.id).await?,
            Some(IntentAnswer::SlotBusy) => {
                release(fleet, &lead, LeadState::Ready, None, None).await?;
                // Somebody may have seen no lead while we held this one.
                fleet
                    .store
                    .wake(&[(campaign.id, fleet.clock.now())])
                    .await?;
                return Ok(Filled::SlotBusy);
            }
            Some(IntentAnswer::PhoneBusy) => {
                fleet.metrics.gate(Why::PhoneBusy.name());
                let until = fleet.clock.now() + PHONE_BUSY_RETRY;
                release(
                    fleet,
                    &lead,
                    LeadState::Ready,
                    Some(until),
                    Some(Why::PhoneBusy),
                )
                .await?;
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

/// PICK: claims due leads until the gate lets one through; the others are deferred or suppressed.
async fn pick(fleet: &Fleet, campaign: &Campaign) -> Answer<Option<Lead>> {
    for _ in 0..MAX_PASSES {
        let now = fleet.clock.now();
        let claim = ClaimToken::mint(now, fleet.entropy.id_bits());
        let request = ClaimRequest {
            campaign: campaign.id.clone(),
            claim,
            now,
            draw: fleet.entropy.draw(),
        };
        let claimed = fleet
            .store
            .claim_leads(std::slice::from_ref(&request))
            .await?
            .pop()
            .flatten();
        let Some(lead) = claimed else { return Ok(None) };
        let facts = facts(fleet, &lead.tenant, &lead.phone).await?;
        match gate(campaign, &lead, facts, now) {
            gate::Verdict::Allow => return Ok(Some(lead)),
            gate::Verdict::Defer { until, why } => {
                fleet.metrics.gate(why.name());
                release(fleet, &lead, LeadState::Ready, Some(until), Some(why)).await?;
            }
            gate::Verdict::Refuse { why } => {
                fleet.metrics.gate(why.name());
                release(fleet, &lead, LeadState::Suppressed, None, Some(why)).await?;
            }
            gate::Verdict::Closed => {
                release(fleet, &lead, LeadState::Ready, None, None).await?;
                return Ok(None);
            }
        }
    }
    fleet
        .store
        .wake(&[(campaign.id.clone(), fleet.clock.now())])
        .await?;
    Ok(None)
}

async fn taken(fleet: &Fleet, campaign: &Campaign) -> Answer<u32> {
    let taken = fleet.store.taken_slots(&campaign.id).await?.len();
    Ok(u32::try_from(taken).unwrap_or(u32::MAX))
}

async fn facts(fleet: &Fleet, tenant: &TenantId, phone: &E164) -> Answer<Facts> {
    let listed = fleet
        .store
        .do_not_call(tenant, std::slice::from_ref(phone))
        .await?;
    // An answer that is missing is not a permission.
    Ok(Facts {
        do_not_call: listed.first().copied().unwrap_or(true),
    })
}

async fn release(
    fleet: &Fleet,
    lead: &Lead,
    state: LeadState,
    due_at: Option<Timestamp>,
    why: Option<Why>,
) -> Answer<()> {
    let Some(claim) = lead.claim.clone() else {
        return Ok(());
    };
    let reason = why.map(|w| w.name().to_owned());
    let release = Release {
        lead: lead.id.clone(),
        n: lead.n,
        claim,
        state,
        due_at,
        reason,
    };
    fleet.store.release_claims(&[release]).await?;
    Ok(())
}

pub(crate) fn candidates(fleet: &Fleet) -> Vec<Candidate> {
    let view = |carrier: &std::sync::Arc<dyn Carrier>| {
        let profile = carrier.profile();
        let resting = fleet.pace.is_resting(&profile.id);
        Candidate {
            carrier: profile.id.clone(),
            weight: profile.weight,
            caller_ids: profile.caller_ids.clone(),
            excluded: resting.then_some("is being left alone"),
        }
    };
    fleet.carriers.values().map(view).collect()
}

/// The intent, and the nonce that makes its request ours.
fn intend(
    fleet: &Fleet,
    campaign: &Campaign,
    lead: &Lead,
    slot: u32,
    decision: &Decision,
) -> (Attempt, Nonce) {
    let (leg, nonce) = new_leg(fleet, &decision.chain[0]);
    let attempt = Attempt::intend(NewAttempt {
        tenant: lead.tenant.clone(),
        lead: lead.id.clone(),
        n: lead.n + 1,
        phone: lead.phone.clone(),
        slot,
        campaign_gen: campaign.generation,
        claim: lead
            .claim
            .clone()
            .unwrap_or_else(|| ClaimToken::mint(leg.intent_at, fleet.entropy.id_bits())),
        leg,
        ring: fleet.settings.scaled(campaign.ring()),
        talk: fleet.settings.scaled(campaign.talk()),
        cooloff: Duration::from_secs(u64::from(campaign.retry.unknown_cooloff_s)),
        route: Some(decision.why.clone()),
    });
    (attempt, nonce)
}

fn new_leg(fleet: &Fleet, hop: &Hop) -> (Leg, Nonce) {
    let now = fleet.clock.now();
    let nonce = Nonce::mint(now, fleet.entropy.id_bits());
    let leg = Leg {
        carrier: hop.carrier.clone(),
        from: hop.from.clone(),
        state: LegState::Intent,
        nonce: nonce.clone(),
        intent_at: now,
        call_id: None,
        refusal: None,
    };
    (leg, nonce)
}

/// Steps 4 to 7, once per leg. The intent is ours and durable.
async fn dial(
    fleet: &Fleet,
    fill: &FillSlot,
    mut attempt: Attempt,
    (mut nonce, mut intent_at): (Nonce, Duration),
    chain: Vec<Hop>,
    token: &mut Option<Token>,
) -> Filled {
    let mut hops = chain.into_iter().skip(1);
    let mut sent = false;
    loop {
        let read_at = fleet.clock.uptime();
        let go = match recheck(fleet, &attempt, fill.slot).await {
            Ok(Ok(campaign)) => Ok(campaign),
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
        let campaign = match go {
            Ok(campaign) => campaign,
            Err(why) => return withdrawn(fleet, attempt, why, sent).await,
        };
        debug_assert!(
            attempt.is_mine(&nonce),
            "only the holder of the nonce may send"
        );
        let request = request(fleet, &campaign, &attempt, leg, &current, carrier.as_ref());
        // FENCE: the last thing before the request.
        let now = fleet.clock.uptime();
        let late = now.saturating_sub(read_at) > FENCE || now.saturating_sub(intent_at) > LEG_FENCE;
        if late || fleet.stopping.is_cancelled() {
            return withdrawn(fleet, attempt, Withdrawal::FenceLate, sent).await;
        }
        if let (Some(freed_at), false) = (fill.freed_at, sent) {
            fleet.metrics.refill(fleet.clock.now().since(freed_at));
        }
        *token = None;
        sent = true;
        let answer = post(fleet, carrier.as_ref(), &request).await;
        let refusal = match answer {
            DialAnswer::Accepted { call_id, .. } => {
                conclude(fleet, attempt, CallEvent::Accepted { leg, call_id }).await;
                return Filled::Dialed;
            }
            DialAnswer::Unclear(_) => {
                conclude(fleet, attempt, CallEvent::Unclear { leg }).await;
                return Filled::Dialed;
            }
            DialAnswer::Refused(refusal) => refusal,
        };
        rest_carrier(fleet, &current.carrier, &refusal);
        let next = next_leg(fleet, &refusal, &mut hops, token).await;
        let next_at = fleet.clock.uptime();
        let next_nonce = next.as_ref().map(|leg| leg.nonce.clone());
        let event = CallEvent::Refused {
            leg,
            why: refusal,
            next: next.map(Box::new),
        };
        match conclude(fleet, attempt, event).await {
            // The next leg is written, by us and nobody else: go on with it.
            Some((after, Verdict::Go(CallState::Intent)))
                if next_nonce.as_ref().is_some_and(|n| after.is_mine(n)) =>
            {
                let Some(fresh) = next_nonce else {
                    return Filled::Dialed;
                };
                (nonce, intent_at) = (fresh, next_at);
                attempt = after;
            }
            Some(_) | None => return Filled::Dialed,
        }
    }
}

/// RECHECK: everything that may have changed since the lead was picked.
async fn recheck(
    fleet: &Fleet,
    attempt: &Attempt,
    slot: u32,
) -> Answer<Result<Campaign, Withdrawal>> {
    let (campaign, lead, listed) = futures_util::future::try_join3(
        fleet.campaign(&attempt.campaign),
        fleet.store.leads(std::slice::from_ref(&attempt.lead)),
        facts(fleet, &attempt.tenant, &attempt.phone),
    )
    .await?;
    let (Some(campaign), Some(lead)) = (campaign, lead.into_iter().next().flatten()) else {
        return Ok(Err(Withdrawal::CampaignChanged));
    };
    if !campaign.state.may_dial() || slot >= campaign.limit {
        return Ok(Err(Withdrawal::CampaignChanged));
    }
    // Every intent is written before its own count, so two cannot both slip below the limit.
    if campaign.former_limit.is_some() && taken(fleet, &campaign).await? > campaign.limit {
        return Ok(Err(Withdrawal::CampaignChanged));
    }
    if lead.claim.as_ref() != Some(&attempt.claim) || lead.n + 1 != attempt.n {
        return Ok(Err(Withdrawal::GateClosed));
    }
    match gate(&campaign, &lead, listed, fleet.clock.now()) {
        gate::Verdict::Allow => Ok(Ok(campaign)),
        gate::Verdict::Closed => Ok(Err(Withdrawal::CampaignChanged)),
        gate::Verdict::Defer { why, .. } | gate::Verdict::Refuse { why } => {
            fleet.metrics.gate(why.name());
            Ok(Err(Withdrawal::GateClosed))
        }
    }
}

fn request(
    fleet: &Fleet,
    campaign: &Campaign,
    attempt: &Attempt,
    leg: u8,
    current: &Leg,
    carrier: &dyn Carrier,
) -> DialRequest {
    let profile = carrier.profile();
    DialRequest {
        attempt: attempt.id.clone(),
        leg,
        to: attempt.phone.clone(),
        from: current.from.clone(),
        ring_timeout_s: campaign.ring_timeout_s,
        max_duration_s: campaign.max_duration_s,
        flow: campaign.flow.clone(),
        amd: campaign.amd.mode,
        callback_url: fleet.keys.callback_url(
            &fleet.settings.public_url,
            profile.kind,
            &profile.id,
            &attempt.id,
            leg,
        ),
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

/// RESULT: writes what became of the request, and executes what follows.
async fn conclude(fleet: &Fleet, attempt: Attempt, event: CallEvent) -> Option<(Attempt, Verdict)> {
    let id: AttemptId = attempt.id.clone();
    let began = fleet.clock.uptime();
    let mut wait = WRITE_AGAIN;
    let written = loop {
        let written = fleet
            .amend(attempt.clone(), |a| a.apply(&event, fleet.clock.now()))
            .await;
        // A store that fails over is back within seconds, and what we know spares a long search.
        let patient = fleet.clock.uptime().saturating_sub(began) + wait < WRITE_PATIENCE;
        if written.is_ok() || !patient || !fleet.pause(wait).await {
            break written;
        }
        wait *= 2;
    };
    match written {
        Ok(Some((attempt, verdict))) => {
            if verdict == Verdict::Zombie {
                fleet.metrics.zombie();
                tracing::error!(attempt = %id, "the carrier accepted a call that was given up: hanging up");
            }
            todo::execute(fleet, attempt.clone(), None).await;
            Some((attempt, verdict))
        }
        Ok(None) => None,
        Err(error) => {
            tracing::warn!(%error, attempt = %id, "a result could not be written; callbacks or the sweeper will tell");
            None
        }
    }
}

async fn withdrawn(fleet: &Fleet, attempt: Attempt, why: Withdrawal, sent: bool) -> Filled {
    if let Some((_, leg)) = attempt.current_leg() {
        fleet.metrics.dial(leg.carrier.as_str(), "withdrawn");
    }
    conclude(fleet, attempt, CallEvent::Withdrawn(why)).await;
    match why {
        Withdrawal::FenceLate | Withdrawal::Shutdown => Filled::Fenced,
        _ if sent => Filled::Dialed,
        Withdrawal::CampaignChanged | Withdrawal::GateClosed => Filled::Closed,
        Withdrawal::NoCarrier => Filled::NoCarrier,
    }
}

fn rest_carrier(fleet: &Fleet, carrier: &CarrierId, refusal: &Refusal) {
    match refusal.class {
        RefusalClass::RetryLater => fleet.pace.rest(carrier, REST.0),
        RefusalClass::ConfigFault => {
            tracing::error!(%carrier, code = %refusal.code, message = %refusal.message, "the carrier refuses our account or request");
            fleet.pace.rest(carrier, REST.1);
        }
        // Not even reached: nothing else will be, for a moment.
        RefusalClass::Failover if matches!(refusal.code.as_str(), "connect" | "dns" | "tls") => {
            fleet.pace.rest(carrier, REST.0 * 5);
        }
        RefusalClass::Failover | RefusalClass::BadNumber => {}
    }
}

/// The next leg, with its carrier's token in hand; `None` when the chain ends here.
async fn next_leg(
    fleet: &Fleet,
    refusal: &Refusal,
    hops: &mut impl Iterator<Item = Hop>,
    token: &mut Option<Token>,
) -> Option<Leg> {
    if !refusal.class.may_fail_over() || fleet.stopping.is_cancelled() {
        return None;
    }
    for hop in hops {
        let began = fleet.clock.uptime();
        while !fleet.pace.is_resting(&hop.carrier) {
            match fleet.pace.try_take(&hop.carrier) {
                Some(Ok(taken)) => {
                    *token = Some(taken);
                    return Some(new_leg(fleet, &hop).0);
                }
                Some(Err(wait))
                    if fleet.clock.uptime().saturating_sub(began) + wait < NEXT_LEG_PATIENCE =>
                {
                    if !fleet.pause(wait).await {
                        return None;
                    }
                }
                Some(Err(_)) | None => break,
            }
        }
    }
    None
}
