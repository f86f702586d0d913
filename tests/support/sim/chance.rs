//! Chance from one seed: a stream for each kind of decision, so that a change in how one kind is
//! asked does not reshuffle the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dialfleet_engine::port::Entropy;

/// What is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The world: workers, campaigns, leads, which faults are on.
    Setting,
    /// What becomes of a store call.
    Store,
    /// How long it takes.
    StoreTime,
    /// What becomes of a message.
    Queue,
    /// What becomes of a request to a carrier.
    Carrier,
    /// How long it takes.
    CarrierTime,
    /// What becomes of a callback, and where it arrives.
    Callback,
    /// Crashes, freezes, restarts.
    Process,
    /// What the operator does.
    Operator,
    /// What people do who answer, and how carriers are told what they hear.
    Person,
}

const KINDS: usize = 10;

/// The streams.
pub(super) struct Chance {
    streams: [Stream; KINDS],
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        let stream = |kind: usize| Stream::new(seed, &[u8::try_from(kind).unwrap_or(0)]);
        Self {
            streams: std::array::from_fn(stream),
        }
    }

    fn draw(&self, kind: Kind) -> u64 {
        self.streams[kind as usize].draw()
    }

    /// True with probability `p`. Nothing is drawn when `p` is 0.
    pub(super) fn hits(&self, kind: Kind, p: f64) -> bool {
        p > 0.0 && self.unit(kind) < p
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&self, kind: Kind, low: u64, high: u64) -> u64 {
        if low >= high {
            low
        } else {
            low + self.draw(kind) % (high - low + 1)
        }
    }

    /// A place in a list of `len` items, which must not be empty.
    pub(super) fn index(&self, kind: Kind, len: usize) -> usize {
        let last = u64::try_from(len).unwrap_or(u64::MAX) - 1;
        usize::try_from(self.between(kind, 0, last)).unwrap_or(0)
    }

    /// A time between `low` and `high` milliseconds.
    pub(super) fn ms(&self, kind: Kind, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(kind, low, high))
    }

    /// A uniform draw from 0 to less than 1.
    pub(super) fn unit(&self, kind: Kind) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let unit = (self.draw(kind) >> 11) as f64 / (1_u64 << 53) as f64;
        unit
    }
}

/// The randomness of one process: its own stream, by its name.
pub(super) struct SeededEntropy(Stream);

impl SeededEntropy {
    pub(super) fn new(seed: u64, name: &str) -> Self {
        Self(Stream::new(seed, name.as_bytes()))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        for bytes in out.chunks_mut(8) {
            bytes.copy_from_slice(&self.0.draw().to_le_bytes()[..bytes.len()]);
        }
    }
}

/// The generator splitmix64: worlds draw millions of times, and nothing here needs secrecy.
struct Stream(AtomicU64);

impl Stream {
    fn new(seed: u64, name: &[u8]) -> Self {
        Self(AtomicU64::new(mix(seed, name)))
    }

    fn draw(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a, from a start value.
pub(super) fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

fn mix(seed: u64, bytes: &[u8]) -> u64 {
    fnv(fnv(FNV_OFFSET, &seed.to_le_bytes()), bytes)
}
