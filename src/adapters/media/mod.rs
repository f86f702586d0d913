//! Where recordings are kept: a folder, or a bucket of Amazon S3 (or anything that speaks it) or of
//! Google Cloud Storage. With a key they are encrypted before they leave this process ([`seal`]).
//!
//! Only plain puts, ranged gets and deletes are used: not every "S3-compatible" storage knows
//! conditional puts or checksum headers. Nothing is visible under a name before all of it is there.

mod seal;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_domain::id::TenantId;
use dialfleet_domain::recording::Media;
use dialfleet_engine::port::media::{MediaError, MediaStore, MediaStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::buffered::BufWriter;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use thiserror::Error;
use tokio::io::AsyncWriteExt;

pub use self::seal::{BadKeys, Keys};
use self::seal::{HEADER, Opener};
use crate::carrier::Secret;

/// Up to so many bytes are put in one request; more in parts.
const PART: usize = 8 * 1024 * 1024;
/// Whoever asked tries again later, by a rule of their own.
const RETRIES: usize = 2;
const RETRY_TIME: Duration = Duration::from_secs(10);

/// A place for recordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: they are gone with the process.
    Memory,
    /// A folder.
    Folder(PathBuf),
    /// Amazon S3, or what speaks it.
    S3 {
        /// The bucket.
        bucket: String,
        /// Before every name.
        prefix: String,
        /// Where it is, if not at Amazon.
        endpoint: Option<String>,
        /// Its region.
        region: Option<String>,
        /// Key id and secret; without them, the machine's own role.
        key: Option<(String, Secret)>,
    },
    /// Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// Before every name.
        prefix: String,
        /// A service account's key file; without it, the machine's own account.
        credentials: Option<PathBuf>,
        /// Where it is, if not at Google: a test's.
        endpoint: Option<String>,
    },
}

/// Why a place cannot be used.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// The folder cannot be made.
    #[error("the folder {0} for recordings cannot be used")]
    Folder(PathBuf, #[source] std::io::Error),
    /// The settings of a bucket are not usable.
    #[error("the bucket for recordings cannot be used")]
    Bucket(#[source] object_store::Error),
}

/// The storage.
#[derive(Debug)]
pub struct Objects {
    inner: Arc<dyn ObjectStore>,
    keys: Option<Keys>,
}

impl Objects {
    /// Sets it up; nothing is sent.
    ///
    /// # Errors
    /// The folder cannot be made, or the settings cannot be used.
    pub fn open(place: &Place, keys: Option<Keys>) -> Result<Self, PlaceError> {
        let inner: Arc<dyn ObjectStore> = match place {
            Place::Memory => Arc::new(InMemory::new()),
            Place::Folder(path) => Arc::new(folder(path)?),
            Place::S3 {
                bucket,
                prefix,
                endpoint,
                region,
                key,
            } => {
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    // Not everything that speaks S3 takes many names in one request.
                    .with_disable_bulk_delete(true)
                    .with_region(region.as_deref().unwrap_or("us-east-1"))
                    .with_client_options(client(endpoint.as_deref()))
                    .with_retry(retry());
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint);
                }
                if let Some((id, secret)) = key {
                    builder = builder
                        .with_access_key_id(id)
                        .with_secret_access_key(secret.expose());
                }
                prefixed(builder.build().map_err(PlaceError::Bucket)?, prefix)
            }
            Place::Gcs {
                bucket,
                prefix,
                credentials,
                endpoint,
            } => {
                let mut builder = GoogleCloudStorageBuilder::new()
                    .with_bucket_name(bucket)
                    .with_client_options(client(endpoint.as_deref()))
                    .with_retry(retry());
                if let Some(path) = credentials {
                    builder = builder.with_service_account_path(path.to_string_lossy());
                }
                if let Some(endpoint) = endpoint {
                    builder = builder.with_base_url(endpoint).with_skip_signature(true);
                }
                prefixed(builder.build().map_err(PlaceError::Bucket)?, prefix)
            }
        };
        Ok(Self { inner, keys })
    }
}

fn folder(path: &std::path::Path) -> Result<LocalFileSystem, PlaceError> {
    let failed = |error| PlaceError::Folder(path.to_owned(), error);
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    // For this user only: it will hold people's voices.
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed)?;
    let files = LocalFileSystem::new_with_prefix(path).map_err(PlaceError::Bucket)?;
    Ok(files.with_automatic_cleanup(true))
}

fn prefixed(store: impl ObjectStore, prefix: &str) -> Arc<dyn ObjectStore> {
    if prefix.is_empty() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, prefix))
    }
}

fn client(endpoint: Option<&str>) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(endpoint.is_some_and(|url| url.starts_with("http://")))
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout(Duration::from_secs(120))
}

fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: RETRIES,
        retry_timeout: RETRY_TIME,
        ..RetryConfig::default()
    }
}

/// An error of the storage in words. Its causes may repeat addresses, which are no secrets of ours.
fn said(error: &object_store::Error) -> MediaError {
    match error {
        object_store::Error::NotFound { .. } => MediaError::NotFound,
        object_store::Error::Unauthenticated { .. }
        | object_store::Error::PermissionDenied { .. } => {
            MediaError::Unavailable("the storage refuses our credentials".to_owned())
        }
        _ => {
            tracing::debug!(%error, "the storage failed");
            MediaError::Unavailable("the storage does not answer as it should".to_owned())
        }
    }
}

fn io(error: &std::io::Error) -> MediaError {
    tracing::debug!(%error, "the storage failed");
    MediaError::Unavailable(format!("the storage does not take it ({})", error.kind()))
}

#[async_trait]
impl MediaStore for Objects {
    async fn put(
        &self,
        tenant: &TenantId,
        key: &str,
        body: MediaStream,
    ) -> Result<Option<String>, MediaError> {
        let (body, sealed) = match &self.keys {
            None => (body, None),
            Some(keys) => {
                let (id, sealer) = keys.sealer(tenant, key)?;
                (sealer.seal(body), Some(id))
            }
        };
        let mut writer = BufWriter::with_capacity(Arc::clone(&self.inner), Path::from(key), PART);
        if let Err(error) = copy(body, &mut writer).await {
            // What was begun is undone, as far as anybody can.
            if let Err(error) = writer.abort().await {
                tracing::debug!(%error, "an upload could not be undone");
            }
            return Err(error);
        }
        // When this fails there is nothing left to undo it with: a writer that was shut down panics when
        // it is told to abort. The parts of a large one are the bucket's to clean up.
        writer.shutdown().await.map_err(|error| io(&error))?;
        Ok(sealed)
    }

    async fn get(
        &self,
        tenant: &TenantId,
        media: &Media,
        range: Range<u64>,
    ) -> Result<MediaStream, MediaError> {
        if range.start >= range.end || range.end > media.bytes {
            return Err(MediaError::NotFound);
        }
        let Some(id) = &media.sealed else {
            return self.read(&media.key, range).await;
        };
        let keys = self.keys.as_ref();
        let keys = keys.ok_or_else(|| no_key(id))?;
        let header = self.whole(&media.key, 0..HEADER).await?;
        let opener: Opener = keys.opener(tenant, &media.key, &header, media.bytes)?;
        let there = opener.sealed_range(&range);
        let sealed = self.read(&media.key, there).await?;
        Ok(opener.open(sealed, range))
    }

    async fn delete(&self, key: &str) -> Result<(), MediaError> {
        match self.inner.delete(&Path::from(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(said(&error)),
        }
    }
}

fn no_key(id: &str) -> MediaError {
    MediaError::Sealed(format!("this process does not have the key {id}"))
}

impl Objects {
    async fn read(&self, key: &str, range: Range<u64>) -> Result<MediaStream, MediaError> {
        let options = object_store::GetOptions {
            range: Some(range.into()),
            ..object_store::GetOptions::default()
        };
        let found = self.inner.get_opts(&Path::from(key), options).await;
        let found = found.map_err(|error| said(&error))?;
        Ok(found.into_stream().map_err(|error| said(&error)).boxed())
    }

    async fn whole(&self, key: &str, range: Range<u64>) -> Result<Bytes, MediaError> {
        let found = self.inner.get_range(&Path::from(key), range).await;
        found.map_err(|error| said(&error))
    }
}

async fn copy(mut body: MediaStream, writer: &mut BufWriter) -> Result<(), MediaError> {
    while let Some(chunk) = body.next().await {
        writer.put(chunk?).await.map_err(|error| said(&error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
