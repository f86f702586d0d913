//! PICK: a due lead that may be called, and what is read about it.

use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::gate::{self, Facts, Why, gate};
use dialfleet_domain::id::{ClaimToken, TenantId};
use dialfleet_domain::lead::{Lead, LeadState};
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;

use super::MAX_PASSES;
use crate::fleet::Fleet;
use crate::port::store::{Answer, ClaimRequest, Release};

/// Claims due leads until the gate lets one through; the others are deferred or suppressed.
pub(super) async fn pick(fleet: &Fleet, campaign: &Campaign) -> Answer<Option<Lead>> {
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

/// How many of a campaign's slots are taken.
pub(super) async fn taken(fleet: &Fleet, campaign: &Campaign) -> Answer<u32> {
    let taken = fleet.store.taken_slots(&campaign.id).await?.len();
    Ok(u32::try_from(taken).unwrap_or(u32::MAX))
}

/// What the gate is told besides the documents.
pub(super) async fn facts(fleet: &Fleet, tenant: &TenantId, phone: &E164) -> Answer<Facts> {
    let listed = fleet
        .store
        .do_not_call(tenant, std::slice::from_ref(phone))
        .await?;
    // An answer that is missing is not a permission.
    Ok(Facts {
        do_not_call: listed.first().copied().unwrap_or(true),
    })
}

/// Ends a claim without an attempt.
pub(super) async fn release(
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
