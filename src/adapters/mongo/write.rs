//! The shapes of writes: one insert and one compare-and-set, each for a whole batch in one round
//! trip, each with an answer for every item.

use bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};
use dialfleet_engine::port::store::{Answer, Cas, StoreError};
use mongodb::error::{ErrorKind, InsertManyError};
use mongodb::options::UpdateModifications;
use mongodb::{Collection, Database};
use serde::Serialize;

use super::error::{self, Cause};
use super::{MAJORITY_TIME, WRITE_TIME};

/// Updates one command carries at most.
const MAX_UPDATES: usize = 500;

/// A write, bounded in time.
pub(super) async fn within<T, F>(write: F) -> Answer<T>
where
    F: IntoFuture<Output = mongodb::error::Result<T>, IntoFuture: Send>,
{
    match tokio::time::timeout(WRITE_TIME, write.into_future()).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(error::on_write(&e)),
        Err(_) => Err(error::write_timed_out()),
    }
}

/// As [`within`], for the write of one document: the inner error is the name of the unique index
/// that refused it.
pub(super) async fn within_one<T, F>(write: F) -> Answer<Result<T, String>>
where
    F: IntoFuture<Output = mongodb::error::Result<T>, IntoFuture: Send>,
{
    match tokio::time::timeout(WRITE_TIME, write.into_future()).await {
        Ok(Ok(value)) => Ok(Ok(value)),
        Ok(Err(e)) => error::duplicate_of(&e)
            .map(str::to_owned)
            .map_or_else(|| Err(error::on_write(&e)), |i| Ok(Err(i))),
        Err(_) => Err(error::write_timed_out()),
    }
}

/// What became of one document of an insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Insertion {
    /// It is there, on a majority.
    Done,
    /// This unique index refused it.
    Duplicate(String),
    /// The server gave this code for it.
    Failed(i32),
    /// It is there, but a majority did not say so in time.
    Unconfirmed,
}

/// Inserts documents, each on its own.
///
/// # Errors
/// Nothing is known of any of them.
pub(super) async fn insert<T: Serialize + Send + Sync>(
    into: &Collection<T>,
    documents: &[T],
) -> Answer<Vec<Insertion>> {
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    let sent = into.insert_many(documents).ordered(false);
    let Ok(answer) = tokio::time::timeout(WRITE_TIME, sent.into_future()).await else {
        return Err(error::write_timed_out());
    };
    match answer {
        Ok(_) => Ok(vec![Insertion::Done; documents.len()]),
        Err(e) => match e.kind.as_ref() {
            ErrorKind::InsertMany(many) => Ok(insertions(many, documents.len())),
            _ => Err(error::on_write(&e)),
        },
    }
}

fn insertions(many: &InsertManyError, len: usize) -> Vec<Insertion> {
    let rest = if many.write_concern_error.is_some() {
        Insertion::Unconfirmed
    } else {
        Insertion::Done
    };
    let mut answers = vec![rest; len];
    for e in many.write_errors.iter().flatten() {
        if let Some(answer) = answers.get_mut(e.index) {
            *answer = match error::duplicate(e.code, &e.message) {
                Some(index) => Insertion::Duplicate(index.to_owned()),
                None => Insertion::Failed(e.code),
            };
        }
    }
    answers
}

/// As [`insert`], for callers to whom a document that was there is as good as a new one: `Some` is
/// the index that refused it.
pub(super) async fn insert_or_find<T: Serialize + Send + Sync>(
    into: &Collection<T>,
    documents: &[T],
) -> Answer<Vec<Option<String>>> {
    insert(into, documents)
        .await?
        .into_iter()
        .map(|insertion| match insertion {
            Insertion::Done => Ok(None),
            Insertion::Duplicate(index) => Ok(Some(index)),
            Insertion::Failed(code) => Err(error::by_code(
                code,
                Box::new(Cause(format!("an insert failed with code {code}"))),
            )),
            Insertion::Unconfirmed => Err(StoreError::Unclear(Box::new(Cause(
                "an insert was not confirmed by a majority".to_owned(),
            )))),
        })
        .collect()
}

/// What a compare-and-set writes.
pub(super) enum Change {
    /// Update operators.
    Fields(Document),
    /// The whole document.
    Whole(RawDocumentBuf),
}

/// One compare-and-set: `expected` names one document by `_id` and says how it must look.
pub(super) struct CompareAndSet {
    pub(super) expected: Document,
    pub(super) change: Change,
}

/// Runs compare-and-sets, in their order, each on its own. One that a unique index refuses is lost.
///
/// One goes out as a plain update, which the driver may repeat under its own number. More than one
/// share a command and thereby one wait for the majority.
///
/// # Errors
/// Nothing is known of any of them.
pub(super) async fn compare_and_set(
    db: &Database,
    collection: &str,
    items: Vec<CompareAndSet>,
) -> Answer<Vec<Cas>> {
    if items.len() == 1 {
        let mut won = Vec::with_capacity(1);
        for item in items {
            won.push(one(db, collection, item).await?);
        }
        return Ok(won);
    }
    let updates: Vec<_> = items.into_iter().map(statement).collect::<Result<_, _>>()?;
    let mut answers = Vec::with_capacity(updates.len());
    for chunk in updates.chunks(MAX_UPDATES) {
        let refused = bulk(db, collection, chunk).await?;
        let from = answers.len();
        answers.resize(from + chunk.len(), Cas::Won);
        for (index, code) in refused {
            match (code, answers.get_mut(from + index)) {
                (error::IMMUTABLE_FIELD | error::DUPLICATE_KEY, Some(answer)) => {
                    *answer = Cas::Lost;
                }
                _ => {
                    return Err(error::by_code(
                        code,
                        Box::new(Cause(format!("an update failed with code {code}"))),
                    ));
                }
            }
        }
    }
    Ok(answers)
}

/// One compare-and-set; lost also if a unique index refuses it.
pub(super) async fn one(db: &Database, collection: &str, item: CompareAndSet) -> Answer<Cas> {
    let CompareAndSet { expected, change } = item;
    let result = match change {
        Change::Fields(fields) => {
            let documents = db.collection::<Document>(collection);
            within_one(documents.update_one(expected, fields)).await?
        }
        Change::Whole(document) => {
            let documents = db.collection::<RawDocumentBuf>(collection);
            within_one(documents.replace_one(expected, document)).await?
        }
    };
    Ok(match result {
        Ok(result) if result.matched_count == 1 => Cas::Won,
        Ok(_) | Err(_) => Cas::Lost,
    })
}

/// A compare-and-set as a statement of a bulk.
///
/// The server counts the matches of a bulk but does not say which they were, and reading back
/// cannot tell our write from an equal one. So each statement is an upsert whose insert is
/// impossible: where nothing matches it would have to change `_id`, which is an error of that
/// statement, with its index ([`error::IMMUTABLE_FIELD`]), and writes nothing.
fn statement(item: CompareAndSet) -> Answer<RawDocumentBuf> {
    let update = match item.change {
        Change::Fields(mut fields) => {
            fields.insert("$setOnInsert", doc! { "_id": { "no": "match" } });
            let fields = RawDocumentBuf::try_from(&fields).map_err(|e| error::unwritable(&e))?;
            rawdoc! { "u": fields }
        }
        Change::Whole(document) => {
            // Without a match the pipeline begins with what `expected` says and nothing else.
            // Every one of our documents has a tenant.
            rawdoc! { "u": [{ "$replaceWith": { "$cond": [
                { "$eq": [{ "$type": "$tenant" }, "missing"] },
                { "_id": { "no": "match" } },
                { "$literal": document },
            ] } }] }
        }
    };
    let expected = RawDocumentBuf::try_from(&item.expected).map_err(|e| error::unwritable(&e))?;
    let mut statement = rawdoc! { "q": expected, "multi": false, "upsert": true };
    for element in update.iter() {
        let (key, value) = element.map_err(|e| error::unwritable(&e))?;
        statement.append(key, value);
    }
    Ok(statement)
}

/// Runs update statements as one command; returns the index and code of each that failed.
pub(super) async fn bulk(
    db: &Database,
    collection: &str,
    statements: &[RawDocumentBuf],
) -> Answer<Vec<(usize, i32)>> {
    let mut updates = RawArrayBuf::new();
    for statement in statements {
        updates.push(statement.clone());
    }
    let wait = i64::try_from(MAJORITY_TIME.as_millis()).unwrap_or(i64::MAX);
    let command = rawdoc! {
        "update": collection,
        "updates": updates,
        "ordered": false,
        // A command inherits nothing from the client's options.
        "writeConcern": { "w": "majority", "wtimeout": wait },
    };
    let reply = within(db.run_raw_command(command)).await?;
    if let Ok(concern) = reply.get_document("writeConcernError") {
        let code = concern.get_i32("code").unwrap_or(0);
        return Err(StoreError::Unclear(Box::new(Cause(format!(
            "not acknowledged by a majority ({code})"
        )))));
    }
    let errors = reply
        .get_array("writeErrors")
        .map_or(&[][..], Vec::as_slice);
    Ok(errors
        .iter()
        .filter_map(Bson::as_document)
        .map(index_and_code)
        .collect())
}

fn index_and_code(e: &Document) -> (usize, i32) {
    let index = e
        .get_i32("index")
        .ok()
        .and_then(|i| usize::try_from(i).ok());
    (index.unwrap_or(usize::MAX), e.get_i32("code").unwrap_or(0))
}

/// Updates the document, or makes it; whether it did. Not, when a document with that `_id` exists
/// and does not match.
pub(super) async fn upsert(
    collection: &Collection<Document>,
    filter: Document,
    update: impl Into<UpdateModifications>,
) -> Answer<Cas> {
    Ok(
        match within_one(collection.update_one(filter, update).upsert(true)).await? {
            Ok(_) => Cas::Won,
            Err(_) => Cas::Lost,
        },
    )
}

/// A value as it is stored.
pub(super) fn value<T: Serialize>(value: &T) -> Answer<Bson> {
    bson::serialize_to_bson(value).map_err(|e| error::unwritable(&e))
}

/// BSON has no unsigned numbers. What does not fit was never stored and matches nothing.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
