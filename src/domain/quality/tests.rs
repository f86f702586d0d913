use proptest::prelude::*;

use super::*;
use crate::call::attempt::NewAttempt;
use crate::call::{CallEvent, Ending, Refusal, RefusalClass};
use crate::id::{CampaignId, CarrierCallId, ClaimToken, LeadId, TenantId};

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn at(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

fn sample(delivered: bool, talk_s: Option<u64>, pdd_ms: Option<u64>, false_answer: bool) -> Sample {
    Sample {
        carrier: CarrierId::parse("a").expect("valid"),
        to: serde_json::from_value("+12125550123".into()).expect("valid"),
        delivered,
        talk: talk_s.map(Duration::from_secs),
        false_answer,
        pdd: pdd_ms.map(Duration::from_millis),
    }
}

/// An attempt whose call was placed at T0, with these events at these milliseconds.
fn attempt(events: &[(u64, CallEvent)]) -> Attempt {
    let campaign = CampaignId::parse("cmp_1").expect("valid");
    let mut attempt = Attempt::intend(NewAttempt {
        tenant: TenantId::parse("t").expect("valid"),
        lead: LeadId::new(&campaign, "r").expect("valid"),
        n: 1,
        phone: serde_json::from_value("+12125550123".into()).expect("valid"),
        slot: 0,
        campaign_gen: 1,
        claim: ClaimToken::parse("c").expect("valid"),
        leg: serde_json::from_value(serde_json::json!({
            "carrier": "a", "from": "+12125550100", "state": "intent", "nonce": "n", "intent_at": T0,
        }))
        .expect("a leg"),
        ring: Duration::from_secs(30),
        talk: Duration::from_secs(600),
        cooloff: Duration::from_secs(900),
        decision: None,
    });
    for (ms, event) in events {
        attempt.apply(event, T0 + Duration::from_millis(*ms));
    }
    attempt
}

#[test]
fn attempts_are_read_by_the_table() {
    let call_id = CarrierCallId::parse("CA1").expect("valid");
    let ringing = CallEvent::Ringing {
        call_id: call_id.clone(),
    };
    let answered = CallEvent::Answered {
        call_id: call_id.clone(),
    };
    let ended = |ending, duration_s| CallEvent::Ended {
        call_id: call_id.clone(),
        ending,
        duration_s,
        sip: None,
    };
    let refused = CallEvent::Refused {
        leg: 0,
        why: Refusal {
            class: RefusalClass::Failover,
            code: "503".to_owned(),
            message: String::new(),
        },
        next: None,
    };
    let read = |events: &[(u64, CallEvent)], speed| {
        let sample = Sample::of(&attempt(events), speed)?;
        let ms = |time: Option<Duration>| time.map(|t| t.as_millis());
        let pdd = ms(sample.pdd);
        Some((sample.delivered, ms(sample.talk), sample.false_answer, pdd))
    };
    use Ending::{Completed, ConfigFault, Congestion, NoAnswer};
    let talked = [
        (1_500, ringing.clone()),
        (9_000, answered.clone()),
        (69_000, ended(Completed, Some(61))),
    ];
    let own_clock = [
        (30, ringing.clone()),
        (150, answered.clone()),
        (1_150, ended(Completed, None)),
    ];
    let false_one = [(400, answered.clone()), (3_000, ended(Completed, Some(3)))];
    let unanswered = [(2_000, ringing.clone()), (32_000, ended(NoAnswer, None))];
    let late_ringing = [(90_000, ringing), (99_000, ended(NoAnswer, None))];
    for (events, speed, want) in [
        (
            &talked[..],
            1.0,
            Some((true, Some(61_000), false, Some(1_500))),
        ),
        (
            &own_clock,
            60.0,
            Some((true, Some(60_000), false, Some(1_800))),
        ),
        (&false_one, 1.0, Some((true, Some(3_000), true, None))),
        (&unanswered, 1.0, Some((true, None, false, Some(2_000)))),
        (&late_ringing, 1.0, Some((true, None, false, None))),
        (
            &[(900, ended(Congestion, None))],
            1.0,
            Some((false, None, false, None)),
        ),
        (&[(900, ended(ConfigFault, None))], 1.0, None),
        (&[(900, refused)], 1.0, None),
        (&talked[..2], 1.0, None),
    ] {
        assert_eq!(read(events, speed), want, "{events:?}");
    }
}

fn samples() -> impl Strategy<Value = Sample> {
    (
        any::<bool>(),
        prop::option::of(0u64..600),
        prop::option::of(0u64..60_000),
        any::<bool>(),
    )
        .prop_map(|(delivered, talk, pdd, false_answer)| {
            sample(delivered || talk.is_some(), talk, pdd, false_answer)
        })
}

fn tally(samples: &[Sample]) -> Tally {
    let mut tally = Tally::default();
    samples.iter().for_each(|sample| tally.add(sample));
    tally
}

#[test]
fn outcomes_that_say_nothing_about_the_carrier_are_not_counted() {
    let counted: Vec<_> = Outcome::ALL
        .into_iter()
        .filter(|outcome| delivered(*outcome).is_some())
        .collect();
    for outcome in Outcome::ALL {
        // Whatever was answered was delivered.
        if outcome.is_answer() {
            assert_eq!(delivered(outcome), Some(true), "{outcome:?}");
        }
    }
    assert_eq!(counted.len(), 14);
    assert_eq!(delivered(Outcome::Congestion), Some(false));
    assert_eq!(delivered(Outcome::Unresolved), None);
}

#[test]
fn a_new_route_is_expected_to_be_like_the_others() {
    let known = RouteStats::default().fold(
        &tally(&vec![sample(true, Some(60), Some(2_000), false); 80]),
        T0,
    );
    let unknown = RouteStats::default();
    let prior = Prior::pool([&known, &unknown]);
    let (a, b) = (
        Estimate::new(&known, &prior),
        Estimate::new(&unknown, &prior),
    );
    assert!(b.asr > 0.7 && b.asr < a.asr, "{a:?} {b:?}");
    assert!((b.pdd_s - 2.2).abs() < 0.3, "{b:?}");
    assert_eq!(b.calls, 0.0);
    // And nobody known at all: the assumption, the same for all.
    let prior = Prior::pool([&unknown]);
    let e = Estimate::new(&unknown, &prior);
    assert!(
        (e.asr - 0.3).abs() < 1e-9 && (prior.talk_s() - 60.0).abs() < 1e-9,
        "{e:?}"
    );
}

#[test]
fn a_drop_by_half_is_seen_within_a_hundred_calls() {
    let good = tally(&[sample(true, Some(60), Some(2_000), false)]);
    let bad = tally(&[sample(true, None, Some(2_000), false)]);
    let mut stats = RouteStats::default();
    for i in 0..400 {
        stats = stats.fold(if i % 2 == 0 { &good } else { &bad }, T0);
    }
    assert!(
        (stats.known.answered / stats.known.calls - 0.5).abs() < 0.02,
        "{stats:?}"
    );
    for i in 0..100 {
        stats = stats.fold(if i % 4 == 0 { &good } else { &bad }, T0);
    }
    let asr = stats.known.answered / stats.known.calls;
    assert!((0.2..0.3).contains(&asr), "{asr}");
}

#[test]
fn quality_falls_with_everything_that_is_bad() {
    let good = Estimate {
        calls: 100.0,
        asr: 0.5,
        ner: 0.98,
        pdd_s: 2.0,
        short: 0.1,
        false_answers: 0.0,
    };
    for worse in [
        Estimate { asr: 0.4, ..good },
        Estimate { ner: 0.9, ..good },
        Estimate { pdd_s: 6.0, ..good },
        Estimate { short: 0.3, ..good },
        Estimate {
            false_answers: 0.1,
            ..good
        },
    ] {
        assert!(worse.quality() < good.quality(), "{worse:?}");
    }
}

proptest! {
    #[test]
    fn a_tally_does_not_know_who_counted_or_when(
        samples in prop::collection::vec(samples(), 0..60), cut in 0usize..60, shuffle in any::<u64>(),
    ) {
        let whole = tally(&samples);
        let cut = cut.min(samples.len());
        let (mut a, b) = (tally(&samples[..cut]), tally(&samples[cut..]));
        let mut c = b;
        c.merge(&a);
        a.merge(&b);
        prop_assert_eq!(a, whole);
        prop_assert_eq!(c, whole);
        let mut other = samples.clone();
        let len = other.len().max(1) as u64;
        other.sort_by_key(|s| (s.pdd, shuffle % len));
        prop_assert_eq!(tally(&other), whole);
    }

    #[test]
    fn statistics_stay_within_bounds(
        folds in prop::collection::vec((prop::collection::vec(samples(), 0..300), 0u64..100_000), 1..12),
    ) {
        let mut stats = RouteStats::default();
        let mut now = 0;
        for (samples, wait) in folds {
            now += wait;
            stats = stats.fold(&tally(&samples), at(now));
            prop_assert!(stats.known.calls <= MEMORY + 1e-9);
            for drift in [stats.worse, stats.better] {
                prop_assert!((0.0..ALARM).contains(&drift.odds));
            }
            for sums in [stats.known, stats.worse.run, stats.better.run] {
                for part in [sums.delivered, sums.answered, sums.rung] {
                    prop_assert!((0.0..=sums.calls + 1e-9).contains(&part));
                }
                for part in [sums.short, sums.false_answers] {
                    prop_assert!((0.0..=sums.answered + 1e-9).contains(&part));
                }
                prop_assert!(sums.pdd_s <= sums.rung * 60.0 + 1e-6);
            }
            let e = Estimate::new(&stats, &Prior::pool([&stats]));
            for share in [e.asr, e.ner, e.short, e.false_answers, e.quality()] {
                prop_assert!((0.0..=1.0).contains(&share), "{:?}", e);
            }
        }
    }

    #[test]
    fn many_small_folds_are_about_one_large(share in 0u64..=10, batches in 1usize..20) {
        // The same mixture, folded call by call in turn or in batches.
        let one = |answered: bool| sample(true, answered.then_some(30), None, false);
        let batch: Vec<Sample> = (0..10).map(|i| one(i < share)).collect();
        let (mut large, mut small) = (RouteStats::default(), RouteStats::default());
        for _ in 0..batches {
            large = large.fold(&tally(&batch), T0);
            for sample in &batch {
                small = small.fold(&tally(std::slice::from_ref(sample)), T0);
            }
        }
        prop_assert!((large.known.calls - small.known.calls).abs() < 1e-6);
        prop_assert!((large.known.answered - small.known.answered).abs() / large.known.calls < 0.06);
    }

    #[test]
    fn time_only_takes_away(samples in prop::collection::vec(samples(), 1..100), wait in 0u64..10_000_000) {
        let stats = RouteStats::default().fold(&tally(&samples), T0);
        let later = stats.aged(at(wait));
        let (then, left) = (stats.known, later.known);
        prop_assert!(left.calls <= then.calls);
        // The shares stay: only what they rest on shrinks.
        prop_assert!((left.answered * then.calls - then.answered * left.calls).abs() < 1e-6);
        // A clock that goes back changes nothing.
        prop_assert_eq!(stats.aged(T0 - Duration::from_secs(60)), stats);
    }
}
