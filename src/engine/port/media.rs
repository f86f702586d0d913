//! Sound: where it is kept, where it comes from, and who writes it down.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_domain::id::TenantId;
use dialfleet_domain::recording::{Media, Turn};
use futures_util::stream::BoxStream;
use thiserror::Error;

/// Bytes on their way.
pub type MediaStream = BoxStream<'static, Result<Bytes, MediaError>>;

/// Why sound cannot be had or kept. The texts have neither secrets nor phone numbers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MediaError {
    /// It is not there, or not yet.
    #[error("it is not there")]
    NotFound,
    /// More than is taken.
    #[error("it has more than {0} bytes")]
    TooBig(u64),
    /// It is no sound.
    #[error("it is {0}, which is no recording")]
    WrongType(String),
    /// It is damaged, or encrypted with a key that we do not have.
    #[error("it cannot be opened: {0}")]
    Sealed(String),
    /// Somebody does not answer as they should; another time they may.
    #[error("{0}")]
    Unavailable(String),
    /// The carrier has no recordings that we could fetch.
    #[error("the carrier gives no recordings out")]
    Unsupported,
}

/// What a carrier gives us.
pub struct Download {
    /// As it says.
    pub content_type: String,
    /// As it says.
    pub bytes: Option<u64>,
    /// The sound.
    pub body: MediaStream,
}

/// Our own storage.
#[async_trait]
pub trait MediaStore: Send + Sync {
    /// Keeps `body` under `key`, replacing what is there; nothing of it is kept unless all is. Returns
    /// the id of the key that it was encrypted with, if it was. A failure of `body` is returned as it
    /// is.
    async fn put(
        &self,
        tenant: &TenantId,
        key: &str,
        body: MediaStream,
    ) -> Result<Option<String>, MediaError>;
    /// The bytes `range` of what is kept, which must be within it.
    async fn get(
        &self,
        tenant: &TenantId,
        media: &Media,
        range: Range<u64>,
    ) -> Result<MediaStream, MediaError>;
    /// Deletes; that nothing is there is no error.
    async fn delete(&self, key: &str) -> Result<(), MediaError>;
}

/// What is to be written down.
pub struct Speech {
    /// Names it at the transcriber.
    pub name: String,
    /// BCP 47.
    pub language: String,
    /// How many tracks.
    pub channels: u8,
    /// How long, ms, if known.
    pub duration_ms: Option<u64>,
    /// Such as `audio/mpeg`.
    pub content_type: String,
    /// How many bytes.
    pub bytes: u64,
    /// The sound.
    pub body: MediaStream,
}

/// How far a transcriber is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Done.
    All(Vec<Turn>),
    /// It works on it under this name.
    Later(String),
}

/// Why something was not written down.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TranscribeError {
    /// Another time it may be.
    #[error("{0}")]
    Unavailable(String),
    /// It never will be.
    #[error("{0}")]
    Refused(String),
}

/// Writes down what was said.
#[async_trait]
pub trait Transcriber: Send + Sync {
    /// Asks for it. Asked twice, it may be done twice.
    async fn begin(&self, speech: Speech) -> Result<Heard, TranscribeError>;
    /// Asks how far it is. An operation that nobody knows is refused.
    async fn go_on(&self, operation: &str) -> Result<Heard, TranscribeError>;
}
