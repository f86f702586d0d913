use serde_json::{Value, json};

use super::*;

/// A document as it was stored before there were routing, caps and presence.
fn old() -> Value {
    json!({"_id": "cmp_1", "tenant": "t", "name": "n", "state": "draft", "gen": 1, "limit": 5, "weight": 1,
        "carriers": ["a"], "caller_ids": [], "retry": {"max_attempts": 3, "unknown_cooloff_s": 900, "rules": {}},
        "flow": Flow::default(), "amd": {"mode": "off"}, "ring_timeout_s": 30, "max_duration_s": 600,
        "wake_seq": 0, "created_at": 0, "changed_at": 0})
}

fn read(document: Value) -> Campaign {
    serde_json::from_value(document).expect("a campaign")
}

#[test]
fn an_old_document_has_the_defaults_and_stays_as_it_is() {
    let campaign = read(old());
    assert_eq!(campaign.routing, Policy::default());
    assert_eq!(campaign.caps, Caps::default());
    assert_eq!(campaign.presence, Presence::Local);
    assert_eq!(serde_json::to_value(campaign).expect("JSON"), old());
}

#[test]
fn the_least_capacity_of_its_programs_counts() {
    let stream = |capacity: Option<u32>| crate::flow::Step::Stream {
        url: "wss://agent.example/calls".to_owned(),
        codec: crate::flow::Codec::default(),
        params: std::collections::BTreeMap::new(),
        capacity,
    };
    let with = |capacities: [Option<u32>; 2]| {
        let mut campaign = read(old());
        campaign.flow = Flow::of(capacities.map(stream).into());
        campaign.former_limit = Some(FormerLimit {
            limit: 10,
            until: Timestamp::default(),
        });
        (campaign.slots(), campaign.most_slots())
    };
    let table = [
        ([None, None], (5, 10)),
        ([None, Some(3)], (3, 3)),
        ([Some(2), Some(3)], (2, 2)),
        ([Some(7), None], (5, 7)),
    ];
    for (capacities, expected) in table {
        assert_eq!(with(capacities), expected, "{capacities:?}");
    }
}

#[test]
fn what_is_not_the_default_is_written_and_read() {
    // What is stored, and what of it is written again.
    let same = |value: Value| (value.clone(), Some(value));
    let table = [
        (
            "routing",
            (
                json!({"strategy": "cost"}),
                Some(
                    json!({"strategy": "cost", "weights": {"cost": 1, "quality": 2}, "explore_percent": 4}),
                ),
            ),
        ),
        (
            "routing",
            same(
                json!({"strategy": "assigned", "weights": {"cost": 0, "quality": 7}, "explore_percent": 0, "carrier": "a"}),
            ),
        ),
        (
            "routing",
            (json!({"weights": {"cost": 1, "quality": 2}}), None),
        ),
        ("caps", same(json!({"hourly": 15}))),
        ("caps", same(json!({"hourly": 15, "daily": 80}))),
        ("caps", (json!({}), None)),
        ("presence", same(json!("country"))),
        ("presence", (json!("local"), None)),
    ];
    for (field, (stored, written)) in table {
        let mut document = old();
        document[field] = stored.clone();
        let campaign = read(document);
        let json = serde_json::to_value(&campaign).expect("JSON");
        assert_eq!(json.get(field), written.as_ref(), "{field} {stored}");
        assert_eq!(read(json), campaign, "{field} {stored}");
    }
    for (field, bad) in [
        ("routing", json!({"stratgy": "cost"})),
        ("routing", json!({"strategy": "cheap"})),
        ("routing", json!({"weights": {"cost": 1}})),
        ("routing", json!(null)),
        ("caps", json!({"hourly": -1})),
        ("caps", json!({"weekly": 1})),
        ("presence", json!("state")),
    ] {
        let mut document = old();
        document[field] = bad.clone();
        let read = serde_json::from_value::<Campaign>(document);
        assert!(read.is_err(), "{field} {bad}");
    }
}

#[test]
fn every_order_in_every_state() {
    use CampaignState as S;
    let orders = [
        Order::Start,
        Order::Pause,
        Order::Resume,
        Order::Drain,
        Order::Stop,
    ];
    // Rows: state; columns: start, pause, resume, drain, stop. `None` is a refusal.
    let table = [
        (
            S::Draft,
            [Some(S::Running), None, None, None, Some(S::Stopped)],
        ),
        (
            S::Running,
            [
                Some(S::Running),
                Some(S::Paused),
                Some(S::Running),
                Some(S::Draining),
                Some(S::Stopped),
            ],
        ),
        (
            S::Paused,
            [
                Some(S::Running),
                Some(S::Paused),
                Some(S::Running),
                None,
                Some(S::Stopped),
            ],
        ),
        (
            S::Draining,
            [
                None,
                Some(S::Paused),
                Some(S::Running),
                Some(S::Draining),
                Some(S::Stopped),
            ],
        ),
        (S::Stopped, [None, None, None, None, Some(S::Stopped)]),
        (
            S::Done,
            [Some(S::Running), None, None, None, Some(S::Stopped)],
        ),
    ];
    assert_eq!(table.len(), S::ALL.len());
    for (state, row) in table {
        for (order, expected) in orders.into_iter().zip(row) {
            assert_eq!(
                order.apply(state).ok(),
                expected,
                "{order:?} while {state:?}"
            );
        }
    }
}
