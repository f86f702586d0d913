//! Positions in lists. Opaque to everybody else: base64url of the last item's sort key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bson::{Document, doc};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{Answer, Page, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The position after an item of a list that is sorted newest first.
pub(super) type Newest = (Timestamp, String);

fn encode<K: Serialize>(key: &K) -> String {
    // Our keys are texts and numbers, which always have a JSON form.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

/// Reads a position that [`page`] gave out.
///
/// # Errors
/// Somebody made it up.
pub(super) fn decode<K: DeserializeOwned>(cursor: Option<&str>) -> Answer<Option<K>> {
    let Some(text) = cursor else {
        return Ok(None);
    };
    let key = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    key.map(Some)
        .ok_or_else(|| StoreError::Refused("the cursor is not one that was given out".to_owned()))
}

/// A page from one item more than it may have, which tells whether there is another page.
pub(super) fn page<T, K: Serialize>(
    mut items: Vec<T>,
    limit: usize,
    key: impl Fn(&T) -> K,
) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let cursor = if more {
        items.last().map(|last| encode(&key(last)))
    } else {
        None
    };
    Page { items, cursor }
}

/// Narrows `filter` to what comes after `after` in the order `{field: -1, _id: -1}`.
pub(super) fn after_newest(filter: &mut Document, field: &str, after: Option<Newest>) {
    if let Some((at, id)) = after {
        let at = at.millis();
        // The first condition is what an index can begin with.
        filter.insert(field, doc! { "$lte": at });
        filter.insert(
            "$or",
            vec![doc! { field: { "$lt": at } }, doc! { "_id": { "$lt": id } }],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_the_next_page_and_the_last_page_has_none() {
        let first = page(vec![3, 2, 1], 2, |n| *n);
        assert_eq!(first.items, [3, 2]);
        assert_eq!(
            decode::<i32>(first.cursor.as_deref()).expect("our own"),
            Some(2)
        );
        assert_eq!(page(vec![3, 2], 2, |n| *n).cursor, None);
        assert_eq!(decode::<i32>(None).expect("the beginning"), None);
    }

    #[test]
    fn a_made_up_cursor_is_refused() {
        for text in ["", "!", "bm8", "eyJhIjoxfQ"] {
            assert!(decode::<Newest>(Some(text)).is_err(), "{text:?}");
        }
    }
}
