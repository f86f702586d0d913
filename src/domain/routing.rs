//! Which carriers are asked, in which order, and with which caller id.
//!
//! [`choose`]: leave out who cannot be asked, with the reason ([`Exclusion`]); score the rest by
//! cost and quality (`score`); now and then let another one lead, to keep knowing it (`explore`);
//! the first three are the chain. All of it is in the [`Decision`], which is stored with the attempt.
//!
//! Pure: prices come from [`crate::rates`], statistics from [`crate::quality`], admission from
//! [`crate::breaker`], usage of caller ids from [`crate::caller_id`], chance from the caller.
//!
//! Who is asked after a refusal is the rest of the chain, in order, as long as each may still be asked
//! then; busy, declined and no answer are answers, and nobody is asked after them.

mod candidate;
mod decision;
mod explore;
mod policy;
mod score;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use candidate::{Candidate, Exclusion, Feature, Price, sterner};
pub use decision::{DECISION_VERSION, Decision, Excluded, Hop, Scored};
pub use policy::{BadPolicy, MAX_EXPLORE_PERCENT, MAX_WEIGHT, Policy, Strategy, Weights};

use crate::breaker::Admission;
use crate::call::Outcome;
use crate::call::attempt::MAX_LEGS;
use crate::caller_id::{self, Caps, Choice, Presence, Wish};
use crate::campaign::{AmdMode, Campaign};
use crate::flow::Step;
use crate::id::CarrierId;
use crate::money::Currency;
use crate::phone::E164;
use crate::phone::area::Place;
use crate::recording::When;
use crate::tariff::Usage;
use crate::time::Timestamp;

/// The last call to the person.
#[derive(Debug, Clone, Copy)]
pub struct Last<'a> {
    /// Who carried it.
    pub carrier: &'a CarrierId,
    /// The number it showed.
    pub from: &'a E164,
    /// How it ended.
    pub outcome: Outcome,
}

/// What the decision depends on besides the candidates. [`Question::of`] fills in what the campaign
/// says, and leaves the rest at "nothing known".
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// How the campaign wants carriers chosen.
    pub policy: Policy,
    /// The campaign's carriers, in its order; empty: any.
    pub order: &'a [CarrierId],
    /// The campaign's caller ids; empty: the carrier's own.
    pub caller_ids: &'a [E164],
    /// The currency the campaign counts in: then carriers whose price is not known are left out.
    pub currency: Option<Currency>,
    /// The carrier that the lead names.
    pub assigned: Option<&'a CarrierId>,
    /// Where the person's number was issued; `None` before a lead is chosen.
    pub to: Option<&'a Place>,
    /// What the call needs.
    pub needs: Vec<Feature>,
    /// Who was asked in this attempt already.
    pub tried: &'a [CarrierId],
    /// The last call to the person.
    pub last: Option<&'a Last<'a>>,
    /// Whether a caller id from next door is preferred.
    pub presence: Presence,
    /// How often one caller id may call.
    pub caps: Caps,
    /// What is used on the call and costs; its length is not read.
    pub usage: Usage,
    /// Now.
    pub now: Timestamp,
    /// Chance.
    pub draw: u64,
}

impl<'a> Question<'a> {
    /// What somebody asks who says nothing about the call.
    #[must_use]
    pub fn open(now: Timestamp, draw: u64) -> Self {
        Self {
            policy: Policy::default(),
            order: &[],
            caller_ids: &[],
            currency: None,
            assigned: None,
            to: None,
            needs: Vec::new(),
            tried: &[],
            last: None,
            presence: Presence::default(),
            caps: Caps::default(),
            usage: Usage::default(),
            now,
            draw,
        }
    }

    /// What a campaign asks, with nothing known about the lead.
    #[must_use]
    pub fn of(campaign: &'a Campaign, now: Timestamp, draw: u64) -> Self {
        Self {
            policy: campaign.routing.clone(),
            order: &campaign.carriers,
            caller_ids: &campaign.caller_ids,
            currency: campaign.budget.map(|budget| budget.total.currency()),
            needs: needs(campaign),
            presence: campaign.presence,
            caps: campaign.caps,
            usage: Usage {
                amd: campaign.amd.mode != AmdMode::Off,
                ..Usage::default()
            },
            ..Self::open(now, draw)
        }
    }
}

/// What a campaign's calls need of their carrier.
#[must_use]
pub fn needs(campaign: &Campaign) -> Vec<Feature> {
    let mut needs = Vec::new();
    match campaign.amd.mode {
        AmdMode::Off => {}
        AmdMode::Async => needs.push(Feature::AsyncAmd),
        AmdMode::Sync => needs.push(Feature::SyncAmd),
    }
    if campaign.recording.when != When::None {
        needs.push(Feature::Record);
    }
    campaign.flow.each_step(&mut |step| match step {
        Step::Say { .. } | Step::OptOut { .. } => needs.push(Feature::Say),
        Step::Gather { .. } | Step::Menu { .. } => needs.push(Feature::Gather),
        Step::Play { .. } => needs.push(Feature::Play),
        Step::Record { .. } => needs.push(Feature::Record),
        Step::Stream { .. } => needs.push(Feature::Stream),
        Step::Transfer { .. } => needs.push(Feature::Transfer),
        Step::Pause { .. }
        | Step::Set { .. }
        | Step::Branch { .. }
        | Step::Voicemail
        | Step::Hangup => {}
    });
    needs.sort_unstable();
    needs.dedup();
    needs
}

/// Chooses the chain of carriers for a call.
#[must_use]
pub fn choose(question: &Question<'_>, candidates: &[Candidate]) -> Decision {
    let strategy = question.policy.strategy(!question.order.is_empty());
    let mut eligible = Vec::new();
    let mut excluded = Vec::new();
    for candidate in candidates {
        match admit(question, strategy, candidate) {
            Ok(from) => eligible.push((candidate, from)),
            Err(why) => excluded.push(Excluded {
                carrier: candidate.carrier.clone(),
                why,
            }),
        }
    }
    let mut scored = score::score(question, strategy, eligible);
    let percent = if strategy.explores() {
        question.policy.explore_percent
    } else {
        0
    };
    let (first, share) = explore::leader(&scored, percent, question.draw);
    scored.iter_mut().for_each(Scored::round);
    let mut chain: Vec<Hop> = scored.iter().map(Scored::hop).collect();
    if let Some(leads) = chain.get_mut(..=first) {
        leads.rotate_right(1);
    }
    chain.truncate(MAX_LEGS);
    let mut decision = Decision {
        version: DECISION_VERSION,
        strategy,
        chain,
        scored,
        excluded,
        explored: first > 0,
        share,
        why: String::new(),
    };
    decision.why = decision.explain(question.last.and_then(|last| remark(last, &decision)));
    decision
}

/// What is said about the last call, where it counted.
fn remark(last: &Last<'_>, decision: &Decision) -> Option<String> {
    let counts = decision.strategy.explores() || decision.strategy == Strategy::Cost;
    let change = score::after(last.outcome);
    if !counts || decision.of(last.carrier).is_none() {
        None
    } else if change < 1.0 {
        let id = last.carrier;
        Some(format!("; the last call to this person failed at {id}"))
    } else {
        let leads = decision.chain.first().map(|hop| &hop.carrier) == Some(last.carrier);
        (change > 1.0 && leads)
            .then(|| "; the last call to this person was answered there".to_owned())
    }
}

/// Whether a candidate may be asked, and with which caller id. The reasons that time does not mend
/// come first.
fn admit(
    question: &Question<'_>,
    strategy: Strategy,
    candidate: &Candidate,
) -> Result<Choice, Exclusion> {
    let id = &candidate.carrier;
    if !question.order.is_empty() && !question.order.contains(id) {
        return Err(Exclusion::NotOfCampaign);
    }
    if strategy == Strategy::Assigned {
        let assigned = question.assigned.or(question.policy.carrier.as_ref());
        if assigned != Some(id) {
            return Err(Exclusion::NotAssigned);
        }
    }
    if question.tried.contains(id) {
        return Err(Exclusion::Tried);
    }
    match (&candidate.price, question.currency) {
        (Price::NotServed, _) => return Err(Exclusion::NoRate),
        // A budget cannot be kept with what nobody knows the price of.
        (Price::Unknown, Some(_)) if question.to.is_some() => return Err(Exclusion::NoRate),
        (Price::At(tariff), Some(counts)) if tariff.currency != counts => {
            let bills = tariff.currency;
            return Err(Exclusion::Currency { bills, counts });
        }
        (Price::At(_) | Price::Unknown, _) => {}
    }
    let lacks = |feature: &&Feature| candidate.cannot.contains(feature);
    let what: Vec<Feature> = question.needs.iter().filter(lacks).copied().collect();
    if !what.is_empty() {
        return Err(Exclusion::Cannot { what });
    }
    let blocked = |last: &&Last<'_>| last.outcome == Outcome::BlockedAnalytics;
    let wish = Wish {
        wanted: question.caller_ids,
        to: question.to,
        seen: question.last.map(|last| last.from),
        not: question.last.filter(blocked).map(|last| last.from),
        presence: question.presence,
        caps: question.caps,
    };
    let from = caller_id::choose(&candidate.caller_ids, &wish, question.now, question.draw)?;
    match &candidate.breaker {
        Admission::Free | Admission::Probe => {}
        Admission::Resting { until } => {
            let until = Some(*until);
            return Err(Exclusion::Resting { until });
        }
        Admission::Open { until, why } => {
            let (until, why) = (*until, why.clone());
            return Err(Exclusion::BreakerOpen { until, why });
        }
    }
    match &candidate.excluded {
        Some(why) => Err(why.clone()),
        None => Ok(from),
    }
}
