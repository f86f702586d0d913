//! One world from one seed, from its beginning to its end.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use dialfleet_domain::id::CarrierId;
use dialfleet_domain::phone::E164;
use dialfleet_domain::rates::{RateDeck, Row};
use dialfleet_domain::tariff::Fees;
use dialfleet_engine::port::carrier::{Capabilities, CarrierProfile, CommandStyle};
use dialfleet_engine::port::store::{AttemptStore, CampaignStore};
use dialfleet_simulator::{Network, Population, Weights};

use super::chance::{Chance, Kind};
use super::checks::Checks;
use super::journal::Journal;
use super::operator::Operator;
use super::process::{API, Company};
use super::settle::{Totals, unrest, verdict};
use super::time::SimTime;
use super::weather::Weather;
use super::{Options, Report};

/// How many worlds are large.
const LARGE: f64 = 0.2;
/// How many press the key where it is about that.
const OPT_OUTS: f64 = 0.5;
/// How long things go wrong in a small world and in a large one, s.
const BAD_TIMES_S: [(u64, u64); 2] = [(30, 200), (150, 600)];
/// The longest a healed world may take to become quiet.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);
/// Between two looks at whether it is.
const LOOK: Duration = Duration::from_secs(5);
/// In-flight messages and requests of the bad times land within this.
const AFTERMATH: Duration = Duration::from_secs(25);

/// The parts of a world that outlive its run, for the report.
pub(super) struct World {
    weather: Arc<Weather>,
    company: Arc<Company>,
    checks: Arc<Checks>,
    operator: Arc<Operator>,
    bad_times: Duration,
}

impl World {
    /// Builds it. Must be called inside the paused runtime.
    pub(super) async fn new(
        seed: u64,
        options: &Options,
        time: SimTime,
        journal: Arc<Journal>,
    ) -> Result<(Self, usize), String> {
        let chance = Chance::new(seed);
        let mut faults = if options.swarm {
            options.faults.swarm(&chance)
        } else {
            options.faults
        };
        if options.opt_outs {
            faults.keys = OPT_OUTS;
        }
        let weather = Arc::new(Weather::new(seed, time, chance, journal, faults, options));
        let draw = |low, high| weather.chance.between(Kind::Setting, low, high);
        let workers = usize::try_from(draw(1, 4)).unwrap_or(1);
        // Many opt-outs in little time: nobody needs a large one for them.
        let large = weather.chance.hits(Kind::Setting, LARGE) && !options.opt_outs;
        let size = usize::from(large);
        let (short, long) = BAD_TIMES_S[size];
        let bad_times = Duration::from_secs(draw(short, long)) * options.bad_times;
        let (profiles, deck) = (profiles(&weather)?, deck(&weather)?);
        let population = population(seed, &weather);
        let checks = Arc::new(Checks::new(Arc::clone(&weather)));
        for profile in &profiles {
            if let Some(channels) = profile.channels {
                checks.channels(profile.id.as_str(), channels);
            }
        }
        let network = Network::new(population, 1.0);
        let decks = deck.into_iter().flat_map(|deck| {
            let of = |profile: &CarrierProfile| (profile.id.clone(), Arc::clone(&deck));
            profiles.iter().map(of).collect::<Vec<_>>()
        });
        let decks = decks.collect();
        let made = Company::found(
            &weather,
            Arc::clone(&checks),
            network,
            profiles,
            decks,
            options.mutant,
        );
        let company = made.await?;
        let operator = Arc::new(Operator::new(
            Arc::clone(&checks),
            Arc::clone(&company),
            size,
        ));
        Ok((
            Self {
                weather,
                company,
                checks,
                operator,
                bad_times,
            },
            workers,
        ))
    }

    /// Lives it.
    pub(super) async fn live(&self, seed: u64, workers: usize) -> Result<Report, String> {
        self.weather.journal.line(
            "world",
            format_args!("seed {seed}, {workers} workers, {:?}", self.weather.faults),
        );
        let places = (0..workers).map(|nth| format!("w{nth}"));
        for place in places.chain([API.to_owned()]) {
            self.weather.spawn(Arc::clone(&self.company).employ(place));
        }
        let life = async {
            self.bad_times(self.bad_times).await?;
            self.good_times().await
        };
        let (totals, settling) = tokio::select! {
            biased;
            failure = self.weather.failure() => return Err(failure),
            end = life => end?,
        };
        let company = &self.company;
        let tally = *company.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = company.metrics.render();
        let (placed, max_live) = company
            .exchange
            .network
            .read_ledger(|ledger| (ledger.placed, ledger.max_total_live));
        Ok(Report {
            seed,
            hash: self.weather.journal.hash(),
            workers,
            leads: totals.leads,
            attempts: totals.attempts,
            faulted: totals.faulted,
            placed,
            rings: self.checks.rings(),
            opt_outs: self.checks.opt_outs(),
            max_live,
            crashes: tally.crashes,
            restarts: tally.restarts,
            unclear: counted(&shown, "dialfleet_dials_total", "unclear"),
            zombies: counted(&shown, "dialfleet_zombie_calls_total", ""),
            virtual_time: self.weather.time.elapsed(),
            settling,
            struck: self.weather.places_struck(),
        })
    }

    /// Campaigns run, and things go wrong.
    async fn bad_times(&self, time: Duration) -> Result<(), String> {
        self.operator.set_up().await;
        self.weather.set_calm(false);
        let opening = Arc::clone(&self.operator);
        let opened = tokio::task::spawn_local(async move { opening.open().await });
        let (minds, weather) = (Arc::clone(&self.operator), Arc::clone(&self.weather));
        // What the operator began is finished: he is joined, not dropped.
        let changed = tokio::task::spawn_local(async move {
            while !weather.is_calm() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                minds.change_minds().await;
            }
        });
        let until = self.weather.time.elapsed() + time;
        while self.weather.time.elapsed() < until {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.company.misfortune();
        }
        self.weather.set_calm(true);
        self.company.recover();
        self.weather.journal.line("world", format_args!("calm"));
        opened.await.map_err(|e| e.to_string())?;
        changed.await.map_err(|e| e.to_string())
    }

    /// Nothing goes wrong any more, and everything must come to its end. Returns also when it did, from
    /// now on.
    async fn good_times(&self) -> Result<(Totals, Duration), String> {
        let (began, healed_at) = (self.weather.time.elapsed(), self.weather.time.now());
        tokio::time::sleep(AFTERMATH).await;
        self.company.recover();
        let mut quiet_since = None;
        loop {
            self.operator.resume_all().await;
            let delivered = self.operator.delivered().clone();
            let took = self.weather.time.elapsed() - began;
            let unrest = unrest(&self.company, &delivered).await;
            match unrest.map_err(|e| e.to_string())? {
                // Twice in a row.
                None => {
                    if let Some(since) = quiet_since.replace(took) {
                        let totals = verdict(&self.company, &delivered, healed_at).await;
                        return Ok((totals.map_err(|e| e.to_string())??, since));
                    }
                }
                Some(why) if took > PATIENCE => return Err(format!("no end: {why}")),
                Some(_) => quiet_since = None,
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Facts for a failure: how the campaigns and their attempts stand, one line each.
    pub(super) async fn standing(&self) -> Vec<String> {
        let (store, mut lines) = (&self.company.store, Vec::new());
        let ids: Vec<_> = self.operator.delivered().keys().cloned().collect();
        for id in ids {
            let found = store.campaigns(std::slice::from_ref(&id)).await;
            if let Some(c) = found.ok().and_then(|mut found| found.pop().flatten()) {
                lines.push(format!(
                    "{id} is {}, its limit is {}",
                    c.state.name(),
                    c.limit
                ));
            }
            for a in store.live_attempts(&id).await.unwrap_or_default() {
                lines.push(format!(
                    "live: {} {} slot {:?} check_at {} legs {}",
                    a.id,
                    a.state.name(),
                    a.slot,
                    a.check_at.to_rfc3339(),
                    a.legs.len()
                ));
            }
        }
        lines
    }

    /// Campaigns are A, B and C for people.
    pub(super) fn with_names(&self, line: &str) -> String {
        let delivered = self.operator.delivered();
        let named = delivered.keys().zip('A'..='Z');
        named.fold(line.to_owned(), |line, (id, name)| {
            line.replace(id.as_str(), &name.to_string())
        })
    }
}

/// What a counter of the engine stands at, over all its series with this label.
fn counted(shown: &str, name: &str, label: &str) -> u64 {
    shown
        .lines()
        .filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with([' ', '{']))
        })
        .filter(|line| line.contains(label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

fn profiles(weather: &Weather) -> Result<Vec<CarrierProfile>, String> {
    let draw = |low, high| weather.chance.between(Kind::Setting, low, high);
    let count = draw(1, 3);
    // One carrier that cannot be asked, now and then.
    let mute = if draw(0, 5) == 0 {
        draw(0, count - 1)
    } else {
        count
    };
    let told_each_step = if weather.faults.keys > 0.0 { 0.5 } else { 0.0 };
    (0..count)
        .map(|nth| {
            let phone = |k: u64| E164::parse(&format!("+44207946{:04}", 900 + nth * 10 + k), None);
            Ok(CarrierProfile {
                id: CarrierId::parse(format!("c{nth}")).map_err(|e| e.to_string())?,
                kind: "sim",
                cps: f64::from(u32::try_from(draw(2, 20)).unwrap_or(1)),
                channels: (draw(0, 2) == 0).then(|| u32::try_from(draw(1, 6)).unwrap_or(1)),
                caller_ids: (0..draw(1, 2))
                    .map(phone)
                    .collect::<Result<_, _>>()
                    .map_err(|e| e.to_string())?,
                weight: u32::try_from(draw(1, 3)).unwrap_or(1),
                capabilities: Capabilities {
                    pollable: nth != mute,
                    ringing_event: true,
                    longest_call: None,
                    signed_callbacks: true,
                    commands: if weather.chance.hits(Kind::Person, told_each_step) {
                        CommandStyle::Commands
                    } else {
                        CommandStyle::Document
                    },
                    queue_bound: Duration::from_secs(60),
                    cannot: &[],
                },
            })
        })
        .collect()
}

/// What carriers bill, in some worlds: a cent a minute, wherever.
fn deck(weather: &Weather) -> Result<Option<Arc<RateDeck>>, String> {
    if weather.chance.between(Kind::Setting, 0, 1) == 0 {
        return Ok(None);
    }
    let row = |digit: u32| Row {
        prefix: digit.to_string(),
        price_per_min: "0.01".to_owned(),
        currency: "USD".to_owned(),
        increment: None,
        minimum: None,
        per_call: None,
    };
    let deck = RateDeck::from_rows((1..=9).map(row).collect(), Fees::default());
    deck.map(|deck| Some(Arc::new(deck)))
        .map_err(|e| e.to_string())
}

fn population(seed: u64, weather: &Weather) -> Population {
    let draw =
        |low, high| u32::try_from(weather.chance.between(Kind::Setting, low, high)).unwrap_or(0);
    let share = || draw(0, 20);
    let weights = Weights {
        human: 20 + share(),
        machine: share(),
        busy: share(),
        no_answer: share(),
        invalid: share() / 4,
        congestion: share() / 4,
        declined: share() / 2,
        rings_then_cancels: share() / 4,
    };
    Population {
        seed,
        weights,
        set_up_ms: (300, 1_200),
        ring_ms: (0, draw(1_000, 6_000)),
        talk_ms: (0, draw(1_000, 12_000)),
    }
}
