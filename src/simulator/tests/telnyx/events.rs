//! Commands on calls, and what Telnyx tells and lists of them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::PATIENCE;
use super::{CONNECTION, STATE, World, code};
use crate::{Faults, Person, Script, Search};

#[tokio::test]
async fn commands_drive_an_answered_call() {
    let mut world = World::new(Faults::default()).await;
    let call = world.dial("+15550100300", "camp:a:1").await;
    let speak = json!({"payload": "Hello", "voice": "female", "client_state": "c3RlcDA=", "command_id": "s0"});
    let (status, early) = world.act(&call, "speak", &speak).await;
    assert_eq!((status, code(&early)), (422, "90034"));
    assert_eq!(world.act(&call, "hangup", &json!({})).await.0, 200);
    let end = world.event("call.hangup").await;
    assert_eq!(
        (&end["hangup_cause"], &end["hangup_source"]),
        (&json!("originator_cancel"), &json!("caller"))
    );

    let (ring_ms, person) = (1_000, Person::default());
    let script = Script::Person { ring_ms, person };
    world.sim.network().set_script("+15550100900", script);
    let call = world.dial("+15550100900", "camp:b:1").await;
    world.event("call.answered").await;
    for _ in 0..2 {
        // The second one is ignored.
        let (status, done) = world.act(&call, "speak", &speak).await;
        assert_eq!((status, &done["data"]["result"]), (200, &json!("ok")));
    }
    let ended = world.event("call.speak.ended").await;
    assert_eq!(
        (&ended["status"], &ended["client_state"]),
        (&json!("completed"), &json!("c3RlcDA="))
    );
    let gather = json!({"timeout_millis": 2_000, "initial_timeout_millis": 2_000, "client_state": "c3RlcDE="});
    assert_eq!(world.act(&call, "gather", &gather).await.0, 200);
    let ended = world.event("call.gather.ended").await;
    assert_eq!(
        (&ended["status"], &ended["client_state"]),
        (&json!("timeout"), &json!("c3RlcDE="))
    );
    let bad = json!({"payload": "", "voice": "female"});
    assert_eq!(code(&world.act(&call, "speak", &bad).await.1), "10015");
    assert_eq!(world.act(&call, "hangup", &json!({})).await.0, 200);
    let end = world.event("call.hangup").await;
    assert_eq!(
        (&end["hangup_cause"], &end["hangup_source"]),
        (&json!("normal_clearing"), &json!("caller"))
    );
    assert_eq!(end["client_state"], "c3RlcDE=");
    for action in ["hangup", "gather"] {
        let (status, over) = world.act(&call, action, &json!({})).await;
        assert_eq!((status, code(&over)), (422, "90018"), "{action}");
    }
    assert_eq!(world.act("v3:none", "hangup", &json!({})).await.0, 404);
}

#[tokio::test]
async fn refused_webhooks_are_tried_again_and_then_elsewhere() {
    let mut world = World::new(Faults::default()).await;
    world.refuse.store(3, Ordering::SeqCst);
    let mut body = world.body("+15550100200", "camp:a:1");
    let policy = json!({"retries_ms": [5, 5]});
    body["webhook_retries_policies"] = json!({"call.initiated": policy, "call.hangup": policy});
    // Only the first event is refused: the others wait for their turn.
    world.sim.faults().set(Faults {
        callback_late: 1.0,
        callback_late_max_ms: 0,
        ..Faults::default()
    });
    world.post("calls", &body).await.unwrap();
    let mut tries = Vec::new();
    while tries.len() < 5 {
        let (path, event) = world.next().await;
        let kind = event["data"]["event_type"].as_str().unwrap().to_owned();
        tries.push((
            kind,
            event["meta"]["attempt"].as_u64().unwrap(),
            path == "/failover",
        ));
    }
    // Three refusals, two successes; an event that was refused three times went elsewhere.
    let last = |kind: &str| {
        tries
            .iter()
            .filter(|(k, ..)| k == kind)
            .map(|(_, n, f)| (*n, *f))
            .next_back()
    };
    let (initiated, hangup) = (
        last("call.initiated").unwrap(),
        last("call.hangup").unwrap(),
    );
    assert_eq!(initiated.0 + hangup.0, 5, "{tries:?}");
    for (nth, elsewhere) in [initiated, hangup] {
        assert_eq!(elsewhere, nth > 3, "{tries:?}");
    }
}

#[tokio::test]
async fn what_was_not_delivered_can_be_asked_for() {
    let faults = Faults {
        callback_lost: 1.0,
        ..Faults::default()
    };
    let world = World::new(faults).await;
    let call = world.dial("+15550100200", "camp:a:1").await;
    let query =
        format!("webhook_deliveries?filter[status][eq]=failed&filter[webhook][contains]={call}");
    let failed = async || world.get(&query).await.1["data"].as_array().unwrap().len();
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let both = async {
        while failed().await < 2 {
            tick.tick().await;
        }
    };
    timeout(PATIENCE, both).await.expect("both are recorded");
    let (_, rows) = world
        .get(&format!("{query}&filter[event_type]=call.hangup"))
        .await;
    assert_eq!(
        rows["data"][0]["webhook"]["payload"]["hangup_cause"],
        "user_busy"
    );
    assert_eq!(rows["meta"]["total_results"], 1);

    let leg = rows["data"][0]["webhook"]["payload"]["call_leg_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (_, events) = world
        .get(&format!(
            "call_events?filter[leg_id]={leg}&filter[type]=webhook"
        ))
        .await;
    assert_eq!(events["meta"]["total_results"], 2);
    assert_eq!(events["data"][1]["name"], "call.hangup", "oldest first");
    let to = "call_events?filter[to]=%2B15550100200&page[size]=1&page[number]=1";
    let (_, events) = world.get(to).await;
    assert_eq!(
        (&events["meta"]["total_pages"], &events["data"][0]["name"]),
        (&json!(3), &json!("dial"))
    );
    assert_eq!(
        world.get("call_events?filter[to]=%2B1555").await.1["meta"]["total_results"],
        0
    );
}

#[tokio::test]
async fn active_calls_are_read_cursor_by_cursor() {
    let world = World::new(Faults::default()).await;
    let mut placed = Vec::new();
    for n in 0..5 {
        placed.push(world.dial("+15550100900", &format!("camp:{n}:1")).await);
    }
    let mut path = format!("connections/{CONNECTION}/active_calls?page[limit]=2");
    let mut seen = Vec::new();
    loop {
        let (_, page) = world.get(&path).await;
        let rows = page["data"].as_array().unwrap();
        assert_eq!(page["meta"]["total_items"], 5);
        seen.extend(
            rows.iter()
                .map(|row| row["call_control_id"].as_str().unwrap().to_owned()),
        );
        assert!(rows.iter().all(|row| row["client_state"] == STATE));
        let Some(after) = page["meta"]["cursors"]["after"].as_str() else {
            break;
        };
        path = format!("connections/{CONNECTION}/active_calls?page[limit]=2&page[after]={after}");
    }
    placed.reverse();
    assert_eq!(seen, placed);
    world.sim.faults().set(Faults {
        read_500: 1.0,
        list_lag_ms: 60_000,
        ..Faults::default()
    });
    assert_eq!(world.get(&path).await.0, 500);
}

#[tokio::test]
async fn detection_is_reported_aside() {
    let mut world = World::new(Faults::default()).await;
    let table = [
        (
            "+15550100000",
            "premium",
            "call.machine.premium.detection.ended",
            "human_residence",
        ),
        (
            "+15550100100",
            "premium",
            "call.machine.premium.detection.ended",
            "machine",
        ),
        (
            "+15550100101",
            "detect",
            "call.machine.detection.ended",
            "machine",
        ),
    ];
    for (n, (to, mode, kind, result)) in table.into_iter().enumerate() {
        let (ring_ms, talk_ms) = (1_000, 3_600_000);
        let script = match result {
            "machine" => Script::Machine { ring_ms, talk_ms },
            _ => Script::Human { ring_ms, talk_ms },
        };
        world.sim.network().set_script(to, script);
        let mut body = world.body(to, &format!("camp:{n}:1"));
        body["answering_machine_detection"] = json!(mode);
        world.post("calls", &body).await.unwrap();
        assert_eq!(world.event(kind).await["result"], result, "{to} {mode}");
    }
}

#[tokio::test]
async fn time_outs_are_tried_by_other_routes_unless_told() {
    let mut world = World::new(Faults::default()).await;
    let mut body = world.body("+15550100300", "camp:a:1");
    body["timeout_secs"] = json!(5);
    body.as_object_mut().unwrap().remove("retry_on_timeout");
    world.post("calls", &body).await.unwrap();
    let end = world.event("call.hangup").await;
    assert_eq!(end["hangup_cause"], "timeout");
    let calls = world.sim.network().calls(&Search::default(), |_| true);
    assert_eq!(calls[0].dial.ring_timeout, Duration::from_secs(10));
}
