//! Positions in lists: the last item's sort key, as base64url of JSON. Not the plain key, because
//! a lead's id may be a phone number, and cursors end up in URLs and logs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{Answer, Page, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where a list that is sorted newest first goes on: after this time and id.
pub(super) struct After {
    pub(super) at: i64,
    pub(super) id: String,
}

/// Reads a cursor of a list that is sorted newest first. Without one, everything is after it.
pub(super) fn newest_first(cursor: Option<&str>) -> Answer<After> {
    let key = decode::<(Timestamp, String)>(cursor)?;
    Ok(key.map_or(
        After {
            at: i64::MAX,
            id: String::new(),
        },
        |(at, id)| After {
            at: at.millis(),
            id,
        },
    ))
}

/// Reads a cursor that [`page`] gave out.
pub(super) fn decode<K: DeserializeOwned>(cursor: Option<&str>) -> Answer<Option<K>> {
    cursor
        .map(|text| {
            let json = URL_SAFE_NO_PAD.decode(text).ok();
            json.and_then(|json| serde_json::from_slice(&json).ok())
                .ok_or_else(|| {
                    StoreError::Refused("the cursor is not one that was given out".to_owned())
                })
        })
        .transpose()
}

/// A page of what was found with a limit of one more than it may have.
pub(super) fn page<T, K: Serialize>(
    mut items: Vec<T>,
    limit: usize,
    key: impl Fn(&T) -> K,
) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let cursor = items.last().filter(|_| more).map(|last| {
        // Our keys are texts and numbers, which always have a JSON form.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&key(last)).unwrap_or_default())
    });
    Page { items, cursor }
}
