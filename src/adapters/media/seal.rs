//! Encryption of what is kept: AES-256-GCM in chunks, so that a part can be read without the rest and
//! nothing is given out that was not checked.
//!
//! ```text
//! object  = header ‖ chunk*            header = magic(8) ‖ key id(24, zero padded) ‖ salt(32)
//! chunk i = AES-256-GCM(key of the object, nonce = i as 96 bits, aad = header ‖ last?, 64 KiB of text) ‖ tag(16)
//! key of the object = HKDF-SHA256(master key, salt, "dialfleet media v1" ‖ tenant ‖ name of the object)
//! ```
//!
//! Every object has a key of its own, so nonces may simply count; a chunk that is moved, an object
//! that is put in another's place or another tenant's, and one that is cut short do not open. Only
//! the last chunk may be short; an empty object has one empty chunk. How long the text is says the
//! document that tells of it, which is trusted.

use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use dialfleet_domain::id::TenantId;
use dialfleet_engine::port::media::{MediaError, MediaStream};
use futures_util::{StreamExt, stream};
use thiserror::Error;

/// Bytes of the header.
pub(super) const HEADER: u64 = LENGTH as u64;
const LENGTH: usize = 64;
const MAGIC: &[u8; 8] = b"DFMEDIA1";
const ID: usize = 24;
/// Bytes of text in a chunk.
const CHUNK: usize = 64 * 1024;
const TAG: usize = 16;
const SEALED: u64 = (CHUNK + TAG) as u64;

/// Why keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "each must be <name>:<32 bytes in Base64>, with a name of 1 to 24 letters and digits, separated by commas"
)]
pub struct BadKeys;

/// The master keys: the first seals, all open.
#[derive(Clone)]
pub struct Keys(Arc<[(String, [u8; 32])]>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|(id, _)| id.as_str()).collect();
        write!(f, "Keys({})", names.join(", "))
    }
}

impl Keys {
    /// Reads `name:base64, …`.
    ///
    /// # Errors
    /// It is not that; the error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, BadKeys> {
        let mut keys: Vec<(String, [u8; 32])> = Vec::new();
        for one in text.split(',') {
            let (id, key) = one.trim().split_once(':').ok_or(BadKeys)?;
            let named =
                (1..=ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
            let key = STANDARD.decode(key.trim()).map_err(|_| BadKeys)?;
            let key = key.try_into().map_err(|_| BadKeys)?;
            if !named || keys.iter().any(|(other, _)| other == id) {
                return Err(BadKeys);
            }
            keys.push((id.to_owned(), key));
        }
        Ok(Self(keys.into()))
    }

    /// For a new object: the id of the key, and what seals.
    pub(super) fn sealer(
        &self,
        tenant: &TenantId,
        name: &str,
    ) -> Result<(String, Sealer), MediaError> {
        let (id, master) = self.0.first().ok_or_else(|| broken("there is no key"))?;
        let mut header = [0; LENGTH];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()..MAGIC.len() + id.len()].copy_from_slice(id.as_bytes());
        SystemRandom::new()
            .fill(&mut header[MAGIC.len() + ID..])
            .map_err(|_| broken("there is no randomness"))?;
        let key = object_key(master, &header, tenant, name)?;
        Ok((id.clone(), Sealer { header, key }))
    }

    /// For an object that begins with `header` and has `bytes` of text.
    pub(super) fn opener(
        &self,
        tenant: &TenantId,
        name: &str,
        header: &[u8],
        bytes: u64,
    ) -> Result<Opener, MediaError> {
        let header: [u8; LENGTH] = header.try_into().map_err(|_| broken("it is cut short"))?;
        if !header.starts_with(MAGIC) {
            return Err(broken("it is not one of ours"));
        }
        let id = &header[MAGIC.len()..MAGIC.len() + ID];
        let id = id.split(|b| *b == 0).next().unwrap_or_default();
        let id = std::str::from_utf8(id).map_err(|_| broken("it is not one of ours"))?;
        let (_, master) = self
            .0
            .iter()
            .find(|(known, _)| known == id)
            .ok_or_else(|| super::no_key(id))?;
        let key = object_key(master, &header, tenant, name)?;
        Ok(Opener { header, key, bytes })
    }
}

fn broken(why: &str) -> MediaError {
    MediaError::Sealed(why.to_owned())
}

fn object_key(
    master: &[u8; 32],
    header: &[u8],
    tenant: &TenantId,
    name: &str,
) -> Result<LessSafeKey, MediaError> {
    let salt = Salt::new(HKDF_SHA256, &header[MAGIC.len() + ID..]);
    // The length first, so that no two pairs give the same bytes.
    let length = u32::try_from(tenant.as_str().len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let info = [
        b"dialfleet media v1".as_slice(),
        &length,
        tenant.as_str().as_bytes(),
        name.as_bytes(),
    ];
    let key = salt
        .extract(master)
        .expand(&info, &AES_256_GCM)
        .map(UnboundKey::from)
        .map_err(|_| broken("no key could be derived"))?;
    Ok(LessSafeKey::new(key))
}

/// What a chunk is bound to, besides its number.
fn aad(header: &[u8; LENGTH], last: bool) -> Aad<[u8; LENGTH + 1]> {
    let mut bound = [0; LENGTH + 1];
    bound[..LENGTH].copy_from_slice(header);
    bound[LENGTH] = u8::from(last);
    Aad::from(bound)
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Seals one object.
pub(super) struct Sealer {
    header: [u8; LENGTH],
    key: LessSafeKey,
}

/// How far the sealing is.
struct Sealing {
    sealer: Sealer,
    body: MediaStream,
    held: BytesMut,
    number: u64,
    begun: bool,
    ended: bool,
}

impl Sealer {
    /// The sealed bytes of `body`.
    pub(super) fn seal(self, body: MediaStream) -> MediaStream {
        let sealing = Sealing {
            sealer: self,
            body,
            held: BytesMut::new(),
            number: 0,
            begun: false,
            ended: false,
        };
        stream::try_unfold(sealing, async |mut sealing| {
            Ok(sealing.next().await?.map(|bytes| (bytes, sealing)))
        })
        .boxed()
    }

    fn chunk(&self, number: u64, mut text: BytesMut, last: bool) -> Result<Bytes, MediaError> {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(number), aad(&self.header, last), &mut text)
            .map_err(|_| broken("it could not be sealed"))?;
        text.extend_from_slice(tag.as_ref());
        Ok(text.freeze())
    }
}

impl Sealing {
    async fn next(&mut self) -> Result<Option<Bytes>, MediaError> {
        if !self.begun {
            self.begun = true;
            return Ok(Some(Bytes::copy_from_slice(&self.sealer.header)));
        }
        if self.ended {
            return Ok(None);
        }
        // One byte more than a chunk says that it is not the last one.
        while self.held.len() <= CHUNK {
            match self.body.next().await {
                Some(more) => self.held.extend_from_slice(&more?),
                None => break,
            }
        }
        self.ended = self.held.len() <= CHUNK;
        let text = self.held.split_to(self.held.len().min(CHUNK));
        let sealed = self.sealer.chunk(self.number, text, self.ended)?;
        self.number += 1;
        Ok(Some(sealed))
    }
}

/// Opens one object.
pub(super) struct Opener {
    header: [u8; LENGTH],
    key: LessSafeKey,
    /// Of text.
    bytes: u64,
}

/// How far the opening is.
struct Opening {
    opener: Opener,
    body: MediaStream,
    held: BytesMut,
    /// The next chunk, and the one after the last that is wanted.
    chunks: Range<u64>,
    /// Of text, from the beginning of the object.
    wanted: Range<u64>,
}

impl Opener {
    /// The last chunk's number.
    fn last(&self) -> u64 {
        self.bytes.saturating_sub(1) / CHUNK as u64
    }

    /// The chunks in which `range` of the text is.
    fn chunks(range: &Range<u64>) -> Range<u64> {
        let first = range.start / CHUNK as u64;
        first..(range.end.saturating_sub(1) / CHUNK as u64).max(first) + 1
    }

    /// The bytes of the object in which `range` of the text is.
    pub(super) fn sealed_range(&self, range: &Range<u64>) -> Range<u64> {
        let chunks = Self::chunks(range);
        let end = (HEADER + chunks.end * SEALED)
            .min(HEADER + self.bytes + (self.last() + 1) * TAG as u64);
        HEADER + chunks.start * SEALED..end
    }

    /// The text `wanted`, from the bytes of [`Self::sealed_range`].
    pub(super) fn open(self, body: MediaStream, wanted: Range<u64>) -> MediaStream {
        let opening = Opening {
            chunks: Self::chunks(&wanted),
            opener: self,
            body,
            held: BytesMut::new(),
            wanted,
        };
        stream::try_unfold(opening, async |mut opening| {
            Ok(opening.next().await?.map(|bytes| (bytes, opening)))
        })
        .boxed()
    }

    /// Bytes of the sealed chunk `number`.
    fn length(&self, number: u64) -> usize {
        let text = self.bytes.saturating_sub(number * CHUNK as u64);
        usize::try_from(text).unwrap_or(CHUNK).min(CHUNK) + TAG
    }
}

impl Opening {
    async fn next(&mut self) -> Result<Option<Bytes>, MediaError> {
        if self.chunks.is_empty() {
            return Ok(None);
        }
        let number = self.chunks.start;
        let length = self.opener.length(number);
        while self.held.len() < length {
            let more = self.body.next().await;
            let more = more.ok_or_else(|| broken("it is cut short"))?;
            self.held.extend_from_slice(&more?);
        }
        let mut chunk = self.held.split_to(length);
        let last = number == self.opener.last();
        let text = self
            .opener
            .key
            .open_in_place(nonce(number), aad(&self.opener.header, last), &mut chunk)
            .map_err(|_| broken("it was changed, or is encrypted with another key"))?
            .len();
        chunk.truncate(text);
        self.chunks.start += 1;
        let begin = number * CHUNK as u64;
        let at = |place: u64| {
            usize::try_from(place.saturating_sub(begin))
                .unwrap_or(text)
                .min(text)
        };
        let part = chunk
            .freeze()
            .slice(at(self.wanted.start)..at(self.wanted.end));
        Ok(Some(part))
    }
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
