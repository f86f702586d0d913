//! Three carriers behind one campaign: who is asked next, and who is never asked again. The network
//! counts; our own records are only read for what it cannot see.

mod budget;
mod trio;

use std::time::Duration;

use dialfleet_simulator::{Faults, Script};
use dialfleet_tests::fleet::{TestFleet, leads};
use dialfleet_tests::proxy::Closed;
use dialfleet_tests::wait::until;
use reqwest::Method;
use serde_json::json;

use self::trio::{
    ALL, LIMIT, PLAN, Plan, SANSPBX, TELNYX, TWILIO, at, calls, campaign, each_rung_once,
    everybody_done, ledger, legs, opens, start, three_carriers,
};
use crate::fleet::judge;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum No {
    TooMany,
    Refused,
    Unreachable,
}

impl No {
    fn faults(self) -> Faults {
        let certain = |when: bool| if when { 1.0 } else { 0.0 };
        Faults {
            create_429: certain(self == Self::TooMany),
            create_refused: certain(self == Self::Refused),
            ..Faults::default()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_carrier_does_not_take_goes_out_once_through_the_second() {
    const PEOPLE: u32 = 6;
    for no in [No::TooMany, No::Refused, No::Unreachable] {
        for first in 0..ALL.len() {
            let mut order = ALL;
            order.rotate_left(first);
            let [first, second, third] = order;
            let mut fleet = three_carriers(300.0).await;
            fleet.simulator.faults().set_for(first, no.faults());
            let closed = Closed::new();
            let elsewhere = [(first, &closed)];
            let plan = Plan {
                elsewhere: if no == No::Unreachable {
                    &elsewhere
                } else {
                    &[]
                },
                ..PLAN
            };
            start(&mut fleet, &plan).await;
            let id = fleet.launch(campaign(&order), leads(PEOPLE)).await.unwrap();
            everybody_done(&fleet, &id, PEOPLE, 30).await;
            each_rung_once(&fleet, PEOPLE);
            let seen = ledger(&fleet);
            let said = format!("{no:?} at {first}: {:?}", seen.carriers);
            let asked = at(&seen, first);
            assert_eq!(asked.creates > 0, no != No::Unreachable, "{said}");
            assert_eq!(asked.placed, 0, "{said}");
            let taken = at(&seen, second);
            assert_eq!(
                (taken.creates, taken.placed),
                (PEOPLE.into(), PEOPLE.into()),
                "{said}"
            );
            assert_eq!(at(&seen, third).creates, 0, "{said}");
            // What nobody placed is a leg of the same attempt, not another attempt.
            let calls = calls(&fleet, &id).await;
            assert_eq!(calls.len(), usize::try_from(PEOPLE).unwrap(), "{said}");
            let fell_over = [(first, "refused"), (second, "placed")];
            assert!(calls.iter().any(|call| legs(call) == fell_over), "{said}");
        }
    }
}

/// `placed`: whether the first carrier places the calls that it gives no clear answer about.
async fn unclear(faults: Faults, placed: bool) {
    const PEOPLE: u32 = 120;
    const MORE: u32 = 10;
    // Slow enough that there are people left when the breaker opens.
    let mut fleet = three_carriers(50.0).await;
    fleet.simulator.faults().set_for(TELNYX, faults);
    let plan = Plan {
        cps: [5, 15, 50],
        ..PLAN
    };
    start(&mut fleet, &plan).await;
    let mut lasts = campaign(&ALL);
    lasts["flow"] = json!({"steps": [{"do": "pause", "seconds": 50}]});
    let id = fleet.launch(lasts, leads(PEOPLE)).await.unwrap();
    let why = opens(&fleet, TELNYX, 30).await;
    assert!(why.ends_with("the last: no clear answer"), "{why}");
    let asked = all_tried(&fleet, PEOPLE, placed).await;
    // Others are asked while it rests; without all that it would have been everybody.
    assert!((5..60).contains(&asked), "{asked}");

    // Now the second one leads.
    fleet.import(&id, leads(PEOPLE + MORE)).await.unwrap();
    let again = all_tried(&fleet, PEOPLE + MORE, placed).await;
    assert_eq!(again, asked, "not while it is open\n{}", fleet.log());
    if placed {
        everybody_done(&fleet, &id, PEOPLE + MORE, 30).await;
    }
    let all = u64::from(PEOPLE + MORE);
    let rung = if placed { all } else { all - asked };
    each_rung_once(&fleet, u32::try_from(rung).unwrap());

    let calls = calls(&fleet, &id).await;
    assert_eq!(calls.len(), usize::try_from(all).unwrap());
    let (doubted, clear): (Vec<_>, Vec<_>) = calls
        .iter()
        .partition(|call| call["legs"][0]["carrier"] == TELNYX);
    assert_eq!(doubted.len(), usize::try_from(asked).unwrap());
    for call in doubted {
        assert_eq!(legs(call).len(), 1, "{call}");
        if !placed {
            let stands = (call["state"].as_str(), call["live"].as_bool());
            assert_eq!(stands, (Some("unknown"), Some(true)), "{call}");
            assert_eq!(legs(call), [(TELNYX, "unclear")], "{call}");
        }
    }
    let last = clear.first().expect("the newest call");
    assert_eq!(legs(last), [(TWILIO, "placed")], "{last}");
    let choices = last["decision"]["carriers"].as_array().unwrap();
    let left_out = choices.iter().find(|one| one["carrier"] == TELNYX).unwrap();
    let left_out = left_out["left_out"].as_str().unwrap();
    assert!(left_out.starts_with("is not asked until"), "{left_out}");
}

/// Waits until there was a request for each of `people` and every call is over; returns how many
/// requests the first carrier had, the second one having had the others.
async fn all_tried(fleet: &TestFleet, people: u32, placed: bool) -> u64 {
    let all = u64::from(people);
    let tried = until("everybody was tried", Duration::from_secs(45), async || {
        let seen = ledger(fleet);
        let asked = at(&seen, TELNYX).creates;
        let calls = if placed { all } else { all - asked };
        if seen.creates >= all && seen.placed >= calls && seen.total_live == 0 {
            Ok(seen)
        } else {
            Err(seen.carriers)
        }
    });
    let seen = tried.await;
    let said = format!("{:?}\n{}", seen.carriers, fleet.log());
    assert_eq!(seen.creates, all, "one request for each person: {said}");
    let asked = at(&seen, TELNYX).creates;
    assert_eq!(at(&seen, TWILIO).placed, all - asked, "{said}");
    assert_eq!(at(&seen, SANSPBX).creates, 0, "{said}");
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_500_with_nothing_placed_nobody_else_is_asked_and_the_breaker_opens() {
    let faults = Faults {
        create_500_before: 1.0,
        ..Faults::default()
    };
    unclear(faults, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_500_with_the_call_placed_nobody_is_rung_twice_and_the_breaker_opens() {
    let faults = Faults {
        create_500_after: 1.0,
        ..Faults::default()
    };
    unclear(faults, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carrier_that_hangs_rings_nobody_twice_and_its_breaker_opens() {
    // Half of the calls are placed at once, the others when the client has given up.
    let faults = Faults {
        create_slow: 1.0,
        create_slow_min_ms: 8_000,
        create_slow_max_ms: 8_000,
        ..Faults::default()
    };
    unclear(faults, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_person_says_is_an_answer_and_no_second_carrier_is_asked() {
    let ring_ms = 3_000;
    let scripts = [
        (Script::Busy, "busy", 0),
        (Script::Declined { ring_ms }, "rejected", 1),
        (Script::NoAnswer, "no_answer", 1),
        // Placed, and it failed on the way: the person may have been reached.
        (Script::Congestion, "congestion", 0),
    ];
    let people = u32::try_from(scripts.len()).unwrap();
    let all = u64::from(people);
    for first in 0..ALL.len() {
        let mut order = ALL;
        order.rotate_left(first);
        let mut fleet = three_carriers(300.0).await;
        let csv = leads(people);
        let phones: Vec<&str> = csv
            .lines()
            .skip(1)
            .map(|row| row.split(',').next().unwrap())
            .collect();
        for (phone, (script, ..)) in phones.iter().zip(scripts.clone()) {
            fleet.simulator.network().set_script(*phone, script);
        }
        start(&mut fleet, &PLAN).await;
        let id = fleet.launch(campaign(&order), csv.clone()).await.unwrap();
        everybody_done(&fleet, &id, people, 30).await;
        judge(&fleet, LIMIT);
        let seen = ledger(&fleet);
        assert_eq!((seen.creates, seen.placed), (all, all), "{order:?}");
        assert_eq!(at(&seen, order[0]).placed, all, "{order:?}");
        for (phone, (_, outcome, rings)) in phones.iter().zip(scripts.clone()) {
            let rung = seen.rings.get(*phone).copied().unwrap_or_default();
            assert_eq!(rung, rings, "{outcome} at {}", order[0]);
        }
        let calls = calls(&fleet, &id).await;
        for (phone, (_, outcome, _)) in phones.iter().zip(scripts.clone()) {
            let call = calls.iter().find(|call| call["phone"] == *phone).unwrap();
            // It says "failed", and no more, to both.
            let vague = order[0] == SANSPBX && ["rejected", "congestion"].contains(&outcome);
            let outcome = if vague { "unreachable" } else { outcome };
            assert_eq!(call["outcome"], outcome, "{call}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_down_everybody_waits_and_it_goes_on_by_itself() {
    const PEOPLE: u32 = 20;
    let mut fleet = three_carriers(300.0).await;
    for id in [TELNYX, SANSPBX] {
        fleet.simulator.faults().set_for(id, No::Refused.faults());
    }
    let closed = Closed::new();
    let elsewhere = [(TWILIO, &closed)];
    let plan = Plan {
        elsewhere: &elsewhere,
        ..PLAN
    };
    start(&mut fleet, &plan).await;
    let id = fleet.launch(campaign(&ALL), leads(PEOPLE)).await.unwrap();
    for (id, fault) in [
        (TELNYX, "refused"),
        (TWILIO, "not reached"),
        (SANSPBX, "refused"),
    ] {
        let why = opens(&fleet, id, 20).await;
        let last = format!("the last: {fault}");
        assert!(why.ends_with(&last), "{id}: {why}");
    }
    let path = format!("/campaigns/{id}");
    let waits = fleet.call(Method::GET, &path, None).await.unwrap();
    assert_eq!(waits["state"], "running", "{waits}");
    assert_eq!(waits["counts"]["done"], 0, "{waits}");
    let before = ledger(&fleet);
    assert_eq!(before.placed, 0);

    for id in [TELNYX, SANSPBX] {
        fleet.simulator.faults().set_for(id, Faults::default());
    }
    let _open = closed.open(&fleet.simulator.base_url());
    everybody_done(&fleet, &id, PEOPLE, 60).await;
    each_rung_once(&fleet, PEOPLE);
    let after = ledger(&fleet);
    // Nobody was asked while nobody could be, and then once for each person.
    assert_eq!(
        after.creates - before.creates,
        u64::from(PEOPLE),
        "{:?}",
        after.carriers
    );
}

/// The lines that a client command prints, without borders and spaces, and with `TIME` for a time.
async fn said(fleet: &TestFleet, args: &[&str]) -> Vec<String> {
    let output = fleet.client(args).await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{wrong}");
    let is_time = |word: &&str| word.len() == 24 && word.starts_with("20") && word.ends_with('Z');
    let words = |line: &str| {
        let words = line.split_whitespace().filter(|word| *word != "│");
        let words = words.map(|word| if is_time(&word) { "TIME" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    let bare = |line: &&str| !line.starts_with(['┌', '╞', '└']);
    said.lines().filter(bare).map(words).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_who_is_asked_and_why() {
    let mut fleet = three_carriers(300.0).await;
    let plan = Plan {
        api_key: "KEYwrong",
        ..PLAN
    };
    start(&mut fleet, &plan).await;
    let id = fleet.launch(campaign(&ALL), leads(1)).await.unwrap();
    everybody_done(&fleet, &id, 1, 30).await;
    each_rung_once(&fleet, 1);
    assert_eq!(at(&ledger(&fleet), TWILIO).placed, 1);

    let refused = "our account was refused (10009)";
    let list = said(&fleet, &["carriers", "list"]).await;
    let want = [
        "CARRIER KIND CPS CALLER IDS CHANNELS TAKEN COST 24 H BREAKER UNTIL WHY".to_owned(),
        "sanspbx sanspbx 50.0 1 closed".to_owned(),
        format!("telnyx telnyx 50.0 1 open TIME {refused}"),
    ];
    // What the call cost depends on whether Twilio said it already.
    let (twilio, others) = list.split_last().expect("carriers");
    assert_eq!(others, want);
    assert!(
        twilio.starts_with("twilio twilio 50.0 1 ") && twilio.ends_with(" closed"),
        "{twilio}"
    );

    let to = "+442079460500";
    let mut ask = vec!["carriers", "explain", "--to", to, "--campaign", &id];
    let telnyx = format!("telnyx is not asked until TIME ({refused})");
    let want = [
        format!("twilio in the campaign's order, then sanspbx; left out: {telnyx}"),
        "CARRIER FROM PER MIN PER CALL ANSWERED DELIVERED PDD CALLS SCORE LEFT OUT".to_owned(),
        // Their figures depend on whether the call's end was heard of already.
        "1 twilio +442079460999".to_owned(),
        "2 sanspbx +441134960999".to_owned(),
        telnyx.clone(),
    ];
    let explained = said(&fleet, &ask).await;
    assert_eq!(explained.len(), want.len(), "{explained:?}");
    for (line, want) in explained.iter().zip(&want) {
        assert!(line.starts_with(want), "{line}: {want}");
    }
    assert_eq!((&explained[0], &explained[4]), (&want[0], &want[4]));

    ask.extend(["--without", TWILIO]);
    let want = [
        format!(
            "sanspbx: at 30 % answered (few calls known) is the only one eligible; left out: {telnyx}, twilio was asked already"
        ),
        "CARRIER FROM PER MIN PER CALL ANSWERED DELIVERED PDD CALLS SCORE LEFT OUT".to_owned(),
        "1 sanspbx +441134960999 30 % 97 % 3.0 s 0 1.000".to_owned(),
        telnyx,
        "twilio was asked already".to_owned(),
    ];
    assert_eq!(said(&fleet, &ask).await, want);
}
