//! The network: calls in progress and the ledger, behind one lock.
//!
//! Time is an argument. A driver places a call, then asks [`Network::step`] what happens now and
//! how long to wait for the next; [`Network::hang_up`] cuts the timetable short, after which the
//! driver steps again at once. Ring, talk and their limits are divided by the speed factor; the
//! carrier's queue is not, as its rate limit is real.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialfleet_domain::time::Timestamp;

use crate::dice::Dice;
use crate::heard::{By, Heard, Sound};
use crate::ledger::{Books, Ledger};
use crate::person::Person;
use crate::script::{Population, Script};
use crate::timetable::{Amd, CallStatus, Limits, NetEvent, Party, timetable};

mod search;

use search::Index;
pub use search::Search;

/// Ended calls that can still be looked up; older ones are forgotten (the ledger never forgets).
const KEPT_CALLS: usize = 50_000;

/// A request for one call. Everything is plain text: the network shares no type with its clients.
#[derive(Clone)]
pub struct Dial {
    /// The carrier account that takes it, by its name in the ledger.
    pub carrier: String,
    /// Number to call, E.164.
    pub to: String,
    /// Caller id, E.164.
    pub from: String,
    /// Longest ring, network time.
    pub ring_timeout: Duration,
    /// Longest conversation, network time.
    pub time_limit: Duration,
    /// What must ring at most once.
    pub attempt_key: String,
    /// What live calls are counted by.
    pub campaign_key: String,
    /// Which carrier leg of the attempt this is.
    pub leg: String,
    /// Answering machine detection, if asked for.
    pub amd: Option<Amd>,
}

/// A placed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// `CA` and 32 hexadecimal digits.
    pub call_id: String,
    /// Real time it waits in the carrier's queue (rate limit), before it is dialed.
    pub queued_for: Duration,
    /// What will happen and how long after now, unless it is hung up.
    pub timeline: Vec<(Duration, NetEvent)>,
}

/// Why nothing was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The network knows that there is no such number.
    #[error("the number does not exist")]
    InvalidNumber,
}

/// What a driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This happened now and is counted; step again.
    Event(NetEvent),
    /// Nothing is due for so long.
    Wait(Duration),
    /// The call is over, or unknown.
    Done,
}

/// The answer to a hang-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HangUp {
    /// Cut; the driver should step the call now.
    Cut,
    /// It had ended before.
    AlreadyEnded,
    /// No such call.
    Unknown,
}

/// A call as it can be looked up.
#[derive(Clone)]
pub struct CallView {
    /// `CA` and 32 hexadecimal digits.
    pub call_id: String,
    /// Order of placing, from 0.
    pub serial: u64,
    /// What was asked for.
    pub dial: Dial,
    /// Where it is.
    pub status: CallStatus,
    /// Who answered.
    pub party: Option<Party>,
    /// Final SIP response code.
    pub sip: Option<u16>,
    /// When it was created.
    pub placed_at: Timestamp,
    /// When it was dialed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Length of the conversation, network time; known at the end.
    pub duration: Option<Duration>,
    /// Real time it waits, or waited, in the carrier's queue.
    pub queued_for: Duration,
    /// What detection said, in the carrier's words.
    pub answered_by: Option<&'static str>,
}

pub(crate) struct Call {
    view: CallView,
    answered_at: Option<Timestamp>,
    left: VecDeque<(Timestamp, NetEvent)>,
    pub(crate) person: Option<Person>,
    pub(crate) heard: Vec<Heard>,
    /// We hung up.
    cut: bool,
}

impl Call {
    /// Network milliseconds since the answer.
    pub(crate) fn since_answer(&self, now: Timestamp, speed: f64) -> Option<u64> {
        let passed = now.since(self.answered_at?).mul_f64(speed);
        u64::try_from(passed.as_millis()).ok()
    }

    fn ended_by(&self, status: CallStatus, duration: Duration) -> Option<By> {
        (status == CallStatus::Completed).then(|| match self.cut {
            true => By::Caller,
            false if duration >= self.view.dial.time_limit => By::TimeLimit,
            false => By::Callee,
        })
    }
}

#[derive(Default)]
pub(crate) struct State {
    books: Books,
    calls: BTreeMap<u64, Call>,
    serials: BTreeMap<String, u64>,
    index: Index,
    ended: VecDeque<u64>,
    placed: u64,
    scripts: BTreeMap<String, Script>,
    /// Who answers through one carrier, when it differs from the rest.
    populations: BTreeMap<String, Population>,
    /// When a carrier that queues dials its next call.
    next_slot_at: BTreeMap<String, Timestamp>,
}

impl State {
    /// What is fixed for a number.
    pub(crate) fn script(&self, phone: &str) -> Option<Script> {
        self.scripts.get(phone).cloned()
    }

    pub(crate) fn call(&self, call_id: &str) -> Option<&Call> {
        self.calls.get(self.serials.get(call_id)?)
    }

    pub(crate) fn call_mut(&mut self, call_id: &str) -> Option<&mut Call> {
        self.calls.get_mut(self.serials.get(call_id)?)
    }
}

/// See the module.
pub struct Network {
    population: Population,
    speed: f64,
    queues: BTreeMap<String, u32>,
    state: Mutex<State>,
}

impl Network {
    /// A network in which calls pass `speed` times faster than life (0.001 or more; 1 is life).
    #[must_use]
    pub fn new(population: Population, speed: f64) -> Self {
        let speed = if speed.is_finite() {
            speed.max(0.001)
        } else {
            1.0
        };
        Self {
            population,
            speed,
            queues: BTreeMap::new(),
            state: Mutex::default(),
        }
    }

    /// Calls through `carrier` above `cps` each second are queued, silently, as Twilio does.
    #[must_use]
    pub fn with_queue(mut self, carrier: impl Into<String>, cps: u32) -> Self {
        self.queues.insert(carrier.into(), cps.max(1));
        self
    }

    /// How much faster than life calls pass.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Seed of every draw.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.population.seed
    }

    pub(crate) fn population(&self) -> Population {
        self.population
    }

    /// Fixes what `phone` does from now on, magic numbers included.
    pub fn set_script(&self, phone: impl Into<String>, script: Script) {
        self.lock().scripts.insert(phone.into(), script);
    }

    /// From now on calls through `carrier` meet these people: its quality.
    pub fn set_population(&self, carrier: impl Into<String>, population: Population) {
        self.lock().populations.insert(carrier.into(), population);
    }

    /// Notes that a create request arrived at `carrier`, whatever becomes of it (rate witness). `key`
    /// names the call asked for; returns how many requests came with it before.
    pub fn create_seen(&self, carrier: &str, key: &str, now: Timestamp) -> u32 {
        self.lock().books.create(carrier, key, now)
    }

    /// Places a call.
    ///
    /// # Errors
    /// The callee's script refuses the number at once; nothing was placed.
    pub fn place(&self, dial: Dial, now: Timestamp) -> Result<Placed, Refused> {
        let state = &mut *self.lock();
        let nth = state.books.nth_call(&dial.to);
        let own = state.populations.get(&dial.carrier).copied();
        let people = own.unwrap_or(self.population);
        let fixed = state.script(&dial.to);
        let script = fixed.unwrap_or_else(|| people.script(&dial.to, nth));
        let person = people.person(&script, &dial.to, nth);
        if script == (Script::Invalid { refused: true }) {
            return Err(Refused::InvalidNumber);
        }
        let dice = Dice::new(self.population.seed);
        let queued_for = match self.queues.get(&dial.carrier) {
            None => Duration::ZERO,
            Some(cps) => {
                let next = state.next_slot_at.entry(dial.carrier.clone()).or_default();
                let start = now.max(*next);
                *next = start + Duration::from_secs(1) / *cps;
                start.since(now)
            }
        };
        let (low, high) = people.set_up_ms;
        let set_up = dice.between("set-up", &dial.to, nth, low.into(), high.into());
        let limits = Limits {
            queued_for,
            set_up: Duration::from_millis(set_up),
            ring: dial.ring_timeout,
            talk: dial.time_limit,
        };
        let timeline = timetable(&script, person.as_ref(), limits, self.speed);
        let serial = state.placed;
        state.placed += 1;
        // The date keeps ids apart from those of an earlier run with the same seed.
        let salt = format!("{}/{}/{}", dial.attempt_key, dial.leg, now.millis());
        let (high, low) = (
            dice.roll("id-high", &salt, serial),
            dice.roll("id-low", &salt, serial),
        );
        let call_id = format!("CA{high:016x}{low:016x}");
        state.books.placed(&call_id, &dial, now);
        state.serials.insert(call_id.clone(), serial);
        state.index.placed(serial, &dial.to);
        let view = CallView {
            call_id: call_id.clone(),
            serial,
            dial,
            status: CallStatus::Queued,
            party: None,
            sip: None,
            placed_at: now,
            started_at: None,
            ended_at: None,
            duration: None,
            queued_for,
            answered_by: None,
        };
        let left = timeline
            .iter()
            .map(|(after, event)| (now + *after, *event))
            .collect();
        state.calls.insert(
            serial,
            Call {
                view,
                answered_at: None,
                left,
                person,
                heard: Vec::new(),
                cut: false,
            },
        );
        Ok(Placed {
            call_id,
            queued_for,
            timeline,
        })
    }

    /// Lets the next due event of a call happen.
    pub fn step(&self, call_id: &str, now: Timestamp) -> Step {
        let state = &mut *self.lock();
        let Some(serial) = state.serials.get(call_id).copied() else {
            return Step::Done;
        };
        let Some(call) = state.calls.get_mut(&serial) else {
            return Step::Done;
        };
        let Some((due, event)) = call.left.front().copied() else {
            return Step::Done;
        };
        if due > now {
            return Step::Wait(due.since(now));
        }
        call.left.pop_front();
        let view = &mut call.view;
        view.status = event.status();
        match event {
            NetEvent::Initiated => view.started_at = Some(now),
            NetEvent::Ringing => {
                state
                    .books
                    .rang(call_id, &view.dial.to, &view.dial.attempt_key, now);
            }
            NetEvent::Answered { party } => {
                view.party = Some(party);
                state.books.answered(&view.dial.carrier);
                call.answered_at = Some(now);
                let sound = Sound::Answered { party };
                call.heard.push(Heard { at_ms: 0, sound });
            }
            NetEvent::Ended {
                status,
                sip,
                duration,
            } => {
                (view.sip, view.ended_at) = (Some(sip), Some(now));
                view.duration = Some(duration);
                let talk = call.answered_at.map(|_| duration);
                state.books.ended(&view.dial, status, talk);
                state.index.ended(serial);
                state.ended.push_back(serial);
                if let Some(by) = call.ended_by(status, duration) {
                    let at_ms = call.since_answer(now, self.speed).unwrap_or_default();
                    let sound = Sound::HungUp { by };
                    call.heard.push(Heard { at_ms, sound });
                }
            }
        }
        while state.ended.len() > KEPT_CALLS {
            if let Some(old) = state
                .ended
                .pop_front()
                .and_then(|serial| state.calls.remove(&serial))
            {
                state.serials.remove(&old.view.call_id);
                state.index.forgotten(old.view.serial, &old.view.dial.to);
            }
        }
        Step::Event(event)
    }

    /// The caller hangs up: before the answer the call ends as `canceled`, after it as `completed`.
    pub fn hang_up(&self, call_id: &str, now: Timestamp) -> HangUp {
        let state = &mut *self.lock();
        let call = state
            .serials
            .get(call_id)
            .and_then(|serial| state.calls.get_mut(serial));
        let Some(call) = call else {
            return HangUp::Unknown;
        };
        if call.left.is_empty() {
            return HangUp::AlreadyEnded;
        }
        let (status, sip, duration) = match call.answered_at {
            None => (CallStatus::Canceled, 487, Duration::ZERO),
            Some(at) => (
                CallStatus::Completed,
                200,
                now.since(at).mul_f64(self.speed),
            ),
        };
        call.cut = true;
        call.left = VecDeque::from([(
            now,
            NetEvent::Ended {
                status,
                sip,
                duration,
            },
        )]);
        HangUp::Cut
    }

    /// The carrier's detection has a result.
    pub(crate) fn detected(&self, call_id: &str, answered_by: &'static str) {
        if let Some(call) = self.lock().call_mut(call_id) {
            call.view.answered_by = Some(answered_by);
        }
    }

    /// One call.
    #[must_use]
    pub fn call(&self, call_id: &str) -> Option<CallView> {
        self.lock().call(call_id).map(|call| call.view.clone())
    }

    /// A copy of the ledger.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.lock().books.snapshot()
    }

    /// What `of` makes of the ledger as it is now, without a copy of it.
    pub fn read_ledger<T>(&self, of: impl FnOnce(&Ledger) -> T) -> T {
        of(self.lock().books.public())
    }

    /// Forgets calls, counts and fixed scripts. Calls in progress vanish without an end.
    pub fn reset(&self) {
        *self.lock() = State::default();
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere must not silence the witness.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
