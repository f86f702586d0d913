//! What calls cost. Amounts of two currencies are never added: there is one for each.

use dialfleet_domain::call::cost::{Basis, Cost, money_of};
use dialfleet_domain::id::CarrierId;
use dialfleet_domain::money::{Currency, Money};
use dialfleet_engine::port::store::SpendSum;
use serde::Serialize;

/// What one call costs.
#[derive(Debug, Serialize)]
pub(crate) struct CostView {
    #[serde(flatten)]
    money: Money,
    /// `estimate`, `tariff` (by the carrier's duration) or `carrier` (its own figure).
    by: Basis,
}

impl From<Cost> for CostView {
    fn from(cost: Cost) -> Self {
        Self {
            money: cost.money,
            by: cost.by,
        }
    }
}

/// What many calls cost.
#[derive(Debug, Serialize)]
pub(crate) struct Costs {
    /// Ended calls, by currency.
    spent: Vec<Money>,
    /// What live calls are expected to cost.
    reserved: Vec<Money>,
    /// By carrier.
    carriers: Vec<CarrierCost>,
}

#[derive(Debug, Serialize)]
struct CarrierCost {
    carrier: CarrierId,
    spent: Vec<Money>,
    reserved: Vec<Money>,
}

impl Costs {
    pub(crate) fn new(sums: &[SpendSum]) -> Self {
        let mut ids: Vec<&CarrierId> = sums.iter().map(|sum| &sum.carrier).collect();
        ids.sort();
        ids.dedup();
        let of = |id: &CarrierId| CarrierCost {
            carrier: id.clone(),
            spent: add_up(sums.iter().filter(|s| s.carrier == *id && !s.open)),
            reserved: add_up(sums.iter().filter(|s| s.carrier == *id && s.open)),
        };
        Self {
            spent: add_up(sums.iter().filter(|s| !s.open)),
            reserved: add_up(sums.iter().filter(|s| s.open)),
            carriers: ids.into_iter().map(of).collect(),
        }
    }
}

/// One amount for each currency, by its code.
pub(crate) fn add_up<'a>(sums: impl Iterator<Item = &'a SpendSum>) -> Vec<Money> {
    let mut totals: Vec<(Currency, i64)> = Vec::new();
    for sum in sums {
        match totals.iter_mut().find(|(of, _)| *of == sum.currency) {
            Some((_, units)) => *units = units.saturating_add(sum.units),
            None => totals.push((sum.currency, sum.units)),
        }
    }
    totals.sort();
    totals
        .into_iter()
        .map(|(of, units)| money_of(units, of))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currencies_stay_apart() {
        let sum = |carrier: &str, currency: &str, open, units| SpendSum {
            carrier: CarrierId::parse(carrier).expect("valid"),
            currency: Currency::parse(currency).expect("valid"),
            open,
            units,
            attempts: 1,
        };
        let costs = Costs::new(&[
            sum("a", "USD", false, 1_000_000),
            sum("a", "USD", true, 500_000),
            sum("b", "INR", false, 250_000_000),
            sum("b", "USD", false, 2_000_000),
        ]);
        let json = serde_json::to_value(&costs).expect("serialises");
        let inr = serde_json::json!({"amount": "2.5", "currency": "INR"});
        let usd = |amount: &str| serde_json::json!({"amount": amount, "currency": "USD"});
        assert_eq!(json["spent"], serde_json::json!([inr, usd("0.03")]));
        assert_eq!(json["reserved"], serde_json::json!([usd("0.005")]));
        assert_eq!(
            json["carriers"][1]["spent"],
            serde_json::json!([inr, usd("0.02")])
        );
    }
}
