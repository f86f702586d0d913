//! One process that keeps everything in a folder: killed again and again, and with a full disk. The
//! network lives in the test and survives: it counts.

use std::collections::BTreeSet;
use std::time::Duration;

use dialfleet_runtime::service;
use dialfleet_simulator::faults::Faults;
use dialfleet_tests::fleet::{KEY, TestFleet, leads};
use dialfleet_tests::wait::until;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fleet::{judge, quick_campaign};

/// What the network counts, that a kill can wait for.
#[derive(Debug, Clone, Copy)]
enum Mark {
    /// A create request came in: its answer, if any, has not been written down.
    Create,
    /// A call was placed.
    Placed,
    /// A call ended: its callback is on the way, and a slot is about to be free.
    Ended,
}

impl Mark {
    fn count(self, fleet: &TestFleet) -> u64 {
        let ledger = fleet.simulator.network().ledger();
        match self {
            Self::Create => ledger.creates,
            Self::Placed => ledger.placed,
            Self::Ended => ledger.ended.values().sum(),
        }
    }

    /// Waits for `n` more, without a pause between two looks that would spoil the aim.
    async fn pass(self, fleet: &TestFleet, n: u64) {
        let goal = self.count(fleet) + n;
        let aim = async {
            while self.count(fleet) < goal {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(120), aim)
            .await
            .is_err()
        {
            panic!("{self:?}: {} of {goal}\n{}", self.count(fleet), fleet.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_sixteen_times_it_rings_nobody_twice_and_loses_nobody() {
    const LEADS: u32 = 500;
    const KILLS: u64 = 16;
    const LIMIT: u32 = 10;
    let mut fleet = TestFleet::embedded(|s| {
        s.speed = 30.0;
        // Requests that take a moment are hit by kills more often.
        s.faults = Faults {
            create_slow: 0.5,
            create_slow_max_ms: 200,
            ..Faults::default()
        };
    })
    .await
    .unwrap();
    fleet.start_api("up").await.unwrap();
    let mut campaign = quick_campaign("embedded");
    campaign["concurrency"] = json!(LIMIT);
    let id = fleet.launch(campaign, leads(LEADS)).await.unwrap();
    // The seed decides what each kill waits for; the rest is the machine's own chance.
    let mut rng = StdRng::seed_from_u64(11);
    for _ in 0..KILLS {
        let mark = [Mark::Create, Mark::Placed, Mark::Ended][rng.random_range(0..3)];
        mark.pass(&fleet, rng.random_range(1..=25)).await;
        fleet.api().kill().await.unwrap();
        fleet.start_api("up").await.unwrap();
    }
    let placed = fleet.simulator.network().ledger().placed;
    assert!(placed < u64::from(LEADS), "killed while there was work");
    let done = fleet.done(&id, Duration::from_secs(300)).await;
    assert_eq!(done["counts"]["leads"], LEADS);
    assert_eq!(done["counts"]["done"], LEADS, "{done}");
    judge(&fleet, LIMIT);
}

/// Carries everything to an address, and counts the answers with a certain status that come back.
struct Spy {
    url: String,
    seen: watch::Receiver<u32>,
    _serving: tokio_util::task::AbortOnDropHandle<()>,
}

impl Spy {
    async fn on(to: String, status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (count, seen) = watch::channel(0);
        let serving = service::spawn(async move {
            let mut carried = JoinSet::new();
            while let Ok((from, _)) = listener.accept().await {
                let (to, count) = (to.clone(), count.clone());
                carried.spawn(async move {
                    // Refused: the process is down.
                    let Ok(to) = TcpStream::connect(to).await else {
                        return;
                    };
                    let (mut from_read, mut from_write) = from.into_split();
                    let (mut to_read, mut to_write) = to.into_split();
                    let there = async {
                        let _ = tokio::io::copy(&mut from_read, &mut to_write).await;
                        let _ = to_write.shutdown().await;
                    };
                    let back = async {
                        let mut buffer = vec![0; 16 * 1024];
                        while let Ok(n @ 1..) = to_read.read(&mut buffer).await {
                            // An answer is one small write of the server.
                            if buffer[..n].starts_with(status.as_bytes()) {
                                count.send_modify(|n| *n += 1);
                            }
                            if from_write.write_all(&buffer[..n]).await.is_err() {
                                break;
                            }
                        }
                    };
                    tokio::select! { () = there => {}, () = back => {} }
                });
            }
        });
        Self {
            url,
            seen,
            _serving: serving,
        }
    }
}

async fn upload(fleet: &TestFleet, campaign: &str, csv: String) -> (StatusCode, Value) {
    let url = format!("{}/v1/campaigns/{campaign}/imports", fleet.url());
    let answer = reqwest::Client::new()
        .post(url)
        .bearer_auth(KEY)
        .header("content-type", "text/csv")
        .body(csv)
        .send()
        .await
        .unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_refused_and_nothing_that_was_accepted_is_lost() {
    const LIMIT: u32 = 10;
    let mut fleet = TestFleet::embedded(|s| s.speed = 30.0).await.unwrap();
    let spy = Spy::on(fleet.url().replace("http://", ""), "HTTP/1.1 503").await;
    fleet.public_url = Some(spy.url.clone());
    fleet.file_limit = Some(3 << 20);
    fleet.start_api("up").await.unwrap();
    let mut campaign = quick_campaign("full");
    campaign["concurrency"] = json!(LIMIT);
    let id = fleet.launch(campaign, leads(300)).await.unwrap();

    // Dialing fills the disk. Then a callback cannot be kept, and the carrier is told so.
    let mut refused = spy.seen.clone();
    let told = async { refused.wait_for(|n| *n > 0).await.is_ok() };
    let told = tokio::time::timeout(Duration::from_secs(120), told).await;
    assert_eq!(told, Ok(true), "no callback was refused\n{}", fleet.log());
    let api = fleet.api();
    let not_ready = until("it is not ready", Duration::from_secs(10), async || {
        api.ready().await.err().ok_or("ready")
    });
    assert!(not_ready.await.contains("503"));

    // Nothing can be sent in, and whoever tries is told why.
    let (status, problem) = upload(&fleet, &id, leads(600)).await;
    let said = problem.to_string();
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{said}");
    assert!(
        problem["code"] == "no_room" && said.contains("full"),
        "{said}"
    );
    let file = fleet.data().with_file_name("more.csv");
    std::fs::write(&file, leads(600)).unwrap();
    let cli = fleet
        .client(&["leads", "import", file.to_str().unwrap(), "--campaign", &id])
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&cli.stderr).into_owned();
    assert!(!cli.status.success() && said.contains("full"), "{said}");

    // No call leaves without its intent on the disk: when the last ones have ended, none follow.
    until(
        "the network is quiet",
        Duration::from_secs(60),
        async || match fleet.simulator.network().ledger().total_live {
            0 => Ok(()),
            live => Err(live),
        },
    )
    .await;
    let (creates, failed) = (Mark::Create.count(&fleet), fleet.said("no scan"));
    until("more tries", Duration::from_secs(60), async || {
        let more = fleet.said("no scan") - failed;
        if more >= 3 { Ok(()) } else { Err(fleet.log()) }
    })
    .await;
    assert_eq!(Mark::Create.count(&fleet), creates, "\n{}", fleet.log());
    fleet.api().signal("TERM").await;
    let status = fleet.api().ended(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0), "\n{}", fleet.log());

    // There is room again.
    fleet.file_limit = None;
    fleet.start_api("up").await.unwrap();
    let (status, _) = upload(&fleet, &id, leads(400)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let done = fleet.done(&id, Duration::from_secs(300)).await;
    assert_eq!(done["counts"]["leads"], 400, "{done}");
    assert_eq!(done["counts"]["done"], 400, "{done}");
    judge(&fleet, LIMIT);
    let known = calls(&fleet, &id).await;
    let rung = fleet.simulator.network().ledger().rings_per_attempt;
    for attempt in rung.keys() {
        assert!(known.contains(attempt), "{attempt} rang and is not known");
    }
}

async fn calls(fleet: &TestFleet, campaign: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut after = String::new();
    loop {
        let path = format!("/calls?campaign={campaign}&limit=200{after}");
        let page = fleet.call(Method::GET, &path, None).await.unwrap();
        let rows = page["data"].as_array().unwrap();
        ids.extend(rows.iter().map(|r| r["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => after = format!("&cursor={cursor}"),
            None => return ids,
        }
    }
}
