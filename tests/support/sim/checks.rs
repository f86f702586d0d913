//! The promises, checked from outside at every step: what the network saw against what was ordered.
//! Nothing here asks the engine or its store. What an opt-out promises is in `wishes`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialfleet_domain::call::{Attempt, CallState, Todo};
use dialfleet_engine::port::carrier::DialRequest;
use dialfleet_simulator::{CallView, Ledger, NetEvent};

use super::exchange::short;
use super::weather::Weather;
use super::wishes::Wishes;

/// The longest between the last reading of the facts and the request, and a few milliseconds.
const FENCE: Duration = Duration::from_millis(3_050);
/// Between the two looks that prove absence.
const PROOF_GAP: Duration = Duration::from_secs(30);

#[derive(Default)]
struct State {
    /// Per campaign, the limits that may have been in force, each from its time on.
    limits: BTreeMap<String, Vec<(Duration, u32)>>,
    /// Per campaign, how many calls the program takes that people are connected to.
    capacities: BTreeMap<String, u32>,
    /// Campaigns that must not dial, since when.
    closed: BTreeMap<String, Duration>,
    /// How many people are telling a campaign to dial.
    opening: BTreeMap<String, u32>,
    /// People who must not be called.
    wishes: Wishes,
    /// When the request of each leg was decided on, by `attempt/leg`.
    left: BTreeMap<String, Duration>,
    /// Complete answers to "calls to this person?", by phone: when they were true.
    looks: BTreeMap<String, Vec<Duration>>,
    rings: u64,
    /// How many calls each carrier takes at once, where that is limited.
    channels: BTreeMap<String, u32>,
}

/// The highest limit that may have been in force since then.
fn highest_limit(state: &State, campaign: &str, since: Duration) -> u32 {
    let capacity = state.capacities.get(campaign).copied();
    let highest = state.limits.get(campaign).map_or(0, |limits| {
        let before = limits.iter().take_while(|(at, _)| *at <= since).last();
        let after = limits.iter().skip_while(|(at, _)| *at <= since);
        let all = before.into_iter().chain(after);
        all.map(|(_, limit)| *limit).max().unwrap_or(0)
    });
    capacity.map_or(highest, |most| most.min(highest))
}

/// See the module.
pub(super) struct Checks {
    weather: Arc<Weather>,
    state: Mutex<State>,
}

impl Checks {
    pub(super) fn new(weather: Arc<Weather>) -> Self {
        Self {
            weather,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This carrier takes so many calls at once.
    pub(super) fn channels(&self, carrier: &str, channels: u32) {
        let mut state = self.state();
        state.channels.insert(carrier.to_owned(), channels);
    }

    /// A campaign connects people to a program that takes so many calls.
    pub(super) fn capacity(&self, campaign: &str, most: u32) {
        let mut state = self.state();
        state.capacities.insert(campaign.to_owned(), most);
    }

    /// A limit is being ordered: it may be in force from now on, and the old one still is.
    pub(super) fn limit_ordered(&self, campaign: &str, limit: u32) {
        let mut state = self.state();
        let limits = state.limits.entry(campaign.to_owned()).or_default();
        let highest = limits.last().map_or(limit, |(_, last)| limit.max(*last));
        limits.push((self.weather.time.elapsed(), highest));
    }

    /// The order was confirmed.
    pub(super) fn limit_confirmed(&self, campaign: &str, limit: u32) {
        let now = self.weather.time.elapsed();
        self.state()
            .limits
            .entry(campaign.to_owned())
            .or_default()
            .push((now, limit));
    }

    /// A campaign was confirmed to dial no more. That says little while somebody else tells it to dial.
    pub(super) fn closed(&self, campaign: &str) {
        let now = self.weather.time.elapsed();
        let mut state = self.state();
        if !state.opening.contains_key(campaign) {
            state.closed.entry(campaign.to_owned()).or_insert(now);
        }
    }

    /// A campaign is being told to dial again.
    pub(super) fn opening(&self, campaign: &str) {
        let mut state = self.state();
        state.closed.remove(campaign);
        *state.opening.entry(campaign.to_owned()).or_default() += 1;
    }

    /// Whoever told it to dial again has an answer.
    pub(super) fn opened(&self, campaign: &str) {
        let mut state = self.state();
        if let Some(n) = state.opening.get_mut(campaign).filter(|n| **n > 1) {
            *n -= 1;
        } else {
            state.opening.remove(campaign);
        }
    }

    /// A number is on the do-not-call list, by the store itself, or by its word to the operator.
    pub(super) fn listed(&self, phone: &str) {
        let now = self.weather.time.elapsed();
        self.state().wishes.listed(phone, now);
    }

    /// Somebody hears on a call that they will not be called again: nothing that is not so may be said.
    pub(super) fn confirmed(&self, phone: &str) {
        let now = self.weather.time.elapsed();
        let tail = tail(phone);
        self.weather
            .journal
            .line("network", format_args!("***{tail} is told: done"));
        if !self.state().wishes.confirmed(phone, now) {
            self.weather
                .fail(format!("***{tail} was told what nobody had written down"));
        }
    }

    /// Somebody hears on a call that their wish could not be written down yet.
    pub(super) fn put_off(&self, phone: &str) {
        let tail = tail(phone);
        self.weather
            .journal
            .line("network", format_args!("***{tail} is told: not yet"));
        self.state().wishes.put_off(phone);
    }

    /// How many were told that they will not be called again.
    pub(super) fn opt_outs(&self) -> u64 {
        self.state().wishes.count()
    }

    /// Whose numbers must be on the list in the end.
    pub(super) fn promised(&self) -> BTreeSet<String> {
        self.state().wishes.promised()
    }

    /// A carrier's complete list of calls to a person, as it was then, was read.
    pub(super) fn looked(&self, phone: &str, at: Duration) {
        let mut state = self.state();
        state.looks.entry(phone.to_owned()).or_default().push(at);
    }

    /// An attempt is written down as proven absent: that takes two looks far enough apart since its
    /// request may have left.
    pub(super) fn proven_absent(&self, attempt: &Attempt) {
        let Some((_, leg)) = attempt.current_leg() else {
            return;
        };
        let age = self.weather.time.now().since(leg.intent_at);
        let since = self.weather.time.elapsed().saturating_sub(age);
        let state = self.state();
        let looks = state
            .looks
            .get(attempt.phone.as_str())
            .into_iter()
            .flatten()
            .filter(|at| **at >= since);
        let gap = looks
            .clone()
            .max()
            .zip(looks.min())
            .map_or(Duration::ZERO, |(last, first)| *last - *first);
        if gap + Duration::from_millis(50) < PROOF_GAP {
            let s = gap.as_secs_f64();
            self.weather.fail(format!(
                "{} was proven absent by looks {s:.1} s apart",
                attempt.id
            ));
        }
    }

    /// An attempt was written: what was known of it is never unlearned. Its end is final, slot and person
    /// are free from then on, and what the carrier called a call stays its name.
    pub(super) fn rewritten(&self, before: &Attempt, after: &Attempt) {
        // Of the keys, only one means anything else; who pressed that may be called again.
        let wished = |a: &Attempt| {
            a.todo.iter().any(|todo| match todo {
                Todo::OptOut => true,
                Todo::Hear { input, .. } => input.keys().is_some_and(|keys| keys.as_str() == "9"),
                _ => false,
            })
        };
        if !wished(before) && wished(after) && after.is_live() {
            let now = self.weather.time.elapsed();
            self.state().wishes.written(after.phone.as_str(), now);
        }
        let went_back = (before.outcome.is_some() && after.outcome != before.outcome)
            || (!before.is_live() && (after.is_live() || after.slot.is_some()));
        let forgot = after.legs.len() < before.legs.len()
            || before.legs.iter().zip(&after.legs).any(|(old, new)| {
                old.nonce != new.nonce || (old.call_id.is_some() && new.call_id != old.call_id)
            })
            || !after.timeline.starts_with(&before.timeline);
        if went_back || forgot {
            self.weather.fail(format!(
                "{} went back from {} to {}: a write was lost",
                before.id,
                before.state.name(),
                after.state.name()
            ));
        }
    }

    /// A create-call request is about to leave: nothing may have forbidden it for longer than the
    /// fence allows, whatever the process went through.
    pub(super) fn leaves(&self, attempt: Option<&Attempt>, request: &DialRequest) {
        let now = self.weather.time.elapsed();
        let too_late = |since: &Duration| *since + FENCE < now;
        let (id, leg) = (&request.attempt, request.leg);
        let (current, slot) = attempt.map_or((None, None), |a| {
            let current = a.current_leg().map(|(leg, _)| leg);
            (Some((a.state, current)), a.slot)
        });
        if current != Some((CallState::Intent, Some(leg))) {
            self.weather.fail(format!(
                "a request left for {id} leg {leg}, which is {current:?}"
            ));
        }
        let campaign = id.lead().campaign();
        let mut state = self.state();
        state.left.insert(key(id.as_str(), leg), now);
        if state.closed.get(campaign.as_str()).is_some_and(too_late) {
            self.weather.fail(format!(
                "a request left for {id} after its campaign was closed"
            ));
        }
        let forbidden = state.wishes.forbid(request.to.as_str(), now, FENCE);
        if let Some(since) = forbidden {
            let s = since.as_secs_f64();
            self.weather.fail(format!(
                "a request left for {id} {s:.1} s too late: the person had opted out"
            ));
        }
        let highest = highest_limit(&state, campaign.as_str(), now.saturating_sub(FENCE));
        if slot.is_none_or(|slot| slot >= highest) {
            self.weather.fail(format!(
                "a request left for {id} in slot {slot:?}, the limit is {highest}"
            ));
        }
    }

    /// A call was placed.
    pub(super) fn placed(&self, ledger: &Ledger, request: &DialRequest) {
        let now = self.weather.time.elapsed();
        let slack = self.weather.slack();
        let campaign = request.attempt.lead().campaign();
        let state = self.state();
        if let Some(since) = state
            .closed
            .get(campaign.as_str())
            .filter(|since| **since + slack < now)
        {
            let s = (now - *since).as_secs_f64();
            self.weather.fail(format!(
                "{} was dialed {s:.1} s after its campaign was closed",
                request.attempt
            ));
        }
        self.check_opt_out(&state, request.to.as_str(), "called");
        let call = key(request.attempt.as_str(), request.leg);
        self.check_limit(&state, ledger, &call, campaign.as_str());
        for (carrier, channels) in &state.channels {
            let live = ledger.carriers.get(carrier).map_or(0, |count| count.live);
            if live > *channels {
                self.weather.fail(format!(
                    "{live} live calls at {carrier}, which takes {channels}"
                ));
            }
        }
        self.check_ledger(ledger);
    }

    /// Never more live calls than a limit that was in force since this call was last allowed: a lowered
    /// limit lets calls finish, but then nothing new is dialed until fewer are live than it says.
    fn check_limit(&self, state: &State, ledger: &Ledger, call: &str, campaign: &str) {
        let now = self.weather.time.elapsed();
        let left = state.left.get(call).copied().unwrap_or(now);
        let highest = highest_limit(state, campaign, left.saturating_sub(FENCE));
        let live = ledger.live.get(campaign).copied().unwrap_or(0);
        if live > highest {
            self.weather.fail(format!(
                "{live} live calls of {campaign}, its limit was at most {highest}"
            ));
        }
    }

    fn check_opt_out(&self, state: &State, phone: &str, what: &str) {
        let now = self.weather.time.elapsed();
        let slack = self.weather.slack();
        if let Some(since) = state.wishes.forbid(phone, now, slack) {
            let (s, tail) = (since.as_secs_f64(), tail(phone));
            self.weather.fail(format!(
                "***{tail} was {what} {s:.1} s too late: they had opted out"
            ));
        }
    }

    fn check_ledger(&self, ledger: &Ledger) {
        if let Some(violation) = ledger.violations.first() {
            self.weather.fail(format!("the network saw {violation:?}"));
        }
    }

    /// Something happened to a call.
    pub(super) fn happened(&self, ledger: &Ledger, call: &str, view: &CallView, event: NetEvent) {
        let attempt = view.dial.attempt_key.rsplit(':').next().unwrap_or_default();
        let tail = tail(&view.dial.to);
        let line = format_args!(
            "{} (***{tail} attempt {attempt} leg {}) {event:?}",
            short(call),
            view.dial.leg
        );
        self.weather.journal.line("network", line);
        let mut state = self.state();
        match event {
            NetEvent::Ringing => {
                state.rings += 1;
                self.check_opt_out(&state, &view.dial.to, "rung");
                let call = format!("{}/{}", view.dial.attempt_key, view.dial.leg);
                self.check_limit(&state, ledger, &call, &view.dial.campaign_key);
            }
            NetEvent::Initiated | NetEvent::Answered { .. } | NetEvent::Ended { .. } => {}
        }
        self.check_ledger(ledger);
    }

    /// Rings so far.
    pub(super) fn rings(&self) -> u64 {
        self.state().rings
    }
}

/// What is shown of a number.
fn tail(phone: &str) -> &str {
    &phone[phone.len().saturating_sub(3)..]
}

fn key(attempt: &str, leg: u8) -> String {
    format!("{attempt}/{leg}")
}
