//! The public shapes, generated from the types: messages and documents.

use std::path::PathBuf;

use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::flow::Flow;
use dialfleet_domain::import::{Import, RowError};
use dialfleet_domain::lead::Lead;
use dialfleet_domain::recording::{Recording, Transcript};
use dialfleet_engine::create::NewCampaign;
use dialfleet_engine::message::{
    CallEventMessage, Control, FillSlot, LeadBatch, Payload, RecordingEvent,
};
use schemars::{JsonSchema, schema_for};

/// The folder of the schemas.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schemas")
}

/// Every schema: file name below [`folder`], and its text.
#[must_use]
pub fn all() -> Vec<(String, String)> {
    vec![
        schema::<LeadBatch>(&message(LeadBatch::KIND)),
        schema::<FillSlot>(&message(FillSlot::KIND)),
        schema::<CallEventMessage>(&message(CallEventMessage::KIND)),
        schema::<RecordingEvent>(&message(RecordingEvent::KIND)),
        schema::<Control>(&message(Control::KIND)),
        schema::<Flow>("flow.v1.json"),
        schema::<NewCampaign>("api/new_campaign.json"),
        schema::<Campaign>("mongo/campaigns.json"),
        schema::<Lead>("mongo/leads.json"),
        schema::<Attempt>("mongo/attempts.json"),
        schema::<Recording>("mongo/recordings.json"),
        schema::<Transcript>("mongo/transcripts.json"),
        schema::<Import>("mongo/imports.json"),
        schema::<RowError>("mongo/row_errors.json"),
    ]
}

fn message(kind: &str) -> String {
    format!("message/{kind}.json")
}

fn schema<T: JsonSchema>(path: &str) -> (String, String) {
    let text = serde_json::to_string_pretty(&schema_for!(T)).expect("a schema is JSON");
    (path.to_owned(), text + "\n")
}
