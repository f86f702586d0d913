//! The shapes of reads.

use std::collections::HashMap;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use dialfleet_engine::port::store::Answer;
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::options::{FindOneOptions, FindOptions, Hint};
use serde::de::DeserializeOwned;

use super::{LIST_TIME, READ_TIME, error};
use crate::unreadable::{Unreadable, corrupt};

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

/// The readable documents of a list, in one reply where the size allows. Where one cannot be read,
/// the list goes on behind it.
pub(super) async fn list<T: DeserializeOwned>(
    bad: &Unreadable,
    from: &Collection<impl Send + Sync>,
    what: &'static str,
    list: List,
) -> Answer<Vec<T>> {
    let mut most = list.limit;
    // To MongoDB a limit of 0 is no limit.
    while most > 0 {
        let options = FindOptions::builder()
            .sort(list.sort.clone())
            .limit(i64::try_from(most).unwrap_or(i64::MAX))
            .batch_size(one_reply(most))
            .hint(list.index.map(|name| Hint::Name(name.to_owned())))
            .build();
        let found = raw(from, what, list.filter.clone(), options).await?;
        let mut items = bad.readable(found.iter().map(|document| decode(what, document)));
        if items.len() >= list.limit || found.len() < most {
            items.truncate(list.limit);
            return Ok(items);
        }
        most = list.limit + (found.len() - items.len());
    }
    Ok(Vec::new())
}

/// Every readable document that a filter leaves.
pub(super) async fn all<T: DeserializeOwned>(
    bad: &Unreadable,
    from: &Collection<impl Send + Sync>,
    what: &'static str,
    filter: Document,
    options: FindOptions,
) -> Answer<Vec<T>> {
    let found = raw(from, what, filter, options).await?;
    Ok(bad.readable(found.iter().map(|document| decode(what, document))))
}

/// Every document that a filter leaves, or an error if one of them cannot be read.
pub(super) async fn every<T: DeserializeOwned>(
    bad: &Unreadable,
    from: &Collection<impl Send + Sync>,
    what: &'static str,
    filter: Document,
    options: FindOptions,
) -> Answer<Vec<T>> {
    let found = raw(from, what, filter, options).await?;
    let read: Answer<Vec<T>> = found
        .iter()
        .map(|document| decode(what, document))
        .collect();
    read.inspect_err(|error| bad.remember(error))
}

async fn raw(
    from: &Collection<impl Send + Sync>,
    what: &'static str,
    filter: Document,
    options: FindOptions,
) -> Answer<Vec<RawDocumentBuf>> {
    within(LIST_TIME, what, async {
        from.clone_with_type::<RawDocumentBuf>()
            .find(filter)
            .with_options(options)
            .await?
            .try_collect()
            .await
    })
    .await
}

fn decode<T: DeserializeOwned>(what: &'static str, document: &RawDocumentBuf) -> Answer<T> {
    bson::deserialize_from_slice(document.as_bytes()).map_err(|error| {
        let id = document.get_str("_id").unwrap_or("of unknown id");
        corrupt(what, id, &error.to_string())
    })
}

/// The first document of an order.
pub(super) async fn first<T: DeserializeOwned>(
    bad: &Unreadable,
    from: &Collection<impl Send + Sync>,
    what: &'static str,
    filter: Document,
    sort: Option<Document>,
    fields: Option<Document>,
) -> Answer<Option<T>> {
    let options = FindOneOptions::builder()
        .sort(sort)
        .projection(fields)
        .build();
    let from = from.clone_with_type::<RawDocumentBuf>();
    let found = within(READ_TIME, what, from.find_one(filter).with_options(options)).await?;
    let read = found.map(|document| decode(what, &document)).transpose();
    read.inspect_err(|error| bad.remember(error))
}

/// The batch size at which `most` documents are one reply. Of 101 the default would ask again; and so
/// it would after a batch that is full, to hear that there is nothing more.
pub(super) fn one_reply(most: usize) -> u32 {
    u32::try_from(most.saturating_add(1)).unwrap_or(u32::MAX)
}

/// Documents by id, in the order of `ids`, with gaps.
pub(super) async fn by_id<'a, T>(
    bad: &Unreadable,
    from: &Collection<impl Send + Sync>,
    what: &'static str,
    ids: impl Iterator<Item = &'a str> + Clone,
    id: impl Fn(&T) -> &str,
) -> Answer<Vec<Option<T>>>
where
    T: DeserializeOwned + Clone,
{
    let wanted: Vec<&str> = ids.clone().collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let options = FindOptions::builder()
        .batch_size(one_reply(wanted.len()))
        .build();
    let filter = doc! { "_id": { "$in": wanted } };
    let time = within(READ_TIME, what, async {
        Ok(every::<T>(bad, from, what, filter, options).await)
    });
    let found = time.await??;
    let found: HashMap<&str, &T> = found.iter().map(|item| (id(item), item)).collect();
    Ok(ids.map(|id| found.get(id).copied().cloned()).collect())
}
