//! What can go wrong, and what it means to the engine.

use std::path::PathBuf;

use dialfleet_engine::port::store::StoreError;
use rusqlite::{ErrorCode, ffi};
use thiserror::Error;

use crate::unreadable::corrupt;

/// Why the embedded store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the data folder {} is in use by another process: stop that one, or choose another folder with --data-dir", .0.display()
    )]
    InUse(PathBuf),
    /// The folder cannot be made or used.
    #[error("the data folder {} cannot be used", .path.display())]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A newer program wrote it.
    #[error(
        "the data was written by a newer version of this program (schema {found}, this one knows {known}): use that version, or another folder"
    )]
    Newer {
        /// The version found.
        found: usize,
        /// The newest version known.
        known: usize,
    },
    /// The disk or quota is full.
    #[error("the data folder cannot be used: {0}")]
    NoRoom(&'static str),
    /// The file cannot be opened as a database.
    #[error("the database file cannot be opened")]
    Database(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        match Refusal::of(&error) {
            Some(Refusal::NoRoom(why)) => Self::NoRoom(why),
            Some(Refusal::Unusable(_)) | None => Self::Database(error),
        }
    }
}

/// What a job on the connection can fail with.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite's answer.
    Sql(rusqlite::Error),
    /// A document does not have its shape.
    Shape {
        what: &'static str,
        id: String,
        source: serde_json::Error,
    },
    /// The job panicked: a bug. What it wrote is undone.
    Panicked,
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sql(error) => Refusal::of(&error).map_or_else(
                || Self::Unavailable(Box::new(error)),
                |refusal| refusal.error(),
            ),
            Fault::Shape { what, id, source } => corrupt(what, &id, &source.to_string()),
            Fault::Panicked => {
                Self::Unavailable("a database job panicked; what it wrote was undone".into())
            }
        }
    }
}

/// Why a whole transaction came to nothing; told to every job in it.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// SQLite refuses writes.
    Refused(Refusal),
    /// Nothing was written.
    Undone(String),
    /// `COMMIT` failed in a way that may leave the commit record in the log.
    Unclear(String),
}

impl Failure {
    /// A transaction that failed before its commit.
    pub(super) fn before_commit(error: &rusqlite::Error) -> Self {
        Refusal::of(error).map_or_else(|| Self::Undone(error.to_string()), Self::Refused)
    }

    /// A commit that failed. Where the system took the bytes and then failed (a flush, for one), the
    /// commit record may be in the log, and be found there after a crash: nobody may say that it did
    /// not happen. A write that the system refused is no such case: the record is not whole.
    pub(super) fn at_commit(error: &rusqlite::Error) -> Self {
        let io = error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure);
        if io && Refusal::of(error).is_none() {
            Self::Unclear(error.to_string())
        } else {
            Self::before_commit(error)
        }
    }

    /// As the engine sees it.
    pub(super) fn error(&self) -> StoreError {
        match self {
            Self::Refused(refusal) => refusal.error(),
            Self::Undone(why) => StoreError::Unavailable(why.as_str().into()),
            Self::Unclear(why) => StoreError::Unclear(why.as_str().into()),
        }
    }
}

/// SQLite refuses writes, as a sentence.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// There is no room; once there is, it goes on.
    NoRoom(&'static str),
    /// Somebody must do something about the file.
    Unusable(&'static str),
}

impl Refusal {
    fn of(error: &rusqlite::Error) -> Option<Self> {
        let failure = error.sqlite_error()?;
        Some(match failure.code {
            ErrorCode::DiskFull => Self::NoRoom("its disk is full"),
            // The system did not take a write: a quota or a file size limit, or a disk that fails.
            ErrorCode::SystemIoFailure
                if matches!(
                    failure.extended_code,
                    ffi::SQLITE_IOERR_WRITE
                        | ffi::SQLITE_IOERR_TRUNCATE
                        | ffi::SQLITE_IOERR_SHMSIZE
                ) =>
            {
                Self::NoRoom("its disk or quota is full, or the disk fails")
            }
            ErrorCode::ReadOnly => Self::Unusable("the database file or its folder is read-only"),
            ErrorCode::PermissionDenied => {
                Self::Unusable("the database file or its folder may not be written by this user")
            }
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                Self::Unusable("the database file is damaged: restore it from a backup")
            }
            _ => return None,
        })
    }

    fn error(self) -> StoreError {
        match self {
            Self::NoRoom(why) => {
                StoreError::NoRoom(format!("the data folder cannot be written: {why}"))
            }
            Self::Unusable(why) => StoreError::Refused(why.to_owned()),
        }
    }
}

/// Whether a unique index said no.
pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(inner, _)
        if inner.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
            || inner.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: std::ffi::c_int) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn a_commit_is_unclear_only_if_its_record_may_be_whole() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE] {
            let error = Failure::at_commit(&failed(code)).error();
            assert!(matches!(error, StoreError::NoRoom(_)), "{error:?}");
        }
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR] {
            let error = Failure::at_commit(&failed(code)).error();
            assert!(matches!(error, StoreError::Unclear(_)), "{error:?}");
            let error = Failure::before_commit(&failed(code)).error();
            assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        }
    }
}
