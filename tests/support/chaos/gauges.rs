//! What the processes say about themselves: counters, added up over all processes that ever ran.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::seats::Seats;
use super::wires::Party;

/// The counters that are read.
const NAMES: [&str; 4] = [
    "dialfleet_invariant_violations_total",
    "dialfleet_zombie_calls_total",
    "dialfleet_sweeps_total",
    "dialfleet_refill_seconds_bucket",
];
const ANSWERS_WITHIN: Duration = Duration::from_millis(800);

/// A counter with its labels, as it is shown.
type Series = String;

/// The last word of every process.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    client: reqwest::Client,
    said: BTreeMap<(Party, u32), BTreeMap<Series, f64>>,
}

impl Gauges {
    /// Asks every process. One that does not answer keeps what it said last.
    pub(super) async fn look(&mut self, seats: &Seats, ports: &[(Party, u16)]) {
        let asked = ports.iter().map(|(party, port)| {
            let process = (*party, seats.starts(*party));
            let url = format!("http://127.0.0.1:{port}/metrics");
            let request = self.client.get(url).timeout(ANSWERS_WITHIN);
            async move {
                let text = request.send().await.ok()?.text().await.ok()?;
                Some((process, read(&text)))
            }
        });
        let said: Vec<_> = join_all(asked).await;
        self.said.extend(said.into_iter().flatten());
    }

    /// A counter's series with their sums, zeros left out.
    pub(super) fn sums(&self, name: &str) -> BTreeMap<Series, f64> {
        let mut sums = BTreeMap::new();
        for said in self.said.values() {
            for (series, value) in said
                .iter()
                .filter(|(s, v)| s.starts_with(name) && **v > 0.0)
            {
                *sums.entry(series.clone()).or_default() += value;
            }
        }
        sums
    }

    /// The upper bound of the bucket in which a part of all refills lies, in seconds.
    pub(super) fn refill(&self, part: f64) -> Option<f64> {
        let buckets = self.sums("dialfleet_refill_seconds_bucket");
        let mut bounds: Vec<(f64, f64)> = buckets
            .iter()
            .filter_map(|(series, n)| Some((label(series, "le")?.parse().ok()?, *n)))
            .collect();
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = bounds.last()?.1;
        let found = bounds.iter().find(|(_, n)| *n >= all * part)?;
        Some(found.0)
    }
}

fn read(text: &str) -> BTreeMap<Series, f64> {
    text.lines()
        .filter(|line| NAMES.iter().any(|name| line.starts_with(name)))
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// The value of a label.
pub(super) fn label<'a>(series: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = series.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}
