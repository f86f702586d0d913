//! What an attempt costs: expected when its leg is written down, by the tariff and the carrier's
//! duration when it ends, by the carrier's own word where it says one.
//!
//! The terms are kept with the leg, so that the price of a call is the one that was in force when it
//! was placed, whoever ends it. Only the current leg costs: those before it were refused. What it adds
//! up to is [`Attempt::spend`], a number that a store can add: the sum of a campaign is the sum of its
//! attempts, so nothing can be counted twice or lost.

use std::time::Duration;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, LegState};
use super::event::CallEvent;
use super::machine::Verdict;
use super::outcome::{Ending, Outcome};
use super::state::CallState;
use crate::id::{CarrierCallId, CarrierId};
use crate::money::{Currency, Money, SCALE};
use crate::tariff::{Fees, Tariff, Usage};
use crate::time::Timestamp;

/// When a carrier that says late what a call cost is asked for it, counted from the end.
pub const COST_LOOKS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(6 * 60 * 60),
];

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The tariff and the expected length.
    Estimate,
    /// The tariff and the length the carrier named.
    Tariff,
    /// The carrier's own figure.
    Carrier,
}

/// What a leg costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// How much.
    pub money: Money,
    /// By what.
    pub by: Basis,
}

/// The price of a leg's call as it was when the leg was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Terms {
    /// For one minute.
    pub per_min: Money,
    /// For each answered call.
    pub per_call: Money,
    /// For each answered call, billed apart from the call: the fee of detection where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apart: Option<Money>,
    /// Seconds billed at least.
    pub minimum_s: u32,
    /// Seconds by which more is billed.
    pub increment_s: u32,
}

/// The price of a leg and what it came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bill {
    /// The price; absent where the carrier has no rate deck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// What it costs as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// The carrier says it when asked, some time after the end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ask: bool,
}

/// What an attempt adds to the accounts: of its current leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Spend {
    /// Who bills it.
    pub carrier: CarrierId,
    /// In what.
    pub currency: Currency,
    /// How much, in hundred-millionths of the currency: an integer that a store can add.
    pub units: i64,
    /// It is expected, and the call may still cost something else: reserved, not spent.
    pub open: bool,
}

impl Terms {
    /// Of a tariff, for a call that uses this.
    #[must_use]
    pub fn of(tariff: &Tariff, usage: Usage) -> Self {
        let money = |amount| Money::new(amount, tariff.currency);
        let fee = |used: bool, fee| if used { fee } else { Decimal::ZERO };
        let stream = fee(usage.stream, tariff.fees.stream_per_min);
        let amd = fee(usage.amd, tariff.fees.amd);
        Self {
            per_min: money(tariff.per_min.saturating_add(stream)),
            per_call: money(tariff.per_call),
            apart: (!amd.is_zero()).then(|| money(amd)),
            minimum_s: tariff.minimum_s,
            increment_s: tariff.increment_s,
        }
    }

    /// What a call of this length costs; nothing if nobody answered, or if the sum is absurd.
    #[must_use]
    pub fn cost(&self, talk_s: Option<u32>) -> Money {
        let apart = self.apart.map_or(Decimal::ZERO, |fee| fee.amount());
        let tariff = Tariff {
            currency: self.per_min.currency(),
            per_min: self.per_min.amount(),
            per_call: self.per_call.amount().saturating_add(apart),
            minimum_s: self.minimum_s,
            increment_s: self.increment_s,
            fees: Fees::default(),
        };
        let usage = Usage {
            talk_s,
            ..Usage::default()
        };
        let nothing = Money::zero(self.per_min.currency());
        tariff.cost(usage).unwrap_or(nothing)
    }
}

impl Bill {
    /// Before the call: `expected` is what it costs at the usual length.
    #[must_use]
    pub fn expected(terms: Terms, expected: Money) -> Self {
        let by = Basis::Estimate;
        Self {
            terms: Some(terms),
            cost: Some(Cost {
                money: expected,
                by,
            }),
            ask: false,
        }
    }
}

impl Spend {
    /// As money.
    #[must_use]
    pub fn money(&self) -> Money {
        money_of(self.units, self.currency)
    }
}

/// Units as money.
#[must_use]
pub fn money_of(units: i64, currency: Currency) -> Money {
    Money::new(Decimal::new(units, SCALE), currency)
}

/// Money as units: a credit adds nothing, and an absurd amount as much as there can be.
#[must_use]
pub fn units_of(money: Money) -> i64 {
    let units = money
        .amount()
        .checked_mul(Decimal::from(10_i64.pow(SCALE)))
        .and_then(|units| units.to_i64());
    units.unwrap_or(i64::MAX / 1_000_000).max(0)
}

impl Attempt {
    /// What it costs as far as is known.
    #[must_use]
    pub fn cost(&self) -> Option<Cost> {
        self.legs.last()?.bill.as_ref()?.cost
    }

    /// The carrier says what the call `call_id` cost; what is billed apart comes on top unless the figure
    /// is `all`. `Ignore` if it is not this attempt's, or is known.
    pub fn priced(
        &mut self,
        call_id: &CarrierCallId,
        (money, all): (Money, bool),
        now: Timestamp,
    ) -> Verdict {
        let last = self.legs.len().saturating_sub(1);
        let mut legs = self.legs.iter_mut().enumerate();
        let ours = legs.find(|(_, leg)| leg.call_id.as_ref() == Some(call_id));
        // What a stray call of a refused leg cost is nobody's attempt.
        let Some((_, leg)) = ours.filter(|(at, _)| *at == last) else {
            return Verdict::Ignore;
        };
        let bill = leg.bill.get_or_insert_default();
        let apart = bill.terms.and_then(|terms| terms.apart).filter(|_| !all);
        let figure = positive(money);
        let cost = Cost {
            // Two currencies in one bill do not exist; if they did, the call's would count.
            money: apart
                .map_or(Ok(figure), |fee| figure.plus(fee))
                .unwrap_or(figure),
            by: Basis::Carrier,
        };
        if bill.cost == Some(cost) && self.cost_at.is_none() {
            return Verdict::Ignore;
        }
        bill.cost = Some(cost);
        (self.cost_at, self.cost_looks) = (None, 0);
        self.note(now, "priced", Some(cost.money.to_string()));
        self.reckon();
        self.version += 1;
        Verdict::Note
    }

    /// The carrier was asked what the call cost and did not say: when to ask again, if ever.
    pub fn not_priced(&mut self, now: Timestamp) -> Verdict {
        if self.cost_at.is_none() {
            return Verdict::Ignore;
        }
        self.cost_looks = self.cost_looks.saturating_add(1);
        let (ended, looks) = (self.ended_at.unwrap_or(now), self.cost_looks);
        let next = usize::try_from(looks).ok().and_then(|n| COST_LOOKS.get(n));
        self.cost_at = next.map(|after| (ended + *after).max(now + COST_LOOKS[0]));
        self.version += 1;
        Verdict::Note
    }

    /// The call ended: what it cost by its terms, and whether the carrier is asked.
    pub(super) fn settle_cost(&mut self, now: Timestamp) {
        let talk = self.talk_s();
        let ended_by_us = !self.ended_by_carrier();
        let outcome = self.outcome;
        let Some(leg) = self.legs.last_mut() else {
            return;
        };
        let Some(bill) = &mut leg.bill else {
            return;
        };
        let never = leg.state == LegState::Refused
            || matches!(outcome, Some(Outcome::NotPlaced | Outcome::Withdrawn));
        // Nobody knows how it ended, so it may have cost what was expected.
        let unknown = ended_by_us && !never && talk.is_none();
        if let Some(terms) = bill.terms.filter(|_| !unknown)
            && bill.cost.is_none_or(|cost| cost.by != Basis::Carrier)
        {
            let money = terms.cost(talk.filter(|_| !never));
            let by = Basis::Tariff;
            bill.cost = Some(Cost { money, by });
        }
        let known = bill.cost.is_some_and(|cost| cost.by == Basis::Carrier);
        if bill.ask && !known && talk.is_some() && self.cost_looks == 0 {
            self.cost_at.get_or_insert(now + COST_LOOKS[0]);
        }
        self.reckon();
    }

    /// An event after the end may bring the length.
    pub(super) fn settle_late_cost(&mut self, event: &CallEvent, now: Timestamp) {
        if self.state == CallState::Ended && matches!(event, CallEvent::Ended { .. }) {
            self.settle_cost(now);
        }
    }

    /// Connected seconds; `None` when nobody answered.
    fn talk_s(&self) -> Option<u32> {
        if self.answered_at.is_none() && self.ending != Some(Ending::Completed) {
            return None;
        }
        let ours = || {
            let time = self.ended_at?.since(self.answered_at?);
            // A second begun is a second.
            u32::try_from(time.as_millis().div_ceil(1_000)).ok()
        };
        Some(self.duration_s.or_else(ours).unwrap_or(0))
    }

    /// Writes down what the attempt adds to the accounts.
    pub(super) fn reckon(&mut self) {
        let open = self.state != CallState::Ended;
        let leg = self.legs.last();
        self.spend = leg.and_then(|leg| {
            let money = leg.bill.as_ref()?.cost?.money;
            Some(Spend {
                carrier: leg.carrier.clone(),
                currency: money.currency(),
                units: units_of(money),
                open,
            })
        });
    }
}

/// Carriers write what they take as negative.
fn positive(money: Money) -> Money {
    Money::new(money.amount().abs(), money.currency())
}

#[cfg(test)]
mod tests;
