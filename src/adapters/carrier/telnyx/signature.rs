//! Ed25519 over `timestamp|body`. The address is not covered: see [`super::state`].

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dialfleet_domain::time::Timestamp;

/// How far a webhook's time may be from ours, either way.
const TOLERANCE_S: u64 = 300;

/// The account's key.
#[derive(Clone)]
pub(super) struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads the portal's Base64 of 32 bytes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim()).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Whether `signature` (Base64) signs the body as of `timestamp` (Unix seconds), and that was just
    /// now.
    pub(super) fn verifies(
        &self,
        signature: &str,
        timestamp: &str,
        body: &[u8],
        now: Timestamp,
    ) -> bool {
        let Ok(at) = timestamp.parse::<i64>() else {
            return false;
        };
        let now = now.millis().div_euclid(1_000);
        if now.abs_diff(at) > TOLERANCE_S {
            return false;
        }
        let Ok(signature) = STANDARD.decode(signature.trim()) else {
            return false;
        };
        let signed = [timestamp.as_bytes(), b"|", body].concat();
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(&signed, &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    const BODY: &[u8] = br#"{"data":{"event_type":"call.hangup","id":"0ccc7b54-4df3-4bca-a65a-3da1ecc777f0","record_type":"event"}}"#;
    const SIGNATURE: &str =
        "Flp2+mlLDFwM1MgqlGC/iWCpn4SmLvvO2yaYv/jMcE5dd2W40t33xQzzY7aggV0NO+lcd4U7L5yGsDAULoZtDg==";

    fn verifies(key: &str, signature: &str, timestamp: &str, body: &[u8], now_s: i64) -> bool {
        let now = Timestamp::from_millis(now_s * 1_000);
        PublicKey::parse(key)
            .unwrap()
            .verifies(signature, timestamp, body, now)
    }

    /// Signed with another implementation (pyca/cryptography), from the seed 00 01 02 … 1f.
    #[test]
    fn the_vector_of_another_implementation_holds() {
        for now in [1_700_000_000, 1_699_999_700, 1_700_000_300] {
            assert!(verifies(KEY, SIGNATURE, "1700000000", BODY, now), "{now}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let now = 1_700_000_000;
        let signed = |at: &str, body: &[u8], now| verifies(KEY, SIGNATURE, at, body, now);
        for (at, now) in [
            ("1700000000", 1_700_000_301),
            ("1700000000", 1_699_999_699),
            ("1700000001", now),
            ("01700000000", now),
            ("", now),
            ("-1", now),
            ("17000000000000000000", now),
        ] {
            assert!(!signed(at, BODY, now), "{at} {now}");
        }
        let mut changed = BODY.to_vec();
        changed[3] ^= 1;
        assert!(!signed("1700000000", &changed, now));
        assert!(!signed("1700000000", b"", now));
        // Every signature that differs in one bit.
        let bytes = STANDARD.decode(SIGNATURE).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let forged = STANDARD.encode(forged);
            assert!(
                !verifies(KEY, &forged, "1700000000", BODY, now),
                "bit {bit}"
            );
        }
        for signature in ["", "x", "====", KEY, &format!("{SIGNATURE}{SIGNATURE}")] {
            assert!(
                !verifies(KEY, signature, "1700000000", BODY, now),
                "{signature}"
            );
        }
        let other = STANDARD.encode([9; 32]);
        assert!(!verifies(&other, SIGNATURE, "1700000000", BODY, now));
    }

    /// RFC 8032, 7.1, TEST 3: the same algorithm, whatever it signs.
    #[test]
    fn the_algorithm_is_that_of_the_rfc() {
        let key = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025";
        let signature = "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
                         18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a";
        let (key, signature) = (hex::decode(key).unwrap(), hex::decode(signature).unwrap());
        let key = UnparsedPublicKey::new(&ED25519, key);
        assert!(key.verify(&[0xaf, 0x82], &signature).is_ok());
    }

    #[test]
    fn only_32_bytes_are_a_key() {
        for text in ["", "A6EH", "not base64!", SIGNATURE] {
            assert!(PublicKey::parse(text).is_none(), "{text}");
        }
        assert!(PublicKey::parse(&format!(" {KEY}\n")).is_some());
    }
}
