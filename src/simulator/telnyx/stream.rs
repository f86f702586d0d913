//! Audio to a WebSocket. Nobody connects to it: what is at the other end is known by its address.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::Front;
use super::wire::ApiError;
use crate::heard::Sound;
use crate::network::CallView;
use crate::pace::{STREAM, unreachable};
use crate::timetable::CallStatus;

pub(super) fn start(
    front: &Arc<Front>,
    call: &CallView,
    (url, params): (String, BTreeMap<String, String>),
    state: Option<String>,
) -> Result<(), ApiError> {
    let (front, call_id) = (front.clone(), call.call_id.clone());
    let (over, stopped) = {
        let mut lines = front.lines();
        let line = lines.get_mut(&call_id).ok_or_else(ApiError::not_found)?;
        line.stream = line.over.child_token();
        (line.over.clone(), line.stream.clone())
    };
    let tasks = front.office.tasks.clone();
    tasks.spawn(async move {
        let tell = |name: &str, extra: &Value| {
            if let Some(line) = front.lines().get_mut(&call_id) {
                let event = (name, CallStatus::InProgress);
                line.tell(&front, event, state.clone(), extra);
            }
        };
        let about = json!({"stream_url": url});
        if unreachable(&url) {
            let failed = json!({
                "stream_url": url,
                "failure_reason": "connection_failed",
            });
            return tell("streaming.failed", &failed);
        }
        front.office.hear(&call_id, Sound::Streamed { url, params });
        tell("streaming.started", &about);
        let end = sleep(front.office.scaled(STREAM));
        let stop = front.office.stop.clone();
        tokio::select! {
            () = stop.cancelled() => return,
            () = over.cancelled() => {}
            () = stopped.cancelled() => {}
            () = end => {}
        }
        tell("streaming.stopped", &about);
    });
    Ok(())
}
