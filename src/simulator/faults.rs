//! What goes wrong on purpose, in front of the network: never in it, so the ledger stays true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::timetable::CallStatus;

/// Probabilities (0 never, 1 always) of each fault, drawn for each call by a hash of its attempt
/// key and leg: the same calls suffer the same faults in every run. All default to none.
/// Milliseconds are real ones; the speed factor does not touch HTTP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// A callback is never sent.
    pub callback_lost: f64,
    /// A callback is sent twice, with the same idempotency token or id.
    pub callback_duplicated: f64,
    /// A callback is held back, and others overtake it.
    pub callback_late: f64,
    /// Longest hold.
    pub callback_late_max_ms: u64,
    /// A callback arrives after the next one of its call.
    pub callback_reordered: f64,
    /// Callback faults strike only these events; empty means all. The answering machine result
    /// counts as `in-progress`.
    pub only_events: BTreeSet<CallStatus>,
    /// All faults of calls strike only calls to these numbers; empty means all.
    pub only_phones: BTreeSet<String>,
    /// A create request is answered 429; nothing is placed.
    pub create_429: f64,
    /// A create request gets a refusal that the carrier documents as its own ("not through me");
    /// nothing is placed.
    pub create_refused: f64,
    /// A create request is answered 500; nothing is placed.
    pub create_500_before: f64,
    /// The call is placed, then the request is answered 500.
    pub create_500_after: f64,
    /// The connection is reset without an answer; nothing is placed.
    pub create_reset_before: f64,
    /// The call is placed, then the connection is reset at some byte of the answer.
    pub create_reset_after: f64,
    /// The answer to a create request is slow; half of the time the placing is, too, and happens
    /// even when the client has given up.
    pub create_slow: f64,
    /// Shortest delay: above the client's patience, it hangs.
    pub create_slow_min_ms: u64,
    /// Longest delay.
    pub create_slow_max_ms: u64,
    /// A look-up or list is answered 500.
    pub read_500: f64,
    /// Calls younger than this are missing from lists (they are eventually consistent).
    pub list_lag_ms: u64,
    /// A recording is not found for so long after it was said to be complete.
    pub media_late_ms: u64,
    /// A request for a recording is answered 500.
    pub media_500: f64,
    /// The connection is reset before the end of a recording.
    pub media_truncated: f64,
    /// A request for a recording is answered with a redirect, to an address that refuses requests
    /// with credentials.
    pub media_redirected: f64,
    /// The addresses of a recording in a webhook have expired when they arrive.
    pub media_expired: f64,
}

/// What becomes of one request for a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaFault {
    /// Nothing special.
    None,
    /// 500.
    Error,
    /// Reset; the number picks the byte.
    Truncated(u64),
    /// Redirected.
    Redirected,
}

/// What becomes of one create request, apart from slowness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateFault {
    /// Nothing special.
    None,
    /// 429, nothing placed.
    TooMany,
    /// A documented refusal, nothing placed.
    Refused,
    /// 500, nothing placed.
    ErrorBefore,
    /// Placed, then 500.
    ErrorAfter,
    /// Reset, nothing placed.
    ResetBefore,
    /// Placed, then reset; the number picks the byte.
    ResetAfter(u64),
}

/// How slow one create request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slowness {
    /// Before anything is placed.
    pub before: Duration,
    /// Between placing and answer.
    pub after: Duration,
}

/// What becomes of one callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallbackFault {
    /// Never sent.
    pub lost: bool,
    /// Sent twice.
    pub duplicated: bool,
    /// Held back.
    pub late: Option<Duration>,
    /// Sent after the next one.
    pub reordered: bool,
}

/// The faults in force, changeable while calls run.
pub struct FaultPlan {
    dice: Dice,
    faults: Mutex<InForce>,
}

#[derive(Default)]
struct InForce {
    common: Faults,
    /// Of one carrier account, instead of the common ones.
    own: BTreeMap<String, Faults>,
}

impl InForce {
    fn of(&self, carrier: &str) -> &Faults {
        self.own.get(carrier).unwrap_or(&self.common)
    }
}

impl FaultPlan {
    /// A plan that draws from `seed`.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            dice: Dice::new(seed),
            faults: Mutex::new(InForce {
                common: faults,
                own: BTreeMap::new(),
            }),
        }
    }

    /// Replaces all faults, of all carriers.
    pub fn set(&self, faults: Faults) {
        let own = BTreeMap::new();
        *self.lock() = InForce {
            common: faults,
            own,
        };
    }

    /// Replaces the faults of one carrier account; the others keep theirs.
    pub fn set_for(&self, carrier: impl Into<String>, faults: Faults) {
        self.lock().own.insert(carrier.into(), faults);
    }

    /// The faults in force at a carrier account.
    #[must_use]
    pub fn get(&self, carrier: &str) -> Faults {
        self.lock().of(carrier).clone()
    }

    /// The fate of the `nth` create request with this call key.
    #[must_use]
    pub fn create(
        &self,
        carrier: &str,
        phone: &str,
        key: &str,
        nth: u32,
    ) -> (CreateFault, Slowness) {
        let in_force = self.lock();
        let f = in_force.of(carrier);
        if !f.concerns(phone) {
            return (CreateFault::None, Slowness::default());
        }
        let hits = |probability, kind| self.dice.hits(probability, kind, key, nth.into());
        let fault = if hits(f.create_429, "create-429") {
            CreateFault::TooMany
        } else if hits(f.create_refused, "create-refused") {
            CreateFault::Refused
        } else if hits(f.create_500_before, "create-500-before") {
            CreateFault::ErrorBefore
        } else if hits(f.create_500_after, "create-500-after") {
            CreateFault::ErrorAfter
        } else if hits(f.create_reset_before, "create-reset-before") {
            CreateFault::ResetBefore
        } else if hits(f.create_reset_after, "create-reset-after") {
            CreateFault::ResetAfter(self.dice.roll("cut", key, nth.into()))
        } else {
            CreateFault::None
        };
        let mut slowness = Slowness::default();
        if hits(f.create_slow, "create-slow") {
            let (least, most) = (f.create_slow_min_ms, f.create_slow_max_ms);
            let ms = self.dice.between("slow-ms", key, nth.into(), least, most);
            if hits(0.5, "slow-before") {
                slowness.before = Duration::from_millis(ms);
            } else {
                slowness.after = Duration::from_millis(ms);
            }
        }
        (fault, slowness)
    }

    /// The fate of the callback with this sequence number and status.
    #[must_use]
    pub fn callback(
        &self,
        carrier: &str,
        phone: &str,
        key: &str,
        seq: u32,
        status: CallStatus,
    ) -> CallbackFault {
        let in_force = self.lock();
        let f = in_force.of(carrier);
        let chosen = f.only_events.is_empty() || f.only_events.contains(&status);
        if !chosen || !f.concerns(phone) {
            return CallbackFault::default();
        }
        let hits = |probability, kind| self.dice.hits(probability, kind, key, seq.into());
        let late_ms = self
            .dice
            .between("late-ms", key, seq.into(), 0, f.callback_late_max_ms);
        CallbackFault {
            lost: hits(f.callback_lost, "lost"),
            duplicated: hits(f.callback_duplicated, "duplicated"),
            late: hits(f.callback_late, "late").then(|| Duration::from_millis(late_ms)),
            reordered: hits(f.callback_reordered, "reordered"),
        }
    }

    /// Whether the `nth` look-up of `key` fails.
    #[must_use]
    pub fn read_fails(&self, carrier: &str, key: &str, nth: u64) -> bool {
        let probability = self.lock().of(carrier).read_500;
        self.dice.hits(probability, "read-500", key, nth)
    }

    /// The fate of the `nth` request for the recording `id`.
    #[must_use]
    pub fn media(&self, carrier: &str, phone: &str, id: &str, nth: u64) -> MediaFault {
        let in_force = self.lock();
        let f = in_force.of(carrier);
        let hits =
            |probability, kind| f.concerns(phone) && self.dice.hits(probability, kind, id, nth);
        if hits(f.media_500, "media-500") {
            MediaFault::Error
        } else if hits(f.media_truncated, "media-truncated") {
            MediaFault::Truncated(self.dice.roll("media-cut", id, nth))
        } else if hits(f.media_redirected, "media-redirected") {
            MediaFault::Redirected
        } else {
            MediaFault::None
        }
    }

    /// Whether the addresses of the recording `id` arrive expired.
    #[must_use]
    pub fn media_expired(&self, carrier: &str, phone: &str, id: &str) -> bool {
        let in_force = self.lock();
        let f = in_force.of(carrier);
        f.concerns(phone) && self.dice.hits(f.media_expired, "media-expired", id, 0)
    }

    /// How long the recordings of an account are not found after they are complete.
    #[must_use]
    pub fn media_late(&self, carrier: &str, phone: &str) -> Duration {
        let in_force = self.lock();
        let f = in_force.of(carrier);
        Duration::from_millis(if f.concerns(phone) {
            f.media_late_ms
        } else {
            0
        })
    }

    fn lock(&self) -> MutexGuard<'_, InForce> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults {
    fn concerns(&self, phone: &str) -> bool {
        self.only_phones.is_empty() || self.only_phones.contains(phone)
    }
}
