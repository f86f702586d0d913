//! Chance from one seed: a stream for each kind of decision, so that a change in how one kind is
//! asked does not reshuffle the others.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialfleet_engine::port::Entropy;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

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
}

const KINDS: usize = 9;

/// The streams.
pub(super) struct Chance {
    streams: [Mutex<StdRng>; KINDS],
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        let stream = |kind: usize| {
            Mutex::new(StdRng::seed_from_u64(mix(
                seed,
                &[u8::try_from(kind).unwrap_or(0)],
            )))
        };
        Self {
            streams: std::array::from_fn(stream),
        }
    }

    fn stream(&self, kind: Kind) -> MutexGuard<'_, StdRng> {
        self.streams[kind as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// True with probability `p`. Nothing is drawn when `p` is 0.
    pub(super) fn hits(&self, kind: Kind, p: f64) -> bool {
        p > 0.0 && self.stream(kind).random_bool(p.min(1.0))
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&self, kind: Kind, low: u64, high: u64) -> u64 {
        if low >= high {
            low
        } else {
            self.stream(kind).random_range(low..=high)
        }
    }

    /// A place in a list of `len` items, which must not be empty.
    pub(super) fn index(&self, kind: Kind, len: usize) -> usize {
        self.stream(kind).random_range(0..len)
    }

    /// A time between `low` and `high` milliseconds.
    pub(super) fn ms(&self, kind: Kind, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(kind, low, high))
    }

    /// A uniform draw from 0 to 1.
    pub(super) fn unit(&self, kind: Kind) -> f64 {
        self.stream(kind).random()
    }
}

/// The randomness of one process: its own stream, by its name.
pub(super) struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    pub(super) fn new(seed: u64, name: &str) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(mix(
            seed,
            name.as_bytes(),
        ))))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(out);
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
