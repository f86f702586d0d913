//! Processes that are told to stop while they work.

use std::collections::BTreeSet;
use std::time::Duration;

use dialfleet_adapters::system::SystemClock;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::Clock;
use dialfleet_simulator::faults::Faults;
use dialfleet_simulator::network::{CallView, Search};
use dialfleet_simulator::script::Weights;
use dialfleet_tests::fleet::{KEY, TestFleet, leads};
use dialfleet_tests::wait::until;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fleet::{judge, quick_campaign};

/// A stop takes 8 s at most; the rest is the machine's.
const STOPPED: Duration = Duration::from_secs(10);

/// The carrier takes its time, up to 30 s: most requests outlive our patience, some after placing.
fn hanging() -> Faults {
    Faults {
        create_slow: 1.0,
        create_slow_max_ms: 30_000,
        ..Faults::default()
    }
}

async fn placed(fleet: &TestFleet, n: u64) {
    until("more calls", Duration::from_secs(120), async || {
        let placed = fleet.simulator.network().ledger().placed;
        if placed >= n {
            Ok(())
        } else {
            Err(format!("{placed} of {n}\n{}", fleet.log()))
        }
    })
    .await;
}

/// The carrier has `n` requests that it has not answered, and we wait for.
async fn hang(fleet: &TestFleet, n: u64) {
    let before = fleet.simulator.network().ledger().creates;
    fleet.simulator.faults().set(hanging());
    until("requests that hang", Duration::from_secs(60), async || {
        let creates = fleet.simulator.network().ledger().creates - before;
        if creates >= n { Ok(()) } else { Err(creates) }
    })
    .await;
}

async fn all(fleet: &TestFleet, path: &str) -> Vec<Value> {
    let list = fleet.call(Method::GET, path, None).await.unwrap();
    assert_eq!(list["next_cursor"], Value::Null, "one page");
    list["data"].as_array().unwrap().clone()
}

fn texts(rows: &[Value], field: &str) -> BTreeSet<String> {
    let text = |row: &Value| row[field].as_str().unwrap_or_default().to_owned();
    rows.iter().map(text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_leaves_nothing_half_done() {
    let mut fleet = TestFleet::new(|s| s.speed = 100.0).await.unwrap();
    fleet.command_to_end(&["migrate"]).await.unwrap();
    fleet.start_api("api").await.unwrap();
    fleet.start_worker().unwrap();
    let mut campaign = quick_campaign("stop");
    campaign["concurrency"] = json!(20);
    let id = fleet.launch(campaign, leads(200)).await.unwrap();
    placed(&fleet, 40).await;
    hang(&fleet, 15).await;

    let mut worker = fleet.dismiss_worker(0);
    worker.signal("TERM").await;
    until(
        "it is not ready",
        Duration::from_secs(3),
        async || match worker.ready().await {
            Err(why) if why.contains("503") && why.contains("stopping") => Ok(()),
            other => Err(other),
        },
    )
    .await;
    let status = worker.ended(STOPPED).await;
    assert_eq!(status.code(), Some(0), "\n{}", fleet.log());
    for phase in ["draining", "closing", "flushing"] {
        let line = format!("phase=\"{phase}\"");
        assert_eq!(fleet.said(&line), 1, "{phase}\n{}", fleet.log());
    }

    // Every request has a result, if only "unknown"; every lead that was taken has its call.
    let live = all(&fleet, &format!("/calls?campaign={id}&live=true&limit=200")).await;
    let states = texts(&live, "state");
    assert!(
        states.contains("unknown") && !states.contains("intent"),
        "{states:?}"
    );
    let path = format!("/campaigns/{id}/leads?state=claimed&limit=200");
    let claimed = texts(&all(&fleet, &path).await, "id");
    let called = texts(&live, "lead");
    assert!(claimed.is_subset(&called), "{claimed:?}\n{called:?}");

    // Nobody dials meanwhile: callbacks wait in the queue. The next worker takes it all up.
    fleet.simulator.faults().set(Faults::default());
    fleet.start_worker().unwrap();
    let done = fleet.done(&id, Duration::from_secs(240)).await;
    assert_eq!(done["counts"]["done"], 200, "{done}");
    judge(&fleet, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_progress_is_answered_before_the_end() {
    let mut fleet = TestFleet::embedded(|_| ()).await.unwrap();
    fleet.start_api("up").await.unwrap();
    let made = fleet
        .call(Method::POST, "/campaigns", Some(quick_campaign("late")))
        .await
        .unwrap();
    let id = made["id"].as_str().unwrap().to_owned();
    let (csv, address) = (leads(1_000), fleet.url().replace("http://", ""));
    let mut upload = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /v1/campaigns/{id}/imports HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {KEY}\r\n\
         content-type: text/csv\r\ncontent-length: {}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n",
        csv.len()
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    let mut read = [0; 64];
    let n = upload.read(&mut read).await.unwrap();
    let go_on = String::from_utf8_lossy(&read[..n]).into_owned();
    assert!(go_on.starts_with("HTTP/1.1 100"), "{go_on}");

    // The server waits for the body. It is told to stop, says so to whoever asks, and waits on.
    fleet.api().signal("TERM").await;
    let api = fleet.api();
    until(
        "it is not ready",
        Duration::from_secs(3),
        async || match api.ready().await {
            Err(why) if why.contains("503") && why.contains("stopping") => Ok(()),
            other => Err(other),
        },
    )
    .await;
    upload.write_all(csv.as_bytes()).await.unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let status = fleet.api().ended(STOPPED).await;
    assert_eq!(status.code(), Some(0), "\n{}", fleet.log());

    // What was accepted is there, though nobody was left to take it in.
    fleet.start_api("up").await.unwrap();
    let path = format!("/campaigns/{id}");
    until("every lead is in", Duration::from_secs(30), async || {
        let now = fleet.call(Method::GET, &path, None).await.unwrap();
        if now["counts"]["leads"] == 1_000 {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let mut fleet = TestFleet::embedded(|s| s.speed = 100.0).await.unwrap();
    fleet.start_api("up").await.unwrap();
    let id = fleet
        .launch(quick_campaign("twice"), leads(40))
        .await
        .unwrap();
    placed(&fleet, 5).await;
    // Requests that hang keep the first stop from ending.
    hang(&fleet, 5).await;
    fleet.api().signal("TERM").await;
    let api = fleet.api();
    until(
        "it is not ready",
        Duration::from_secs(3),
        async || match api.ready().await {
            Err(why) if why.contains("stopping") => Ok(()),
            other => Err(other),
        },
    )
    .await;
    fleet.api().signal("TERM").await;
    let status = fleet.api().ended(STOPPED).await;
    assert_eq!(status.code(), Some(143), "\n{}", fleet.log());
    assert_eq!(fleet.said("phase=\"flushing\""), 0, "\n{}", fleet.log());

    fleet.simulator.faults().set(Faults::default());
    fleet.start_api("up").await.unwrap();
    let done = fleet.done(&id, Duration::from_secs(240)).await;
    assert_eq!(done["counts"]["done"], 40, "{done}");
    judge(&fleet, 5);
}

/// A time that a place stood empty.
#[derive(Debug, Clone, Copy)]
struct Gap {
    from: Timestamp,
    time: Duration,
}

impl Gap {
    fn touches(&self, (from, to): (Timestamp, Timestamp)) -> bool {
        self.from < to && from < self.from + self.time
    }
}

/// How long places stood empty, as the network saw it: from the end of a call to the next one of its
/// campaign, which takes the place that has been empty for longest.
fn gaps(calls: &[CallView], limit: usize) -> Vec<Gap> {
    let mut placed: Vec<_> = calls.iter().map(|call| call.placed_at).collect();
    let mut ended: Vec<_> = calls.iter().filter_map(|call| call.ended_at).collect();
    placed.sort();
    ended.sort();
    let refills = placed.into_iter().skip(limit).zip(ended);
    let gap = |(next, from): (Timestamp, Timestamp)| Gap {
        from,
        time: next.since(from),
    };
    refills.map(gap).collect()
}

fn longest(gaps: &[Gap]) -> Duration {
    gaps.iter().map(|gap| gap.time).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_idles_no_slot_and_loses_no_lead() {
    const WORKERS: usize = 4;
    const LIMIT: u32 = 20;
    const LEADS: u32 = 600;
    let mut fleet = TestFleet::new(|s| {
        // Everybody answers and talks for two seconds: a place that is free is one that we let idle.
        s.speed = 15.0;
        s.population.weights = everybody_answers();
        s.population.ring_ms = (3_000, 6_000);
        s.population.talk_ms = (15_000, 30_000);
    })
    .await
    .unwrap();
    fleet.command_to_end(&["migrate"]).await.unwrap();
    fleet.start_api("api").await.unwrap();
    for _ in 0..WORKERS {
        fleet.start_worker().unwrap();
    }
    fleet.workers_ready().await;
    let mut campaign = quick_campaign("rolling");
    campaign["concurrency"] = json!(LIMIT);
    // One call each: until the last one is placed there is always a lead that is due.
    campaign["retry"]["max_attempts"] = json!(1);
    let id = fleet.launch(campaign, leads(LEADS)).await.unwrap();
    let mut restarts = Vec::new();
    for restarted in 1..=WORKERS {
        placed(&fleet, u64::from(LEADS) * restarted as u64 / 6).await;
        fleet.start_worker().unwrap();
        fleet.workers_ready().await;
        let mut old = fleet.dismiss_worker(0);
        let from = SystemClock.now();
        old.signal("TERM").await;
        let status = old.ended(STOPPED).await;
        assert_eq!(status.code(), Some(0), "\n{}", fleet.log());
        restarts.push((from, SystemClock.now() + Duration::from_secs(2)));
    }
    let by_then = fleet.simulator.network().ledger().placed;
    assert!(by_then < u64::from(LEADS), "restarted under load");
    let done = fleet.done(&id, Duration::from_secs(240)).await;
    assert_eq!(done["counts"]["done"], LEADS, "{done}");
    judge(&fleet, LIMIT);

    let calls = fleet
        .simulator
        .network()
        .calls(&Search::default(), |_| true);
    let touches = |gap: &Gap| restarts.iter().any(|restart| gap.touches(*restart));
    let (during, other): (Vec<_>, Vec<_>) =
        gaps(&calls, LIMIT as usize).into_iter().partition(touches);
    // A machine that is busy with other things makes every refill slower: that is what the others
    // tell.
    let (stopping, otherwise) = (longest(&during), longest(&other));
    println!(
        "longest gap: {stopping:?} of {} during restarts, {otherwise:?} of {} otherwise",
        during.len(),
        other.len()
    );
    assert!(during.len() > WORKERS * 10, "{}", during.len());
    assert!(
        stopping <= Duration::from_secs(2) + otherwise,
        "a slot stood idle for {stopping:?}, otherwise for {otherwise:?} at most\n{}",
        fleet.log()
    );
}

fn everybody_answers() -> Weights {
    Weights {
        human: 1,
        machine: 0,
        busy: 0,
        no_answer: 0,
        invalid: 0,
        congestion: 0,
        declined: 0,
        rings_then_cancels: 0,
    }
}
