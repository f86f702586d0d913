//! How a run went: the summary table, and the JSON that `--report` writes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use dialfleet_domain::id::CampaignId;
use dialfleet_domain::import::RowError;
use dialfleet_engine::Fleet;
use dialfleet_engine::port::store::AttemptFilter;
use dialfleet_simulator::Ledger;
use serde::Serialize;

use crate::cli::{print, say};

/// Attempts read in one page.
const PAGE: usize = 500;

/// Refill latency: callback received → next create-call request leaves.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Refill {
    /// How many refills were measured.
    pub(crate) count: u64,
    /// Median, ms.
    pub(crate) p50: f64,
    /// 99th percentile, ms.
    pub(crate) p99: f64,
}

/// A row of the file that was not taken.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BadRow {
    line: u64,
    code: String,
    message: String,
}

/// What became of the file's rows.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Rows {
    pub(crate) accepted: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) errors: Vec<BadRow>,
}

impl BadRow {
    /// For the terminal.
    pub(crate) fn sentence(&self) -> String {
        format!("line {}: {}", self.line, self.message)
    }
}

impl From<RowError> for BadRow {
    fn from(error: RowError) -> Self {
        Self {
            line: error.line,
            code: error.code,
            message: error.message,
        }
    }
}

/// The report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Leads of the campaign.
    pub(crate) leads: u64,
    /// Those that reached a final state.
    pub(crate) done: u64,
    /// Final outcomes of leads.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// Attempts that were written down.
    pub(crate) attempts: u64,
    /// Most live calls at any moment, as the network counted.
    pub(crate) max_live: BTreeMap<String, u32>,
    /// Persons rung more often than there were attempts, as the network counted.
    pub(crate) duplicates: u64,
    /// Anything else the network saw that must never happen.
    pub(crate) violations: u64,
    /// Refill latency.
    pub(crate) refill_ms: Refill,
    /// How long the run took.
    pub(crate) wall_s: f64,
    /// What became of the file's rows.
    pub(crate) import: Rows,
}

impl Report {
    /// Gathers the figures of a campaign.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn gather(
        fleet: &Fleet,
        campaign: &CampaignId,
        ledger: &Ledger,
        import: Rows,
        wall_s: f64,
    ) -> anyhow::Result<Self> {
        let counts = fleet.store.lead_counts(campaign).await?;
        let quantiles = fleet.metrics.refill_quantiles();
        let by_phone = attempts(fleet, campaign).await?;
        let rung_too_often = ledger
            .rings
            .iter()
            .filter(|(phone, rings)| **rings > by_phone.get(*phone).copied().unwrap_or(0))
            .count();
        let beyond = ledger
            .duplicates
            .max(u64::try_from(rung_too_often).unwrap_or(u64::MAX));
        let mut outcomes = counts.outcomes.clone();
        if counts.suppressed > 0 {
            outcomes.insert("suppressed".to_owned(), counts.suppressed);
        }
        Ok(Self {
            leads: counts.total(),
            done: counts.done + counts.suppressed,
            outcomes,
            attempts: by_phone.values().copied().map(u64::from).sum(),
            max_live: ledger.max_live.clone(),
            duplicates: beyond,
            violations: ledger.violations_total,
            refill_ms: Refill {
                count: quantiles.count,
                p50: quantiles.p50,
                p99: quantiles.p99,
            },
            wall_s: (wall_s * 1000.0).round() / 1000.0,
            import,
        })
    }

    /// Whether every promise was kept: everybody accounted for, nobody rung twice, never over the limit.
    pub(crate) fn is_clean(&self, limit: u32) -> bool {
        self.done == self.leads
            && self.duplicates == 0
            && self.violations == 0
            && self.max_live.values().all(|live| *live <= limit)
    }

    /// Writes the JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) async fn write(&self, path: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        tokio::fs::write(path, json + "\n")
            .await
            .with_context(|| format!("{} cannot be written", path.display()))
    }

    /// Prints the table.
    pub(crate) fn show(&self) {
        let mut table = crate::cli::table();
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("leads", format!("{} of {} finished", self.done, self.leads));
        for (outcome, n) in &self.outcomes {
            row(&format!("  {outcome}"), n.to_string());
        }
        row("attempts", self.attempts.to_string());
        let live: Vec<String> = self.max_live.values().map(ToString::to_string).collect();
        row(
            "most live calls",
            if live.is_empty() {
                "0".to_owned()
            } else {
                live.join(", ")
            },
        );
        row("rung twice", self.duplicates.to_string());
        row(
            "refill",
            format!(
                "p50 {:.1} ms, p99 {:.1} ms ({} refills)",
                self.refill_ms.p50, self.refill_ms.p99, self.refill_ms.count
            ),
        );
        row("took", format!("{:.1} s", self.wall_s));
        print(&table.to_string());
        if self.import.rejected + self.import.duplicate > 0 {
            say(&format!(
                "rows not taken: {} rejected, {} duplicate",
                self.import.rejected, self.import.duplicate
            ));
        }
    }
}

/// Attempts per phone that may have reached the network.
async fn attempts(fleet: &Fleet, campaign: &CampaignId) -> anyhow::Result<BTreeMap<String, u32>> {
    let filter = AttemptFilter {
        campaign: Some(campaign.clone()),
        ..AttemptFilter::default()
    };
    let mut by_phone: BTreeMap<String, u32> = BTreeMap::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = fleet
            .store
            .list_attempts(&fleet.settings.tenant, &filter, cursor.as_deref(), PAGE)
            .await?;
        for attempt in &page.items {
            *by_phone
                .entry(attempt.phone.as_str().to_owned())
                .or_default() += 1;
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(by_phone);
        }
    }
}
