//! What the fleet knows about its carriers, for the router: prices, how each route does, which
//! breakers are open, how worn our numbers are.
//!
//! Prices and numbers are configuration. The rest is learned from calls by every process, and shared
//! about once a second as notes on the board (`routes/board.rs`). A breaker that a process hears of
//! itself it obeys at once; what the others heard, a second later. A lost note costs knowledge, never safety: a
//! breaker keeps us from asking in vain, and nothing here can make a telephone ring.

mod board;
pub(crate) mod channels;
mod explain;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialfleet_domain::breaker::{Admission, Breaker, Event, Fault, Phase};
use dialfleet_domain::call::cost::Terms;
use dialfleet_domain::call::{Attempt, Leg, LegState, Outcome, Refusal, RefusalClass};
use dialfleet_domain::caller_id::{Caps, Number, Usage};
use dialfleet_domain::id::CarrierId;
use dialfleet_domain::money::Currency;
use dialfleet_domain::phone::E164;
use dialfleet_domain::phone::area::{Group, Place};
use dialfleet_domain::quality::{RouteStats, Sample, Tally};
use dialfleet_domain::rates::RateDeck;
use dialfleet_domain::routing::{Candidate, Exclusion, Feature, Price, sterner};
use dialfleet_domain::tariff;
use dialfleet_domain::time::Timestamp;

use self::board::News;
pub(crate) use self::board::leave;
pub use self::board::{keep, refresh};
use self::channels::Channels;
pub use self::explain::explain;
use crate::budget::Accounts;
use crate::fleet::Fleet;
use crate::port::carrier::{CarrierProfile, DialAnswer};
use crate::port::store::Answer;

/// The same after it was not even reached from here.
const UNREACHABLE_REST: Duration = Duration::from_secs(5);
/// How long one of our numbers rests after its calls were blocked as unwanted.
const BLOCKED_REST: Duration = Duration::from_secs(4 * 3600);

/// The same after a carrier refused it: somebody must verify or mend it.
const CALLER_ID_REST: Duration = Duration::from_secs(15 * 60);

/// A carrier account as configured.
struct Account {
    weight: u32,
    numbers: Arc<[Number]>,
    cannot: Arc<[Feature]>,
    deck: Option<Arc<RateDeck>>,
}

impl Account {
    fn new(profile: &CarrierProfile, deck: Option<Arc<RateDeck>>) -> Self {
        let placed = |number: &E164| Number::placed(number.clone());
        Self {
            weight: profile.weight,
            numbers: profile.caller_ids.iter().map(placed).collect(),
            cannot: profile.capabilities.cannot.into(),
            deck,
        }
    }
}

/// What is known.
pub struct Routes {
    accounts: BTreeMap<CarrierId, Account>,
    pub(crate) channels: Channels,
    pub(crate) budgets: Accounts,
    known: Mutex<Known>,
    /// News on their way to the board are in neither: nobody reads it meanwhile.
    turn: tokio::sync::Mutex<()>,
}

/// By the names of the notes.
#[derive(Default)]
struct Known {
    stats: BTreeMap<String, RouteStats>,
    breakers: BTreeMap<String, Breaker>,
    /// Our numbers with their usage; absent before anything is known of it.
    numbers: BTreeMap<CarrierId, Arc<[Number]>>,
    news: BTreeMap<String, News>,
}

/// The right to be the one call that tries a carrier whose breaker was open.
#[derive(Debug)]
pub(crate) struct Probe {
    key: String,
    taken: Timestamp,
}

fn stats_key(carrier: &CarrierId, group: &Group) -> String {
    format!("{}{carrier}/{group}", board::STATS)
}

fn account_key(carrier: &CarrierId) -> String {
    format!("{}{carrier}", board::BREAKER)
}

fn route_key(carrier: &CarrierId, group: &Group) -> String {
    format!("{}{carrier}/{group}", board::BREAKER)
}

fn number_key(number: &E164) -> String {
    format!("{}{}", board::NUMBER, number.as_str())
}

impl Routes {
    /// Of these carriers, with their rate decks; nothing is learned yet.
    #[must_use]
    pub fn new<'a>(
        carriers: impl IntoIterator<Item = (&'a CarrierProfile, Option<Arc<RateDeck>>)>,
    ) -> Self {
        let carriers: Vec<_> = carriers.into_iter().collect();
        let channels = Channels::new(carriers.iter().map(|(profile, _)| *profile));
        let account = |(profile, deck): (&CarrierProfile, _)| {
            (profile.id.clone(), Account::new(profile, deck))
        };
        Self {
            accounts: carriers.into_iter().map(account).collect(),
            channels,
            budgets: Accounts::default(),
            known: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Every account's numbers, with this usage by the names of the notes.
    fn with_usage(&self, usage: &BTreeMap<String, Usage>) -> BTreeMap<CarrierId, Arc<[Number]>> {
        let used = |number: &Number| Number {
            usage: usage
                .get(&number_key(&number.number))
                .copied()
                .unwrap_or_default(),
            ..number.clone()
        };
        let accounts = self.accounts.iter();
        accounts
            .map(|(id, account)| (id.clone(), account.numbers.iter().map(used).collect()))
            .collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The price of a call through `carrier`, if it has a rate deck that knows one.
    #[must_use]
    pub(crate) fn terms(
        &self,
        carrier: &CarrierId,
        to: &E164,
        usage: tariff::Usage,
    ) -> Option<Terms> {
        let deck = self.accounts.get(carrier)?.deck.as_ref()?;
        Some(Terms::of(&deck.rate(to)?.tariff, usage))
    }

    /// In what a carrier bills, if it has a rate deck.
    #[must_use]
    pub fn bills_in(&self, carrier: &CarrierId) -> Option<Currency> {
        let deck = self.accounts.get(carrier)?.deck.as_ref()?;
        Some(deck.currency())
    }

    /// How many channels a carrier has and how many of them are taken; `None` if they are not counted.
    #[must_use]
    pub fn channels(&self, carrier: &CarrierId) -> Option<(u32, u32)> {
        self.channels.counts(carrier)
    }

    /// What an account's breaker says.
    #[must_use]
    pub fn breaker(&self, carrier: &CarrierId, now: Timestamp) -> Admission {
        self.known().admits(&account_key(carrier), now)
    }

    /// Every carrier as the router sees it: for a destination, or before one is known.
    #[must_use]
    pub fn candidates(
        &self,
        fleet: &Fleet,
        to: Option<(&E164, &Place)>,
        now: Timestamp,
    ) -> Vec<Candidate> {
        let known = self.known();
        let view = |(id, account): (&CarrierId, &Account)| {
            let price = match (&account.deck, to) {
                (Some(deck), Some((phone, _))) => deck
                    .rate(phone)
                    .map_or(Price::NotServed, |rate| Price::At(rate.tariff)),
                (None, _) | (_, None) => Price::Unknown,
            };
            let mut breaker = known.admits(&account_key(id), now);
            let mut stats = RouteStats::default();
            if let Some((_, place)) = to {
                breaker = sterner(breaker, known.admits(&route_key(id, &place.group), now));
                let found = known.stats.get(&stats_key(id, &place.group));
                stats = found.cloned().unwrap_or_default();
            }
            let resting = fleet.pace.is_resting(id);
            let full = self.channels.is_taken(id).then_some(Exclusion::NoChannel);
            Candidate {
                carrier: id.clone(),
                weight: account.weight,
                caller_ids: Arc::clone(known.numbers.get(id).unwrap_or(&account.numbers)),
                price,
                cannot: Arc::clone(&account.cannot),
                stats,
                breaker,
                excluded: resting
                    .then_some(Exclusion::Resting { until: None })
                    .or(full),
            }
        };
        self.accounts.iter().map(view).collect()
    }

    /// A carrier answered a leg's request. Of `probes` those stay whose call was never placed.
    pub(crate) fn answered(
        &self,
        fleet: &Fleet,
        (leg, group): (&Leg, &Group),
        answer: &DialAnswer,
        caps: Caps,
        probes: &mut Vec<Probe>,
    ) {
        let account = account_key(&leg.carrier);
        let judgement = match answer {
            DialAnswer::Accepted { .. } => Some(Event::Ok),
            DialAnswer::Refused(refusal) => {
                let rest = self.refused(fleet, leg, group, refusal);
                Event::of_refusal(refusal, rest)
            }
            DialAnswer::Unclear(_) => Some(Event::Failed(Fault::Unclear)),
        };
        match answer {
            // The breaker of the route is for the end of the call to judge.
            DialAnswer::Accepted { .. } | DialAnswer::Unclear(_) => {
                probes.clear();
                let number = number_key(&leg.from);
                self.known().tell(number, News::shown(caps));
            }
            DialAnswer::Refused(refusal) => {
                let judged = if refusal.class == RefusalClass::DestinationFault {
                    Some(route_key(&leg.carrier, group))
                } else {
                    judgement.is_some().then(|| account.clone())
                };
                probes.retain(|probe| Some(&probe.key) != judged.as_ref());
            }
        }
        if let Some(event) = judgement {
            self.heard(fleet, account, event, leg.intent_at);
        }
    }

    /// A refusal that is about less, or more, than the account's breaker. Returns how long the whole
    /// fleet should leave the carrier alone.
    fn refused(&self, fleet: &Fleet, leg: &Leg, group: &Group, refusal: &Refusal) -> Duration {
        let Refusal {
            class,
            code,
            message,
        } = refusal;
        let carrier = &leg.carrier;
        match class {
            // What waits for it here, waits.
            RefusalClass::RetryLater => return fleet.pace.limited(carrier),
            RefusalClass::ConfigFault => {
                tracing::error!(%carrier, code, message, "the carrier refuses our account or request");
            }
            RefusalClass::CallerIdFault => {
                tracing::error!(%carrier, code, message, from = %leg.from, "the carrier refuses our caller id: it rests");
                let until = fleet.clock.now() + CALLER_ID_REST;
                let news = News::blocked(until);
                self.known().tell(number_key(&leg.from), news);
            }
            RefusalClass::DestinationFault => {
                tracing::error!(%carrier, code, message, %group, "the carrier does not let us call there");
                // Perhaps only a part of the country: a row of them closes the route.
                let event = Event::Failed(Fault::Refused);
                self.heard(fleet, route_key(carrier, group), event, leg.intent_at);
            }
            // Nothing else from here will reach it for a moment; others may.
            RefusalClass::Failover if matches!(code.as_str(), "connect" | "dns" | "tls") => {
                fleet.pace.rest(carrier, UNREACHABLE_REST);
            }
            RefusalClass::Failover | RefusalClass::BadNumber => {}
        }
        Duration::ZERO
    }

    /// A call rings or was answered: what the probe of its route was for. A call may last longer than a
    /// probe may.
    pub(crate) fn delivered(&self, fleet: &Fleet, attempt: &Attempt) {
        let Some(leg) = attempt.legs.last() else {
            return;
        };
        let key = route_key(&leg.carrier, &Place::of(&attempt.phone).group);
        let closed = |breaker: &Breaker| breaker.phase == Phase::Closed;
        if !self.known().breakers.get(&key).is_none_or(closed) {
            self.heard(fleet, key, Event::Ok, leg.intent_at);
        }
    }

    /// An attempt ended: what it says about its route, and about the number it showed.
    pub(crate) fn ended(&self, fleet: &Fleet, attempt: &Attempt) {
        let (Some(outcome), Some(leg)) = (attempt.outcome, attempt.legs.last()) else {
            return;
        };
        let group = Place::of(&attempt.phone).group;
        if let Some(sample) = Sample::of(attempt, fleet.settings.speed) {
            let mut tally = Tally::default();
            tally.add(&sample);
            let key = stats_key(&leg.carrier, &group);
            self.known().tell(key, News::Ended(tally));
        }
        if outcome == Outcome::BlockedAnalytics {
            let until = fleet.clock.now() + BLOCKED_REST;
            let news = News::blocked(until);
            self.known().tell(number_key(&leg.from), news);
        }
        let sent = matches!(leg.state, LegState::Placed | LegState::Unclear);
        if let Some(event) = Event::of_outcome(outcome).filter(|_| sent) {
            let key = route_key(&leg.carrier, &group);
            self.heard(fleet, key, event, leg.intent_at);
        }
    }

    fn heard(&self, fleet: &Fleet, key: String, event: Event, call_at: Timestamp) {
        let (now, draw) = (fleet.clock.now(), fleet.entropy.draw());
        let mut known = self.known();
        let before = known.breakers.entry(key.clone()).or_default();
        let after = before.step(&event, call_at, now, draw);
        if after.phase != before.phase {
            tracing::warn!(breaker = key, phase = ?after.phase, "a breaker changed");
        }
        *before = after;
        known.tell(key, News::said(event, call_at, now));
    }

    /// Takes the probes that a call through `carrier` needs: none while its breakers are closed.
    /// `None`: somebody else has one, and the carrier may not be asked now.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn take_probes(
        &self,
        fleet: &Fleet,
        carrier: &CarrierId,
        group: &Group,
    ) -> Answer<Option<Vec<Probe>>> {
        let now = fleet.clock.now();
        let mut taken = Vec::new();
        for key in [account_key(carrier), route_key(carrier, group)] {
            let admission = self.known().admits(&key, now);
            let free = match admission {
                Admission::Free => continue,
                Admission::Resting { .. } | Admission::Open { .. } => false,
                Admission::Probe => match board::take_probe(fleet, &key, now).await {
                    Ok(free) => free,
                    Err(error) => {
                        self.give_back(fleet, taken).await;
                        return Err(error);
                    }
                },
            };
            if !free {
                self.give_back(fleet, taken).await;
                return Ok(None);
            }
            taken.push(Probe { key, taken: now });
        }
        Ok(Some(taken))
    }

    /// Gives probes back whose call was never sent.
    pub(crate) async fn give_back(&self, fleet: &Fleet, probes: Vec<Probe>) {
        for probe in probes {
            if let Err(error) = board::give_back_probe(fleet, &probe).await {
                tracing::debug!(%error, breaker = probe.key, "a probe could not be given back: its time will run out");
            }
        }
    }
}

impl Known {
    fn admits(&self, key: &str, now: Timestamp) -> Admission {
        self.breakers
            .get(key)
            .map_or(Admission::Free, |breaker| breaker.admits(now))
    }

    /// Keeps news until they are shared.
    fn tell(&mut self, key: String, news: News) {
        match self.news.get_mut(&key) {
            Some(old) => old.add(news),
            None => {
                self.news.insert(key, news);
            }
        }
    }
}
