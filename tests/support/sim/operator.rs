//! The people: they make campaigns, deliver leads, change their minds, and opt out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialfleet_domain::budget::Budget;
use dialfleet_domain::call::Outcome;
use dialfleet_domain::caller_id::{Caps, Presence};
use dialfleet_domain::campaign::{Amd, AmdMode, CampaignState, Order};
use dialfleet_domain::flow::Flow;
use dialfleet_domain::id::CampaignId;
use dialfleet_domain::money::Money;
use dialfleet_domain::phone::E164;
use dialfleet_domain::retry::{RetryPolicy, RetryRule};
use dialfleet_domain::routing::Policy;
use dialfleet_engine::Fleet;
use dialfleet_engine::create::{NewCampaign, create};
use dialfleet_engine::do_not_call;
use dialfleet_engine::import::{ImportError, import_file};
use dialfleet_engine::intake::Format;
use dialfleet_engine::order::{OrderError, order, set_budget, set_limit};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::chance::Kind;
use super::checks::Checks;
use super::process::Company;
use super::talk;
use super::weather::Weather;

/// The first phone number.
const FIRST: u64 = 442_079_460_000;
/// People in a small world and in a large one: few enough that campaigns share some.
const PEOPLE: [u64; 2] = [120, 400];
/// Leads of a campaign there: some run out of them while things go wrong, others do not.
const LEADS: [(u64, u64); 2] = [(10, 40), (40, 120)];
/// Campaigns a world has at most.
const MOST_CAMPAIGNS: usize = 4;
/// Between two tries of anything.
const AGAIN: Duration = Duration::from_secs(1);

/// What became of the leads that were delivered, by campaign: the phones that must be there.
pub(super) type Delivered = BTreeMap<CampaignId, BTreeSet<String>>;

/// The operator, who works through the API process.
pub(super) struct Operator {
    pub(super) weather: Arc<Weather>,
    checks: Arc<Checks>,
    pub(super) company: Arc<Company>,
    size: usize,
    delivered: Mutex<Delivered>,
}

impl Operator {
    pub(super) fn new(checks: Arc<Checks>, company: Arc<Company>, size: usize) -> Self {
        let weather = Arc::clone(&company.weather);
        Self {
            size,
            weather,
            checks,
            company,
            delivered: Mutex::default(),
        }
    }

    pub(super) fn delivered(&self) -> MutexGuard<'_, Delivered> {
        self.delivered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn campaigns(&self) -> Vec<CampaignId> {
        self.delivered().keys().cloned().collect()
    }

    /// Has something done by the process that serves the API. `None`: it died over it, or there is none
    /// now.
    async fn ask<T: 'static>(
        &self,
        work: impl FnOnce(Arc<Fleet>) -> LocalBoxFuture<'static, T> + 'static,
    ) -> Option<T> {
        self.company.desk.ask(work).await
    }

    pub(super) fn say(&self, what: std::fmt::Arguments<'_>) {
        self.weather.journal.line("people", what);
    }

    pub(super) fn draw(&self, low: u64, high: u64) -> u64 {
        self.weather.chance.between(Kind::Operator, low, high)
    }

    fn small(&self, low: u64, high: u64) -> u32 {
        u32::try_from(self.draw(low, high)).unwrap_or(u32::MAX)
    }

    /// Makes the first campaigns. Nothing goes wrong yet.
    pub(super) async fn set_up(&self) {
        for nth in 0..self.draw(1 + u64::from(self.weather.opt_outs), 3) {
            self.establish(nth).await;
        }
    }

    /// Makes a campaign, however often it takes. What was made without an answer stays a draft that
    /// nobody knows.
    async fn establish(&self, nth: u64) -> CampaignId {
        let limit = self.small(1, 8);
        let new = self.campaign(nth, limit);
        let capacity = new.flow.capacity();
        let campaign = loop {
            let new = new.clone();
            let made = self.ask(|api| {
                async move { create(&api, &api.settings.tenant, new).await }.boxed_local()
            });
            match made.await {
                Some(Ok(made)) => break made,
                Some(Err(OrderError::Store(error))) => {
                    self.say(format_args!("campaign {nth}: {error}"));
                }
                Some(Err(error)) => {
                    self.weather
                        .fail(format!("campaign {nth} was refused: {error}"));
                }
                None => self.say(format_args!("campaign {nth}: no answer")),
            }
            tokio::time::sleep(AGAIN).await;
        };
        let id = campaign.id.as_str();
        if let Some(most) = capacity {
            self.checks.capacity(id, most);
        }
        self.checks.limit_ordered(id, limit);
        self.say(format_args!(
            "campaign {} with limit {limit} and {} attempts",
            campaign.id, campaign.retry.max_attempts
        ));
        self.delivered()
            .insert(campaign.id.clone(), BTreeSet::new());
        campaign.id
    }

    fn campaign(&self, nth: u64, limit: u32) -> NewCampaign {
        let again = |outcome: Outcome| {
            let delays_s = (0..self.draw(1, 3)).map(|_| self.small(0, 20)).collect();
            (
                outcome,
                RetryRule {
                    delays_s,
                    max: self.small(1, 3),
                },
            )
        };
        let final_ones = [
            Outcome::HumanConnected,
            Outcome::Answered,
            Outcome::Fax,
            Outcome::Unwanted,
            Outcome::Unresolved,
        ];
        let of_course = [Outcome::NotPlaced, Outcome::Withdrawn];
        let rules = Outcome::ALL
            .into_iter()
            .filter(|outcome| !final_ones.contains(outcome) && !of_course.contains(outcome))
            .map(again)
            .collect();
        NewCampaign {
            name: format!("campaign {nth}"),
            concurrency: limit,
            weight: self.small(1, 3),
            carriers: Vec::new(),
            caller_ids: Vec::new(),
            routing: Policy::default(),
            caps: Caps::default(),
            presence: Presence::default(),
            region: None,
            schedule: None,
            retry: RetryPolicy {
                max_attempts: self.small(1, 3),
                unknown_cooloff_s: 30,
                rules,
            },
            flow: if self.weather.faults.keys > 0.0 {
                let least = self.small(1, 4);
                talk::flow((self.draw(0, 1) == 0).then_some(least))
            } else {
                Flow::default()
            },
            recording: dialfleet_domain::recording::RecordingPolicy::default(),
            amd: Amd {
                mode: if self.draw(0, 1) == 0 {
                    AmdMode::Off
                } else {
                    AmdMode::Async
                },
                ..Amd::default()
            },
            ring_timeout_s: self.small(5, 12),
            max_duration_s: self.small(10, 20),
            // Two cents to ten: some are used up.
            budget: if !self.company.decks.is_empty() && self.draw(0, 1) == 0 {
                let cents = format!("0.{:02}", self.small(2, 10));
                Money::parse(&cents, "USD")
                    .map(|total| Budget { total })
                    .ok()
            } else {
                None
            },
        }
    }

    /// People, drawn from all there are.
    pub(super) fn some_phones(&self, count: u64) -> BTreeSet<String> {
        let all = PEOPLE[self.size];
        // Nearly everybody is on several lists.
        let people = if self.weather.opt_outs { all / 3 } else { all };
        (0..count)
            .map(|_| format!("+{}", FIRST + self.draw(0, people - 1)))
            .collect()
    }

    /// Delivers leads to a campaign, however often it takes. Some come twice, some are shared.
    pub(super) async fn deliver(&self, campaign: &CampaignId, count: u64) {
        let phones = self.some_phones(count);
        let mut csv = String::from("phone,priority\n");
        for phone in &phones {
            csv.push_str(&format!("{phone},{}\n", self.draw(0, 3)));
        }
        loop {
            let (id, file) = (campaign.clone(), csv.clone());
            let sent = self.ask(|api| {
                async move {
                    let tenant = &api.settings.tenant;
                    import_file(&api, tenant, &id, file.as_bytes(), Format::Csv).await
                }
                .boxed_local()
            });
            match sent.await {
                Some(Ok(import)) => {
                    let n = phones.len();
                    self.say(format_args!("{n} leads for {campaign} as {}", import.id));
                    self.delivered()
                        .entry(campaign.clone())
                        .or_default()
                        .extend(phones);
                    return;
                }
                Some(Err(ImportError::Stopped)) => return,
                Some(Err(error)) => self.say(format_args!("leads for {campaign}: {error}")),
                None => self.say(format_args!("leads for {campaign}: no answer")),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Gives an order, however often it takes. Orders that make no sense are not insisted on.
    pub(super) async fn order(&self, campaign: &CampaignId, what: Order) {
        let opens = matches!(what, Order::Start | Order::Resume);
        if opens {
            self.checks.opening(campaign.as_str());
        }
        self.insist(campaign, what).await;
        if opens {
            self.checks.opened(campaign.as_str());
        }
    }

    async fn insist(&self, campaign: &CampaignId, what: Order) {
        self.say(format_args!("{} {campaign}", what.name()));
        loop {
            let id = campaign.clone();
            let given = self.ask(move |api| {
                async move { order(&api, &api.settings.tenant, &id, what).await }.boxed_local()
            });
            match given.await {
                Some(Ok(now)) => {
                    if !now.state.may_dial() {
                        self.checks.closed(campaign.as_str());
                    }
                    self.say(format_args!("{campaign} is {}", now.state.name()));
                    return;
                }
                Some(Err(OrderError::State(error))) => {
                    self.say(format_args!("{error}"));
                    return;
                }
                Some(Err(error)) => self.say(format_args!("{} {campaign}: {error}", what.name())),
                None => self.say(format_args!("{} {campaign}: no answer", what.name())),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn limit(&self, campaign: &CampaignId, limit: u32) {
        self.checks.limit_ordered(campaign.as_str(), limit);
        self.say(format_args!("limit of {campaign} to {limit}"));
        loop {
            let id = campaign.clone();
            let given = self.ask(move |api| {
                async move { set_limit(&api, &api.settings.tenant, &id, limit).await }.boxed_local()
            });
            match given.await {
                Some(Ok(_)) => break,
                Some(Err(error)) => self.say(format_args!("limit of {campaign}: {error}")),
                None => self.say(format_args!("limit of {campaign}: no answer")),
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.checks.limit_confirmed(campaign.as_str(), limit);
        self.say(format_args!("limit of {campaign} is {limit}"));
    }

    /// Somebody on the campaign's list does not want to be called any more.
    async fn opt_out(&self, campaign: &CampaignId) {
        let phones: Vec<String> = self
            .delivered()
            .get(campaign)
            .map(|phones| phones.iter().cloned().collect())
            .unwrap_or_default();
        if phones.is_empty() {
            return;
        }
        let phone = &phones[self.weather.chance.index(Kind::Operator, phones.len())];
        let Ok(entry) = E164::parse(phone, None) else {
            return;
        };
        loop {
            let entries = [entry.clone()];
            let given = self.ask(move |api| {
                async move { do_not_call::add(&api, &api.settings.tenant, &entries, "sim").await }
                    .boxed_local()
            });
            match given.await {
                Some(Ok(())) => break,
                Some(Err(error)) => self.say(format_args!("opt-out of {entry}: {error}")),
                None => self.say(format_args!("opt-out of {entry}: no answer")),
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.checks.listed(phone);
        self.say(format_args!("{} opted out", entry));
    }

    /// One second of changing minds.
    pub(super) async fn change_minds(&self) {
        let (w, f) = (&self.weather, &self.weather.faults);
        let hits = |rate: f64| w.hits(Kind::Operator, rate / 60.0);
        for campaign in self.campaigns() {
            if hits(f.orders) {
                match self.draw(0, 10) {
                    0 => self.order(&campaign, Order::Pause).await,
                    1..=4 => self.order(&campaign, Order::Resume).await,
                    5 => self.order(&campaign, Order::Drain).await,
                    6 => self.deliver(&campaign, self.draw(1, 8)).await,
                    7 => self.bring(&campaign, self.draw(1, 8)).await,
                    _ => self.limit(&campaign, self.small(1, 8)).await,
                }
            }
            if hits(f.stops) {
                self.order(&campaign, Order::Stop).await;
            }
            if hits(f.opt_outs) {
                self.opt_out(&campaign).await;
            }
            if hits(f.nonsense) {
                self.talk_nonsense().await;
            }
        }
        let nth = self.campaigns().len();
        if nth < MOST_CAMPAIGNS && hits(f.campaigns) {
            let campaign = self.establish(u64::try_from(nth).unwrap_or(0)).await;
            self.begin(&campaign).await;
        }
    }

    /// Lets a campaign cost what it takes.
    async fn grant(&self, campaign: &CampaignId) {
        let id = campaign.clone();
        self.ask(move |api| {
            async move { set_budget(&api, &api.settings.tenant, &id, None).await }.boxed_local()
        })
        .await;
    }

    /// Lets every campaign that was not stopped go on.
    pub(super) async fn resume_all(&self) {
        for campaign in self.campaigns() {
            loop {
                let id = campaign.clone();
                let read =
                    self.ask(move |api| async move { api.campaign(&id).await }.boxed_local());
                let found = read.await.and_then(Result::ok).flatten();
                if found.as_ref().is_some_and(|c| c.paused_by.is_some()) {
                    self.grant(&campaign).await;
                }
                match found.map(|c| c.state) {
                    Some(CampaignState::Draft) => self.order(&campaign, Order::Start).await,
                    Some(CampaignState::Paused | CampaignState::Draining) => {
                        self.order(&campaign, Order::Resume).await;
                    }
                    Some(CampaignState::Running | CampaignState::Stopped | CampaignState::Done) => {
                        break;
                    }
                    None => tokio::time::sleep(AGAIN).await,
                }
            }
        }
    }

    /// Delivers the first leads and starts every campaign.
    pub(super) async fn open(&self) {
        for campaign in self.campaigns() {
            self.begin(&campaign).await;
        }
    }

    /// Delivers a campaign's first leads and starts it, in either order.
    async fn begin(&self, campaign: &CampaignId) {
        let early = self.draw(0, 3) == 0;
        if early {
            self.order(campaign, Order::Start).await;
        }
        let (few, many) = LEADS[self.size];
        self.deliver(campaign, self.draw(few, many)).await;
        if !early {
            self.order(campaign, Order::Start).await;
        }
    }
}
