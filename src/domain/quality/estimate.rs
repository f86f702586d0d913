//! From what is remembered of a route to what is expected of its next call. A route that is little
//! known is taken to be like the others together: neither starved nor preferred for being new.

use serde::{Deserialize, Serialize};

use super::{RouteStats, Sums};

/// How many calls of its own outweigh what the others say.
const PSEUDO_CALLS: f64 = 10.0;
/// Likewise for what is measured on answers only.
const PSEUDO_ANSWERS: f64 = 5.0;

/// How far up the upper end of an estimate is, in standard deviations.
const DEVIATIONS: f64 = 1.5;

/// What to expect of a route that nobody knows anything about, and how many calls that is worth.
const ASSUMED: Sums = Sums {
    calls: 20.0,
    delivered: 19.4,
    answered: 6.0,
    short: 0.6,
    false_answers: 0.0,
    talk_s: 360.0,
    rung: 10.0,
    pdd_s: 30.0,
};

/// What is expected of a route before its own calls count: all routes to the same destinations
/// together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior(Sums);

impl Prior {
    /// From what is known of every route that may be chosen.
    #[must_use]
    pub fn pool<'a>(routes: impl IntoIterator<Item = &'a RouteStats>) -> Self {
        let all = routes.into_iter();
        Self(all.fold(ASSUMED, |all, one| all.plus(&one.known)))
    }

    /// The connected time of an answered call, in seconds: a matter of the people called and what is
    /// said, so it is one figure for all routes.
    #[must_use]
    pub fn talk_s(&self) -> f64 {
        (self.0.talk_s / self.0.answered).clamp(1.0, 4.0 * 3600.0)
    }
}

/// What is expected of a route's next call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Estimate {
    /// The weight of the route's own calls in it, in calls.
    pub calls: f64,
    /// Answer-seizure ratio, 0 to 1.
    pub asr: f64,
    /// Network effectiveness ratio, 0 to 1.
    pub ner: f64,
    /// Post-dial delay, seconds.
    pub pdd_s: f64,
    /// Short calls per answer, 0 to 1.
    pub short: f64,
    /// False answers per answer, 0 to 1.
    pub false_answers: f64,
}

impl Estimate {
    /// From what is remembered of a route, and what is expected of any.
    #[must_use]
    pub fn new(route: &RouteStats, prior: &Prior) -> Self {
        let Prior(all) = prior;
        let route = &route.known;
        let mean = |sum: f64, weight: f64, pseudo: f64, all_sum: f64, all_weight: f64| {
            let expected = if all_weight > 0.0 {
                all_sum / all_weight
            } else {
                0.0
            };
            (sum + pseudo * expected) / (weight + pseudo)
        };
        let per_call =
            |own: f64, all_own: f64| mean(own, route.calls, PSEUDO_CALLS, all_own, all.calls);
        let per_answer = |own: f64, all_own: f64| {
            mean(own, route.answered, PSEUDO_ANSWERS, all_own, all.answered)
        };
        let share = |value: f64| value.clamp(0.0, 1.0);
        Self {
            calls: route.calls,
            asr: share(per_call(route.answered, all.answered)),
            ner: share(per_call(route.delivered, all.delivered)),
            pdd_s: mean(route.pdd_s, route.rung, PSEUDO_CALLS, all.pdd_s, all.rung).max(0.0),
            short: share(per_answer(route.short, all.short)),
            false_answers: share(per_answer(route.false_answers, all.false_answers)),
        }
    }

    /// By how much more of its calls may be answered than it seems: the upper end of what its calls so
    /// far allow (1.5 standard deviations), relative to the estimate; 1 or more.
    #[must_use]
    pub fn at_best(&self) -> f64 {
        let weight = self.calls + PSEUDO_CALLS;
        let deviation = (self.asr * (1.0 - self.asr) / weight).sqrt();
        let upper = (self.asr + DEVIATIONS * deviation).min(1.0);
        if self.asr > 0.0 {
            upper / self.asr
        } else {
            1.0
        }
    }

    /// One figure, 0 to 1: the share of calls that become conversations (a false answer is none, a
    /// short call half of one), less what the network loses (NER) and what long silence before the
    /// ringing costs: 3 % for each second beyond 3.
    #[must_use]
    pub fn quality(&self) -> f64 {
        let conversations = self.asr * (1.0 - self.false_answers) * (1.0 - self.short / 2.0);
        let patience = 1.0 / (1.0 + 0.03 * (self.pdd_s - 3.0).max(0.0));
        conversations * self.ner * patience
    }
}
