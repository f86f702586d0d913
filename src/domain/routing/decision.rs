//! The router's decision, as it is stored with the attempt: who was considered, how each scored, who
//! was left out and why, and one sentence for people.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::candidate::Exclusion;
use super::policy::Strategy;
use crate::call::attempt::MAX_LEGS;
use crate::caller_id::Nearness;
use crate::id::CarrierId;
use crate::money::{Currency, Money};
use crate::phone::E164;
use crate::quality::Estimate;

/// The version of [`Decision`] that is written now. Fields may be added within a version.
pub const DECISION_VERSION: u32 = 1;
/// Below this weight of its own calls a route's figures are mostly assumed.
const FEW_CALLS: f64 = 10.0;

/// One step of the fallback chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hop {
    /// Whom to ask.
    pub carrier: CarrierId,
    /// The caller id to show.
    pub from: E164,
}

/// A carrier that could be asked, and how it scored. The score is `cost_part` × `quality_part` ×
/// `preference`; the first two are 1 where the strategy does not ask for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scored {
    /// The carrier.
    pub carrier: CarrierId,
    /// The caller id it would show.
    pub from: E164,
    /// How near that is to the person.
    pub nearness: Nearness,
    /// Higher is better.
    pub score: f64,
    /// What the score would be if its answers so far were bad luck: who could still beat the best one is
    /// asked more often, to know.
    pub upper: f64,
    /// The cheapest price ÷ its own, to the power of the cost's weight.
    pub cost_part: f64,
    /// Its quality, to the power of that weight.
    pub quality_part: f64,
    /// Its configured weight relative to the largest, times what the last call to this person says.
    pub preference: f64,
    /// Per connected minute, with increments and fees; absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<Money>,
    /// What an answered call of the expected length costs: what a budget reserves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_call: Option<Money>,
    /// What its quality rests on.
    pub estimate: Estimate,
}

/// A carrier that could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Excluded {
    /// The carrier.
    pub carrier: CarrierId,
    /// Why not.
    pub why: Exclusion,
}

/// The router's decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decision {
    /// [`DECISION_VERSION`].
    pub version: u32,
    /// By what carriers were ordered.
    pub strategy: Strategy,
    /// The chain, first choice first, at most three.
    pub chain: Vec<Hop>,
    /// Everybody who could be asked, best first.
    pub scored: Vec<Scored>,
    /// Everybody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Excluded>,
    /// The first of the chain is not the best one: it is asked in order to know it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub explored: bool,
    /// How often, of all draws, the first of the chain leads at this moment: 0 to 1. For judging
    /// another policy by calls placed under this one.
    pub share: f64,
    /// Why, in one sentence.
    pub why: String,
}

impl Decision {
    /// Puts `carrier` first, because `why` ("its token is in hand"). `false`, and nothing changes, if
    /// it was left out.
    pub fn lead_with(&mut self, carrier: &CarrierId, why: &str) -> bool {
        if self
            .chain
            .first()
            .is_some_and(|hop| hop.carrier == *carrier)
        {
            return true;
        }
        let Some(scored) = self.scored.iter().find(|one| one.carrier == *carrier) else {
            return false;
        };
        let hop = scored.hop();
        self.chain.retain(|hop| hop.carrier != *carrier);
        self.chain.insert(0, hop);
        self.chain.truncate(MAX_LEGS);
        self.explored = false;
        self.why = format!("{carrier} leads because {why}; else {}", self.why);
        true
    }

    /// How `carrier` scored.
    #[must_use]
    pub fn of(&self, carrier: &CarrierId) -> Option<&Scored> {
        self.scored.iter().find(|one| one.carrier == *carrier)
    }

    /// Why the first of the chain is the first, in one sentence.
    pub(super) fn explain(&self, last: Option<String>) -> String {
        let leader = self.chain.first().and_then(|hop| self.of(&hop.carrier));
        let mut text = match (leader, self.rival()) {
            (None, _) => "no carrier is eligible".to_owned(),
            (Some(leader), None) => format!("{} is the only one eligible", leader.figures(true)),
            (Some(leader), Some(rival)) => self.compare(leader, rival),
        };
        if let Some(last) = last {
            text.push_str(&last);
        }
        let others: Vec<String> = self
            .excluded
            .iter()
            .filter(|one| one.why != Exclusion::NotOfCampaign && one.why != Exclusion::NotAssigned)
            .map(|one| format!("{} {}", one.carrier, one.why))
            .collect();
        if !others.is_empty() {
            text.push_str("; left out: ");
            text.push_str(&others.join(", "));
        }
        text
    }

    fn compare(&self, leader: &Scored, rival: &Scored) -> String {
        if self.explored {
            return format!(
                "{} is asked in order to know it; {} is thought best",
                leader.figures(true),
                rival.figures(false)
            );
        }
        match self.strategy {
            Strategy::Fixed => {
                let rest: Vec<&str> = self.chain[1..].iter().map(|h| h.carrier.as_str()).collect();
                format!(
                    "{} in the campaign's order, then {}",
                    leader.carrier,
                    rest.join(", then ")
                )
            }
            Strategy::Assigned => format!("{} is the one assigned", leader.carrier),
            Strategy::Cost | Strategy::Quality | Strategy::Weighted
                if leader.score.total_cmp(&rival.score).is_eq() =>
            {
                format!(
                    "{} is as good as {}: the first by name",
                    leader.figures(true),
                    rival.figures(false)
                )
            }
            Strategy::Cost if leader.per_minute.is_some() => format!(
                "{} is cheaper than {}",
                leader.figures(true),
                rival.figures(false)
            ),
            Strategy::Cost | Strategy::Quality | Strategy::Weighted => {
                format!("{} beats {}", leader.figures(true), rival.figures(false))
            }
        }
    }

    /// Whom the first of the chain is compared with: the best of the others.
    fn rival(&self) -> Option<&Scored> {
        let leader = &self.chain.first()?.carrier;
        self.scored.iter().find(|one| one.carrier != *leader)
    }
}

impl Scored {
    pub(super) fn hop(&self) -> Hop {
        Hop {
            carrier: self.carrier.clone(),
            from: self.from.clone(),
        }
    }

    /// Cuts its figures to four decimals: they are estimates, and stored with every attempt.
    pub(super) fn round(&mut self) {
        let estimate = &mut self.estimate;
        for figure in [
            &mut self.score,
            &mut self.upper,
            &mut self.cost_part,
            &mut self.quality_part,
            &mut self.preference,
            &mut estimate.calls,
            &mut estimate.asr,
            &mut estimate.ner,
            &mut estimate.pdd_s,
            &mut estimate.short,
            &mut estimate.false_answers,
        ] {
            *figure = (*figure * 1e4).round() / 1e4;
        }
    }

    /// "telnyx: 0.7 ct/min at 46 % answered"; for the second one named "telnyx 0.7 ct/min at 46 %".
    fn figures(&self, first: bool) -> String {
        let price = match self.per_minute {
            Some(price) => format!("{} ", spoken(price)),
            None => String::new(),
        };
        let (colon, answered) = if first { (":", " answered") } else { ("", "") };
        let few = if self.estimate.calls < FEW_CALLS {
            " (few calls known)"
        } else {
            ""
        };
        let asr = self.estimate.asr * 100.0;
        format!(
            "{}{colon} {price}at {asr:.0} %{answered}{few}",
            self.carrier
        )
    }
}

/// "0.7 ct/min", or "0.42 INR/min" where no cents are in use for telephone calls.
fn spoken(per_minute: Money) -> String {
    const CENTS: [&[u8]; 5] = [b"USD", b"EUR", b"CAD", b"AUD", b"NZD"];
    let currency: Currency = per_minute.currency();
    if CENTS.contains(&currency.as_str().as_bytes()) {
        let cents = per_minute.amount() * Decimal::ONE_HUNDRED;
        format!("{} ct/min", cents.round_sf(2).unwrap_or(cents).normalize())
    } else {
        let amount = per_minute.amount();
        let amount = amount.round_sf(2).unwrap_or(amount).normalize();
        format!("{amount} {currency}/min")
    }
}
