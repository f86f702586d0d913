//! What can go wrong, and what it means to the engine.

use std::path::PathBuf;

use dialfleet_engine::port::store::StoreError;
use rusqlite::ErrorCode;
use thiserror::Error;

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
    /// The file cannot be opened as a database.
    #[error("the database file cannot be opened")]
    Database(#[from] rusqlite::Error),
}

/// What a job on the connection can fail with.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite's answer.
    Sql(rusqlite::Error),
    /// A document does not have its shape.
    Shape {
        what: &'static str,
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
            Fault::Sql(error) => refusal(&error).map_or_else(
                || Self::Unavailable(Box::new(error)),
                |why| Self::Refused(why.to_owned()),
            ),
            Fault::Shape { what, source } => Self::Corrupt {
                what,
                source: Box::new(source),
            },
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
    Refused(&'static str),
    /// Nothing was written.
    Undone(String),
    /// `COMMIT` failed in a way that may leave the commit record in the log.
    Unclear(String),
}

impl Failure {
    /// A transaction that failed before its commit.
    pub(super) fn before_commit(error: &rusqlite::Error) -> Self {
        refusal(error).map_or_else(|| Self::Undone(error.to_string()), Self::Refused)
    }

    /// A commit that failed. An I/O error may have come after the commit record was written: after
    /// a crash it could be found in the log, so nobody may say that it did not happen.
    pub(super) fn at_commit(error: &rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
            Self::Unclear(error.to_string())
        } else {
            Self::before_commit(error)
        }
    }

    /// As the engine sees it.
    pub(super) fn error(&self) -> StoreError {
        match self {
            Self::Refused(why) => StoreError::Refused((*why).to_owned()),
            Self::Undone(why) => StoreError::Unavailable(why.as_str().into()),
            Self::Unclear(why) => StoreError::Unclear(why.as_str().into()),
        }
    }
}

/// The errors that mean "the store refuses writes", each as a sentence.
fn refusal(error: &rusqlite::Error) -> Option<&'static str> {
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some("the disk that holds the data folder is full"),
        ErrorCode::ReadOnly => Some("the database file or its folder is read-only"),
        ErrorCode::PermissionDenied => {
            Some("the database file or its folder may not be written by this user")
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            Some("the database file is damaged: restore it from a backup")
        }
        _ => None,
    }
}

/// Whether a unique index said no.
pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(inner, _)
        if inner.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE
            || inner.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
}
