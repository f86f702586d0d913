//! How a list goes on behind a position.

use bson::{Document, doc};

use crate::page::Newest;

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
