use super::*;
use crate::call::attempt::NewAttempt;
use crate::call::event::{Refusal, RefusalClass, Withdrawal};
use crate::call::{Channel, Leg};
use crate::id::{CampaignId, ClaimToken, LeadId, Nonce, TenantId};
use crate::money::parse_decimal;
use crate::phone::E164;

const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn usd(amount: &str) -> Money {
    Money::parse(amount, "USD").expect(amount)
}

/// One cent a minute, by the minute.
fn terms() -> Terms {
    Terms {
        per_min: usd("0.01"),
        per_call: usd("0.001"),
        apart: None,
        minimum_s: 60,
        increment_s: 60,
    }
}

fn leg(carrier: &str, channel: Option<u32>) -> Leg {
    Leg {
        carrier: CarrierId::parse(carrier).expect("valid"),
        from: E164::parse("+442079460000", None).expect("valid"),
        state: LegState::Intent,
        nonce: Nonce::parse(format!("nce_{carrier}")).expect("valid"),
        intent_at: T0,
        call_id: None,
        refusal: None,
        longest_ms: None,
        channel,
        bill: Some(Bill {
            ask: carrier == "late",
            ..Bill::expected(terms(), usd("0.011"))
        }),
    }
}

fn attempt(leg: Leg) -> Attempt {
    let campaign = CampaignId::parse("cmp_1").expect("valid");
    Attempt::intend(NewAttempt {
        tenant: TenantId::parse("t").expect("valid"),
        lead: LeadId::new(&campaign, "r").expect("valid"),
        n: 1,
        phone: E164::parse("+442079460119", None).expect("valid"),
        slot: 3,
        campaign_gen: 1,
        claim: ClaimToken::parse("clm_1").expect("valid"),
        leg,
        ring: Duration::from_secs(30),
        talk: Duration::from_secs(600),
        cooloff: Duration::from_secs(900),
        decision: None,
    })
}

fn call() -> CarrierCallId {
    CarrierCallId::parse("CA1").expect("valid")
}

fn ended(ending: Ending, duration_s: Option<u32>) -> CallEvent {
    CallEvent::Ended {
        call_id: call(),
        ending,
        duration_s,
        sip: None,
    }
}

fn what(attempt: &Attempt) -> (String, Basis, bool) {
    let cost = attempt.cost().expect("it costs something");
    let spend = attempt.spend.as_ref().expect("it is counted");
    assert_eq!(spend.money(), cost.money, "one figure in two forms");
    (cost.money.amount().to_string(), cost.by, spend.open)
}

#[test]
fn reserved_then_spent_by_the_carriers_duration() {
    use Basis::{Estimate, Tariff};
    for (ending, duration_s, want) in [
        (Ending::Completed, Some(61), "0.021"),
        (Ending::Completed, Some(1), "0.011"),
        (Ending::Busy, None, "0"),
        (Ending::NoAnswer, Some(30), "0"),
    ] {
        let mut a = attempt(leg("a", None));
        assert_eq!(what(&a), ("0.011".to_owned(), Estimate, true));
        a.apply(&ended(ending, duration_s), T0);
        assert_eq!(what(&a), (want.to_owned(), Tariff, false), "{ending:?}");
        assert_eq!(a.cost_at, None, "this carrier says nothing more");
    }
    // The carrier names no length: ours, a second begun for a whole one.
    let mut a = attempt(leg("a", None));
    a.apply(&CallEvent::Answered { call_id: call() }, T0);
    let later = T0 + Duration::from_millis(120_500);
    a.apply(&ended(Ending::Completed, None), later);
    assert_eq!(what(&a).0, "0.031");
    // And names it late.
    let mut late = a.clone();
    late.duration_s = None;
    late.apply(&ended(Ending::Completed, Some(60)), later);
    assert_eq!(what(&late).0, "0.011");
}

#[test]
fn what_was_not_placed_costs_nothing_and_what_nobody_knows_what_was_expected() {
    let mut withdrawn = attempt(leg("a", None));
    withdrawn.apply(&CallEvent::Withdrawn(Withdrawal::Shutdown), T0);
    assert_eq!(what(&withdrawn).0, "0");
    let mut unresolved = attempt(leg("a", None));
    unresolved.apply(&CallEvent::Unclear { leg: 0 }, T0);
    unresolved.apply(&CallEvent::Unresolved, T0);
    assert_eq!(
        what(&unresolved),
        ("0.011".to_owned(), Basis::Estimate, false)
    );
}

#[test]
fn the_next_leg_has_the_channel_and_the_price() {
    let mut a = attempt(leg("a", Some(4)));
    let held = |carrier: &str, number| {
        let carrier = CarrierId::parse(carrier).expect("valid");
        Some(Channel { carrier, number })
    };
    assert_eq!(a.channel, held("a", 4));
    let mut next = leg("b", Some(9));
    next.bill = Some(Bill::expected(terms(), usd("0.5")));
    let why = Refusal {
        class: RefusalClass::Failover,
        code: "503".to_owned(),
        message: String::new(),
    };
    let refused = |leg, next| CallEvent::Refused {
        leg,
        why: why.clone(),
        next,
    };
    a.apply(&refused(0, Some(Box::new(next))), T0);
    assert_eq!(a.channel, held("b", 9));
    assert_eq!(what(&a).0, "0.5");
    a.apply(&refused(1, None), T0);
    assert_eq!((a.channel.clone(), a.slot), (None, None));
    assert_eq!(what(&a), ("0".to_owned(), Basis::Tariff, false));
}

#[test]
fn the_carriers_figure_is_the_last_word() {
    let mut a = attempt(leg("late", None));
    a.apply(&ended(Ending::Completed, Some(10)), T0);
    assert_eq!(a.cost_at, Some(T0 + COST_LOOKS[0]));
    let at = T0 + COST_LOOKS[0];
    a.not_priced(at);
    assert_eq!(a.cost_at, Some(T0 + COST_LOOKS[1]));
    let other = CarrierCallId::parse("CA2").expect("valid");
    assert_eq!(a.priced(&other, (usd("1"), false), at), Verdict::Ignore);
    assert_eq!(
        a.priced(&call(), (usd("-0.0079"), false), at),
        Verdict::Note
    );
    assert_eq!(what(&a), ("0.0079".to_owned(), Basis::Carrier, false));
    assert_eq!(a.cost_at, None);
    assert_eq!(
        a.priced(&call(), (usd("0.0079"), true), at),
        Verdict::Ignore
    );
    // It stands against what comes after it.
    a.duration_s = None;
    a.apply(&ended(Ending::Completed, Some(600)), at);
    assert_eq!(what(&a).0, "0.0079");
}

#[test]
fn what_is_billed_apart_comes_on_top() {
    let mut with_fee = leg("late", None);
    let apart = Some(usd("0.0075"));
    let terms = Terms { apart, ..terms() };
    with_fee.bill = Some(Bill::expected(terms, usd("0.0185")));
    let mut a = attempt(with_fee);
    a.apply(&ended(Ending::Completed, Some(10)), T0);
    assert_eq!(what(&a).0, "0.0185");
    a.priced(&call(), (usd("-0.01"), false), T0);
    assert_eq!(what(&a).0, "0.0175");
    a.priced(&call(), (usd("0.02"), true), T0);
    assert_eq!(what(&a).0, "0.02");
}

#[test]
fn asking_ends() {
    let mut a = attempt(leg("late", None));
    a.apply(&ended(Ending::Completed, Some(10)), T0);
    let mut asked = 0;
    while let Some(at) = a.cost_at {
        a.not_priced(at);
        asked += 1;
    }
    assert_eq!(asked, COST_LOOKS.len());
    assert_eq!(a.not_priced(T0), Verdict::Ignore);
    // Nobody answered: there is nothing to ask about.
    let mut a = attempt(leg("late", None));
    a.apply(&ended(Ending::Busy, None), T0);
    assert_eq!(a.cost_at, None);
}

#[test]
fn units_are_exact() {
    for text in ["0", "0.00000001", "12.5", "90000000000"] {
        let money = Money::new(parse_decimal(text).expect(text), Currency::USD);
        assert_eq!(money_of(units_of(money), Currency::USD), money);
    }
    assert_eq!(units_of(usd("-3")), 0);
    assert!(units_of(usd("999999999999")) > units_of(usd("1000")));
}
