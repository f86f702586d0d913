//! The network alone, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use dialfleet_domain::time::Timestamp;

use super::CALLER;
use crate::ledger::Violation;
use crate::network::{Dial, HangUp, Network, Refused, Search, Step};
use crate::script::{Population, Script};
use crate::timetable::{CallStatus, NetEvent};

fn dial(to: &str, attempt: &str, leg: &str) -> Dial {
    Dial {
        carrier: "c".to_owned(),
        to: to.to_owned(),
        from: CALLER.to_owned(),
        ring_timeout: Duration::from_secs(30),
        time_limit: Duration::from_secs(600),
        attempt_key: attempt.to_owned(),
        campaign_key: attempt.split(':').next().unwrap().to_owned(),
        leg: leg.to_owned(),
        amd: None,
    }
}

/// Drives a call in virtual time to its end, or until `stop`.
fn drive(network: &Network, call: &str, now: &mut Timestamp, stop: CallStatus) -> Vec<NetEvent> {
    let mut events = Vec::new();
    loop {
        match network.step(call, *now) {
            Step::Wait(long) => *now = *now + long,
            Step::Event(event) => {
                events.push(event);
                if event.status() == stop {
                    return events;
                }
            }
            Step::Done => return events,
        }
    }
}

fn until_end(network: &Network, call: &str, now: &mut Timestamp) -> Vec<NetEvent> {
    drive(network, call, now, CallStatus::Queued)
}

#[test]
fn the_placed_timeline_is_what_happens() {
    let network = Network::new(Population::default(), 60.0);
    let mut now = Timestamp::from_millis(1_000_000);
    let placed = network
        .place(dial("+15550100001", "c:l:1", "0"), now)
        .unwrap();
    let events = until_end(&network, &placed.call_id, &mut now);
    let planned: Vec<_> = placed.timeline.iter().map(|(_, event)| *event).collect();
    assert_eq!(events, planned);
    assert_eq!(events.len(), 4);
    let (
        end,
        NetEvent::Ended {
            status: CallStatus::Completed,
            duration,
            ..
        },
    ) = placed.timeline[3]
    else {
        panic!("a human hangs up: {events:?}");
    };
    assert!(
        duration >= Duration::from_secs(15),
        "network time: {duration:?}"
    );
    assert!(end < Duration::from_secs(2), "60 times faster: {end:?}");
    let ledger = network.ledger();
    assert_eq!(
        ledger.rings,
        BTreeMap::from([("+15550100001".to_owned(), 1)])
    );
    assert_eq!(
        (ledger.total_live, ledger.max_total_live, ledger.duplicates),
        (0, 1, 0)
    );
    assert_eq!(ledger.violations, []);
}

#[test]
fn ringing_one_attempt_twice_is_a_violation() {
    let network = Network::new(Population::default(), 1.0);
    let mut now = Timestamp::from_millis(0);
    let phone = "+15550100300";
    for leg in ["0", "1"] {
        let placed = network.place(dial(phone, "c:l:1", leg), now).unwrap();
        until_end(&network, &placed.call_id, &mut now);
    }
    let ledger = network.ledger();
    assert_eq!(
        (
            ledger.rings[phone],
            ledger.attempts[phone],
            ledger.duplicates
        ),
        (2, 1, 1)
    );
    assert_eq!(ledger.violations_total, 1);
    assert!(
        matches!(&ledger.violations[0], Violation::AttemptRungTwice { attempt, .. } if attempt == "c:l:1")
    );
    // Another attempt may ring the same person, and a leg that never rang does not count.
    let placed = network.place(dial(phone, "c:l:2", "0"), now).unwrap();
    until_end(&network, &placed.call_id, &mut now);
    network.set_script("+15550100500", Script::Congestion);
    for leg in ["0", "1"] {
        let placed = network
            .place(dial("+15550100500", "c:m:1", leg), now)
            .unwrap();
        until_end(&network, &placed.call_id, &mut now);
    }
    assert_eq!(network.ledger().violations_total, 1);
    assert_eq!(network.ledger().duplicates, 1);
}

#[test]
fn live_calls_are_counted_and_two_to_one_phone_are_a_violation() {
    let network = Network::new(Population::default(), 1.0);
    let mut now = Timestamp::from_millis(0);
    let place =
        |to: &str, attempt: &str| network.place(dial(to, attempt, "0"), now).unwrap().call_id;
    let first = place("+15550100000", "a:1:1");
    place("+15550100001", "a:2:1");
    place("+15550100002", "b:1:1");
    assert_eq!(network.ledger().violations, []);
    place("+15550100002", "b:2:1");
    until_end(&network, &first, &mut now);
    let ledger = network.ledger();
    assert_eq!(
        ledger.live,
        BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)])
    );
    assert_eq!(
        ledger.max_live,
        BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 2)])
    );
    assert_eq!((ledger.total_live, ledger.max_total_live), (3, 4));
    assert!(
        matches!(&ledger.violations[..], [Violation::TwoLiveCalls { phone, .. }] if phone == "+15550100002")
    );
}

#[test]
fn hanging_up_cuts_the_call_once() {
    let network = Network::new(Population::default(), 10.0);
    let mut now = Timestamp::from_millis(0);
    let talking = network
        .place(dial("+15550100900", "c:1:1", "0"), now)
        .unwrap()
        .call_id;
    drive(&network, &talking, &mut now, CallStatus::InProgress);
    now = now + Duration::from_secs(3);
    assert_eq!(network.hang_up(&talking, now), HangUp::Cut);
    let end = network.step(&talking, now);
    let thirty = Duration::from_secs(30);
    let completed = NetEvent::Ended {
        status: CallStatus::Completed,
        sip: 200,
        duration: thirty,
    };
    assert_eq!(end, Step::Event(completed), "ten times faster than life");
    assert_eq!(network.hang_up(&talking, now), HangUp::AlreadyEnded);
    assert_eq!(network.hang_up("CAnone", now), HangUp::Unknown);

    let ringing = network
        .place(dial("+15550100300", "c:2:1", "0"), now)
        .unwrap()
        .call_id;
    drive(&network, &ringing, &mut now, CallStatus::Ringing);
    assert_eq!(network.hang_up(&ringing, now), HangUp::Cut);
    let events = until_end(&network, &ringing, &mut now);
    assert_eq!(events.last().unwrap().status(), CallStatus::Canceled);
    assert_eq!(network.ledger().total_live, 0);
}

#[test]
fn limits_are_the_callers() {
    let network = Network::new(Population::default(), 1.0);
    let mut now = Timestamp::from_millis(0);
    let patient = Script::Human {
        ring_ms: 29_999,
        talk_ms: 700_000,
    };
    network.set_script("+15550100000", patient);
    let placed = network
        .place(dial("+15550100000", "c:1:1", "0"), now)
        .unwrap();
    let events = until_end(&network, &placed.call_id, &mut now);
    let limit = Duration::from_secs(600);
    let cut = NetEvent::Ended {
        status: CallStatus::Completed,
        sip: 200,
        duration: limit,
    };
    assert_eq!(events.last(), Some(&cut));
    network.set_script(
        "+15550100000",
        Script::Human {
            ring_ms: 30_000,
            talk_ms: 1,
        },
    );
    let placed = network
        .place(dial("+15550100000", "c:1:2", "0"), now)
        .unwrap();
    let events = until_end(&network, &placed.call_id, &mut now);
    assert_eq!(events.last().unwrap().status(), CallStatus::NoAnswer);
}

#[test]
fn calls_above_the_rate_wait_in_real_time() {
    let network = Network::new(Population::default(), 60.0).with_queue("c", 2);
    let now = Timestamp::from_millis(50_000);
    let waits: Vec<u128> = (0..3)
        .map(|n| {
            network.create_seen("c", &n.to_string(), now);
            let placed = network.place(
                dial(&format!("+1555010000{n}"), &format!("c:{n}:1"), "0"),
                now,
            );
            placed.unwrap().queued_for.as_millis()
        })
        .collect();
    assert_eq!(waits, [0, 500, 1_000]);
    network.create_seen("c", "later", now + Duration::from_millis(999));
    network.create_seen("c", "much later", now + Duration::from_millis(1_500));
    assert_eq!(network.ledger().max_creates_per_second, 4);
    assert_eq!(
        network.create_seen("c", "later", now),
        1,
        "requests of one key are numbered"
    );
}

#[test]
fn scripts_depend_on_seed_phone_and_count_alone() {
    let population = Population {
        seed: 7,
        ..Population::default()
    };
    let phones: Vec<String> = (0..2_000).map(|n| format!("+1212555{n:04}")).collect();
    let deal = |p: Population| -> Vec<Script> { phones.iter().map(|to| p.script(to, 0)).collect() };
    assert_eq!(deal(population), deal(population));
    assert_ne!(
        deal(population),
        deal(Population {
            seed: 8,
            ..population
        })
    );
    let humans = deal(population)
        .iter()
        .filter(|s| matches!(s, Script::Human { .. }))
        .count();
    assert!(
        (800..1_000).contains(&humans),
        "45 of 100, got {humans} of 2000"
    );
    let phone = "+15550100402";
    assert_eq!(
        population.script(phone, 3),
        Script::Invalid { refused: true }
    );
    let refused =
        Network::new(population, 1.0).place(dial(phone, "c:1:1", "0"), Timestamp::default());
    assert_eq!(refused, Err(Refused::InvalidNumber));
}

#[test]
fn a_reset_forgets() {
    let network = Network::new(Population::default(), 1.0);
    let placed = network
        .place(dial("+15550100000", "c:1:1", "0"), Timestamp::default())
        .unwrap();
    network.reset();
    assert_eq!(
        network.step(&placed.call_id, Timestamp::default()),
        Step::Done
    );
    assert_eq!(network.ledger(), crate::Ledger::default());
}

#[test]
fn calls_are_found_by_number_and_by_being_in_progress() {
    let network = Network::new(Population::default(), 1.0);
    let mut now = Timestamp::from_millis(0);
    let (one, other) = ("+15550100001", "+15550100300");
    let place = |phone| {
        network
            .place(dial(phone, "c:l:1", "0"), now)
            .unwrap()
            .call_id
    };
    let (first, second, third) = (place(one), place(other), place(one));
    let found = |search: &Search<'_>| -> Vec<String> {
        let calls = network.calls(search, |_| true);
        calls.into_iter().map(|call| call.call_id).collect()
    };
    let (all, live) = (
        Search::default(),
        Search {
            live: true,
            ..Search::default()
        },
    );
    let to = |phone| Search {
        to: Some(phone),
        ..all
    };
    assert_eq!(found(&all), [&*third, &*second, &*first], "newest first");
    assert_eq!(found(&live), found(&all));
    assert_eq!(found(&to(one)), [&*third, &*first]);
    assert!(found(&to("+15550100009")).is_empty());

    until_end(&network, &third, &mut now);
    assert_eq!(found(&live), [&*second, &*first]);
    let live_to_one = Search {
        live: true,
        ..to(one)
    };
    assert_eq!(found(&live_to_one), [&*first]);
    assert_eq!(found(&to(one)), [&*third, &*first]);
    let page = |before, skip, limit| Search {
        before,
        skip,
        limit,
        ..all
    };
    assert_eq!(found(&page(u64::MAX, 1, 1)), [&*second]);
    assert_eq!(found(&page(1, 0, 9)), [&*first]);
    assert_eq!(found(&Search { since: 1, ..all }), [&*third, &*second]);
}
