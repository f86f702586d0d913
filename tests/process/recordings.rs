//! Every recording arrives, whatever is out meanwhile, and can be heard, read, found and deleted.
//!
//! `RECORDINGS=1000 RECORDINGS_OUTAGE_S=60 cargo test --release -p dialfleet-tests --test process
//! recordings -- --nocapture` measures a large run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dialfleet_domain::time::Timestamp;
use dialfleet_simulator::faults::Faults;
use dialfleet_simulator::{Account, Population, TelnyxAccount, TwilioAccount, Weights};
use dialfleet_tests::cloud::Cloud;
use dialfleet_tests::fleet::{ACCOUNT, KEY, TOKEN, TestFleet, leads};
use dialfleet_tests::wait::until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::fleet::{judge, quick_campaign};

/// The promise, from the callback on, or from the end of an outage.
const IN_TIME: Duration = Duration::from_secs(30);
/// Calls at once.
const LIMIT: u32 = 8;

fn number(name: &str, usual: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

async fn fleet(cloud: &Cloud) -> TestFleet {
    let mut fleet = TestFleet::embedded(|s| {
        s.accounts = vec![
            Account::Twilio(TwilioAccount {
                name: "twilio".to_owned(),
                account_sid: ACCOUNT.to_owned(),
                auth_token: TOKEN.to_owned(),
                cps: None,
            }),
            Account::Telnyx(TelnyxAccount::new("KEYtest", "7267")),
        ];
        s.population = Population {
            weights: Weights {
                human: 4,
                machine: 1,
                busy: 1,
                no_answer: 0,
                invalid: 0,
                congestion: 0,
                declined: 0,
                rings_then_cancels: 0,
            },
            ..Population::default()
        };
        s.speed = 60.0;
        // A carrier at its worst.
        s.faults = Faults {
            media_late_ms: 500,
            media_500: 0.1,
            media_truncated: 0.1,
            media_redirected: 0.3,
            media_expired: 0.1,
            ..Faults::default()
        };
    })
    .await
    .unwrap();
    fleet.environment = cloud.environment();
    let base = fleet.simulator.base_url();
    let key = TelnyxAccount::new("KEYtest", "7267").public_key();
    fleet
        .carriers(&format!(
            "[[carrier]]\nid = \"twilio\"\nkind = \"twilio\"\nbase_url = \"{base}\"\naccount_sid = \"{ACCOUNT}\"\n\
             auth_token = \"{TOKEN}\"\ncps = 200\ncaller_ids = [\"+442079460999\"]\n\
             [[carrier]]\nid = \"telnyx\"\nkind = \"telnyx\"\nbase_url = \"{base}\"\napi_key = \"KEYtest\"\n\
             connection_id = \"7267\"\npublic_key = \"{key}\"\ncps = 200\ncaller_ids = [\"+442079460998\"]\n"
        ))
        .unwrap();
    fleet.start_api("up").await.unwrap();
    fleet
}

/// Every item of a list.
async fn all(fleet: &TestFleet, path: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("{path}&limit=200{cursor}");
        let page = fleet.call(Method::GET, &path, None).await.unwrap();
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn time(value: &Value) -> Timestamp {
    Timestamp::parse_rfc3339(value.as_str().unwrap()).unwrap()
}

/// The value that `of` in a hundred do not exceed.
fn percentile(sorted: &[u128], of: usize) -> u128 {
    sorted[(sorted.len() * of).div_ceil(100).clamp(1, sorted.len()) - 1]
}

async fn get(fleet: &TestFleet, path: &str, range: Option<&str>) -> reqwest::Response {
    let request = reqwest::Client::new()
        .get(format!("{}/v1{path}", fleet.url()))
        .bearer_auth(KEY);
    let request = match range {
        Some(range) => request.header("range", range),
        None => request,
    };
    request.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_arrives_through_outages() {
    let n = u32::try_from(number("RECORDINGS", 60)).unwrap();
    let outage = Duration::from_secs(number("RECORDINGS_OUTAGE_S", 0));
    let cloud = Cloud::start().await.unwrap();
    cloud.speech().set_out(true);
    cloud.storage().set_out(outage.is_zero());
    let fleet = fleet(&cloud).await;
    let recording = json!({
        "when": "all", "channels": "dual", "keep_days": 30, "transcribe": { "language": "en-GB" },
    });
    let mut ids = Vec::new();
    let csv = leads(n);
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    let (first, second) = rows.split_at(rows.len() / 2);
    for (carrier, rows) in [("twilio", first), ("telnyx", second)] {
        let mut campaign = quick_campaign(carrier);
        campaign["carriers"] = json!([carrier]);
        campaign["concurrency"] = json!(LIMIT);
        campaign["recording"] = recording.clone();
        let csv = format!("phone,ref\n{}\n", rows.join("\n"));
        ids.push(fleet.launch(campaign, csv).await.unwrap());
    }
    // Both are out for a while, and come back after they were missed. In a small run all may be over
    // before the storage is: there it is out from the beginning.
    let bound = Duration::from_secs(100) + outage * 2;
    if !outage.is_zero() {
        until("some recordings are in", bound, async || {
            let there = cloud.objects().len();
            if there >= 5 { Ok(()) } else { Err(there) }
        })
        .await;
        cloud.storage().set_out(true);
    }
    let began = Instant::now();
    until("the storage was missed", bound, async || {
        let missed = cloud.storage().in_vain();
        if missed >= 4 && began.elapsed() >= outage {
            Ok(())
        } else {
            Err(missed)
        }
    })
    .await;
    let out_for = began.elapsed();
    cloud.storage().set_out(false);
    let back_at = Timestamp::from(chrono::Utc::now());
    until("the transcriber was missed", bound, async || {
        let missed = cloud.speech().in_vain();
        if missed >= 1 { Ok(()) } else { Err(missed) }
    })
    .await;
    cloud.speech().set_out(false);
    for id in &ids {
        fleet.done(id, bound).await;
    }
    judge(&fleet, LIMIT);

    let calls = all(&fleet, "/calls?").await;
    let answered: BTreeSet<&str> = calls
        .iter()
        .filter(|call| !call["answered_at"].is_null())
        .map(|call| call["id"].as_str().unwrap())
        .collect();
    let recordings = until(
        "every recording is in and written down",
        bound,
        async || {
            let found = all(&fleet, "/recordings?").await;
            let open: Vec<Value> = found
                .iter()
                .filter(|r| r["state"] != "stored" || r["transcript"] != "done")
                .cloned()
                .collect();
            if found.len() >= answered.len() && open.is_empty() {
                Ok(found)
            } else {
                let one = open.first().map_or(Value::Null, Clone::clone);
                Err((answered.len(), found.len(), open.len(), one))
            }
        },
    )
    .await;
    let of: Vec<&str> = recordings
        .iter()
        .map(|r| r["call"].as_str().unwrap())
        .collect();
    assert_eq!(
        of.iter().copied().collect::<BTreeSet<_>>(),
        answered,
        "each call that was answered"
    );
    assert_eq!(of.len(), answered.len(), "has one");
    let sums: BTreeSet<&str> = recordings
        .iter()
        .map(|r| r["sha256"].as_str().unwrap())
        .collect();
    // The network has forty tones.
    assert!(sums.len() > 10, "and not the same one");

    println!("{} calls; outage {} s", calls.len(), out_for.as_secs());
    in_time(&recordings, back_at, out_for);
    served(&fleet, &cloud, &recordings).await;
}

/// How long recordings took.
fn in_time(recordings: &[Value], back_at: Timestamp, out_for: Duration) {
    // In time: counted from the callback, or from when the storage was back.
    let (mut usual, mut whole) = (Vec::new(), Vec::new());
    for r in recordings {
        let (told, there) = (time(&r["announced_at"]), time(&r["stored_at"]));
        let late = there.since(told.max(back_at.min(there)));
        assert!(there.since(told) <= IN_TIME || late <= IN_TIME, "{r}");
        whole.push(there.since(told).as_millis());
        if there < back_at - out_for || told > back_at {
            usual.push(there.since(told).as_millis());
        }
    }
    usual.sort_unstable();
    whole.sort_unstable();
    println!(
        "{} recordings; callback to stored: p50 {} ms, p99 {} ms, max {} ms; those outside of the outage ({}): p50 {} ms, p99 {} ms",
        whole.len(),
        percentile(&whole, 50),
        percentile(&whole, 99),
        whole[whole.len() - 1],
        usual.len(),
        percentile(&usual, 50),
        percentile(&usual, 99),
    );
}

/// What is there can be heard, read, found and deleted.
async fn served(fleet: &TestFleet, cloud: &Cloud, recordings: &[Value]) {
    for r in recordings.iter().take(20) {
        let path = format!("/recordings/{}/media", r["id"].as_str().unwrap());
        let answer = get(fleet, &path, None).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
        let sound = answer.bytes().await.unwrap();
        let sum: String = Sha256::digest(&sound)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            (sum.as_str(), tag),
            (r["sha256"].as_str().unwrap(), format!("\"{sum}\""))
        );
        assert!(sound.starts_with(b"RIFF") && r["channels"] == 2, "{r}");
        let part = get(fleet, &path, Some("bytes=100-199")).await;
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        let range = format!("bytes 100-199/{}", sound.len());
        assert_eq!(part.headers()["content-range"].to_str().unwrap(), range);
        assert_eq!(part.bytes().await.unwrap(), sound.slice(100..200));
        let beyond = get(fleet, &path, Some("bytes=99999999-")).await;
        assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
        assert!(r["encrypted"] == true);
    }
    let kept = cloud.objects();
    assert_eq!(kept.len(), recordings.len());
    assert!(
        kept.values().all(|object| object.starts_with(b"DFMEDIA1")),
        "all are encrypted"
    );

    let one = recordings[0]["id"].as_str().unwrap();
    let path = format!("/recordings/{one}");
    let said = fleet
        .call(Method::GET, &format!("{path}/transcript"), None)
        .await
        .unwrap();
    assert_eq!(said["turns"][0]["text"], "My card is [number], thank you.");
    assert_eq!(said["turns"][0]["start_ms"], 100);
    let found = all(fleet, "/transcripts?q=card%20THANK").await;
    assert_eq!(found.len(), recordings.len());
    assert!(
        all(fleet, "/transcripts?q=4111").await.is_empty(),
        "no number is found"
    );
    fleet.call(Method::DELETE, &path, None).await.unwrap();
    let gone = get(fleet, &format!("{path}/media"), None).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        cloud.objects().len(),
        recordings.len() - 1,
        "it is gone from the storage"
    );
    let found = all(fleet, "/transcripts?q=card").await;
    assert_eq!(found.len(), recordings.len() - 1);
    let listed = fleet
        .client(&["recordings", "list", "--state", "deleted"])
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains(one));
    assert!(!fleet.log().contains("signature="), "no link is logged");
}
