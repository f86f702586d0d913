//! What attempts cost: sums that the store makes of them.

use std::time::Duration;

use dialfleet_domain::call::cost::{Bill, Terms};
use dialfleet_domain::call::{Attempt, CallEvent, Ending};
use dialfleet_domain::id::{CarrierCallId, CarrierId};
use dialfleet_domain::money::Money;
use dialfleet_engine::port::Store;
use dialfleet_engine::port::store::{Cas, IntentAnswer, SaveAttempt, SpendSum};
use dialfleet_tests::sample::{T0, at, attempt, campaign_id, lead};

fn money(amount: &str, currency: &str) -> Money {
    Money::parse(amount, currency).unwrap()
}

/// Expected to cost 2 cents; a cent a minute.
fn priced(campaign: &str, i: u32, n: u32, carrier: &str, currency: &str) -> Attempt {
    let made = attempt(&lead(&campaign_id(campaign), i), n, i);
    let mut leg = made.legs[0].clone();
    leg.carrier = CarrierId::parse(carrier).unwrap();
    let terms = Terms {
        per_min: money("0.01", currency),
        per_call: money("0", currency),
        apart: None,
        minimum_s: 60,
        increment_s: 60,
    };
    leg.bill = Some(Bill {
        ask: carrier == "late",
        ..Bill::expected(terms, money("0.02", currency))
    });
    let live = (made.slot, made.phone.clone());
    let mut priced = Attempt::intend(dialfleet_domain::call::attempt::NewAttempt {
        tenant: made.tenant,
        lead: made.lead,
        n,
        phone: live.1,
        slot: i,
        campaign_gen: 1,
        claim: made.claim,
        leg,
        ring: Duration::from_secs(30),
        talk: Duration::from_secs(600),
        cooloff: Duration::from_secs(900),
        decision: None,
    });
    priced.intent_at = T0 + Duration::from_secs(u64::from(i));
    priced
}

async fn keep(store: &dyn Store, attempt: &Attempt) {
    let answers = store.insert_attempts(std::slice::from_ref(attempt)).await;
    assert_eq!(answers, [IntentAnswer::Acknowledged]);
}

async fn end(store: &dyn Store, attempt: &mut Attempt, duration_s: u32, at_s: u64) {
    let expected = attempt.version;
    let ended = CallEvent::Ended {
        call_id: CarrierCallId::parse(format!("CA-{}", attempt.lead.reference())).unwrap(),
        ending: Ending::Completed,
        duration_s: Some(duration_s),
        sip: None,
    };
    attempt.apply(&ended, at(at_s));
    let save = SaveAttempt {
        attempt: attempt.clone(),
        expected,
    };
    assert_eq!(store.save_attempts(&[save]).await.unwrap(), [Cas::Won]);
}

fn said(sums: &[SpendSum]) -> Vec<String> {
    let one = |s: &SpendSum| {
        let open = if s.open { "open" } else { "spent" };
        format!(
            "{} {} {open} {} of {}",
            s.carrier, s.currency, s.units, s.attempts
        )
    };
    sums.iter().map(one).collect()
}

pub(crate) async fn added_up_by_carrier_currency_and_whether_open(store: &dyn Store) {
    let camp = campaign_id("a");
    assert_eq!(store.campaign_spend(&camp).await.unwrap(), []);
    for i in 0..3 {
        keep(store, &priced("a", i, 1, "one", "USD")).await;
    }
    let mut ended = priced("a", 3, 1, "one", "USD");
    keep(store, &ended).await;
    end(store, &mut ended, 121, 50).await;
    keep(store, &priced("a", 4, 1, "two", "EUR")).await;
    keep(store, &priced("b", 5, 1, "one", "USD")).await;
    // Nobody knows what it costs.
    keep(store, &attempt(&lead(&camp, 6), 1, 6)).await;
    let sums = store.campaign_spend(&camp).await.unwrap();
    assert_eq!(
        said(&sums),
        [
            "one USD spent 3000000 of 1",
            "one USD open 6000000 of 3",
            "two EUR open 2000000 of 1"
        ]
    );
    let one = CarrierId::parse("one").unwrap();
    let since = |s| store.carrier_spend(&one, at(s));
    let all = ["one USD spent 3000000 of 1", "one USD open 8000000 of 4"];
    assert_eq!(said(&since(0).await.unwrap()), all);
    let late = ["one USD open 2000000 of 1"];
    assert_eq!(said(&since(4).await.unwrap()), late);
    // The carrier's figure, also after the end.
    let expected = ended.version;
    let call = ended.legs[0].call_id.clone().unwrap();
    ended.priced(&call, (money("-0.0251", "USD"), true), at(90));
    let save = SaveAttempt {
        attempt: ended.clone(),
        expected,
    };
    assert_eq!(store.save_attempts(&[save]).await.unwrap(), [Cas::Won]);
    let sums = store.campaign_spend(&camp).await.unwrap();
    assert_eq!(said(&sums)[0], "one USD spent 2510000 of 1");
}

pub(crate) async fn added_up_for_each_lead(store: &dyn Store) {
    let mut first = priced("a", 1, 1, "one", "USD");
    keep(store, &first).await;
    end(store, &mut first, 10, 50).await;
    keep(store, &priced("a", 1, 2, "one", "USD")).await;
    keep(store, &priced("a", 2, 1, "one", "USD")).await;
    let leads = [2, 9, 1].map(|i| lead(&campaign_id("a"), i).id);
    let sums = store.lead_spend(&leads).await.unwrap();
    let said: Vec<_> = sums.iter().map(|sums| said(sums)).collect();
    let (spent, open) = ("one USD spent 1000000 of 1", "one USD open 2000000 of 1");
    assert_eq!(said, [vec![open], vec![], vec![spent, open]]);
    assert!(store.lead_spend(&[]).await.unwrap().is_empty());
}

pub(crate) async fn the_due_ones_come_earliest_first(store: &dyn Store) {
    for (i, at_s) in [(1, 70), (2, 60), (3, 80)] {
        let mut late = priced("a", i, 1, "late", "USD");
        keep(store, &late).await;
        end(store, &mut late, 10, at_s).await;
        assert_eq!(late.cost_at, Some(at(at_s + 60)));
    }
    let due = async |at_s, limit| {
        let due = store.due_costs(at(at_s), limit).await.unwrap();
        let names = due.iter().map(|a| a.lead.reference().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(due(119, 9).await, [] as [&str; 0]);
    assert_eq!(due(130, 9).await, ["r00002", "r00001"]);
    assert_eq!(due(999, 1).await, ["r00002"]);
}
