//! Messages from the broker: each is worked off or put aside with its reason, once, and none keeps
//! those behind it waiting.

use dialfleet_engine::Role;
use dialfleet_engine::message::{CallEventMessage, Control, LeadBatch, MAX_MESSAGE};
use dialfleet_tests::sample;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use serde_json::{Value, json};

use crate::cases;
use crate::mutate::{Edit, Spoil, edits, mutated, spoiled, spoils};
use crate::worker::{Raw, Settled, Worker};

/// Reasons are shown and logged: something is said, and not whom it is about.
fn check(settled: &Settled) -> TestCaseResult {
    match settled {
        Settled::Acked => {}
        Settled::Parked(reason) => {
            prop_assert!(!reason.is_empty() && reason.len() < 1_000, "{}", reason);
            prop_assert!(!reason.chars().any(char::is_control), "{:?}", reason);
            prop_assert!(!reason.contains("7946"), "{}", reason);
        }
        Settled::Dropped => prop_assert!(false, "it would come again"),
    }
    Ok(())
}

/// A message in the wrong.
#[derive(Debug, Clone)]
enum Wrong {
    Bytes(Vec<u8>),
    Edited(Vec<Edit>),
    Spoiled(Vec<Spoil>),
    Kind(String),
    Fine,
}

fn wrong() -> impl Strategy<Value = Wrong> {
    let kinds = [
        "lead_batch.v1",
        "fill_slot.v1",
        "call_event.v1",
        "control.v1",
        "lead_batch.v2",
        "call_event",
        "",
        " ",
        "\0",
        "LEAD_BATCH.V1",
    ];
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Wrong::Bytes),
        3 => edits().prop_map(Wrong::Edited),
        6 => spoils().prop_map(Wrong::Spoiled),
        1 => select(kinds.to_vec()).prop_map(|kind| Wrong::Kind(kind.to_owned())),
        1 => "\\PC{0,80}".prop_map(Wrong::Kind),
        2 => Just(Wrong::Fine),
    ]
}

fn raw(good: &Value, wrong: &Wrong, id: Option<&str>) -> Raw {
    let (kind, body) = match wrong {
        Wrong::Bytes(bytes) => (None, bytes.clone()),
        Wrong::Edited(edits) => (None, mutated(good.to_string().as_bytes(), edits)),
        Wrong::Spoiled(spoils) => (None, spoiled(good.clone(), spoils)),
        Wrong::Kind(kind) => (Some(kind.clone()), good.to_string().into_bytes()),
        Wrong::Fine => (None, good.to_string().into_bytes()),
    };
    Raw {
        id: id.map(str::to_owned),
        kind,
        body,
    }
}

fn batch() -> impl Strategy<Value = Vec<(Wrong, Option<&'static str>)>> {
    let ids = select(&[
        "",
        "1",
        "1",
        "order-7",
        "a\nb",
        "\0",
        "+442079460119",
        "é/../x",
    ]);
    prop::collection::vec((wrong(), prop::option::of(ids)), 1..8)
}

#[test]
fn lead_batches() {
    let worker = Worker::new();
    let good = worker.lead_batch();
    cases(600, batch(), |batch| {
        let messages: Vec<Raw> = batch
            .iter()
            .map(|(wrong, id)| raw(&good, wrong, *id))
            .collect();
        for (message, settled) in messages.iter().zip(worker.work(Role::Ingest, &messages)) {
            check(&settled)?;
            let read = serde_json::from_slice::<LeadBatch>(&message.body);
            prop_assert!(settled != Settled::Acked || read.is_ok());
        }
        Ok(())
    });
    // What came of it can be kept by both stores.
    let page = worker
        .fleet
        .store
        .list_leads(&worker.campaign.id, None, None, 100_000);
    let leads = worker.runtime.block_on(page).unwrap().items;
    assert!(leads.len() >= 3);
    for lead in leads {
        bson::serialize_to_vec(&lead).unwrap();
    }
}

#[test]
fn every_row_of_a_customers_message_is_accounted_for() {
    let worker = Worker::new();
    let rows = |n: u64, line: Value, phone: &str| -> Value {
        let rows =
            (0..n).map(|i| json!({ "phone": format!("{phone}{:04}", i + 100), "line": line }));
        json!({ "campaign": worker.campaign.id, "leads": rows.collect::<Vec<_>>() })
    };
    let messages = [
        // The same line in every row, and lines that no store can count.
        rows(5, json!(1), "+1555010"),
        rows(5, json!(u64::MAX), "+1555010"),
        rows(500, Value::Null, "x"),
        // Again, and under the id of another message.
        rows(5, json!(1), "+1555010"),
        rows(3, json!(1), "bad"),
    ];
    let messages = messages.map(|body| Raw {
        id: Some("always the same".to_owned()),
        ..Raw::new(body.to_string())
    });
    let settled = worker.work(Role::Ingest, &messages);
    assert!(
        settled.iter().all(|settled| *settled == Settled::Acked),
        "{settled:?}"
    );
    let store = &worker.fleet.store;
    let imports = worker
        .runtime
        .block_on(store.list_imports(&worker.campaign.id, 100));
    let mut totals: Vec<_> = imports
        .unwrap()
        .into_iter()
        .filter(|import| import.id.as_str() != "imp_mine")
        .map(|import| {
            let total = import.total();
            let errors = worker
                .runtime
                .block_on(store.row_errors(&import.id, 0, 1_000))
                .unwrap();
            (
                total.accepted,
                total.duplicate,
                total.rejected,
                errors.len(),
            )
        })
        .collect();
    totals.sort_unstable();
    assert_eq!(
        totals,
        [(0, 0, 3, 3), (0, 0, 500, 500), (0, 5, 0, 5), (5, 0, 0, 0)]
    );
}

#[test]
fn lead_batches_that_are_not_worked_off() {
    let worker = Worker::new();
    let with = |member: &str, value: Value| {
        let mut batch = worker.lead_batch();
        batch[member] = value;
        Raw::new(batch.to_string())
    };
    let row = |member: &str, value: Value| {
        let mut batch = worker.lead_batch();
        batch["leads"][0][member] = value;
        Raw::new(batch.to_string())
    };
    let good = worker.lead_batch().to_string();
    let table = [
        (Raw::new(""), "EOF"),
        (Raw::new("null"), "invalid type"),
        (Raw::new("[".repeat(100_000)), "invalid type: sequence"),
        (Raw::new(vec![b' '; MAX_MESSAGE + 1]), "16 MiB"),
        (Raw::new(format!("{good}{good}")), "trailing"),
        (Raw::new(format!("\u{feff}{good}")), "expected value"),
        (
            Raw {
                kind: Some("lead_batch.v2".to_owned()),
                ..Raw::new(good.clone())
            },
            "expected lead_batch.v1, got lead_batch.v2",
        ),
        (
            Raw {
                kind: Some(format!("\u{1b}[2J{}", "x".repeat(5_000))),
                ..Raw::new(good.clone())
            },
            "got \\u{1b}",
        ),
        (with("campaign", json!("")), "not a valid CampaignId"),
        (with("campaign", json!("a\nb")), "not a valid CampaignId"),
        (with("campaign", json!("x".repeat(100_000))), "too long"),
        (
            with("campaign", json!("cmp_nobody")),
            "no campaign cmp_nobody",
        ),
        (with("campaign", Value::Null), "invalid type: null"),
        (with("leads", json!([])), "1 to 500"),
        (
            with("leads", json!(vec![json!({ "phone": "1" }); 501])),
            "1 to 500",
        ),
        (with("leads", json!("+442079460119")), "invalid type"),
        (
            with("import", json!({ "id": "imp_nobody", "batch": 0 })),
            "no import imp_nobody",
        ),
        (
            with("import", json!({ "id": "imp_theirs", "batch": 0 })),
            "no import imp_theirs",
        ),
        (
            with("import", json!({ "id": "imp_mine", "batch": -1 })),
            "invalid value",
        ),
        (
            with(
                "import",
                json!({ "id": "imp_mine", "batch": 4_294_967_296_u64 }),
            ),
            "invalid value",
        ),
        (with("tenant", json!("ten_other")), "unknown field"),
        (with("+442079460119", json!(1)), "unknown field"),
        (
            row("phone", json!(442_079_460_119_u64)),
            "invalid type: integer",
        ),
        (row("phone", Value::Null), "invalid type: null"),
        (
            row(
                "phone",
                serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap(),
            ),
            "invalid type: sequence",
        ),
        (row("line", json!(-1)), "invalid value"),
        (row("line", json!(1.5)), "invalid type"),
        (row("vars", json!({ "a": 1 })), "invalid type"),
        (row("priority", json!(1.5)), "did not match"),
    ];
    let messages: Vec<Raw> = table.iter().map(|(raw, _)| raw.clone()).collect();
    for (settled, (raw, needle)) in worker.work(Role::Ingest, &messages).iter().zip(&table) {
        check(settled).unwrap();
        let shown = String::from_utf8_lossy(&raw.body[..raw.body.len().min(100)]);
        let Settled::Parked(reason) = settled else {
            panic!("taken: {shown}")
        };
        assert!(reason.contains(needle), "{needle}: {reason}\n{shown}");
    }
    // A number that no batch of it has does not end an import.
    let batch = with("import", json!({ "id": "imp_mine", "batch": 77 }));
    assert_eq!(worker.work(Role::Ingest, &[batch]), [Settled::Acked]);
    let id = sample::import_id("mine");
    let import = worker.fleet.store.import(&id);
    assert!(
        !worker
            .runtime
            .block_on(import)
            .unwrap()
            .unwrap()
            .is_complete()
    );
}

#[test]
fn call_events() {
    let worker = Worker::new();
    let good = worker.call_event();
    cases(600, batch(), |batch| {
        let messages: Vec<Raw> = batch
            .iter()
            .map(|(wrong, id)| raw(&good, wrong, *id))
            .collect();
        for (message, settled) in messages.iter().zip(worker.work(Role::Events, &messages)) {
            check(&settled)?;
            if settled == Settled::Acked {
                let read: CallEventMessage = serde_json::from_slice(&message.body).unwrap();
                prop_assert!(bson::serialize_to_vec(&read).is_ok(), "{:?}", read);
            }
        }
        Ok(())
    });
}

#[test]
fn call_events_that_are_not_worked_off() {
    let worker = Worker::new();
    let with = |member: &str, value: Value| {
        let mut event = worker.call_event();
        event[member] = value;
        Raw::new(event.to_string())
    };
    let parked = [
        with("attempt", json!("nothing")),
        with("attempt", json!("cmp_a:r:-1")),
        with("carrier", json!("")),
        with("call_id", json!("")),
        with("call_id", json!("x".repeat(201))),
        with("event_key", json!("a\0b")),
        with("event_key", json!("x".repeat(300))),
        with("leg", json!(256)),
        with("raw", json!("x".repeat(16 * 1024 + 1))),
        with("headers", json!({ "a\0b": "c" })),
        with("headers", json!({ "a": "c".repeat(501) })),
        with(
            "headers",
            Value::Object((0..17).map(|i| (i.to_string(), json!(""))).collect()),
        ),
        with("statuses", json!(vec![json!({ "is": "ringing" }); 9])),
        with("statuses", json!([{ "is": "exploded" }])),
        with("received_at", json!(u64::MAX)),
    ];
    for (raw, settled) in parked.iter().zip(worker.work(Role::Events, &parked)) {
        check(&settled).unwrap();
        assert_ne!(
            settled,
            Settled::Acked,
            "{}",
            String::from_utf8_lossy(&raw.body)
        );
    }
    let taken = [
        with("attempt", json!("cmp_a:nobody:1")),
        with("carrier", json!("nobody")),
        with("leg", json!(255)),
        with("statuses", json!([])),
        with("received_at", json!(i64::MIN)),
        with("received_at", json!(i64::MAX)),
        with(
            "statuses",
            json!([{ "is": "ended", "ending": "completed", "duration_s": u32::MAX, "sip": u16::MAX }]),
        ),
        with("call_id", json!("../../Accounts")),
    ];
    let settled = worker.work(Role::Events, &taken);
    assert!(
        settled.iter().all(|settled| *settled == Settled::Acked),
        "{settled:?}"
    );
}

#[test]
fn free_slots() {
    let worker = Worker::new();
    let good = worker.fill_slot();
    cases(600, batch(), |batch| {
        let messages: Vec<Raw> = batch
            .iter()
            .map(|(wrong, id)| raw(&good, wrong, *id))
            .collect();
        for settled in worker.work(Role::Dial, &messages) {
            check(&settled)?;
        }
        Ok(())
    });
    let odd = [
        json!({ "campaign": "cmp_nobody", "slot": 0, "gen": 0 }),
        json!({ "campaign": "cmp_a", "slot": u32::MAX, "gen": u64::MAX, "freed_at": i64::MIN }),
    ];
    let odd = odd.map(|body| Raw::new(body.to_string()));
    let settled = worker.work(Role::Dial, &odd);
    assert_eq!(settled, [Settled::Acked, Settled::Acked]);
}

#[test]
fn control_messages() {
    let good = json!({ "changed": "do_not_call", "tenant": "ten_a", "phone": "+442079460119" });
    cases(2_000, wrong(), |wrong| {
        let body = raw(&good, &wrong, None).body;
        if let Ok(control) = serde_json::from_slice::<Control>(&body) {
            prop_assert!(!control.encode().is_empty());
        }
        Ok(())
    });
}
