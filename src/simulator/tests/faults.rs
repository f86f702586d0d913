//! Each fault once.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use tokio::time::{interval, timeout};

use super::{PATIENCE, SID, World, statuses};
use crate::{CallStatus, Faults, Ledger};

const TO: &str = "+15550100800";

fn only(status: CallStatus) -> BTreeSet<CallStatus> {
    BTreeSet::from([status])
}

impl World {
    async fn until(&self, reached: impl Fn(&Ledger) -> bool) -> Ledger {
        let mut tick = interval(Duration::from_millis(2));
        let seen = async {
            loop {
                let ledger = self.sim.network().ledger();
                if reached(&ledger) {
                    return ledger;
                }
                tick.tick().await;
            }
        };
        timeout(PATIENCE, seen)
            .await
            .expect("the ledger gets there")
    }
}

#[tokio::test]
async fn callback_lost() {
    let only_events = only(CallStatus::Ringing);
    let mut world = World::new(Faults {
        callback_lost: 1.0,
        only_events,
        ..Faults::default()
    })
    .await;
    world.create(TO, "camp:a:1").await.unwrap();
    let got = world.until_end().await;
    assert_eq!(statuses(&got), ["initiated", "in-progress", "completed"]);
    assert_eq!(
        got[1].get("SequenceNumber"),
        "2",
        "a lost callback leaves a gap"
    );
}

#[tokio::test]
async fn callback_duplicated() {
    let only_events = only(CallStatus::InProgress);
    let faults = Faults {
        callback_duplicated: 1.0,
        only_events,
        ..Faults::default()
    };
    let mut world = World::new(faults).await;
    world.create(TO, "camp:a:1").await.unwrap();
    let got = world.next_n(5).await;
    let twice: Vec<_> = got.iter().filter(|c| c.status() == "in-progress").collect();
    assert_eq!(twice.len(), 2);
    assert_eq!(
        (&twice[0].token, &twice[0].fields),
        (&twice[1].token, &twice[1].fields)
    );
}

#[tokio::test]
async fn callback_late() {
    let faults = Faults {
        callback_late: 1.0,
        callback_late_max_ms: 3_000,
        only_events: only(CallStatus::Ringing),
        ..Faults::default()
    };
    let mut world = World::new(faults).await;
    // An attempt whose draw is a long hold: the rest of the call takes a tenth of a second.
    let long = Duration::from_millis(1_500);
    let hold = |n: &u32| {
        let key = format!("camp:{n}:1/0#0");
        world
            .sim
            .faults()
            .callback("twilio", TO, &key, 1, CallStatus::Ringing)
            .late
            > Some(long)
    };
    let n = (0..).find(hold).unwrap();
    world.create(TO, &format!("camp:{n}:1")).await.unwrap();
    let got = world.next_n(4).await;
    assert_eq!(
        statuses(&got),
        ["initiated", "in-progress", "completed", "ringing"]
    );
}

#[tokio::test]
async fn callback_reordered() {
    let only_events = only(CallStatus::Ringing);
    let faults = Faults {
        callback_reordered: 1.0,
        only_events,
        ..Faults::default()
    };
    let mut world = World::new(faults).await;
    world.create(TO, "camp:a:1").await.unwrap();
    let got = world.next_n(4).await;
    let place = |status| got.iter().position(|c| c.status() == status).unwrap();
    assert!(
        place("in-progress") < place("ringing"),
        "{:?}",
        statuses(&got)
    );
}

#[tokio::test]
async fn faults_strike_only_the_phones_named() {
    let only_phones = BTreeSet::from([TO.to_owned()]);
    let world = World::new(Faults {
        create_429: 1.0,
        only_phones,
        ..Faults::default()
    })
    .await;
    let (status, body) = world.create(TO, "camp:a:1").await.unwrap();
    assert_eq!((status, &body["code"]), (429, &json!(20429)));
    assert_eq!(
        world.create("+15550100000", "camp:b:1").await.unwrap().0,
        201
    );
    let ledger = world.sim.network().ledger();
    assert_eq!((ledger.creates, ledger.placed), (2, 1));
}

#[tokio::test]
async fn create_fails_before_placing() {
    let world = World::new(Faults {
        create_500_before: 1.0,
        ..Faults::default()
    })
    .await;
    assert_eq!(world.create(TO, "camp:a:1").await.unwrap().0, 500);
    world.sim.faults().set(Faults {
        create_reset_before: 1.0,
        ..Faults::default()
    });
    assert!(world.create(TO, "camp:b:1").await.is_err());
    let ledger = world.sim.network().ledger();
    assert_eq!((ledger.creates, ledger.placed), (2, 0));
}

#[tokio::test]
async fn create_fails_after_placing() {
    let mut world = World::new(Faults {
        create_500_after: 1.0,
        ..Faults::default()
    })
    .await;
    let (status, body) = world.create(TO, "camp:a:1").await.unwrap();
    assert_eq!((status, &body["code"]), (500, &json!(20500)));
    assert_eq!(
        statuses(&world.until_end().await).len(),
        4,
        "the call goes on all the same"
    );
    assert_eq!(world.sim.network().ledger().placed, 1);
}

#[tokio::test]
async fn create_is_reset_at_any_byte_after_placing() {
    let world = World::new(Faults {
        create_reset_after: 1.0,
        ..Faults::default()
    })
    .await;
    let mut in_head = 0;
    for n in 0..40 {
        let form = world.form(&format!("+155501008{n:02}"), &format!("camp:{n}:1"));
        let request = world
            .http
            .post(world.calls_url())
            .basic_auth(SID, Some(super::TOKEN));
        match request.form(&form).send().await {
            Err(_) => in_head += 1,
            Ok(response) => {
                assert_eq!(response.status(), 201);
                assert!(response.bytes().await.is_err(), "cut within the body");
            }
        }
    }
    assert!(
        (1..40).contains(&in_head),
        "some answers are cut in the head, some in the body"
    );
    assert_eq!(
        world.until(|ledger| ledger.total_live == 0).await.placed,
        40
    );
}

#[tokio::test]
async fn create_is_slow_and_the_call_is_placed_though_the_client_gave_up() {
    let faults = Faults {
        create_slow: 1.0,
        create_slow_max_ms: 4_000,
        ..Faults::default()
    };
    let world = World::new(faults).await;
    let patience = Duration::from_millis(600);
    // One attempt that is slow before placing, one after.
    let slow = |before: bool| {
        let slower = |n: &u32| {
            let (_, slow) = world
                .sim
                .faults()
                .create("twilio", TO, &format!("camp:{n}:1/0"), 0);
            (if before { slow.before } else { slow.after }) > patience * 2
        };
        (0..).find(slower).unwrap()
    };
    for (n, placed) in [(slow(false), 1), (slow(true), 2)] {
        let form = world.form(TO, &format!("camp:{n}:1"));
        let request = world
            .http
            .post(world.calls_url())
            .basic_auth(SID, Some(super::TOKEN));
        let answer = request.form(&form).timeout(patience).send().await;
        assert!(answer.is_err_and(|e| e.is_timeout()));
        world.until(|ledger| ledger.placed == placed).await;
    }
}

#[tokio::test]
async fn look_ups_fail_and_lists_lag() {
    let world = World::new(Faults {
        list_lag_ms: 60_000,
        ..Faults::default()
    })
    .await;
    let (_, call) = world.create(TO, "camp:a:1").await.unwrap();
    let list = format!("/2010-04-01/Accounts/{SID}/Calls.json");
    assert_eq!(world.get(&list).await.1["calls"], json!([]));
    let uri = call["uri"].as_str().unwrap();
    assert_eq!(world.get(uri).await.0, 200);
    world.sim.faults().set(Faults {
        read_500: 1.0,
        ..Faults::default()
    });
    assert_eq!(world.get(uri).await.0, 500);
    assert_eq!(world.get(&list).await.0, 500);
}
