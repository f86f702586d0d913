//! The shapes of reads.

use std::collections::HashMap;
use std::time::Duration;

use bson::{Document, doc};
use dialfleet_engine::port::store::Answer;
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::options::{FindOneOptions, FindOptions, Hint};
use serde::de::DeserializeOwned;

use super::{LIST_TIME, READ_TIME, error};

/// A read, bounded in time.
pub(super) async fn within<T, F>(time: Duration, what: &'static str, read: F) -> Answer<T>
where
    F: IntoFuture<Output = mongodb::error::Result<T>, IntoFuture: Send>,
{
    match tokio::time::timeout(time, read.into_future()).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(error::on_read(what, &e)),
        Err(_) => Err(error::read_timed_out()),
    }
}

/// Which documents, in which order, and how many.
pub(super) struct List {
    pub(super) filter: Document,
    pub(super) sort: Document,
    pub(super) limit: usize,
    /// Given where the planner might take an index over all of history.
    pub(super) index: Option<&'static str>,
}

/// Every document of a list, in one reply where the size allows.
pub(super) async fn list<T>(from: &Collection<T>, what: &'static str, list: List) -> Answer<Vec<T>>
where
    T: DeserializeOwned + Send + Sync + Unpin,
{
    // To MongoDB a limit of 0 is no limit.
    if list.limit == 0 {
        return Ok(Vec::new());
    }
    let options = FindOptions::builder()
        .sort(list.sort)
        .limit(i64::try_from(list.limit).unwrap_or(i64::MAX))
        .batch_size(u32::try_from(list.limit).unwrap_or(u32::MAX))
        .hint(list.index.map(|name| Hint::Name(name.to_owned())))
        .build();
    all(from, what, list.filter, options).await
}

/// Every document that a filter leaves.
pub(super) async fn all<T>(
    from: &Collection<T>,
    what: &'static str,
    filter: Document,
    options: FindOptions,
) -> Answer<Vec<T>>
where
    T: DeserializeOwned + Send + Sync + Unpin,
{
    within(LIST_TIME, what, async {
        from.find(filter)
            .with_options(options)
            .await?
            .try_collect()
            .await
    })
    .await
}

/// The first document of an order.
pub(super) async fn first<T>(
    from: &Collection<T>,
    what: &'static str,
    filter: Document,
    sort: Option<Document>,
    fields: Option<Document>,
) -> Answer<Option<T>>
where
    T: DeserializeOwned + Send + Sync,
{
    let options = FindOneOptions::builder()
        .sort(sort)
        .projection(fields)
        .build();
    within(READ_TIME, what, from.find_one(filter).with_options(options)).await
}

/// Documents by id, in the order of `ids`, with gaps.
pub(super) async fn by_id<'a, T>(
    from: &Collection<T>,
    what: &'static str,
    ids: impl Iterator<Item = &'a str> + Clone,
    id: impl Fn(&T) -> &str,
) -> Answer<Vec<Option<T>>>
where
    T: DeserializeOwned + Clone + Send + Sync + Unpin,
{
    let wanted: Vec<&str> = ids.clone().collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let wanted_len = wanted.len();
    let filter = doc! { "_id": { "$in": wanted } };
    // One reply, where the default would give 101 documents and then ask again.
    let reply = u32::try_from(wanted_len).unwrap_or(u32::MAX);
    let find = async {
        from.find(filter)
            .batch_size(reply)
            .await?
            .try_collect::<Vec<T>>()
            .await
    };
    let found = within(READ_TIME, what, find).await?;
    let found: HashMap<&str, &T> = found.iter().map(|item| (id(item), item)).collect();
    Ok(ids.map(|id| found.get(id).copied().cloned()).collect())
}
