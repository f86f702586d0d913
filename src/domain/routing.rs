//! Which carriers are asked, in which order, and with which caller id.

use crate::call::attempt::MAX_LEGS;
use crate::campaign::Campaign;
use crate::id::CarrierId;
use crate::phone::E164;

/// A carrier as the router sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub carrier: CarrierId,
    /// Its weight in carriers.toml; higher is preferred when the campaign names no order.
    pub weight: u32,
    /// The caller ids we own there.
    pub caller_ids: Vec<E164>,
    /// Why it cannot be asked now, if so.
    pub excluded: Option<&'static str>,
}

/// One step of the fallback chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Whom to ask.
    pub carrier: CarrierId,
    /// The caller id to show.
    pub from: E164,
}

/// The router's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The chain, best first, at most three.
    pub chain: Vec<Hop>,
    /// Why, in one sentence.
    pub why: String,
}

/// Orders the eligible carriers of a campaign. `first` (the carrier whose token was taken) leads;
/// the others follow in the campaign's order, or by weight. `draw` rotates the caller ids.
#[must_use]
pub fn route(
    campaign: &Campaign,
    candidates: &[Candidate],
    first: Option<&CarrierId>,
    draw: u64,
) -> Decision {
    let mut ordered: Vec<&Candidate> = if campaign.carriers.is_empty() {
        let mut all: Vec<&Candidate> = candidates.iter().collect();
        all.sort_by(|a, b| {
            b.weight
                .cmp(&a.weight)
                .then_with(|| a.carrier.cmp(&b.carrier))
        });
        all
    } else {
        campaign
            .carriers
            .iter()
            .filter_map(|id| candidates.iter().find(|c| c.carrier == *id))
            .collect()
    };
    ordered.sort_by_key(|c| Some(&c.carrier) != first);
    let mut chain = Vec::new();
    let mut left_out = Vec::new();
    for candidate in ordered {
        if let Some(why) = candidate.excluded {
            left_out.push(format!("{} {why}", candidate.carrier));
            continue;
        }
        match caller_id(campaign, candidate, draw) {
            Some(from) => chain.push(Hop {
                carrier: candidate.carrier.clone(),
                from,
            }),
            None => left_out.push(format!(
                "{} has no caller id of this campaign",
                candidate.carrier
            )),
        }
    }
    chain.truncate(MAX_LEGS);
    let rule = if campaign.carriers.is_empty() {
        "by weight"
    } else {
        "in the campaign's order"
    };
    let names: Vec<&str> = chain.iter().map(|hop| hop.carrier.as_str()).collect();
    let mut why = if names.is_empty() {
        "no carrier is eligible".to_owned()
    } else {
        format!("{} {rule}", names.join(", then "))
    };
    if !left_out.is_empty() {
        why.push_str("; left out: ");
        why.push_str(&left_out.join(", "));
    }
    Decision { chain, why }
}

/// A caller id the carrier owns, of those the campaign wants to show.
fn caller_id(campaign: &Campaign, candidate: &Candidate, draw: u64) -> Option<E164> {
    let usable: Vec<&E164> = candidate
        .caller_ids
        .iter()
        .filter(|id| campaign.caller_ids.is_empty() || campaign.caller_ids.contains(id))
        .collect();
    let n = u64::try_from(usable.len()).ok().filter(|n| *n > 0)?;
    usize::try_from(draw % n)
        .ok()
        .and_then(|i| usable.get(i))
        .map(|id| (*id).clone())
}
