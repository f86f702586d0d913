use proptest::prelude::*;

use super::*;
use crate::call::{Outcome, Refusal, RefusalClass};

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// No jitter.
const STILL: u64 = JITTER_PERCENT;

fn at(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

fn failed() -> Event {
    Event::Failed(Fault::Refused)
}

fn refused() -> Event {
    Event::Refused {
        code: "401".to_owned(),
    }
}

fn limited() -> Event {
    Event::Limited {
        rest: Duration::from_secs(2),
    }
}

fn closed() -> Breaker {
    Breaker {
        since: T0,
        ..Breaker::default()
    }
}

fn open() -> Breaker {
    let early = T0 - ROW;
    let before = Breaker {
        since: early,
        ..closed()
    };
    let row = (1..IN_A_ROW).fold(before, |b, _| b.step(&failed(), early, early, STILL));
    row.step(&failed(), T0, T0, STILL)
}

fn half_open() -> Breaker {
    open().take_probe(at(30)).expect("its time is over")
}

fn name(breaker: &Breaker) -> &'static str {
    match breaker.phase {
        Phase::Closed => "closed",
        Phase::Open { .. } => "open",
        Phase::HalfOpen { .. } => "half-open",
    }
}

/// When it admits a call again, in seconds after T0.
fn until(breaker: &Breaker) -> u64 {
    match breaker.admits(at(31)) {
        Admission::Resting { until } | Admission::Open { until, .. } => until.since(T0).as_secs(),
        Admission::Free | Admission::Probe => 0,
    }
}

#[test]
fn every_event_in_every_state() {
    // State, event, then: state, and until when.
    let table: [(Breaker, Event, &str, u64); 12] = [
        (closed(), Event::Ok, "closed", 0),
        (closed(), failed(), "closed", 0),
        (closed(), refused(), "open", 31 + 300),
        (closed(), limited(), "closed", 33),
        (open(), Event::Ok, "open", 0),
        (open(), failed(), "open", 0),
        (open(), refused(), "open", 31 + 300),
        (open(), limited(), "open", 33),
        (half_open(), Event::Ok, "closed", 0),
        (half_open(), failed(), "open", 31 + 60),
        (half_open(), refused(), "open", 31 + 600),
        (half_open(), limited(), "half-open", 33),
    ];
    for (before, event, state, wait) in table {
        let after = before.step(&event, at(31), at(31), STILL);
        let row = format!("{} {event:?}: {after:?}", name(&before));
        assert_eq!((name(&after), until(&after)), (state, wait), "{row}");
        // The same news of a call from before changes nothing, but for the rest.
        let late = before.step(&event, T0 - Duration::from_secs(1), at(31), STILL);
        if !matches!(event, Event::Limited { .. }) {
            assert_eq!(late, before, "late: {row}");
        }
        let json = serde_json::to_string(&after).expect("serialises");
        assert_eq!(
            serde_json::from_str::<Breaker>(&json).expect("reads"),
            after
        );
    }
}

#[test]
fn a_burst_of_failures_is_one_process_in_trouble_until_it_lasts() {
    let mut b = closed();
    for _ in 0..WINDOW_CALLS - 1 {
        b = b.step(&failed(), at(1), at(1), STILL);
        assert_eq!(name(&b), "closed", "{b:?}");
    }
    let interrupted = b.step(&Event::Ok, at(2), at(2), STILL);
    assert_eq!(interrupted.in_a_row, 0);
    let lasting = b.step(&failed(), at(3), at(3), STILL);
    assert_eq!(name(&lasting), "open");
}

#[test]
fn a_success_between_failures_keeps_it_closed_until_half_of_twenty_fail() {
    let mut b = closed();
    for i in 0..WINDOW_CALLS - 1 {
        let event = if i % 2 == 0 { failed() } else { Event::Ok };
        b = b.step(&event, at(1), at(1), STILL);
        assert_eq!(name(&b), "closed", "{i}");
    }
    b = b.step(&failed(), at(1), at(1), STILL);
    let why = match &b.phase {
        Phase::Open { why, .. } => why.to_string(),
        Phase::Closed | Phase::HalfOpen { .. } => String::new(),
    };
    assert_eq!(why, "11 of 20 calls failed, the last: refused");
}

#[test]
fn old_failures_leave_the_window() {
    let mut b = closed();
    for second in 0..600 {
        // Two in three fail, but slowly: never twenty in a minute, never five in a row.
        let event = if second % 3 == 0 { Event::Ok } else { failed() };
        b = b.step(&event, at(second * 5), at(second * 5), STILL);
        assert_eq!(name(&b), "closed", "{second}");
    }
}

#[test]
fn it_opens_twice_as_long_each_time_up_to_a_cap_and_forgets_when_calm() {
    let mut b = open();
    let mut now = at(0);
    for seconds in [30, 60, 120, 240, 480, 600, 600] {
        let Admission::Open { until, .. } = b.admits(now) else {
            panic!("open: {b:?}");
        };
        assert_eq!(until.since(now).as_secs(), seconds);
        now = until;
        b = b.take_probe(now).expect("a probe");
        b = b.step(&failed(), now, now, STILL);
    }
    let Admission::Open { until, .. } = b.admits(now) else {
        panic!("open: {b:?}");
    };
    b = b.take_probe(until).expect("a probe");
    b = b.step(&Event::Ok, until, until, STILL);
    assert_eq!(b.admits(until), Admission::Free);
    let again = |after: Duration| {
        let now = until + after;
        let b = b.step(&refused(), now, now, STILL);
        match b.admits(now) {
            Admission::Open { until, .. } => until.since(now).as_secs(),
            Admission::Free | Admission::Probe | Admission::Resting { .. } => 0,
        }
    };
    assert_eq!(again(Duration::from_secs(1)), CONFIG_OPEN_CAP.as_secs());
    assert_eq!(again(CALM), CONFIG_OPEN.as_secs());
}

#[test]
fn a_lost_or_unused_probe_does_not_keep_it_half_open() {
    let b = half_open();
    assert_eq!(b.take_probe(at(31)), None);
    assert!(b.take_probe(at(30) + PROBE).is_some());
    let back = b.give_back_probe(at(30), at(31));
    assert!(back.take_probe(at(31)).is_some());
    // Somebody else's is not ours to give back.
    assert_eq!(b.give_back_probe(at(29), at(31)), b);
}

#[test]
fn refusals_and_outcomes_by_the_table() {
    let refusal = |class, code: &str| Refusal {
        class,
        code: code.to_owned(),
        message: String::new(),
    };
    let rest = Duration::from_secs(1);
    for (class, code, event) in [
        (
            RefusalClass::RetryLater,
            "429",
            Some(Event::Limited { rest }),
        ),
        (RefusalClass::Failover, "503", Some(failed())),
        (
            RefusalClass::Failover,
            "connect",
            Some(Event::Failed(Fault::Unreachable)),
        ),
        (RefusalClass::ConfigFault, "401", Some(refused())),
        (RefusalClass::BadNumber, "21211", None),
    ] {
        assert_eq!(
            Event::of_refusal(&refusal(class, code), rest),
            event,
            "{code}"
        );
    }
    for (outcome, event) in [
        (Outcome::Busy, Some(Event::Ok)),
        (Outcome::Congestion, Some(Event::Failed(Fault::Undelivered))),
        (Outcome::NotPlaced, Some(Event::Failed(Fault::Unclear))),
        (Outcome::InvalidNumber, Some(Event::Ok)),
    ] {
        assert_eq!(Event::of_outcome(outcome), event);
    }
}

/// What a fleet may do to a breaker.
#[derive(Debug, Clone)]
enum Move {
    Wait(u64),
    TakeProbe,
    /// The probe's call, if one is out, ends so.
    Judge(Event),
    GiveBack,
    /// News of a call that began this long ago.
    News(u64, Event),
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Ok),
        4 => Just(failed()),
        1 => Just(refused()),
        1 => Just(limited()),
    ]
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        (1u64..700).prop_map(Move::Wait),
        Just(Move::TakeProbe),
        events().prop_map(Move::Judge),
        Just(Move::GiveBack),
        // Calls from before the latest change; the breaker admitted none since but the probe.
        (1u64..100, events()).prop_map(|(ago, event)| Move::News(ago, event)),
    ]
}

proptest! {
    #[test]
    fn never_two_probes(moves in prop::collection::vec(moves(), 1..80), draw in any::<u64>()) {
        let (mut b, mut now) = (open(), T0);
        let mut out: Option<Timestamp> = None;
        for m in moves {
            out = out.filter(|taken| *taken + PROBE > now);
            match m {
                Move::Wait(seconds) => now = now + Duration::from_secs(seconds),
                Move::TakeProbe => {
                    if let Some(after) = b.take_probe(now) {
                        prop_assert_eq!(out, None, "{:?}", b);
                        (b, out) = (after, Some(now));
                    }
                }
                Move::Judge(event) => {
                    if let Some(taken) = out.take() {
                        b = b.step(&event, taken, now, draw);
                        prop_assert!(b.admits(now) != Admission::Probe, "{:?}", b);
                    }
                }
                Move::GiveBack => {
                    if let Some(taken) = out.take() {
                        b = b.give_back_probe(taken, now);
                    }
                }
                Move::News(ago, event) => {
                    let began = b.since - Duration::from_secs(ago);
                    b = b.step(&event, began, now, draw);
                }
            }
        }
    }

    #[test]
    fn five_in_a_row_always_open_it(
        events in prop::collection::vec(events(), 0..60), gaps in prop::collection::vec(1u64..50, 66), draw in any::<u64>(),
    ) {
        let (mut b, mut now) = (closed(), T0);
        for (event, gap) in events.iter().zip(&gaps) {
            now = now + Duration::from_secs(*gap);
            b = b.step(event, now, now, draw);
            if b.phase != Phase::Closed {
                b = Breaker { since: now, ..closed() };
            }
        }
        for gap in &gaps[60..65] {
            now = now + Duration::from_secs(*gap);
            b = b.step(&failed(), now, now, draw);
        }
        prop_assert_eq!(name(&b), "open");
    }

    #[test]
    fn a_probe_that_works_closes_it_whatever_was_before(
        events in prop::collection::vec(events(), 0..60), gap in 0u64..100, draw in any::<u64>(),
    ) {
        let mut b = open();
        let mut now = T0;
        for event in &events {
            now = now + Duration::from_secs(gap);
            b = b.step(event, now, now, draw);
            if let Phase::Closed = b.phase {
                b = open();
            }
        }
        now = now + OPEN_CAP + CONFIG_OPEN_CAP * 2 + MAX_REST;
        b = b.take_probe(now).expect("every time is over");
        prop_assert_eq!(b.take_probe(now), None);
        b = b.step(&Event::Ok, now, now, draw);
        prop_assert_eq!(b.admits(now), Admission::Free);
    }
}
