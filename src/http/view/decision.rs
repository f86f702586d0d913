//! A decision of the router, and the carriers it is made among.

use dialfleet_domain::breaker::Admission;
use dialfleet_domain::id::CarrierId;
use dialfleet_domain::money::Money;
use dialfleet_domain::phone::E164;
use dialfleet_domain::routing::{Decision, Strategy};
use dialfleet_engine::port::carrier::CarrierProfile;
use serde::Serialize;

use super::Time;

/// Why these carriers, in this order.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionView {
    /// In one sentence.
    why: String,
    strategy: Strategy,
    /// The first one was asked to get to know it.
    explored: bool,
    /// Every carrier: those that are asked in their order, then those that could be, then those left
    /// out.
    carriers: Vec<ChoiceView>,
}

/// One carrier of a decision. What could not be known is absent.
#[derive(Debug, Default, Serialize)]
struct ChoiceView {
    carrier: String,
    /// From 1; absent: not asked.
    place: Option<usize>,
    from: Option<E164>,
    per_minute: Option<Money>,
    per_call: Option<Money>,
    /// Of all calls, answered.
    asr: Option<f64>,
    /// Of all calls, delivered.
    ner: Option<f64>,
    pdd_s: Option<f64>,
    /// Calls that the estimate is from.
    calls: Option<f64>,
    score: Option<f64>,
    /// Why it is left out.
    left_out: Option<String>,
}

impl From<Decision> for DecisionView {
    fn from(decision: Decision) -> Self {
        let place = |id: &CarrierId| decision.chain.iter().position(|hop| hop.carrier == *id);
        let scored = decision.scored.iter().map(|one| ChoiceView {
            carrier: one.carrier.to_string(),
            place: place(&one.carrier).map(|at| at + 1),
            from: Some(one.from.clone()),
            per_minute: one.per_minute,
            per_call: one.per_call,
            asr: Some(one.estimate.asr),
            ner: Some(one.estimate.ner),
            pdd_s: Some(one.estimate.pdd_s),
            calls: Some(one.estimate.calls),
            score: Some(one.score),
            left_out: None,
        });
        let left_out = decision.excluded.iter().map(|one| ChoiceView {
            carrier: one.carrier.to_string(),
            left_out: Some(one.why.to_string()),
            ..ChoiceView::default()
        });
        let mut carriers: Vec<ChoiceView> = scored.chain(left_out).collect();
        carriers.sort_by_key(|one| (one.left_out.is_some(), one.place.unwrap_or(usize::MAX)));
        Self {
            strategy: decision.strategy,
            explored: decision.explored,
            carriers,
            why: decision.why,
        }
    }
}

/// A carrier account.
#[derive(Debug, Serialize)]
pub(crate) struct CarrierView {
    id: CarrierId,
    kind: &'static str,
    /// Calls per second of the whole fleet.
    cps: f64,
    caller_ids: usize,
    /// Calls it takes at once; `null`: not limited.
    channels: Option<u32>,
    /// How many of them are live.
    channels_taken: Option<u32>,
    /// What its calls of the last 24 hours cost, expected costs of live ones included, by currency.
    cost_24h: Vec<Money>,
    /// `closed` (calls go), `resting`, `open`, or `probing`: the next call is a trial.
    breaker: &'static str,
    /// Why it is open.
    why: Option<String>,
    /// Until when.
    until: Option<Time>,
}

impl CarrierView {
    pub(crate) fn new(
        profile: &CarrierProfile,
        breaker: Admission,
        taken: Option<u32>,
        cost_24h: Vec<Money>,
    ) -> Self {
        let (breaker, why, until) = match breaker {
            Admission::Free => ("closed", None, None),
            Admission::Probe => ("probing", None, None),
            Admission::Resting { until } => ("resting", None, Some(Time(until))),
            Admission::Open { until, why } => ("open", Some(why.to_string()), Some(Time(until))),
        };
        Self {
            id: profile.id.clone(),
            kind: profile.kind,
            cps: profile.cps,
            caller_ids: profile.caller_ids.len(),
            channels: profile.channels,
            channels_taken: taken,
            cost_24h,
            breaker,
            why,
            until,
        }
    }
}
