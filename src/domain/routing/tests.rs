use std::time::Duration;

use rust_decimal::Decimal;

use super::*;
use crate::breaker::{Breaker, Event, Fault};
use crate::caller_id::{Number, Usage as NumberUsage};
use crate::quality::{RouteStats, Sums};
use crate::tariff::{Fees, Tariff};

mod properties;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn id(text: &str) -> CarrierId {
    CarrierId::parse(text).expect(text)
}

fn phone(text: &str) -> E164 {
    serde_json::from_value(text.into()).expect(text)
}

fn tariff(units: i64, currency: &str) -> Tariff {
    Tariff {
        currency: Currency::parse(currency).expect(currency),
        per_min: Decimal::new(units, 4),
        per_call: Decimal::ZERO,
        minimum_s: 1,
        increment_s: 1,
        fees: Fees::default(),
    }
}

/// What is known of a route with this many calls and answers.
fn known(calls: f64, asr: f64) -> RouteStats {
    let known = Sums {
        calls,
        delivered: calls * 0.97,
        answered: calls * asr,
        short: calls * asr * 0.1,
        false_answers: 0.0,
        talk_s: calls * asr * 60.0,
        rung: calls,
        pdd_s: calls * 2.0,
    };
    RouteStats {
        at: NOW,
        known,
        ..RouteStats::default()
    }
}

/// A carrier with a price in hundredths of a cent per minute and a share of answers.
fn candidate(name: &str, units: i64, asr: f64) -> Candidate {
    Candidate {
        price: Price::At(tariff(units, "USD")),
        stats: known(200.0, asr),
        ..Candidate::new(id(name), 1, &[phone("+12125550100")])
    }
}

fn question(policy: &Policy) -> Question<'static> {
    Question {
        policy: policy.clone(),
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
        now: NOW,
        draw: 0,
    }
}

fn by(strategy: Strategy) -> Policy {
    Policy {
        strategy: Some(strategy),
        explore_percent: 0,
        ..Policy::default()
    }
}

fn names(decision: &Decision) -> Vec<&str> {
    decision
        .chain
        .iter()
        .map(|hop| hop.carrier.as_str())
        .collect()
}

fn market() -> Vec<Candidate> {
    vec![
        candidate("twilio", 110, 0.50),
        candidate("telnyx", 70, 0.46),
        candidate("sans", 30, 0.15),
        candidate("other", 100, 0.20),
    ]
}

#[test]
fn each_strategy_orders_by_its_own_measure() {
    let order = [id("sans"), id("twilio"), id("telnyx")];
    for (strategy, order, want) in [
        (
            Strategy::Weighted,
            &[][..],
            vec!["telnyx", "twilio", "sans"],
        ),
        (Strategy::Cost, &[], vec!["sans", "telnyx", "other"]),
        (Strategy::Quality, &[], vec!["twilio", "telnyx", "other"]),
        (Strategy::Fixed, &order, vec!["sans", "twilio", "telnyx"]),
        (Strategy::Weighted, &order, vec!["telnyx", "twilio", "sans"]),
    ] {
        let policy = by(strategy);
        let question = Question {
            order,
            ..question(&policy)
        };
        let decision = choose(&question, &market());
        assert_eq!(names(&decision), want, "{strategy:?}");
        assert_eq!((decision.strategy, decision.share), (strategy, 1.0));
    }
    let unnamed = Policy::default();
    assert_eq!(unnamed.strategy(true), Strategy::Fixed);
    assert_eq!(unnamed.strategy(false), Strategy::Weighted);
}

#[test]
fn the_lead_or_the_campaign_names_the_carrier() {
    let sans = id("sans");
    let policy = Policy {
        carrier: Some(id("twilio")),
        ..by(Strategy::Assigned)
    };
    let mut question = question(&policy);
    assert_eq!(names(&choose(&question, &market())), ["twilio"]);
    question.assigned = Some(&sans);
    let decision = choose(&question, &market());
    assert_eq!(names(&decision), ["sans"]);
    assert!(
        decision
            .excluded
            .iter()
            .all(|one| one.why == Exclusion::NotAssigned)
    );
    question.assigned = None;
    question.policy.carrier = None;
    assert_eq!(names(&choose(&question, &market())), [""; 0]);
}

#[test]
fn one_sentence_says_why() {
    let policy = by(Strategy::Weighted);
    let asked = question(&policy);
    let two = [
        candidate("twilio", 110, 0.50),
        candidate("telnyx", 70, 0.46),
    ];
    assert_eq!(
        choose(&asked, &two).why,
        "telnyx: 0.7 ct/min at 46 % answered beats twilio 1.1 ct/min at 50 %"
    );
    let mut limited = two.to_vec();
    limited[1].excluded = Some(Exclusion::NoPace);
    assert_eq!(
        choose(&asked, &limited).why,
        "twilio: 1.1 ct/min at 50 % answered is the only one eligible; left out: telnyx is at its rate of calls"
    );
    let fixed = by(Strategy::Fixed);
    let order = [id("twilio"), id("telnyx")];
    let ordered = Question {
        order: &order,
        ..question(&fixed)
    };
    assert_eq!(
        choose(&ordered, &two).why,
        "twilio in the campaign's order, then telnyx"
    );
    assert_eq!(choose(&asked, &[]).why, "no carrier is eligible");
    let twins = [candidate("b", 100, 0.4), candidate("a", 100, 0.4)];
    assert_eq!(
        choose(&asked, &twins).why,
        "a: 1 ct/min at 40 % answered is as good as b 1 ct/min at 40 %: the first by name"
    );
    let mut rupees = [candidate("a", 4200, 0.4), candidate("b", 5000, 0.4)];
    for one in &mut rupees {
        one.price = match &one.price {
            Price::At(t) => Price::At(Tariff {
                currency: Currency::parse("INR").expect("valid"),
                ..*t
            }),
            Price::Unknown | Price::NotServed => Price::Unknown,
        };
    }
    let why = choose(&asked, &rupees).why;
    assert!(why.starts_with("a: 0.42 INR/min at 40 % answered"), "{why}");
    let mut decision = choose(&asked, &two);
    assert!(decision.lead_with(&id("twilio"), "its token is in hand"));
    assert_eq!(names(&decision), ["twilio", "telnyx"]);
    assert!(
        decision
            .why
            .starts_with("twilio leads because its token is in hand; else telnyx: ")
    );
    assert!(!decision.lead_with(&id("nobody"), "no"));
}

/// A question with `change` made to it, and the first candidate of the market changed.
fn excluded(
    change: impl Fn(&mut Question<'static>),
    spoil: impl Fn(&mut Candidate),
) -> Option<Exclusion> {
    let policy = by(Strategy::Weighted);
    let mut question = question(&policy);
    change(&mut question);
    let mut market = market();
    spoil(&mut market[0]);
    let decision = choose(&question, &market);
    assert_eq!(decision.chain.len(), 3, "{}", decision.why);
    let why = decision.excluded.first().map(|one| one.why.clone());
    if why.is_some() {
        assert!(!names(&decision).contains(&"twilio"));
        assert!(decision.why.contains("twilio "), "{}", decision.why);
    }
    why
}

#[test]
fn who_is_left_out_and_why() {
    let usd = Currency::USD;
    let euro = Currency::parse("EUR").expect("valid");
    let same = |_: &mut Question<'static>| {};
    let later = NOW + Duration::from_secs(60);
    let broken = (0..5_u64).rev().fold(Breaker::default(), |b, ago| {
        let at = NOW - Duration::from_secs(ago);
        b.step(&Event::Failed(Fault::Unclear), at, at, 20)
    });
    let Admission::Open { until, why } = broken.admits(NOW) else {
        panic!("open: {broken:?}");
    };
    let open = Exclusion::BreakerOpen {
        until,
        why: why.clone(),
    };
    assert_eq!(excluded(same, |_| {}), None);
    assert_eq!(
        excluded(same, |c| c.price = Price::NotServed),
        Some(Exclusion::NoRate)
    );
    let other = Exclusion::Currency {
        bills: euro,
        counts: usd,
    };
    let in_usd = |q: &mut Question<'static>| q.currency = Some(usd);
    assert_eq!(
        excluded(in_usd, |c| c.price = Price::At(tariff(1, "EUR"))),
        Some(other)
    );
    let missing = Exclusion::Cannot {
        what: vec![Feature::SyncAmd],
    };
    let amd = |q: &mut Question<'static>| q.needs = vec![Feature::SyncAmd, Feature::Say];
    assert_eq!(
        excluded(amd, |c| c.cannot =
            [Feature::Record, Feature::SyncAmd].into()),
        Some(missing)
    );
    assert_eq!(
        excluded(same, |c| c.caller_ids = [].into()),
        Some(Exclusion::CallerIdNotOwned)
    );
    let tired = Number {
        usage: NumberUsage::default().rest(later),
        ..Number::new(phone("+12125550100"))
    };
    assert_eq!(
        excluded(same, |c| c.caller_ids = [tired.clone()].into()),
        Some(Exclusion::CallerIdsRest { until: later })
    );
    assert_eq!(
        excluded(same, |c| c.breaker = broken.admits(NOW)),
        Some(open)
    );
    assert_eq!(excluded(same, |c| c.breaker = Admission::Probe), None);
    assert_eq!(
        excluded(same, |c| c.breaker = Admission::Resting { until: later }),
        Some(Exclusion::Resting { until: Some(later) })
    );
    for why in [
        Exclusion::NoPace,
        Exclusion::NoChannel,
        Exclusion::Closed { until: None },
    ] {
        assert_eq!(
            excluded(same, |c| c.excluded = Some(why.clone())),
            Some(why)
        );
    }
    let tried: &'static [CarrierId] = Box::leak(Box::new([id("twilio")]));
    assert_eq!(
        excluded(|q| q.tried = tried, |_| {}),
        Some(Exclusion::Tried)
    );
}

#[test]
fn the_sterner_of_two_admissions_counts() {
    let later = NOW + Duration::from_secs(60);
    let (rest, long) = (
        Admission::Resting { until: NOW },
        Admission::Resting { until: later },
    );
    assert_eq!(sterner(Admission::Free, Admission::Probe), Admission::Probe);
    assert_eq!(sterner(rest.clone(), Admission::Free), rest);
    assert_eq!(sterner(rest, long.clone()), long);
}

#[test]
fn a_new_carrier_is_neither_starved_nor_preferred() {
    let policy = Policy::default();
    let mut market = vec![candidate("old", 100, 0.40), candidate("new", 100, 0.0)];
    market[1].stats = RouteStats::default();
    let led = |market: &[Candidate]| {
        let leads = |draw: u64| {
            let question = Question {
                draw,
                ..question(&policy)
            };
            names(&choose(&question, market))[0] == "new"
        };
        (0..2_000).filter(|draw| leads(*draw)).count()
    };
    // 12 % of 2,000 calls, give or take.
    let n = led(&market);
    assert!((190..=290).contains(&n), "{n}");
    // At a quarter of the price it is asked first, on trust.
    market[1].price = Price::At(tariff(25, "USD"));
    assert!(led(&market) > 1_600);
    // At ten times the price it could not win whatever its quality: nothing is spent on it.
    market[1].price = Price::At(tariff(1_000, "USD"));
    assert_eq!(led(&market), 0);
}

#[test]
fn exploration_is_stored_with_its_share() {
    let policy = Policy {
        explore_percent: 5,
        ..Policy::default()
    };
    let mut market = market();
    market.truncate(2);
    let mut explored = 0;
    for draw in 0..4_000 {
        let question = Question {
            draw,
            ..question(&policy)
        };
        let decision = choose(&question, &market);
        assert_eq!(decision.explored, names(&decision)[0] == "twilio");
        let share = if decision.explored { 0.05 } else { 0.95 };
        assert!((decision.share - share).abs() < 1e-9, "{}", decision.share);
        explored += usize::from(decision.explored);
        if decision.explored {
            assert_eq!(
                decision.why,
                "twilio: 1.1 ct/min at 50 % answered is asked in order to know it; telnyx 0.7 ct/min at 46 % is thought best"
            );
        }
    }
    assert!((150..=250).contains(&explored), "{explored}");
}

#[test]
fn the_last_call_counts_where_it_helps() {
    let policy = by(Strategy::Weighted);
    let like = [
        candidate("a", 100, 0.40),
        candidate("b", 100, 0.40),
        candidate("c", 60, 0.48),
    ];
    let (b, c, from) = (id("b"), id("c"), phone("+12125550100"));
    for (carrier, outcome, two, want) in [
        (&b, Outcome::HumanConnected, true, "b"),
        (&b, Outcome::NoAnswer, true, "a"),
        // It does not help against a clearly better one.
        (&b, Outcome::HumanConnected, false, "c"),
        (&c, Outcome::InvalidNumber, false, "a"),
        (&c, Outcome::CarrierError, false, "a"),
        (&c, Outcome::Busy, false, "c"),
    ] {
        let last = Last {
            carrier,
            from: &from,
            outcome,
        };
        let question = Question {
            last: Some(&last),
            ..question(&policy)
        };
        let decision = choose(&question, if two { &like[..2] } else { &like });
        assert_eq!(names(&decision)[0], want, "{outcome:?}: {}", decision.why);
        // After a failure the other one is only asked first: it stays in the chain.
        assert_eq!(decision.chain.len(), if two { 2 } else { 3 });
    }
}

#[test]
fn unknown_prices_are_taken_for_the_dearest() {
    let policy = by(Strategy::Cost);
    let mut market = market();
    market[0].price = Price::Unknown;
    market[3].price = Price::At(tariff(1, "EUR"));
    let decision = choose(&question(&policy), &market);
    assert_eq!(names(&decision), ["sans", "other", "telnyx"]);
    // Another currency cannot be compared, so it counts as unknown, and is shown as it is.
    let euro = decision.of(&id("other")).expect("scored");
    assert_eq!(
        euro.cost_part,
        decision.of(&id("telnyx")).expect("scored").cost_part
    );
    assert_eq!(euro.per_minute.expect("known").currency().as_str(), "EUR");
}

#[test]
fn fees_and_increments_count() {
    // 60 s of talk: 60/60 against 6/6 is the same; with a fee per call the cheaper minute loses.
    let mut market = vec![candidate("fee", 70, 0.4), candidate("plain", 80, 0.4)];
    let Price::At(fee) = &mut market[0].price else {
        panic!("priced");
    };
    fee.fees.amd = Decimal::new(75, 4);
    let policy = by(Strategy::Cost);
    let mut question = question(&policy);
    assert_eq!(names(&choose(&question, &market)), ["fee", "plain"]);
    question.usage.amd = true;
    let decision = choose(&question, &market);
    assert_eq!(names(&decision), ["plain", "fee"]);
    let scored = decision.of(&id("fee")).expect("scored");
    let minute = scored.per_minute.expect("known").amount();
    assert_eq!(minute.round_dp(3), Decimal::new(145, 4).round_dp(3));
}

#[test]
fn bad_policies_are_refused() {
    for (json, needle) in [
        (r#"{"weights":{"cost":0,"quality":0}}"#, "weights"),
        (r#"{"weights":{"cost":101,"quality":0}}"#, "weights"),
        (r#"{"explore_percent":50}"#, "explore_percent"),
        (r#"{"carrier":"twilio"}"#, "assigned"),
    ] {
        let policy: Policy = serde_json::from_str(json).expect(json);
        let why = policy.check().expect_err(json).to_string();
        assert!(why.contains(needle), "{json}: {why}");
    }
    assert!(serde_json::from_str::<Policy>(r#"{"stratgy":"cost"}"#).is_err());
    assert_eq!(
        serde_json::from_str::<Policy>("{}").expect("defaults"),
        Policy::default()
    );
    assert_eq!(Policy::default().check(), Ok(()));
}
