//! The judgement: what must hold, what was aimed at, and the figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Result;

use super::books::{Books, repeated_calls};
use super::fleet::Fleet;
use super::gauges::label;
use super::load::{Load, RING_S};
use super::orders::Held;
use super::witness::{Ms, Pulse, count};
use super::wreck::{Fault, Kind};
use super::{Measured, Options, QUIET};

/// Of a violation, so many examples are shown.
const EXAMPLES: usize = 5;
/// Dialing goes on so soon after the primary was killed.
const FAILOVER_MS: Ms = 15_000;
/// A slot is free so soon after the end of an answered call of which nobody was told, and of an
/// unanswered one.
const ANSWERED_MS: Ms = 60_000;
const UNANSWERED_MS: Ms = (RING_S as Ms + 15) * 1_000;

/// One thing that must be so.
#[derive(Debug)]
struct Check {
    what: String,
    held: bool,
    /// Of time, which a busy machine takes more of; not a promise.
    goal: bool,
    detail: String,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Verdict {
    figures: Vec<String>,
    checks: Vec<Check>,
}

impl Verdict {
    /// Whether everything held that may never break, however slow the machine is.
    #[must_use]
    pub fn promises_held(&self) -> bool {
        self.checks.iter().all(|check| check.held || check.goal)
    }

    /// Whether everything held.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.held)
    }

    fn promise(&mut self, what: &str, held: bool, detail: impl Into<String>) {
        self.checks.push(Check {
            what: what.to_owned(),
            held,
            goal: false,
            detail: detail.into(),
        });
    }

    fn goal(&mut self, what: &str, held: bool, detail: impl Into<String>) {
        self.checks.push(Check {
            what: what.to_owned(),
            held,
            goal: true,
            detail: detail.into(),
        });
    }

    /// Nothing may be in `wrong`.
    fn none(&mut self, what: &str, wrong: &[String]) {
        let mut detail = format!("{}", wrong.len());
        for example in wrong.iter().take(EXAMPLES) {
            detail.push_str("; ");
            detail.push_str(example);
        }
        self.promise(what, wrong.is_empty(), detail);
    }

    fn figure(&mut self, line: impl Into<String>) {
        self.figures.push(line.into());
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.figures {
            writeln!(f, "{line}")?;
        }
        for check in &self.checks {
            let word = if check.held { "ok  " } else { "FAIL" };
            writeln!(f, "{word} {}: {}", check.what, check.detail)?;
        }
        f.write_str(if self.passed() { "PASS" } else { "FAIL" })
    }
}

/// Judges a run.
pub(super) async fn judge(
    fleet: &Fleet,
    load: &Load,
    measured: &Measured,
    options: &Options,
) -> Result<Verdict> {
    let books = Books::read(&fleet.store).await?;
    let pulse = measured.witness.pulse();
    let mut verdict = Verdict::default();
    promises(&mut verdict, fleet, load, measured, &books);
    let outages = faults(&mut verdict, measured, &pulse, options);
    rates(&mut verdict, measured, &pulse, options);
    recovery(&mut verdict, measured, &books, &outages);
    said(&mut verdict, measured, fleet);
    Ok(verdict)
}

/// What nothing may break.
fn promises(verdict: &mut Verdict, fleet: &Fleet, load: &Load, measured: &Measured, books: &Books) {
    let ledger = fleet.simulator.network().ledger();
    let seen: Vec<String> = ledger.violations.iter().map(|v| format!("{v:?}")).collect();
    verdict.none("nobody is rung twice (the network's count)", &seen);
    verdict.none(
        "one call per attempt, none after an answer",
        &repeated_calls(&measured.witness),
    );
    let mut most = Vec::new();
    let mut above = Vec::new();
    for campaign in &load.campaigns {
        let live = ledger.max_live.get(&campaign.id).copied().unwrap_or(0);
        most.push(format!("{live}/{}", campaign.limit));
        if live > campaign.limit {
            above.push(format!(
                "{}: {live} live, limit {}",
                campaign.id, campaign.limit
            ));
        }
    }
    verdict.figure(format!("most live calls / limit   {}", most.join("  ")));
    verdict.none("no campaign is above its limit", &above);
    let busiest = load.campaigns.last();
    let full = busiest.is_some_and(|c| ledger.max_live.get(&c.id) == Some(&c.limit));
    verdict.promise(
        "the campaign of long calls is at its limit",
        full,
        if full { "yes" } else { "no: nothing is shown" },
    );
    let id = busiest.map_or("", |campaign| campaign.id.as_str());
    let broken = |held: &Held| held.broken(&measured.witness, id);
    let broken: Vec<String> = measured.orders.iter().flat_map(broken).collect();
    let shown = measured
        .orders
        .iter()
        .filter(|held| held.is_shown())
        .count();
    verdict.figure(format!("orders held while faults struck: {shown}"));
    verdict.none("a pause and a lowered limit hold", &broken);
    let calls = |id: &str| {
        measured
            .witness
            .calls()
            .filter(|c| c.campaign == id)
            .count()
    };
    let calls: Vec<String> = load
        .campaigns
        .iter()
        .map(|c| calls(&c.id).to_string())
        .collect();
    verdict.figure(format!("calls by campaign   {}", calls.join("  ")));
    let sent: u32 = load.campaigns.iter().map(|c| c.sent).sum();
    verdict.figure(format!(
        "leads sent {sent}, attempts {}, calls {}",
        books.attempts.len(),
        measured.witness.calls().count()
    ));
    verdict.none("every lead has its end", &books.lost_leads(&load.campaigns));
    verdict.none("every attempt has its end", &books.open_attempts());
    verdict.none(
        "no call that the books deny",
        &books.denied_calls(&measured.witness),
    );
    verdict.none("every campaign comes to its end", &measured.restless);
    let free = measured.all_free;
    let told = free.map_or("no".to_owned(), seconds);
    verdict.promise("all slots get free", free.is_some(), told.clone());
    let soon = free.is_some_and(|free| free <= QUIET);
    let what = format!("all slots are free within {} s of quiet", QUIET.as_secs());
    verdict.goal(&what, soon, told);
    verdict.none("no process ends by itself", &fleet.seats.deserted());
}

/// The faults by kind, and how long dialing stood still. Returns the outages.
fn faults(
    verdict: &mut Verdict,
    measured: &Measured,
    pulse: &Pulse,
    options: &Options,
) -> Vec<(Ms, Ms)> {
    let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
    for fault in &measured.faults {
        *kinds.entry(fault.kind).or_default() += 1;
    }
    let done: Vec<String> = kinds
        .iter()
        .map(|(kind, n)| format!("{n} x {kind}"))
        .collect();
    verdict.figure(format!("faults: {}", done.join(", ")));
    let missing = Kind::ALL.iter().filter(|kind| !kinds.contains_key(kind));
    let missing: Vec<String> = missing.map(Kind::to_string).collect();
    let strikes = options.load.as_secs() / options.every.as_secs().max(1);
    if strikes > u64::try_from(Kind::ALL.len()).unwrap_or(u64::MAX) {
        let detail = missing.join(", ");
        verdict.goal("every kind of fault struck", missing.is_empty(), detail);
    }
    let usual = pulse.usual(measured.from, measured.to);
    let mut outages = Vec::new();
    let mut stood: BTreeMap<Kind, Vec<Option<Ms>>> = BTreeMap::new();
    for fault in measured.faults.iter().filter(|fault| fault.outage) {
        let resumed = pulse.resumed(fault.at, usual, measured.to);
        stood.entry(fault.kind).or_default().push(resumed);
        outages.push((fault.at, end_of(fault, resumed, measured.to)));
    }
    for (kind, times) in &stood {
        let told: Vec<String> = times
            .iter()
            .map(|t| t.map_or("not within the load".to_owned(), tenths))
            .collect();
        verdict.figure(format!("dialing resumed after {kind}: {}", told.join(", ")));
    }
    if let Some(times) = stood.get(&Kind::KillPrimary) {
        let held = times.iter().all(|t| t.is_some_and(|ms| ms <= FAILOVER_MS));
        let worst = times.iter().flatten().max().copied().unwrap_or(0);
        let what = format!(
            "dialing resumes within {} s of a lost primary",
            FAILOVER_MS / 1_000
        );
        verdict.goal(&what, held, format!("worst {}", tenths(worst)));
    }
    outages
}

fn end_of(fault: &Fault, resumed: Option<Ms>, end: Ms) -> Ms {
    let resumed = resumed.map_or(end, |ms| fault.at + ms);
    resumed.max(fault.back_at.unwrap_or(end))
}

fn rates(verdict: &mut Verdict, measured: &Measured, pulse: &Pulse, options: &Options) {
    let time = Duration::from_millis(u64::try_from(measured.to - measured.from).unwrap_or(0));
    let placed = pulse.between(measured.from, measured.to);
    let rate = count(placed) / time.as_secs_f64();
    verdict.figure(format!(
        "load {}, {placed} calls placed, {rate:.1} a second",
        seconds(time)
    ));
    verdict.goal(
        &format!("at least {} calls a second on average", options.rate),
        rate >= f64::from(options.rate),
        format!("{rate:.1}"),
    );
    if let (Some(p50), Some(p99)) = (measured.gauges.refill(0.5), measured.gauges.refill(0.99)) {
        verdict.figure(format!(
            "refill (all processes): p50 <= {:.0} ms, p99 <= {:.0} ms",
            p50 * 1_000.0,
            p99 * 1_000.0
        ));
    }
}

/// From the end of a call to its slot's being free, where nobody was told of the end, and elsewhere.
fn recovery(verdict: &mut Verdict, measured: &Measured, books: &Books, outages: &[(Ms, Ms)]) {
    let (mut unanswered, mut answered, mut told) = <(Times, Times, Times)>::default();
    for call in measured
        .witness
        .calls()
        .filter(|call| call.placed_at < measured.to)
    {
        let attempt = books.attempts.get(&call.attempt);
        let (Some(ended), Some(freed)) = (call.ended_at, attempt.and_then(|a| a.ended_at)) else {
            continue;
        };
        let (times, since) = match books.told.get(&call.attempt) {
            Some(at) => (&mut told, *at),
            None if call.answered => (&mut answered, ended),
            None => (&mut unanswered, ended),
        };
        let inside = outages
            .iter()
            .any(|(from, to)| since <= *to && freed >= *from);
        let list = if inside {
            &mut times.inside
        } else {
            &mut times.outside
        };
        list.push((freed - since).max(0));
    }
    for times in [&mut unanswered, &mut answered, &mut told] {
        times.inside.sort_unstable();
        times.outside.sort_unstable();
    }
    verdict.figure(format!("slot free after the end was told: {told}"));
    verdict.figure(format!(
        "slot free after an end nobody was told of, unanswered: {unanswered}"
    ));
    verdict.figure(format!(
        "slot free after an end nobody was told of, answered: {answered}"
    ));
    for (times, goal, what) in [
        (&unanswered, UNANSWERED_MS, "unanswered"),
        (&answered, ANSWERED_MS, "answered"),
    ] {
        let p99 = part(&times.outside, 99);
        verdict.goal(
            &format!(
                "slot recovery after a lost terminal callback, {what}: p99 <= {}",
                tenths(goal)
            ),
            p99.is_some_and(|p99| p99 <= goal),
            p99.map_or("none seen".to_owned(), tenths),
        );
    }
}

#[derive(Debug, Default)]
struct Times {
    outside: Vec<Ms>,
    inside: Vec<Ms>,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |times: &[Ms]| {
            let at = |percent| part(times, percent).map_or("-".to_owned(), tenths);
            format!(
                "{} (p50 {}, p99 {}, max {})",
                times.len(),
                at(50),
                at(99),
                at(100)
            )
        };
        write!(
            f,
            "{}; inside outages {}",
            show(&self.outside),
            show(&self.inside)
        )
    }
}

/// What the processes counted.
fn said(verdict: &mut Verdict, measured: &Measured, fleet: &Fleet) {
    let violations = measured.gauges.sums("dialfleet_invariant_violations_total");
    let list: Vec<String> = violations
        .iter()
        .map(|(series, n)| format!("{series} {n}"))
        .collect();
    verdict.none("dialfleet_invariant_violations_total is 0", &list);
    let sweeps = measured.gauges.sums("dialfleet_sweeps_total");
    let shown: Vec<String> = sweeps
        .iter()
        .filter_map(|(series, n)| Some(format!("{} {n}", label(series, "action")?)))
        .collect();
    verdict.figure(format!("repairs: {}", shown.join(", ")));
    let zombies: f64 = measured
        .gauges
        .sums("dialfleet_zombie_calls_total")
        .values()
        .sum();
    let ended = fleet.simulator.network().ledger().ended;
    let ended: Vec<String> = ended
        .iter()
        .map(|(status, n)| format!("{} {n}", status.as_str()))
        .collect();
    verdict.figure(format!(
        "calls ended: {}; hung up as strays: {zombies}",
        ended.join(", ")
    ));
}

/// The value below which so many percent lie, of a sorted list.
fn part(sorted: &[Ms], percent: usize) -> Option<Ms> {
    let last = sorted.len().checked_sub(1)?;
    sorted
        .get((sorted.len() * percent / 100).min(last))
        .copied()
}

fn tenths(ms: Ms) -> String {
    format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f64())
}
