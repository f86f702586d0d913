//! What is committed must be what the code says: schemas, and payloads of every released version.

use std::fs;
use std::path::PathBuf;

use dialfleet_engine::message::{CallEventMessage, Control, FillSlot, LeadBatch, RecordingEvent};
use dialfleet_tests::schemas;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[test]
fn schemas_are_what_the_types_say() {
    for (path, text) in schemas::all() {
        let committed = fs::read_to_string(schemas::folder().join(&path)).unwrap_or_default();
        assert!(
            committed == text,
            "schemas/{path} is not what the types say: run `cargo xtask schemas`"
        );
    }
}

fn fixtures(kind: &str) -> Vec<(PathBuf, Value)> {
    let folder = schemas::folder().join("fixture").join(kind);
    let mut found: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            (path, value)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!found.is_empty(), "no fixture of {kind}");
    found
}

/// Every payload ever released decodes, means the same when written again, and fits its schema.
fn released<T: DeserializeOwned + Serialize>(kind: &str) {
    let schema: Value = serde_json::from_str(
        &fs::read_to_string(schemas::folder().join(format!("message/{kind}.json"))).unwrap(),
    )
    .unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (path, value) in fixtures(kind) {
        let decoded: T = serde_json::from_value(value.clone())
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(
            serde_json::to_value(&decoded).unwrap(),
            value,
            "{}",
            path.display()
        );
        assert!(
            validator.is_valid(&value),
            "{} does not fit its schema",
            path.display()
        );
    }
}

#[test]
fn released_payloads_decode_for_ever() {
    released::<LeadBatch>("lead_batch.v1");
    released::<FillSlot>("fill_slot.v1");
    released::<CallEventMessage>("call_event.v1");
    released::<RecordingEvent>("recording_event.v1");
    released::<Control>("control.v1");
}
