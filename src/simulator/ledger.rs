//! What the network itself saw: the witness that tests believe.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dialfleet_domain::time::Timestamp;
use serde::Serialize;

use crate::network::Dial;
use crate::timetable::CallStatus;

const SECOND: Duration = Duration::from_secs(1);

/// Violations kept word by word; more are only counted.
const KEPT_VIOLATIONS: usize = 1_000;

/// A copy of everything counted so far. Live means placed and not ended, the carrier's queue
/// included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Times each phone rang.
    pub rings: BTreeMap<String, u32>,
    /// Times the phone rang for each attempt, all its legs together.
    pub rings_per_attempt: BTreeMap<String, u32>,
    /// Different attempts placed to each phone.
    pub attempts: BTreeMap<String, u32>,
    /// Rings beyond one per attempt, over all phones: people rung more often than they should be.
    pub duplicates: u64,
    /// Live calls of each campaign now.
    pub live: BTreeMap<String, u32>,
    /// Most live calls of each campaign at any moment.
    pub max_live: BTreeMap<String, u32>,
    /// Live calls now.
    pub total_live: u32,
    /// Most live calls at any moment.
    pub max_total_live: u32,
    /// Create requests received, refused ones included.
    pub creates: u64,
    /// Most create requests received within any one second.
    pub max_creates_per_second: u32,
    /// Calls placed.
    pub placed: u64,
    /// Calls that ended with each status.
    pub ended: BTreeMap<CallStatus, u64>,
    /// The same requests and calls by carrier account.
    pub carriers: BTreeMap<String, CarrierCount>,
    /// The first violations seen, in order.
    pub violations: Vec<Violation>,
    /// All violations seen.
    pub violations_total: u64,
}

/// What reached one carrier account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CarrierCount {
    /// Create requests received, refused ones included.
    pub creates: u64,
    /// Most create requests received within any one second.
    pub max_creates_per_second: u32,
    /// Most create requests received within any ten seconds.
    pub max_creates_per_ten_seconds: u32,
    /// Calls placed.
    pub placed: u64,
    /// Calls that somebody answered.
    pub answered: u64,
    /// Live calls now.
    pub live: u32,
    /// Most live calls at any moment.
    pub max_live: u32,
    /// Minutes of ended conversations, each one begun counted whole: what a carrier bills.
    pub minutes: u64,
}

/// Something that must never happen to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Violation {
    /// One attempt made the phone ring again.
    AttemptRungTwice {
        /// The attempt.
        attempt: String,
        /// The person's number.
        phone: String,
        /// The call that rang again.
        call_id: String,
        /// When, Unix milliseconds.
        at: Timestamp,
    },
    /// A call was placed to a phone that already had one.
    TwoLiveCalls {
        /// The person's number.
        phone: String,
        /// The second call.
        call_id: String,
        /// When, Unix milliseconds.
        at: Timestamp,
    },
}

/// The books behind [`Ledger`].
#[derive(Debug, Default)]
pub(crate) struct Books {
    public: Ledger,
    creates_per_key: BTreeMap<String, u32>,
    last_second: VecDeque<Timestamp>,
    /// The last ten seconds of each carrier.
    last_ten: BTreeMap<String, VecDeque<Timestamp>>,
    calls_per_phone: BTreeMap<String, u64>,
    live_per_phone: BTreeMap<String, u32>,
}

impl Books {
    pub(crate) fn snapshot(&self) -> Ledger {
        self.public.clone()
    }

    pub(crate) fn public(&self) -> &Ledger {
        &self.public
    }

    /// A create request came in; returns how many came before with the same key.
    pub(crate) fn create(&mut self, carrier: &str, key: &str, now: Timestamp) -> u32 {
        self.public.creates += 1;
        self.last_second.push_back(now);
        forget(&mut self.last_second, now, SECOND);
        raise(
            &mut self.public.max_creates_per_second,
            self.last_second.len(),
        );
        let count = self.public.carriers.entry(carrier.to_owned()).or_default();
        count.creates += 1;
        let ten = self.last_ten.entry(carrier.to_owned()).or_default();
        ten.push_back(now);
        forget(ten, now, 10 * SECOND);
        raise(&mut count.max_creates_per_ten_seconds, ten.len());
        let young = ten.iter().rev();
        let second = young.take_while(|at| now.since(**at) < SECOND).count();
        raise(&mut count.max_creates_per_second, second);
        let seen = self.creates_per_key.entry(key.to_owned()).or_default();
        *seen += 1;
        *seen - 1
    }

    /// Numbers the calls to a phone from 0.
    pub(crate) fn nth_call(&mut self, phone: &str) -> u64 {
        let next = self.calls_per_phone.entry(phone.to_owned()).or_default();
        *next += 1;
        *next - 1
    }

    pub(crate) fn placed(&mut self, id: &str, dial: &Dial, at: Timestamp) {
        let (phone, attempt, campaign) = (&dial.to, &dial.attempt_key, &dial.campaign_key);
        let book = &mut self.public;
        book.placed += 1;
        let count = book.carriers.entry(dial.carrier.clone()).or_default();
        count.placed += 1;
        count.live += 1;
        count.max_live = count.max_live.max(count.live);
        if !book.rings_per_attempt.contains_key(attempt) {
            book.rings_per_attempt.insert(attempt.clone(), 0);
            *book.attempts.entry(phone.clone()).or_default() += 1;
        }
        let live = book.live.entry(campaign.clone()).or_default();
        *live += 1;
        let most = book.max_live.entry(campaign.clone()).or_default();
        *most = (*most).max(*live);
        book.total_live += 1;
        book.max_total_live = book.max_total_live.max(book.total_live);
        let to_phone = self.live_per_phone.entry(phone.clone()).or_default();
        *to_phone += 1;
        if *to_phone > 1 {
            let (phone, call_id) = (phone.clone(), id.to_owned());
            self.violation(Violation::TwoLiveCalls { phone, call_id, at });
        }
    }

    pub(crate) fn rang(&mut self, id: &str, phone: &str, attempt: &str, at: Timestamp) {
        let book = &mut self.public;
        let rings = book.rings.entry(phone.to_owned()).or_default();
        *rings += 1;
        // An extra ring raises this by one, and an attempt placed without a ring takes none away.
        let for_attempt = book
            .rings_per_attempt
            .entry(attempt.to_owned())
            .or_default();
        *for_attempt += 1;
        if *for_attempt > 1 {
            book.duplicates += 1;
            self.violation(Violation::AttemptRungTwice {
                attempt: attempt.to_owned(),
                phone: phone.to_owned(),
                call_id: id.to_owned(),
                at,
            });
        }
    }

    pub(crate) fn answered(&mut self, carrier: &str) {
        let count = self.public.carriers.entry(carrier.to_owned()).or_default();
        count.answered += 1;
    }

    /// `talk`: how long somebody was on the line.
    pub(crate) fn ended(&mut self, dial: &Dial, status: CallStatus, talk: Option<Duration>) {
        let (phone, campaign) = (dial.to.as_str(), dial.campaign_key.as_str());
        let book = &mut self.public;
        let count = book.carriers.entry(dial.carrier.clone()).or_default();
        count.live = count.live.saturating_sub(1);
        if let Some(talk) = talk {
            count.minutes += talk.as_secs().div_ceil(60).max(1);
        }
        *book.ended.entry(status).or_default() += 1;
        book.total_live = book.total_live.saturating_sub(1);
        if let Some(live) = book.live.get_mut(campaign) {
            *live = live.saturating_sub(1);
        }
        if let Some(live) = self.live_per_phone.get_mut(phone) {
            *live = live.saturating_sub(1);
            if *live == 0 {
                self.live_per_phone.remove(phone);
            }
        }
    }

    fn violation(&mut self, what: Violation) {
        self.public.violations_total += 1;
        if self.public.violations.len() < KEPT_VIOLATIONS {
            self.public.violations.push(what);
        }
    }
}

/// Drops the moments that are `window` old.
fn forget(moments: &mut VecDeque<Timestamp>, now: Timestamp, window: Duration) {
    while moments.front().is_some_and(|at| now.since(*at) >= window) {
        moments.pop_front();
    }
}

fn raise(most: &mut u32, seen: usize) {
    *most = (*most).max(u32::try_from(seen).unwrap_or(u32::MAX));
}
