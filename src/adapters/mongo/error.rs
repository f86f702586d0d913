//! What the driver's errors mean for the caller: nothing was written, it may have been, or the
//! server said no. A driver error is never kept as it is: its text repeats key values and whole
//! replies, and those hold phone numbers. What is kept is the code, the name and the index.

use dialfleet_engine::port::store::StoreError;
use mongodb::error::{Error, ErrorKind, InsertManyError, NO_WRITES_PERFORMED, WriteFailure};
use thiserror::Error as ThisError;

use crate::unreadable::corrupt;

/// A unique index says no.
pub(super) const DUPLICATE_KEY: i32 = 11_000;
/// An update would change `_id`: how a compare-and-set in a bulk reports "no match".
pub(super) const IMMUTABLE_FIELD: i32 = 66;
/// The collection exists already.
pub(super) const NAMESPACE_EXISTS: i32 = 48;
/// The collection does not exist.
pub(super) const NAMESPACE_NOT_FOUND: i32 = 26;

/// The server understood and refuses, and will again: arguments, rights, space, shape, a unique
/// index. "Not the primary" is none of them: it may be the answer to the driver's repetition of a
/// write whose first try went through.
const REFUSALS: [i32; 16] = [
    2,
    9,
    13,
    14,
    18,
    20,
    40,
    52,
    59,
    67,
    72,
    121,
    371,
    10_334,
    DUPLICATE_KEY,
    17_280,
];

/// The server's disk is full.
const OUT_OF_DISK: i32 = 14_031;

/// A driver error without the data it was about.
#[derive(Debug, ThisError)]
#[error("{0}")]
pub(super) struct Cause(pub(super) String);

impl Cause {
    pub(super) fn of(error: &Error) -> Self {
        Self(match error.kind.as_ref() {
            ErrorKind::Command(e) => format!("the server answered {} ({})", e.code_name, e.code),
            ErrorKind::Write(WriteFailure::WriteError(e)) => match duplicate(e.code, &e.message) {
                Some(index) => format!("the unique index {index} refuses the document"),
                None => format!("write error {}", e.code),
            },
            ErrorKind::Write(WriteFailure::WriteConcernError(e)) => {
                format!(
                    "not acknowledged by a majority: {} ({})",
                    e.code_name, e.code
                )
            }
            ErrorKind::InsertMany(e) => many(e),
            other => other.to_string(),
        })
    }

    pub(super) fn boxed(error: &Error) -> Box<dyn std::error::Error + Send + Sync> {
        Box::new(Self::of(error))
    }
}

fn many(e: &InsertManyError) -> String {
    let first = e.write_errors.iter().flatten().next().map(|w| w.code);
    let concern = e.write_concern_error.as_ref().map(|w| w.code);
    format!("an insert failed: first write error {first:?}, write concern error {concern:?}")
}

/// The same for one more of those who asked together.
pub(super) fn again(error: &StoreError) -> StoreError {
    let source = |source: &(dyn std::error::Error + Send + Sync)| -> Box<Cause> {
        Box::new(Cause(source.to_string()))
    };
    match error {
        StoreError::Unavailable(e) => StoreError::Unavailable(source(e.as_ref())),
        StoreError::Unclear(e) => StoreError::Unclear(source(e.as_ref())),
        StoreError::Corrupt {
            what,
            id,
            source: why,
        } => StoreError::Corrupt {
            what,
            id: id.clone(),
            source: source(why.as_ref()),
        },
        StoreError::NoRoom(why) => StoreError::NoRoom(why.clone()),
        StoreError::Refused(why) => StoreError::Refused(why.clone()),
        StoreError::BadCursor => StoreError::BadCursor,
    }
}

/// The name of the index that refused a document, if that is what the code says. The server gives
/// it in the message only.
pub(super) fn duplicate(code: i32, message: &str) -> Option<&str> {
    if code != DUPLICATE_KEY {
        return None;
    }
    let (_, rest) = message.split_once(" index: ")?;
    Some(
        rest.split_once(" dup key")
            .map_or(rest, |(name, _)| name)
            .trim(),
    )
}

/// The index that refused the one document of a write.
pub(super) fn duplicate_of(error: &Error) -> Option<&str> {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(e)) => duplicate(e.code, &e.message),
        _ => None,
    }
}

/// The code of a command that failed as a whole.
pub(super) fn command_code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(e) => Some(e.code),
        _ => None,
    }
}

/// A read failed: nothing was written in any case.
pub(super) fn on_read(what: &'static str, error: &Error) -> StoreError {
    match error.kind.as_ref() {
        ErrorKind::Bson(_) | ErrorKind::BsonDeserialization(_) => {
            corrupt(what, "of unknown id", &Cause::of(error).to_string())
        }
        _ => StoreError::Unavailable(Cause::boxed(error)),
    }
}

/// A write failed. Unless the error proves the contrary, it may have happened.
pub(super) fn on_write(error: &Error) -> StoreError {
    let cause = Cause::boxed(error);
    if error.contains_label(NO_WRITES_PERFORMED) {
        return StoreError::Unavailable(cause);
    }
    match error.kind.as_ref() {
        // Before anything was sent. After a first try that was sent, the driver reports that one.
        ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::Shutdown => StoreError::Unavailable(cause),
        ErrorKind::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            StoreError::Unavailable(cause)
        }
        ErrorKind::InvalidArgument { .. }
        | ErrorKind::Bson(_)
        | ErrorKind::BsonSerialization(_)
        | ErrorKind::IncompatibleServer { .. }
        | ErrorKind::SessionsNotSupported => StoreError::Refused(cause.to_string()),
        ErrorKind::Command(e) => by_code(e.code, cause),
        ErrorKind::Write(WriteFailure::WriteError(e)) => by_code(e.code, cause),
        _ => StoreError::Unclear(cause),
    }
}

/// What a code says about a write, or about one of several in a command.
pub(super) fn by_code(code: i32, cause: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
    if code == OUT_OF_DISK {
        StoreError::NoRoom("the database's disk is full".to_owned())
    } else if REFUSALS.contains(&code) {
        StoreError::Refused(cause.to_string())
    } else {
        StoreError::Unclear(cause)
    }
}

/// A write outlived its time.
pub(super) fn write_timed_out() -> StoreError {
    StoreError::Unclear(Box::new(Cause("the write did not end in time".to_owned())))
}

/// A read outlived its time.
pub(super) fn read_timed_out() -> StoreError {
    StoreError::Unavailable(Box::new(Cause("the read did not end in time".to_owned())))
}

/// One of our own documents does not fit into BSON (a number beyond 63 bits).
pub(super) fn unwritable(error: &bson::error::Error) -> StoreError {
    StoreError::Refused(format!("a document cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_read_from_the_message() {
        let message = "E11000 duplicate key error collection: d.attempts index: u2_campaign_slot dup key: \
                       { campaign: \"cmp_1\", slot: 3 }";
        assert_eq!(duplicate(DUPLICATE_KEY, message), Some("u2_campaign_slot"));
        assert_eq!(duplicate(DUPLICATE_KEY, "E11000 index: _id_"), Some("_id_"));
        assert_eq!(duplicate(1, message), None);
        assert_eq!(duplicate(DUPLICATE_KEY, "what?"), None);
    }

    #[test]
    fn only_a_proof_makes_a_failed_write_an_unhappened_one() {
        let cause = || Box::new(Cause(String::new()));
        assert!(matches!(by_code(13, cause()), StoreError::Refused(_)));
        assert!(matches!(
            by_code(OUT_OF_DISK, cause()),
            StoreError::NoRoom(_)
        ));
        assert!(matches!(by_code(10_107, cause()), StoreError::Unclear(_)));
        assert!(matches!(by_code(91, cause()), StoreError::Unclear(_)));
        assert!(matches!(by_code(64, cause()), StoreError::Unclear(_)));
        let broken = Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(on_write(&broken), StoreError::Unclear(_)));
        assert!(matches!(
            on_read("lead", &broken),
            StoreError::Unavailable(_)
        ));
        let refused = Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert!(matches!(on_write(&refused), StoreError::Unavailable(_)));
    }
}
