//! `telnyx-signature-ed25519` of webhooks.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An account's key pair.
pub(super) struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        Self(pair.expect("any 32 bytes are a seed of Ed25519"))
    }

    /// Base64 of the 32 bytes of the public key, as the portal shows it.
    pub(super) fn public_key(&self) -> String {
        STANDARD.encode(self.0.public_key())
    }

    /// Base64 of the signature of `timestamp|body`.
    pub(super) fn sign(&self, timestamp: &str, body: &[u8]) -> String {
        let signed = [timestamp.as_bytes(), b"|", body].concat();
        STANDARD.encode(self.0.sign(&signed))
    }
}

#[cfg(test)]
mod tests {
    use super::SigningKey;

    /// Made with another implementation, from the seed 00 01 02 … 1f.
    #[test]
    fn the_vector_holds() {
        let key = SigningKey::new(&std::array::from_fn(|i| u8::try_from(i).unwrap()));
        assert_eq!(
            key.public_key(),
            "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
        );
        let body = br#"{"data":{"event_type":"call.hangup","id":"0ccc7b54-4df3-4bca-a65a-3da1ecc777f0","record_type":"event"}}"#;
        assert_eq!(
            key.sign("1700000000", body),
            "Flp2+mlLDFwM1MgqlGC/iWCpn4SmLvvO2yaYv/jMcE5dd2W40t33xQzzY7aggV0NO+lcd4U7L5yGsDAULoZtDg=="
        );
    }
}
