//! Chance without an order: every draw is a hash of (seed, kind, key, nth), so the same call draws
//! the same fate whatever else happens around it.

#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice {
    seed: u64,
}

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// 64 even bits: FNV-1a over the parts, then the finaliser of splitmix64.
    pub(crate) fn roll(self, kind: &str, key: &str, nth: u64) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let seed = self.seed.to_le_bytes();
        let nth = nth.to_le_bytes();
        let parts: [&[u8]; 6] = [
            &seed,
            kind.as_bytes(),
            &[0xff],
            key.as_bytes(),
            &[0xff],
            &nth,
        ];
        for byte in parts.into_iter().flatten() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }

    /// A whole number in `low..=high`; `low` when the range is empty.
    pub(crate) fn between(self, kind: &str, key: &str, nth: u64, low: u64, high: u64) -> u64 {
        match high.checked_sub(low) {
            None | Some(u64::MAX) => low,
            Some(span) => low + self.roll(kind, key, nth) % (span + 1),
        }
    }

    /// True with `probability` (0 never, 1 always).
    pub(crate) fn hits(self, probability: f64, kind: &str, key: &str, nth: u64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let unit = (self.roll(kind, key, nth) >> 11) as f64 / (1_u64 << 53) as f64;
        unit < probability
    }
}
