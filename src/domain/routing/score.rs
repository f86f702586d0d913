//! Scores: cost per connected minute and quality, each to the power of its weight, multiplied. A
//! product, because it needs no rate of exchange between money and quality: what counts is by how much
//! one carrier is better than another in each. At equal weights it is answers for money.

use rust_decimal::prelude::ToPrimitive;

use super::candidate::{Candidate, Price};
use super::decision::Scored;
use super::policy::{Policy, Strategy};
use super::{Last, Question};
use crate::call::Outcome;
use crate::caller_id::Choice;
use crate::money::{Currency, Money};
use crate::quality::{Estimate, Prior};
use crate::tariff::Usage;

/// How much likelier a carrier is asked that the person answered on last time: a number that is known
/// is picked up. It decides between like carriers only.
const STICKY: f64 = 1.1;
/// How much less one that failed this person last time: by its network, or with a "no such number"
/// that needs a second opinion.
const FAILED_LAST: f64 = 0.25;
/// A price below this per minute is taken for this: nothing is free.
const LEAST_PRICE: f64 = 1e-6;

/// What the last call to the person says about asking the same carrier again.
pub(super) const fn after(outcome: Outcome) -> f64 {
    match outcome {
        Outcome::HumanConnected
        | Outcome::Answered
        | Outcome::MachineHangup
        | Outcome::VoicemailLeft
        | Outcome::CallScreened => STICKY,
        Outcome::Congestion | Outcome::CarrierError | Outcome::InvalidNumber => FAILED_LAST,
        Outcome::Fax
        | Outcome::NoAnswer
        | Outcome::Busy
        | Outcome::Rejected
        | Outcome::Unwanted
        | Outcome::BlockedAnalytics
        | Outcome::Unreachable
        | Outcome::NoCarrier
        | Outcome::ProviderConfig
        | Outcome::Canceled
        | Outcome::NotPlaced
        | Outcome::Expired
        | Outcome::Unresolved
        | Outcome::Withdrawn => 1.0,
    }
}

/// A candidate that may be asked, with what it is judged by.
struct Judged<'a> {
    candidate: &'a Candidate,
    from: Choice,
    estimate: Estimate,
    per_call: Option<Money>,
    /// Per connected minute, in the common currency; `None` when unknown.
    price: Option<f64>,
}

/// Scores every eligible candidate, best first; in the campaign's order for a fixed one.
pub(super) fn score(
    question: &Question<'_>,
    strategy: Strategy,
    eligible: Vec<(&Candidate, Choice)>,
) -> Vec<Scored> {
    let now = question.now;
    let stats: Vec<_> = eligible.iter().map(|(c, _)| c.stats.aged(now)).collect();
    let prior = Prior::pool(&stats);
    let talk_s = prior.talk_s().round().max(1.0);
    let currency = question
        .currency
        .or_else(|| eligible.iter().find_map(|(c, _)| currency_of(c)));
    let usage = Usage {
        // Clamped by the prior to 4 hours.
        talk_s: talk_s.to_u32(),
        ..question.usage
    };
    let judged: Vec<Judged<'_>> = eligible
        .into_iter()
        .zip(&stats)
        .map(|((candidate, from), stats)| {
            let per_call = match &candidate.price {
                Price::At(tariff) => tariff.cost(usage).ok(),
                Price::Unknown | Price::NotServed => None,
            };
            let comparable = per_call.filter(|cost| Some(cost.currency()) == currency);
            let price = comparable
                .and_then(|cost| cost.amount().to_f64())
                .map(|cost| (cost * 60.0 / talk_s).max(LEAST_PRICE));
            Judged {
                candidate,
                from,
                estimate: Estimate::new(stats, &prior),
                per_call,
                price,
            }
        })
        .collect();
    let prices = || judged.iter().filter_map(|one| one.price);
    let scale = Scale {
        cheapest: prices().fold(f64::INFINITY, f64::min),
        dearest: prices().fold(LEAST_PRICE, f64::max),
        heaviest: judged.iter().map(|one| one.candidate.weight).max(),
        powers: powers(strategy, &question.policy),
        talk_s,
    };
    let mut scored: Vec<Scored> = judged
        .into_iter()
        .map(|one| scale.score(one, question.last))
        .collect();
    match strategy {
        Strategy::Fixed if !question.order.is_empty() => {
            scored.sort_by_key(|one| question.order.iter().position(|id| *id == one.carrier));
        }
        Strategy::Fixed
        | Strategy::Weighted
        | Strategy::Cost
        | Strategy::Quality
        | Strategy::Assigned => {
            scored.sort_by(|a, b| {
                let by_score = b.score.total_cmp(&a.score);
                by_score.then_with(|| a.carrier.cmp(&b.carrier))
            });
        }
    }
    scored
}

fn currency_of(candidate: &Candidate) -> Option<Currency> {
    match &candidate.price {
        Price::At(tariff) => Some(tariff.currency),
        Price::Unknown | Price::NotServed => None,
    }
}

/// The powers of cost and quality; they add up to 1, or nothing counts but preference.
fn powers(strategy: Strategy, policy: &Policy) -> (f64, f64) {
    match strategy {
        Strategy::Weighted => {
            let (cost, quality) = (policy.weights.cost, policy.weights.quality);
            let sum = f64::from(cost.saturating_add(quality)).max(1.0);
            (f64::from(cost) / sum, f64::from(quality) / sum)
        }
        Strategy::Cost => (1.0, 0.0),
        Strategy::Quality => (0.0, 1.0),
        Strategy::Fixed | Strategy::Assigned => (0.0, 0.0),
    }
}

/// What all candidates are measured against.
struct Scale {
    cheapest: f64,
    dearest: f64,
    heaviest: Option<u32>,
    powers: (f64, f64),
    talk_s: f64,
}

impl Scale {
    fn score(&self, one: Judged<'_>, last: Option<&Last<'_>>) -> Scored {
        // A price nobody knows is taken for the dearest known one.
        let price = one.price.unwrap_or(self.dearest);
        let relative = if self.cheapest.is_finite() {
            self.cheapest / price
        } else {
            1.0
        };
        let cost_part = relative.powf(self.powers.0);
        let quality_part = one.estimate.quality().powf(self.powers.1);
        let luck = one.estimate.at_best().powf(self.powers.1);
        let heaviest = f64::from(self.heaviest.unwrap_or(1).max(1));
        let weight = f64::from(one.candidate.weight.max(1)) / heaviest;
        let history = last
            .filter(|last| *last.carrier == one.candidate.carrier)
            .map_or(1.0, |last| after(last.outcome));
        let preference = weight * history;
        let per_minute = one.per_call.and_then(|cost| {
            let seconds = rust_decimal::Decimal::from(self.talk_s.to_u32()?);
            let per_second = cost.amount().checked_div(seconds)?;
            let per_minute = per_second.checked_mul(rust_decimal::Decimal::from(60))?;
            Some(Money::new(per_minute, cost.currency()))
        });
        Scored {
            carrier: one.candidate.carrier.clone(),
            from: one.from.number,
            nearness: one.from.nearness,
            score: cost_part * quality_part * preference,
            upper: cost_part * quality_part * luck * preference,
            cost_part,
            quality_part,
            preference,
            per_minute,
            per_call: one.per_call,
            estimate: one.estimate,
        }
    }
}
