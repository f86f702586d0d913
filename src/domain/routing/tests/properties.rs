//! What must hold for any carriers and any policy.

use std::collections::BTreeSet;

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy as Generator;

use super::*;

fn candidates() -> impl Generator<Value = Candidate> {
    (
        0u32..4,
        prop::option::of(0i64..2_000),
        0.0..1.0f64,
        0.0..300.0f64,
        0u32..6,
    )
        .prop_map(|(weight, units, asr, calls, state)| Candidate {
            weight,
            price: units.map_or(Price::Unknown, |units| Price::At(tariff(units, "USD"))),
            stats: known(calls, asr),
            breaker: match state {
                0 => Admission::Resting { until: NOW },
                1 => Admission::Probe,
                _ => Admission::Free,
            },
            excluded: (state == 2).then_some(Exclusion::NoChannel),
            ..Candidate::new(id("x"), 1, &[phone("+12125550100")])
        })
}

fn strategies() -> impl Generator<Value = Strategy> {
    prop::sample::select(vec![
        Strategy::Weighted,
        Strategy::Cost,
        Strategy::Quality,
        Strategy::Fixed,
    ])
}

proptest! {
    #[test]
    fn every_candidate_is_accounted_for_once(
        mut candidates in prop::collection::vec(candidates(), 0..7), strategy in strategies(), explore in 0u32..=20, draw in any::<u64>(),
    ) {
        for (i, one) in (0..).zip(&mut candidates) {
            one.carrier = id(&format!("c{i}"));
        }
        let policy = Policy { explore_percent: explore, ..by(strategy) };
        let question = Question { draw, ..question(&policy) };
        let decision = choose(&question, &candidates);
        let scored: BTreeSet<_> = decision.scored.iter().map(|one| one.carrier.clone()).collect();
        let out: BTreeSet<_> = decision.excluded.iter().map(|one| one.carrier.clone()).collect();
        prop_assert!(scored.is_disjoint(&out));
        prop_assert_eq!(scored.len() + out.len(), candidates.len());
        prop_assert_eq!(decision.chain.len(), scored.len().min(MAX_LEGS));
        let chain: BTreeSet<_> = decision.chain.iter().map(|hop| hop.carrier.clone()).collect();
        prop_assert_eq!(chain.len(), decision.chain.len());
        prop_assert!(chain.is_subset(&scored));
        prop_assert!((0.0..=1.0).contains(&decision.share));
        for one in &decision.scored {
            prop_assert!(one.score.is_finite() && one.score >= 0.0, "{:?}", one);
        }
        // The same question has the same answer, and it survives the store.
        prop_assert_eq!(&choose(&question, &candidates), &decision);
        let json = serde_json::to_string(&decision).expect("serialises");
        let read: Decision = serde_json::from_str(&json).expect("reads");
        prop_assert_eq!(read.chain, decision.chain);
        prop_assert_eq!(read.excluded, decision.excluded);
    }

    #[test]
    fn cheaper_and_better_is_never_behind(
        units in 1i64..1_000, asr in 0.1..0.9f64, less in 0i64..1_000, more in 0.0..0.1f64, calls in 50.0..300.0f64,
        strategy in prop::sample::select(vec![Strategy::Weighted, Strategy::Cost, Strategy::Quality]),
    ) {
        let mut worse = candidate("a", units, asr);
        let mut better = candidate("b", (units - less).max(0), asr + more);
        worse.stats = known(calls, asr);
        better.stats = known(calls, asr + more);
        let policy = by(strategy);
        let decision = choose(&question(&policy), &[worse, better]);
        let score = |name| decision.of(&id(name)).expect("scored").score;
        prop_assert!(score("b") >= score("a") - 1e-12, "{}", decision.why);
    }
}
