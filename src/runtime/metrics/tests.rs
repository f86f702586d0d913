use super::*;

fn has_line(text: &str, start: &str) -> bool {
    text.lines().any(|line| line.starts_with(start))
}

#[test]
fn violations_are_there_from_the_start() {
    let text = Metrics::new().render();
    for kind in VIOLATIONS {
        let line = format!("dialfleet_invariant_violations_total{{kind=\"{kind}\"}} 0");
        assert!(has_line(&text, &line), "{text}");
    }
}

#[test]
fn every_metric_is_shown() {
    let metrics = Metrics::new();
    let ms = Duration::from_millis;
    metrics.refill(ms(7));
    metrics.dial("t1", "accepted");
    metrics.dial_time("t1", ms(80));
    metrics.callback("t1", "stored");
    metrics.event_lag(ms(3));
    metrics.call_ended("answered");
    metrics.lead_rows("accepted", 500);
    metrics.gate("allow");
    metrics.sweep("unknown_resolved");
    metrics.violation("over_limit");
    metrics.zombie();
    metrics.job("dial", "done");
    metrics.pace_wait("t1", ms(1));
    metrics.slots(4, 1);
    metrics.queue_depth("dial", 3);
    metrics.store_up(true);
    metrics.broker_up(false);
    let text = metrics.render();
    for line in [
        "dialfleet_refill_seconds_bucket{le=\"0.005\"} 0",
        "dialfleet_refill_seconds_bucket{le=\"0.01\"} 1",
        "dialfleet_refill_seconds_bucket{le=\"10\"} 1",
        "dialfleet_dials_total{carrier=\"t1\",result=\"accepted\"} 1",
        "dialfleet_dial_seconds_count{carrier=\"t1\"} 1",
        "dialfleet_callbacks_total{carrier=\"t1\",result=\"stored\"} 1",
        "dialfleet_event_lag_seconds_count 1",
        "dialfleet_calls_ended_total{outcome=\"answered\"} 1",
        "dialfleet_lead_rows_total{result=\"accepted\"} 500",
        "dialfleet_lead_rows_total{result=\"rejected\"} 0",
        "dialfleet_gate_verdicts_total{verdict=\"allow\"} 1",
        "dialfleet_sweeps_total{action=\"unknown_resolved\"} 1",
        "dialfleet_invariant_violations_total{kind=\"over_limit\"} 1",
        "dialfleet_zombie_calls_total 1",
        "dialfleet_jobs_total{outcome=\"done\",role=\"dial\"} 1",
        "dialfleet_pace_wait_seconds_count{carrier=\"t1\"} 1",
        "dialfleet_slots{state=\"used\"} 4",
        "dialfleet_slots{state=\"free\"} 1",
        "dialfleet_queue_messages{queue=\"dial\"} 3",
        "dialfleet_store_up 1",
        "dialfleet_broker_up 0",
    ] {
        assert!(has_line(&text, line), "no {line} in\n{text}");
    }
}

#[test]
fn quantiles_are_in_milliseconds_and_sets_are_apart() {
    let (metrics, other) = (Metrics::new(), Metrics::new());
    assert_eq!(
        metrics.refill_quantiles(),
        RefillQuantiles {
            count: 0,
            p50: 0.0,
            p99: 0.0
        }
    );
    (1..=100).for_each(|ms| metrics.clone().refill(Duration::from_millis(ms)));
    metrics.refill(Duration::MAX);
    let quantiles = metrics.refill_quantiles();
    assert_eq!(quantiles.count, 101);
    assert!((quantiles.p50 - 51.0).abs() < 1.0, "{quantiles:?}");
    assert!((quantiles.p99 - 100.0).abs() < 2.0, "{quantiles:?}");
    assert_eq!(other.refill_quantiles().count, 0);
}
