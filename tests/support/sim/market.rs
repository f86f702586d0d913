//! The market through the whole engine: three carriers of different price and quality, workers that come
//! and go, and what the network counted in the end.
//!
//! Nothing goes wrong here but what the carriers do to the people: what is measured is whether the
//! router finds the best one and leaves it, whether the pace holds, whether channels are filled again,
//! and whether the money adds up to what the carriers bill.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dialfleet_domain::budget::Budget;
use dialfleet_domain::call::cost::units_of;
use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::CarrierId;
use dialfleet_domain::lead::Lead;
use dialfleet_domain::money::Money;
use dialfleet_domain::phone::E164;
use dialfleet_domain::rates::{RateDeck, Row};
use dialfleet_domain::routing::{Policy, Strategy};
use dialfleet_domain::tariff::Fees;
use dialfleet_engine::port::carrier::{Capabilities, CarrierProfile, CommandStyle};
use dialfleet_engine::port::store::{AttemptStore, CampaignChange, CampaignStore, LeadStore};
use dialfleet_simulator::{Network, Population, Search, Weights};

use super::chance::Chance;
use super::checks::Checks;
use super::faults::Faults;
use super::journal::Journal;
use super::process::{API, Company};
use super::time::SimTime;
use super::weather::Weather;
use super::{Options, on_paused_time};
use crate::sample;

/// The longest a market may last.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Leads of one insert.
const BATCH: u32 = 500;
/// Percent of the calls that nobody answers whose telephone is not even reached.
const UNREACHED: u32 = 3;

/// A carrier as it truly is.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    /// US dollars a minute, each one begun billed whole.
    pub price: f64,
    /// Percent of its calls that are answered.
    pub asr: u32,
    /// About how long until it rings, ms.
    pub pdd_ms: u32,
}

impl Truth {
    /// What the default weights ask for: quality squared for its price.
    #[must_use]
    pub fn value(&self) -> f64 {
        let asr = f64::from(self.asr) / 100.0;
        let late = (f64::from(self.pdd_ms) / 1e3 - 3.0).max(0.0);
        let quality = asr * (1.0 - f64::from(UNREACHED) / 100.0) / (1.0 + 0.03 * late);
        (quality * quality / self.price).cbrt()
    }

    fn people(&self, seed: u64) -> Population {
        let rest = 100 - self.asr;
        Population {
            seed,
            weights: Weights {
                human: self.asr,
                machine: 0,
                busy: rest.saturating_sub(UNREACHED) / 2,
                no_answer: 0,
                invalid: 0,
                congestion: UNREACHED.min(rest),
                declined: rest.saturating_sub(UNREACHED).div_ceil(2),
                rings_then_cancels: 0,
            },
            set_up_ms: (self.pdd_ms / 2, self.pdd_ms * 3 / 2),
            ring_ms: (500, 3_000),
            talk_ms: (3_000, 12_000),
        }
    }
}

/// What is played.
#[derive(Debug, Clone)]
pub struct Market {
    /// Of every draw.
    pub seed: u64,
    /// Places of workers; all but the first come and go if there are several.
    pub workers: usize,
    /// How many people are called, once each.
    pub calls: u32,
    /// Concurrent calls.
    pub limit: u32,
    /// Calls per second of each carrier.
    pub cps: f64,
    /// Calls at once of each carrier.
    pub channels: Option<u32>,
    /// The carriers, `c0` first.
    pub carriers: Vec<Truth>,
    /// After half of the calls the best one has half of its answers.
    pub degrades: bool,
    /// What the campaign may cost, in US dollars.
    pub budget: Option<&'static str>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Who carried each call, in the order in which they were placed.
    pub carried: Vec<usize>,
    /// Most requests of a carrier within any second, and within any ten.
    pub most: (u32, u32),
    /// Most live calls at a carrier.
    pub max_live: u32,
    /// What the attempts say they cost, and what the carriers bill, in hundred-millionths of a dollar.
    pub cost: (i64, i64),
    /// Why it paused, if it did, and what was spent then.
    pub paused: Option<(String, i64)>,
    /// From its start to its end.
    pub took: Duration,
    /// From its start until as many calls were placed as people are to be called. A few of them are called
    /// again long after.
    pub placed_in: Duration,
    /// Live calls at all carriers, on average while there were calls left to begin.
    pub mean_live: f64,
    /// Processes that came and went.
    pub changes: u64,
}

impl Outcome {
    /// The part of the calls in `range` that a carrier carried.
    #[must_use]
    pub fn share(&self, range: std::ops::Range<usize>, carrier: usize) -> f64 {
        let calls = self.carried.get(range).unwrap_or_default();
        let its = calls.iter().filter(|one| **one == carrier).count();
        as_f64(its) / as_f64(calls.len()).max(1.0)
    }

    /// The value of the calls after the first `learned`, as a part of what the best one alone gives.
    #[must_use]
    pub fn value(&self, learned: usize, carriers: &[Truth]) -> f64 {
        let best = carriers.iter().map(Truth::value).fold(0.0, f64::max);
        let known = self.carried.get(learned..).unwrap_or_default();
        let sum: f64 = known.iter().map(|one| carriers[*one].value()).sum();
        sum / best / as_f64(known.len()).max(1.0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (second, ten) = self.most;
        write!(
            f,
            "{} calls in {:.0} s, {} processes came and went; at most {second} requests to a carrier in 1 s, {ten} in \
             10 s, {} live; {:.1} live on average; cost {:?}, paused {:?}",
            self.carried.len(),
            self.took.as_secs_f64(),
            self.changes,
            self.max_live,
            self.mean_live,
            self.cost,
            self.paused
        )
    }
}

fn as_f64(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

impl Market {
    /// Which carrier is worth most.
    #[must_use]
    pub fn best(&self) -> usize {
        let values = (0..).zip(&self.carriers).map(|(at, one)| (at, one.value()));
        let best = values.max_by(|a, b| a.1.total_cmp(&b.1));
        best.map_or(0, |(at, _)| at)
    }

    /// Plays it to its end.
    ///
    /// # Errors
    /// In words: a promise was broken, or it did not end.
    pub fn play(&self) -> Result<Outcome, String> {
        on_paused_time(async |time| self.live(time).await)
    }

    async fn live(&self, time: SimTime) -> Result<Outcome, String> {
        let journal = Arc::new(Journal::new(time, 0));
        let chance = Chance::new(self.seed);
        let options = Options::quiet();
        let weather = Weather::new(self.seed, time, chance, journal, Faults::NONE, &options);
        let weather = Arc::new(weather);
        let checks = Arc::new(Checks::new(Arc::clone(&weather)));
        let profiles = self.profiles()?;
        let mut decks = BTreeMap::new();
        let network = Network::new(self.carriers[0].people(self.seed), 1.0);
        for (profile, truth) in profiles.iter().zip(&self.carriers) {
            decks.insert(profile.id.clone(), deck(truth.price)?);
            network.set_population(profile.id.as_str(), truth.people(self.seed));
            if let Some(channels) = self.channels {
                checks.channels(profile.id.as_str(), channels);
            }
        }
        let company = Company::found(&weather, checks, network, profiles, decks, None).await?;
        let campaign = self.campaign(&company, time).await?;
        let places = (0..self.workers).map(|nth| format!("w{nth}"));
        for place in places.chain([API.to_owned()]) {
            weather.spawn(Arc::clone(&company).employ(place));
        }
        let course = self.course(&company, &campaign, time);
        tokio::select! {
            biased;
            failure = weather.failure() => Err(failure),
            end = course => end,
        }
    }

    fn profiles(&self) -> Result<Vec<CarrierProfile>, String> {
        let profile = |nth: usize| {
            let from = E164::parse(&format!("+44207946{:04}", 900 + nth), None);
            Ok(CarrierProfile {
                id: CarrierId::parse(format!("c{nth}")).map_err(|e| e.to_string())?,
                kind: "sim",
                cps: self.cps,
                channels: self.channels,
                caller_ids: vec![from.map_err(|e| e.to_string())?],
                weight: 1,
                capabilities: Capabilities {
                    pollable: true,
                    ringing_event: true,
                    longest_call: None,
                    signed_callbacks: true,
                    commands: CommandStyle::Document,
                    queue_bound: Duration::from_secs(60),
                    cannot: &[],
                },
            })
        };
        (0..self.carriers.len()).map(profile).collect()
    }

    /// A running campaign with its leads.
    async fn campaign(&self, company: &Company, time: SimTime) -> Result<Campaign, String> {
        let mut campaign = sample::campaign("market");
        campaign.tenant = company.tenant.clone();
        campaign.limit = self.limit;
        campaign.routing = Policy {
            strategy: Some(Strategy::Weighted),
            ..Policy::default()
        };
        campaign.retry.max_attempts = 1;
        campaign.budget = match self.budget {
            Some(total) => Some(Budget {
                total: Money::parse(total, "USD").map_err(|e| e.to_string())?,
            }),
            None => None,
        };
        campaign.wake_at = Some(time.now());
        let store = &company.store;
        let lead = |i: u32| {
            let phone = E164::parse(&format!("+4474{:08}", i * 7), None);
            Ok(Lead {
                tenant: campaign.tenant.clone(),
                phone: phone.map_err(|e| e.to_string())?,
                due_at: time.now(),
                ..sample::lead(&campaign.id, i)
            })
        };
        let leads: Vec<Lead> = (0..self.calls).map(lead).collect::<Result<_, String>>()?;
        for some in leads.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            store.insert_leads(some).await.map_err(|e| e.to_string())?;
        }
        let made = store.insert_campaign(&campaign).await;
        made.map_err(|e| e.to_string())?;
        company
            .checks
            .limit_confirmed(campaign.id.as_str(), self.limit);
        Ok(campaign)
    }

    /// Waits for the end, and has things happen meanwhile.
    async fn course(
        &self,
        company: &Arc<Company>,
        campaign: &Campaign,
        time: SimTime,
    ) -> Result<Outcome, String> {
        let (began, mut outcome) = (time.elapsed(), Outcome::default());
        let (mut degraded, mut next_change) = (!self.degrades, began + Duration::from_secs(20));
        let (mut live, mut looks) = (0_u64, 0_u64);
        let network = &company.exchange.network;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = time.elapsed();
            let (placed, total_live) = network.read_ledger(|l| (l.placed, l.total_live));
            if placed < u64::from(self.calls) {
                (live, looks) = (live + u64::from(total_live), looks + 1);
            } else if outcome.placed_in.is_zero() {
                outcome.placed_in = now - began;
            }
            if !degraded && placed >= u64::from(self.calls / 2) {
                degraded = true;
                let best = self.best();
                let mut worse = self.carriers[best];
                worse.asr /= 2;
                network.set_population(format!("c{best}"), worse.people(self.seed));
            }
            if now >= next_change && self.workers > 1 {
                next_change = now + Duration::from_secs(20);
                outcome.changes += 1;
                change(company, outcome.changes);
            }
            match self.standing(company, campaign, &mut outcome).await? {
                CampaignState::Done => break,
                _ if now - began > PATIENCE => return Err("it does not end".to_owned()),
                _ => {}
            }
        }
        outcome.took = time.elapsed() - began;
        let count = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        outcome.mean_live = count(live) / count(looks).max(1.0);
        self.count(company, campaign, &mut outcome).await?;
        Ok(outcome)
    }

    /// Where the campaign stands. One that paused by itself, once its calls are over, is given a budget
    /// that is enough, and goes on.
    async fn standing(
        &self,
        company: &Company,
        campaign: &Campaign,
        outcome: &mut Outcome,
    ) -> Result<CampaignState, String> {
        let (store, id) = (&company.store, &campaign.id);
        let text = |e: dialfleet_engine::port::store::StoreError| e.to_string();
        let found = store.campaigns(std::slice::from_ref(id)).await;
        let found = found.map_err(text)?.pop().flatten();
        let found = found.ok_or("the campaign is gone")?;
        let over = store.live_attempts(id).await.map_err(text)?.is_empty();
        if let (Some(why), true) = (found.paused_by, over) {
            let sums = store.campaign_spend(id).await.map_err(text)?;
            let spent = sums.iter().map(|sum| sum.units).sum();
            outcome.paused = Some((why.to_string(), spent));
            let now = company.weather.time.now();
            let change = CampaignChange {
                state: Some(CampaignState::Running),
                budget: Some(None),
                wake: Some(now),
                at: now,
                ..CampaignChange::default()
            };
            let changed = store.change_campaign(id, found.generation, change).await;
            changed.map_err(text)?;
        }
        Ok(found.state)
    }

    /// What the network counted, against what the store says.
    async fn count(
        &self,
        company: &Company,
        campaign: &Campaign,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let network = &company.exchange.network;
        let mut calls = network.calls(&Search::default(), |_| true);
        calls.reverse();
        let carrier = |id: &str| id.trim_start_matches('c').parse().unwrap_or(0);
        outcome.carried = calls
            .iter()
            .map(|call| carrier(&call.dial.carrier))
            .collect();
        let ledger = network.ledger();
        for (id, count) in &ledger.carriers {
            let (second, ten) = &mut outcome.most;
            *second = (*second).max(count.max_creates_per_second);
            *ten = (*ten).max(count.max_creates_per_ten_seconds);
            outcome.max_live = outcome.max_live.max(count.max_live);
            let price = money(self.carriers[carrier(id)].price)?;
            let bill = price.times(count.minutes).map_err(|e| e.to_string())?;
            outcome.cost.1 += units_of(bill);
        }
        let sums = company.store.campaign_spend(&campaign.id).await;
        let sums = sums.map_err(|e| e.to_string())?;
        if let Some(open) = sums.iter().find(|sum| sum.open) {
            return Err(format!("{open:?} is open when all is over"));
        }
        outcome.cost.0 = sums.iter().map(|sum| sum.units).sum();
        Ok(())
    }
}

/// One process goes, told to or not; its place is filled again at once.
fn change(company: &Company, nth: u64) {
    let staff = company.staff();
    let workers: Vec<_> = staff
        .iter()
        .filter(|(who, _)| !who.starts_with(API))
        .collect();
    let at = usize::try_from(nth).unwrap_or(0) % workers.len().max(1);
    if let Some((_, process)) = workers.get(at) {
        if nth.is_multiple_of(3) {
            process.gate.sever();
        } else {
            process.fleet.stopping.cancel();
        }
    }
}

/// A price in US dollars, to a hundredth of a cent.
fn money(price: f64) -> Result<Money, String> {
    Money::parse(&format!("{price:.4}"), "USD").map_err(|e| e.to_string())
}

fn deck(price: f64) -> Result<Arc<RateDeck>, String> {
    let row = Row {
        prefix: "44".to_owned(),
        price_per_min: format!("{price:.4}"),
        currency: "USD".to_owned(),
        increment: None,
        minimum: None,
        per_call: None,
    };
    let deck = RateDeck::from_rows(vec![row], Fees::default());
    deck.map(Arc::new).map_err(|e| e.to_string())
}
