//! What can go wrong, and how often. A world draws which of them are on (a swarm: each seed has
//! about half of the faults, so that no fault hides another's consequences).

use super::chance::{Chance, Kind};

/// The longest a process may be frozen, s. The proof of absence holds up to its age (60 s) less
/// [`WIRE_MAX_S`] and [`LIST_LAG_MAX_S`].
pub(super) const FREEZE_MAX_S: u64 = 40;
/// The longest a request may be on its way to a carrier, s.
pub(super) const WIRE_MAX_S: u64 = 8;
/// The longest a placed call may be missing from the carrier's lists, s.
pub(super) const LIST_LAG_MAX_S: u64 = 5;

/// Probabilities per operation, and rates per minute of virtual time.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(
    missing_docs,
    reason = "the comments group them; each is named by what happens"
)]
pub struct Faults {
    // The store, per call.
    pub store_unavailable: f64,
    /// No answer; the write happened, or not, each half of the time.
    pub store_unclear: f64,
    /// No answer, and the write lands up to some seconds later.
    pub store_late: f64,
    /// No answer; only some items of a list were written.
    pub store_partial: f64,
    /// The call takes up to five seconds.
    pub store_slow: f64,
    /// No store for up to fifteen seconds, per minute.
    pub store_outages: f64,
    // The queue, per message or call.
    pub publish_refused: f64,
    /// No confirmation; the message was taken, or not.
    pub publish_unconfirmed: f64,
    pub message_lost: f64,
    pub message_twice: f64,
    pub message_late: f64,
    pub ack_lost: f64,
    /// No broker for up to fifteen seconds, per minute.
    pub broker_outages: f64,
    // The carriers, per request.
    pub dial_limited: f64,
    pub dial_refused: f64,
    /// No answer; placed, or not.
    pub dial_unclear: f64,
    /// No answer within the time-out; placed, perhaps after it, or not.
    pub dial_hangs: f64,
    pub dial_slow: f64,
    pub ask_fails: f64,
    /// A placed call is missing from the lists for some seconds.
    pub list_lags: f64,
    pub callback_lost: f64,
    pub callback_twice: f64,
    pub callback_late: f64,
    // Processes, per minute and process.
    pub crashes: f64,
    pub freezes: f64,
    /// Told to stop, which takes up to ten seconds.
    pub restarts: f64,
    /// How likely a process that ended stays away for a minute or two.
    pub absences: f64,
    /// Wall clock off by up to 1.5 s, which is tolerated.
    pub clock_drifts: f64,
    /// Wall clock off by minutes, which is an alarm.
    pub clock_jumps: f64,
    // The operator, per minute and campaign.
    pub orders: f64,
    pub stops: f64,
    pub opt_outs: f64,
    /// Somebody publishes what nobody can read.
    pub nonsense: f64,
    /// Another campaign begins, per minute.
    pub campaigns: f64,
    /// A person who answers, and is asked, presses the key that means an opt-out.
    pub keys: f64,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        store_unavailable: 0.0,
        store_unclear: 0.0,
        store_late: 0.0,
        store_partial: 0.0,
        store_slow: 0.0,
        store_outages: 0.0,
        publish_refused: 0.0,
        publish_unconfirmed: 0.0,
        message_lost: 0.0,
        message_twice: 0.0,
        message_late: 0.0,
        ack_lost: 0.0,
        broker_outages: 0.0,
        dial_limited: 0.0,
        dial_refused: 0.0,
        dial_unclear: 0.0,
        dial_hangs: 0.0,
        dial_slow: 0.0,
        ask_fails: 0.0,
        list_lags: 0.0,
        callback_lost: 0.0,
        callback_twice: 0.0,
        callback_late: 0.0,
        crashes: 0.0,
        freezes: 0.0,
        restarts: 0.0,
        absences: 0.0,
        clock_drifts: 0.0,
        clock_jumps: 0.0,
        orders: 0.0,
        stops: 0.0,
        opt_outs: 0.0,
        nonsense: 0.0,
        campaigns: 0.0,
        keys: 0.0,
    };

    /// The most of everything.
    pub const MOST: Self = Self {
        store_unavailable: 0.02,
        store_unclear: 0.03,
        store_late: 0.02,
        store_partial: 0.05,
        store_slow: 0.05,
        store_outages: 0.3,
        publish_refused: 0.1,
        publish_unconfirmed: 0.1,
        message_lost: 0.2,
        message_twice: 0.2,
        message_late: 0.3,
        ack_lost: 0.1,
        broker_outages: 0.3,
        dial_limited: 0.15,
        dial_refused: 0.3,
        dial_unclear: 0.2,
        dial_hangs: 0.1,
        dial_slow: 0.4,
        ask_fails: 0.3,
        list_lags: 0.5,
        callback_lost: 0.4,
        callback_twice: 0.4,
        callback_late: 0.3,
        crashes: 2.0,
        freezes: 1.5,
        restarts: 0.6,
        absences: 0.3,
        clock_drifts: 0.6,
        clock_jumps: 0.5,
        orders: 10.0,
        stops: 0.1,
        opt_outs: 6.0,
        nonsense: 1.0,
        campaigns: 0.5,
        keys: 0.1,
    };

    fn each(&mut self) -> [&mut f64; 35] {
        [
            &mut self.store_unavailable,
            &mut self.store_unclear,
            &mut self.store_late,
            &mut self.store_partial,
            &mut self.store_slow,
            &mut self.store_outages,
            &mut self.publish_refused,
            &mut self.publish_unconfirmed,
            &mut self.message_lost,
            &mut self.message_twice,
            &mut self.message_late,
            &mut self.ack_lost,
            &mut self.broker_outages,
            &mut self.dial_limited,
            &mut self.dial_refused,
            &mut self.dial_unclear,
            &mut self.dial_hangs,
            &mut self.dial_slow,
            &mut self.ask_fails,
            &mut self.list_lags,
            &mut self.callback_lost,
            &mut self.callback_twice,
            &mut self.callback_late,
            &mut self.crashes,
            &mut self.freezes,
            &mut self.restarts,
            &mut self.absences,
            &mut self.clock_drifts,
            &mut self.clock_jumps,
            &mut self.orders,
            &mut self.stops,
            &mut self.opt_outs,
            &mut self.nonsense,
            &mut self.campaigns,
            &mut self.keys,
        ]
    }

    /// One world's faults: each of these is on with one half, at its full strength or a part of it.
    pub(super) fn swarm(mut self, chance: &Chance) -> Self {
        for fault in self.each() {
            let on = chance.hits(Kind::Setting, 0.5);
            let strength = (1.5 * chance.unit(Kind::Setting)).min(1.0);
            *fault = if on { *fault * strength } else { 0.0 };
        }
        self
    }
}
