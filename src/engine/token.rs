//! Callback URLs that prove which attempt and leg they belong to.
//!
//! `{PUBLIC_URL}/webhooks/{kind}/{carrier}/{attempt}/{leg}/{key}.{mac}`: the attempt id in unpadded
//! base64url (so that no proxy re-encodes it and breaks the carrier's signature), and the first 128
//! bits of HMAC-SHA256 over carrier, attempt and leg. With it a callback finds its attempt even if
//! the worker died before it could store the carrier's call id.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dialfleet_domain::id::{AttemptId, CarrierId};
use dialfleet_domain::time::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::port::store::MacKey;

/// Why a callback URL is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the callback address is not one of ours")]
pub struct NotOurs;

/// No usable key was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the store has no usable key for callback addresses")]
pub struct NoKey;

/// The keys, newest first: the first signs, all verify.
#[derive(Clone)]
pub struct CallbackKeys(Vec<(String, [u8; 32])>);

impl CallbackKeys {
    /// Takes the stored keys.
    ///
    /// # Errors
    /// None of them has 32 bytes in hex.
    pub fn new(keys: &[MacKey]) -> Result<Self, NoKey> {
        let usable: Vec<_> = keys
            .iter()
            .filter_map(|k| Some((k.id.clone(), unhex(&k.secret)?)))
            .collect();
        if usable.is_empty() {
            Err(NoKey)
        } else {
            Ok(Self(usable))
        }
    }

    /// A new key from 32 random bytes.
    #[must_use]
    pub fn mint(random: &[u8; 32]) -> MacKey {
        use std::fmt::Write;
        let mut secret = String::with_capacity(64);
        for byte in random {
            let _ = write!(secret, "{byte:02x}");
        }
        MacKey {
            id: format!("k{}", &secret[..6]),
            secret,
        }
    }

    /// The URL for a leg's callbacks.
    #[must_use]
    pub fn callback_url(
        &self,
        public_url: &str,
        kind: &str,
        carrier: &CarrierId,
        attempt: &AttemptId,
        leg: u8,
    ) -> String {
        let (id, secret) = &self.0[0];
        let mac = URL_SAFE_NO_PAD.encode(&mac(secret, carrier, attempt, leg)[..16]);
        let attempt = URL_SAFE_NO_PAD.encode(attempt.as_str());
        format!("{public_url}/webhooks/{kind}/{carrier}/{attempt}/{leg}/{id}.{mac}")
    }

    /// Reads the path segments of a callback URL.
    ///
    /// # Errors
    /// We did not make it.
    pub fn verify(
        &self,
        carrier: &CarrierId,
        attempt: &str,
        leg: &str,
        token: &str,
    ) -> Result<(AttemptId, u8), NotOurs> {
        let attempt = URL_SAFE_NO_PAD.decode(attempt).map_err(|_| NotOurs)?;
        let attempt = AttemptId::parse(String::from_utf8(attempt).map_err(|_| NotOurs)?)
            .map_err(|_| NotOurs)?;
        let leg: u8 = leg.parse().map_err(|_| NotOurs)?;
        let (id, given) = token.split_once('.').ok_or(NotOurs)?;
        let given = URL_SAFE_NO_PAD.decode(given).map_err(|_| NotOurs)?;
        let (_, secret) = self.0.iter().find(|(k, _)| k == id).ok_or(NotOurs)?;
        let right = mac(secret, carrier, &attempt, leg);
        if bool::from(right[..16].ct_eq(&given)) {
            Ok((attempt, leg))
        } else {
            Err(NotOurs)
        }
    }
}

impl CallbackKeys {
    /// Proves to us whose call an agent's program was connected with, until `until`.
    #[must_use]
    pub fn stream_token(&self, attempt: &AttemptId, until: Timestamp) -> String {
        let (id, secret) = &self.0[0];
        let until = until.millis();
        let mac = URL_SAFE_NO_PAD.encode(&stream_mac(secret, attempt, until)[..16]);
        let attempt = URL_SAFE_NO_PAD.encode(attempt.as_str());
        format!("{attempt}.{until}.{id}.{mac}")
    }

    /// Whose call a token of [`CallbackKeys::stream_token`] is of.
    ///
    /// # Errors
    /// We did not make it, or it is too old.
    pub fn verify_stream(&self, token: &str, now: Timestamp) -> Result<AttemptId, NotOurs> {
        let mut parts = token.split('.');
        let mut part = || parts.next().ok_or(NotOurs);
        let (attempt, until, id, given) = (part()?, part()?, part()?, part()?);
        let attempt = URL_SAFE_NO_PAD.decode(attempt).map_err(|_| NotOurs)?;
        let attempt = AttemptId::parse(String::from_utf8(attempt).map_err(|_| NotOurs)?)
            .map_err(|_| NotOurs)?;
        let until: i64 = until.parse().map_err(|_| NotOurs)?;
        let given = URL_SAFE_NO_PAD.decode(given).map_err(|_| NotOurs)?;
        let (_, secret) = self.0.iter().find(|(k, _)| k == id).ok_or(NotOurs)?;
        let right = stream_mac(secret, &attempt, until);
        let genuine = bool::from(right[..16].ct_eq(&given)) && parts.next().is_none();
        if genuine && now < Timestamp::from_millis(until) {
            Ok(attempt)
        } else {
            Err(NotOurs)
        }
    }
}

/// Another purpose has another text: nothing that it signs is a callback's address.
fn stream_mac(secret: &[u8; 32], attempt: &AttemptId, until: i64) -> [u8; 32] {
    let mut hmac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("HMAC takes a key of any length");
    hmac.update(b"dialfleet stream\0");
    hmac.update(&until.to_be_bytes());
    hmac.update(attempt.as_str().as_bytes());
    hmac.finalize().into_bytes().into()
}

fn mac(secret: &[u8; 32], carrier: &CarrierId, attempt: &AttemptId, leg: u8) -> [u8; 32] {
    let mut hmac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(secret).expect("HMAC takes a key of any length");
    for part in [
        carrier.as_str().as_bytes(),
        attempt.as_str().as_bytes(),
        &[leg],
    ] {
        // The length first, so that no two triples give the same bytes.
        hmac.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hmac.update(part);
    }
    hmac.finalize().into_bytes().into()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut out = [0; 32];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_proves_its_attempt_and_nothing_else() {
        let keys = CallbackKeys::new(&[CallbackKeys::mint(&[7; 32])]).expect("usable");
        let carrier = CarrierId::parse("twilio-a").expect("valid");
        let attempt = AttemptId::parse("cmp_1:+442079460119:3").expect("valid");
        let url = keys.callback_url("https://x.example", "twilio", &carrier, &attempt, 1);
        assert!(!url.contains("+44"), "no phone number in clear: {url}");
        let parts: Vec<&str> = url.rsplit('/').take(3).collect();
        let (token, leg, id) = (parts[0], parts[1], parts[2]);
        assert_eq!(keys.verify(&carrier, id, leg, token), Ok((attempt, 1)));
        assert_eq!(keys.verify(&carrier, id, "2", token), Err(NotOurs));
        let other = CarrierId::parse("twilio-b").expect("valid");
        assert_eq!(keys.verify(&other, id, leg, token), Err(NotOurs));
        assert_eq!(keys.verify(&carrier, id, leg, "kffffff.AAAA"), Err(NotOurs));
        assert_eq!(keys.verify(&carrier, "%%%", leg, token), Err(NotOurs));
    }
}
