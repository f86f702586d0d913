//! Every metric of the project, declared once. Labels come from closed sets (or are a configured
//! carrier's id): never a lead, a call or a phone number.
//!
//! Measured with OpenTelemetry, shown as Prometheus text. No globals: each [`Metrics::new`] counts
//! for itself, so tests can run side by side. Names are written out in full here and shown exactly
//! so; times are in seconds.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram as Quantiles;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

/// 1 ms to 10 s: the aim for a refill is 10 ms, a carrier's answer may take 6 s.
const BUCKETS_S: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The aim for a recording is 30 s.
const RECORDING_BUCKETS_S: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0];

/// Refills longer than this count as this in the quantiles.
const LONGEST_REFILL_US: u64 = 3_600_000_000;

/// The kinds of broken promises that are shown as 0 from the start. A series that first appears
/// with the value 1 has no increase, and an alarm on the increase would miss it.
pub const VIOLATIONS: [&str; 11] = [
    "absence_disproved",
    "answered_after_end",
    "attempt_gap",
    "carrier_unknown",
    "cas_exhausted",
    "clock_skew",
    "corrupt",
    "double_dial",
    "hard_end_unconfirmed",
    "orphan_callback",
    "over_limit",
];

/// How long refills took since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RefillQuantiles {
    /// How many there were; the rest is 0 when there was none.
    pub count: u64,
    /// Half of them took at most this, in milliseconds.
    pub p50: f64,
    /// 99 of 100 took at most this, in milliseconds.
    pub p99: f64,
}

/// The metrics of a process. Cheap to clone and to call.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    // Holds the pipeline; the exporter in the registry knows it only weakly.
    _provider: SdkMeterProvider,
    refill_quantiles: Mutex<Quantiles<u32>>,
    refill: Histogram<f64>,
    dials: Counter<u64>,
    dial_time: Histogram<f64>,
    callbacks: Counter<u64>,
    event_lag: Histogram<f64>,
    calls_ended: Counter<u64>,
    lead_rows: Counter<u64>,
    gate: Counter<u64>,
    flows: Counter<u64>,
    sweeps: Counter<u64>,
    violations: Counter<u64>,
    zombies: Counter<u64>,
    jobs: Counter<u64>,
    recordings: Counter<u64>,
    recording_time: Histogram<f64>,
    pace_wait: Histogram<f64>,
    slots: Gauge<u64>,
    queue_depth: Gauge<u64>,
    store_up: Gauge<u64>,
    broker_up: Gauge<u64>,
}

impl Metrics {
    /// A new set, everything at zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let provider = exported_to(&registry);
        let m = provider.meter("dialfleet");
        // Two significant digits: p99 within 1 %, in 50 kB.
        let quantiles = Quantiles::new_with_bounds(1, LONGEST_REFILL_US, 2)
            .expect("1 us to 1 h with two digits is a valid range");
        let inner = Inner {
            registry,
            refill_quantiles: Mutex::new(quantiles),
            refill: seconds(
                &m,
                "dialfleet_refill_seconds",
                "Callback that ended a call received to next create-call request sent.",
            ),
            dials: total(
                &m,
                "dialfleet_dials_total",
                "Create-call requests by result: accepted, refused, unclear, withdrawn (cancelled before sending).",
            ),
            dial_time: seconds(
                &m,
                "dialfleet_dial_seconds",
                "Create-call request sent to answer read.",
            ),
            callbacks: total(
                &m,
                "dialfleet_callbacks_total",
                "Callbacks by result: stored, duplicate, forged, unreadable, inline (processed without the broker).",
            ),
            event_lag: seconds(
                &m,
                "dialfleet_event_lag_seconds",
                "Callback received to its event applied.",
            ),
            calls_ended: total(&m, "dialfleet_calls_ended_total", "Ended calls by outcome."),
            lead_rows: total(
                &m,
                "dialfleet_lead_rows_total",
                "Imported rows by result: accepted, duplicate, rejected.",
            ),
            flows: total(
                &m,
                "dialfleet_flow_events_total",
                "What happened on answered calls: opted_out, opted_out_late, machine_hung_up, human_after_all, failed (apologised).",
            ),
            gate: total(
                &m,
                "dialfleet_gate_verdicts_total",
                "Verdicts of the compliance gate.",
            ),
            sweeps: total(&m, "dialfleet_sweeps_total", "What the repair loops did."),
            violations: total(
                &m,
                "dialfleet_invariant_violations_total",
                "Broken promises, such as more live calls than the limit. Anything above 0 is an alarm.",
            ),
            zombies: total(
                &m,
                "dialfleet_zombie_calls_total",
                "Calls hung up because their attempt had ended.",
            ),
            jobs: total(
                &m,
                "dialfleet_jobs_total",
                "Queue messages by role and outcome: done, retry, parked.",
            ),
            recordings: recordings(&m),
            recording_time: recording_seconds(&m),
            pace_wait: seconds(
                &m,
                "dialfleet_pace_wait_seconds",
                "Time a dial waited for its carrier's pace.",
            ),
            slots: gauge(
                &m,
                "dialfleet_slots",
                "Slots of running campaigns by state: used, free.",
            ),
            queue_depth: gauge(
                &m,
                "dialfleet_queue_messages",
                "Messages waiting, by queue.",
            ),
            store_up: gauge(
                &m,
                "dialfleet_store_up",
                "1 when the store answers, else 0.",
            ),
            broker_up: gauge(
                &m,
                "dialfleet_broker_up",
                "1 when the broker answers, else 0.",
            ),
            _provider: provider,
        };
        let metrics = Self {
            inner: Arc::new(inner),
        };
        metrics.start_at_zero();
        metrics
    }

    fn start_at_zero(&self) {
        for kind in VIOLATIONS {
            self.inner.violations.add(0, &[KeyValue::new("kind", kind)]);
        }
        self.inner.zombies.add(0, &[]);
        for result in ["accepted", "duplicate", "rejected"] {
            self.lead_rows(result, 0);
        }
    }

    /// A freed slot was filled: callback received to next create-call request sent.
    pub fn refill(&self, took: Duration) {
        self.inner.refill.record(took.as_secs_f64(), &[]);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.quantiles(|quantiles| quantiles.saturating_record(us));
    }

    /// How long refills took since the start.
    #[must_use]
    pub fn refill_quantiles(&self) -> RefillQuantiles {
        self.quantiles(|quantiles| RefillQuantiles {
            count: quantiles.len(),
            p50: millis(quantiles.value_at_quantile(0.5)),
            p99: millis(quantiles.value_at_quantile(0.99)),
        })
    }

    fn quantiles<T>(&self, use_it: impl FnOnce(&mut Quantiles<u32>) -> T) -> T {
        // A panic while counting leaves whole numbers behind: go on with them.
        let lock = self.inner.refill_quantiles.lock();
        use_it(&mut lock.unwrap_or_else(PoisonError::into_inner))
    }

    /// A create-call request: `accepted`, `refused`, `unclear`, or `withdrawn` before it was sent.
    pub fn dial(&self, carrier: &str, result: &'static str) {
        self.inner
            .dials
            .add(1, &[by_carrier(carrier), KeyValue::new("result", result)]);
    }

    /// How long a carrier took to answer a create-call request.
    pub fn dial_time(&self, carrier: &str, took: Duration) {
        self.inner
            .dial_time
            .record(took.as_secs_f64(), &[by_carrier(carrier)]);
    }

    /// A callback: `stored`, `duplicate`, `forged`, `unreadable`, `unexpected`, or applied `inline`.
    pub fn callback(&self, carrier: &str, result: &'static str) {
        self.inner
            .callbacks
            .add(1, &[by_carrier(carrier), KeyValue::new("result", result)]);
    }

    /// Callback received to its event applied.
    pub fn event_lag(&self, lag: Duration) {
        self.inner.event_lag.record(lag.as_secs_f64(), &[]);
    }

    /// A call ended.
    pub fn call_ended(&self, outcome: &'static str) {
        self.inner
            .calls_ended
            .add(1, &[KeyValue::new("outcome", outcome)]);
    }

    /// `n` imported rows were `accepted`, a `duplicate` or `rejected`.
    pub fn lead_rows(&self, result: &'static str, n: u64) {
        self.inner
            .lead_rows
            .add(n, &[KeyValue::new("result", result)]);
    }

    /// The compliance gate decided.
    pub fn gate(&self, verdict: &'static str) {
        self.inner.gate.add(1, &[KeyValue::new("verdict", verdict)]);
    }

    /// Something worth counting happened on an answered call.
    pub fn flow(&self, event: &'static str) {
        self.inner.flows.add(1, &[KeyValue::new("event", event)]);
    }

    /// A repair loop did something.
    pub fn sweep(&self, action: &'static str) {
        self.inner.sweeps.add(1, &[KeyValue::new("action", action)]);
    }

    /// A promise was broken: an alarm. Kinds belong into [`VIOLATIONS`].
    pub fn violation(&self, kind: &'static str) {
        self.inner.violations.add(1, &[KeyValue::new("kind", kind)]);
    }

    /// A call of an ended attempt was found alive and hung up.
    pub fn zombie(&self) {
        self.inner.zombies.add(1, &[]);
    }

    /// A queue message was handled: `done`, `retry` or `parked`.
    pub fn job(&self, role: &'static str, outcome: &'static str) {
        self.inner.jobs.add(
            1,
            &[
                KeyValue::new("role", role),
                KeyValue::new("outcome", outcome),
            ],
        );
    }

    /// Something became of a recording: `announced`, `stored`, `failed`, `parked`, `expired`,
    /// `transcribed` or `not_transcribed`.
    pub fn recording(&self, result: &'static str) {
        self.inner
            .recordings
            .add(1, &[KeyValue::new("result", result)]);
    }

    /// Announcement of a recording received to recording stored.
    pub fn recording_time(&self, took: Duration) {
        self.inner.recording_time.record(took.as_secs_f64(), &[]);
    }

    /// How long a dial waited for its carrier's pace.
    pub fn pace_wait(&self, carrier: &str, waited: Duration) {
        self.inner
            .pace_wait
            .record(waited.as_secs_f64(), &[by_carrier(carrier)]);
    }

    /// Slots of running campaigns, now.
    pub fn slots(&self, used: u64, free: u64) {
        self.inner
            .slots
            .record(used, &[KeyValue::new("state", "used")]);
        self.inner
            .slots
            .record(free, &[KeyValue::new("state", "free")]);
    }

    /// Messages waiting in a queue, now.
    pub fn queue_depth(&self, queue: &'static str, n: u64) {
        self.inner
            .queue_depth
            .record(n, &[KeyValue::new("queue", queue)]);
    }

    /// Whether the store answers.
    pub fn store_up(&self, up: bool) {
        self.inner.store_up.record(u64::from(up), &[]);
    }

    /// Whether the broker answers.
    pub fn broker_up(&self, up: bool) {
        self.inner.broker_up.record(u64::from(up), &[]);
    }

    /// Everything as Prometheus text (version 0.0.4).
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.inner.registry.gather(), &mut text)
        {
            tracing::error!(error = %error, "metrics cannot be shown in full");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn exported_to(registry: &Registry) -> SdkMeterProvider {
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        // Names are written out in full; target and scope say nothing here.
        .without_units()
        .without_counter_suffixes()
        .without_target_info()
        .scope_info_enabled(false)
        .build()
        .expect("a new registry takes its first collector");
    SdkMeterProvider::builder().with_reader(exporter).build()
}

fn by_carrier(carrier: &str) -> KeyValue {
    KeyValue::new("carrier", carrier.to_owned())
}

/// `us` fits a float exactly: at most an hour.
fn millis(us: u64) -> f64 {
    Duration::from_micros(us).as_secs_f64() * 1_000.0
}

fn seconds(meter: &Meter, name: &'static str, help: &'static str) -> Histogram<f64> {
    meter
        .f64_histogram(name)
        .with_description(help)
        .with_boundaries(BUCKETS_S.to_vec())
        .build()
}

fn recordings(m: &Meter) -> Counter<u64> {
    total(
        m,
        "dialfleet_recordings_total",
        "What became of recordings: announced, stored, failed, parked, expired, transcribed, not_transcribed.",
    )
}

fn recording_seconds(meter: &Meter) -> Histogram<f64> {
    meter
        .f64_histogram("dialfleet_recording_seconds")
        .with_description("Announcement of a recording received to recording stored.")
        .with_boundaries(RECORDING_BUCKETS_S.to_vec())
        .build()
}

fn total(meter: &Meter, name: &'static str, help: &'static str) -> Counter<u64> {
    meter.u64_counter(name).with_description(help).build()
}

fn gauge(meter: &Meter, name: &'static str, help: &'static str) -> Gauge<u64> {
    meter.u64_gauge(name).with_description(help).build()
}

#[cfg(test)]
mod tests;
