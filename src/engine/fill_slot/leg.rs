//! The legs of an attempt: who can be asked, what is written down before each is, and the next one
//! after a refusal.

use std::time::Duration;

use dialfleet_domain::call::attempt::NewAttempt;
use dialfleet_domain::call::{Attempt, Leg, LegState, Refusal, RefusalClass};
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::{CarrierId, ClaimToken, Nonce};
use dialfleet_domain::lead::Lead;
use dialfleet_domain::routing::{Candidate, Decision, Exclusion, Hop};

use super::REST;
use crate::fleet::Fleet;
use crate::pace::Token;
use crate::port::Carrier;
use crate::port::carrier::DialRequest;

/// How long a leg after a refusal waits for its carrier's token.
const NEXT_LEG_PATIENCE: Duration = Duration::from_secs(2);

/// Every carrier as the router sees it now.
pub(crate) fn candidates(fleet: &Fleet) -> Vec<Candidate> {
    let view = |carrier: &std::sync::Arc<dyn Carrier>| {
        let profile = carrier.profile();
        let resting = fleet.pace.is_resting(&profile.id);
        Candidate {
            excluded: resting.then_some(Exclusion::Resting { until: None }),
            ..Candidate::new(profile.id.clone(), profile.weight, &profile.caller_ids)
        }
    };
    fleet.carriers.values().map(view).collect()
}

/// The token for a decision's first carrier: the one in hand if it is of that carrier, and of no other.
pub(super) fn pay(fleet: &Fleet, decision: &Decision, held: Option<Token>) -> Option<Token> {
    let first = decision.chain.first().map(|hop| &hop.carrier);
    match held {
        Some(held) if Some(held.carrier()) == first => Some(held),
        held => {
            held.into_iter().for_each(|held| fleet.pace.give_back(held));
            first.and_then(|carrier| fleet.pace.try_take(carrier)?.ok())
        }
    }
}

/// The intent, and the nonce that makes its request ours.
pub(super) fn intend(
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
    let carrier = fleet.carriers.get(&hop.carrier);
    let longest = carrier
        .and_then(|carrier| carrier.profile().capabilities.longest_call)
        .map(|longest| fleet.settings.scaled(longest));
    let leg = Leg {
        carrier: hop.carrier.clone(),
        from: hop.from.clone(),
        state: LegState::Intent,
        nonce: nonce.clone(),
        intent_at: now,
        call_id: None,
        refusal: None,
        longest_ms: longest.and_then(|d| u64::try_from(d.as_millis()).ok()),
    };
    (leg, nonce)
}

/// What the carrier is asked.
pub(super) fn request(
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

/// Leaves a carrier alone after a refusal that says so.
pub(super) fn rest_carrier(fleet: &Fleet, carrier: &CarrierId, refusal: &Refusal) {
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
pub(super) async fn next_leg(
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
