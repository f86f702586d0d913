//! What `dialfleet dev` shows while it dials: a bar, the slots, the outcomes and the refill latency
//! on a terminal; one line every five seconds otherwise.

use std::io::IsTerminal;
use std::time::Duration;

use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::CampaignState;
use dialfleet_domain::id::CampaignId;
use dialfleet_engine::Fleet;
use dialfleet_engine::port::store::LeadCounts;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::cli::say;

/// Between two looks at the store.
const LOOK: Duration = Duration::from_millis(250);
/// Looks between two lines when nobody watches a terminal.
const LINE_EVERY: u32 = 20;

struct Screen {
    _multi: MultiProgress,
    bar: ProgressBar,
    slots: ProgressBar,
    outcomes: ProgressBar,
    refill: ProgressBar,
}

impl Screen {
    fn new() -> Self {
        let multi = MultiProgress::new();
        let line = |multi: &MultiProgress| {
            let line = multi.add(ProgressBar::new(1));
            line.set_style(
                ProgressStyle::with_template("  {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            line
        };
        let bar = multi.add(ProgressBar::new(1));
        let style =
            ProgressStyle::with_template("  {bar:32.green} {pos}/{len} leads  {elapsed}  {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let (slots, outcomes, refill) = (line(&multi), line(&multi), line(&multi));
        Self {
            bar,
            slots,
            outcomes,
            refill,
            _multi: multi,
        }
    }

    fn clear(&self) {
        for line in [&self.bar, &self.slots, &self.outcomes, &self.refill] {
            line.finish_and_clear();
        }
    }
}

/// Shows a campaign until it is done, or this process is to stop. Returns whether it is done.
///
/// # Errors
/// The store failed.
pub(crate) async fn watch(
    fleet: &Fleet,
    campaign: &CampaignId,
    until_done: bool,
) -> anyhow::Result<bool> {
    let screen = std::io::stderr().is_terminal().then(Screen::new);
    let mut looks = 0;
    let mut told = false;
    let done = loop {
        let Some(now) = fleet.campaign(campaign).await? else {
            break false;
        };
        let counts = fleet.store.lead_counts(campaign).await?;
        let live = fleet.store.live_attempts(campaign).await?;
        let done = now.state == CampaignState::Done;
        match &screen {
            Some(screen) => draw(screen, fleet, now.slots(), &counts, &live),
            None if !told && (looks % LINE_EVERY == 0 || done) => {
                say(&line(fleet, now.slots(), &counts, &live));
            }
            None => {}
        }
        if done && !told {
            told = true;
            if !until_done {
                if let Some(screen) = &screen {
                    screen
                        .bar
                        .set_message("done; the API stays up, Ctrl-C ends it");
                }
                say(
                    "done: every lead has reached a final state. The API stays up; Ctrl-C ends it.",
                );
            }
        }
        if done && until_done {
            break true;
        }
        if !done {
            told = false;
        }
        looks += 1;
        if !fleet.pause(LOOK).await {
            break done;
        }
    };
    if let Some(screen) = &screen {
        screen.clear();
    }
    Ok(done)
}

fn draw(screen: &Screen, fleet: &Fleet, limit: u32, counts: &LeadCounts, live: &[Attempt]) {
    screen.bar.set_length(counts.total());
    screen.bar.set_position(counts.done + counts.suppressed);
    let now = fleet.clock.now();
    let cells: Vec<String> = (0..limit.min(10))
        .map(|slot| match live.iter().find(|a| a.slot == Some(slot)) {
            Some(attempt) => {
                let since = now.since(
                    attempt
                        .answered_at
                        .or(attempt.ringing_at)
                        .unwrap_or(attempt.intent_at),
                );
                format!(
                    "[{slot} {:<8} {:>4.1}s {}]",
                    attempt.state.name(),
                    since.as_secs_f64(),
                    attempt.phone
                )
            }
            None => format!("[{slot} free                     ]"),
        })
        .collect();
    let more = limit.saturating_sub(10);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    screen
        .slots
        .set_message(format!("slots     {}{more}", cells.join(" ")));
    screen
        .outcomes
        .set_message(format!("outcomes  {}", outcomes(counts)));
    screen
        .refill
        .set_message(format!("refill    {}", refill(fleet)));
}

fn line(fleet: &Fleet, limit: u32, counts: &LeadCounts, live: &[Attempt]) -> String {
    let held = live.iter().filter(|a| a.slot.is_some()).count();
    format!(
        "{}/{} leads finished, {held} of {limit} slots busy, {}; refill {}",
        counts.done + counts.suppressed,
        counts.total(),
        outcomes(counts),
        refill(fleet),
    )
}

fn outcomes(counts: &LeadCounts) -> String {
    if counts.outcomes.is_empty() {
        return "no outcomes yet".to_owned();
    }
    let parts: Vec<String> = counts
        .outcomes
        .iter()
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    parts.join(", ")
}

fn refill(fleet: &Fleet) -> String {
    let q = fleet.metrics.refill_quantiles();
    format!("p50 {:.1} ms, p99 {:.1} ms", q.p50, q.p99)
}
