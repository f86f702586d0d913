//! The legs of an attempt: who can be asked, what is written down before each is, and the next one
//! after a refusal.

use std::time::Duration;

use dialfleet_domain::call::attempt::NewAttempt;
use dialfleet_domain::call::cost::Bill;
use dialfleet_domain::call::{Attempt, Leg, LegState, Refusal};
use dialfleet_domain::campaign::{AmdMode, Campaign};
use dialfleet_domain::id::{CarrierId, ClaimToken, Nonce};
use dialfleet_domain::lead::Lead;
use dialfleet_domain::phone::E164;
use dialfleet_domain::phone::area::Group;
use dialfleet_domain::recording::Start;
use dialfleet_domain::routing::{Decision, Hop};
use dialfleet_domain::tariff::Usage;

use super::route::{Held, ready};
use crate::fleet::Fleet;
use crate::port::Carrier;
use crate::port::carrier::DialRequest;
use crate::talk;

/// How long a leg after a refusal waits for its carrier's token.
const NEXT_LEG_PATIENCE: Duration = Duration::from_secs(2);

/// The intent, and the nonce that makes its request ours.
pub(super) fn intend(
    fleet: &Fleet,
    (campaign, lead): (&Campaign, &Lead),
    slot: u32,
    decision: Decision,
    held: &Held,
) -> (Attempt, Nonce) {
    let mut leg = new_leg(fleet, &decision.chain[0], held);
    leg.bill = bill(fleet, &leg.carrier, &lead.phone, campaign, Some(&decision));
    let nonce = leg.nonce.clone();
    let mut attempt = Attempt::intend(NewAttempt {
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
        decision: Some(Box::new(decision)),
    });
    attempt.recording = campaign
        .recording
        .plan(&lead.vars, campaign.amd.mode != AmdMode::Off);
    (attempt, nonce)
}

fn new_leg(fleet: &Fleet, hop: &Hop, held: &Held) -> Leg {
    let now = fleet.clock.now();
    let nonce = Nonce::mint(now, fleet.entropy.id_bits());
    let carrier = fleet.carriers.get(&hop.carrier);
    let longest = carrier
        .and_then(|carrier| carrier.profile().capabilities.longest_call)
        .map(|longest| fleet.settings.scaled(longest));
    let channel = held.channel.as_ref();
    Leg {
        carrier: hop.carrier.clone(),
        from: hop.from.clone(),
        state: LegState::Intent,
        nonce,
        intent_at: now,
        call_id: None,
        refusal: None,
        longest_ms: longest.and_then(|d| u64::try_from(d.as_millis()).ok()),
        channel: channel
            .filter(|c| c.carrier == hop.carrier)
            .map(|c| c.number),
        bill: None,
    }
}

/// What a leg costs as far as it can be known before: the price, and what it comes to at the length
/// that the router expects.
fn bill(
    fleet: &Fleet,
    carrier: &CarrierId,
    to: &E164,
    campaign: &Campaign,
    decision: Option<&Decision>,
) -> Option<Bill> {
    let usage = Usage {
        amd: campaign.amd.mode != AmdMode::Off,
        ..Usage::default()
    };
    let ask = fleet.carriers.get(carrier).is_some_and(|c| c.says_cost());
    let terms = fleet.routes.terms(carrier, to, usage);
    let bill = terms.map(|terms| {
        let expected = decision.and_then(|d| d.of(carrier)?.per_call);
        Bill::expected(terms, expected.unwrap_or_else(|| terms.cost(Some(60))))
    });
    match bill {
        Some(bill) => Some(Bill { ask, ..bill }),
        None => ask.then(|| Bill {
            ask,
            ..Bill::default()
        }),
    }
}

/// What the carrier is asked.
pub(super) fn request(
    fleet: &Fleet,
    (campaign, lead): (&Campaign, &Lead),
    attempt: &Attempt,
    (leg, current): (u8, &Leg),
    carrier: &dyn Carrier,
) -> DialRequest {
    let profile = carrier.profile();
    let language = campaign.flow.language.as_deref();
    DialRequest {
        attempt: attempt.id.clone(),
        leg,
        to: attempt.phone.clone(),
        from: current.from.clone(),
        ring_timeout_s: campaign.ring_timeout_s,
        max_duration_s: campaign.max_duration_s,
        opening: talk::opening(campaign, lead),
        flow_url: talk::flow_url(fleet, attempt, (&profile.id, leg), 0, (language, &[])),
        amd: campaign.amd,
        leaves_message: campaign.amd.leaves_message(&campaign.flow),
        record: attempt
            .recording
            .filter(|plan| plan.start == Start::Answer)
            .map(|plan| plan.channels),
        callback_url: fleet.keys.callback_url(
            &fleet.settings.public_url,
            profile.kind,
            &profile.id,
            &attempt.id,
            leg,
        ),
    }
}

/// The next leg, with its carrier's token and channel in hand; `None` when the chain ends here.
pub(super) async fn next_leg(
    fleet: &Fleet,
    attempt: &Attempt,
    campaign: &Campaign,
    refusal: &Refusal,
    (hops, group): (&mut impl Iterator<Item = Hop>, &Group),
    held: &mut Held,
) -> Option<Leg> {
    if !refusal.class.may_fail_over() || fleet.stopping.is_cancelled() {
        return None;
    }
    // What is left is the right to try the route of the carrier that refused: for somebody else.
    let probes = std::mem::take(&mut held.probes);
    fleet.routes.give_back(fleet, probes).await;
    for hop in hops {
        ready(fleet, &hop.carrier).await;
        if !held.take_channel(fleet, &hop.carrier)
            || !held
                .take_token(fleet, &hop.carrier, NEXT_LEG_PATIENCE)
                .await
        {
            continue;
        }
        match fleet.routes.take_probes(fleet, &hop.carrier, group).await {
            Ok(Some(probes)) => {
                held.probes = probes;
                let mut leg = new_leg(fleet, &hop, held);
                let decision = attempt.decision.as_deref();
                leg.bill = bill(fleet, &leg.carrier, &attempt.phone, campaign, decision);
                return Some(leg);
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, carrier = %hop.carrier, "no probe"),
        }
    }
    None
}
