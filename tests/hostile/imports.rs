//! Whole deliveries through the API: whatever the file and however it arrives, every row of it is
//! accounted for.

use axum::body::Body;
use bytes::Bytes;
use dialfleet_domain::campaign::Campaign;
use dialfleet_engine::ingest::{Ingested, ingest};
use dialfleet_engine::intake::{Format, open};
use dialfleet_engine::message::{self, LeadBatch};
use dialfleet_engine::port::queue::Topic;
use futures_util::stream;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use serde_json::Value;

use crate::cases;
use crate::lists::GOOD;
use crate::mutate::{edits, mutated};
use crate::rig::Rig;

/// What became of a file: the answer's status, its counts and the rows that were not taken.
#[derive(Debug, PartialEq)]
struct Outcome {
    status: u16,
    counts: [u64; 4],
    errors: Vec<(u64, String)>,
}

/// A body that arrives in pieces of these sizes, again and again.
fn pieces(bytes: &[u8], sizes: &[usize]) -> Body {
    let mut rest = Bytes::copy_from_slice(bytes);
    let mut sizes = sizes.iter().copied().cycle();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
        pieces.push(Ok::<_, std::io::Error>(rest.split_to(size)));
    }
    Body::from_stream(stream::iter(pieces))
}

async fn import(rig: &Rig, campaign: &Campaign, format: Format, body: Body) -> Outcome {
    let kind = match format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Ndjson => "application/x-ndjson",
    };
    let path = format!("/v1/campaigns/{}/imports", campaign.id);
    let request = Rig::request("POST", &path).header("content-type", kind);
    let answer = rig.send(request.body(body).unwrap()).await;
    let mut outcome = Outcome {
        status: answer.status.as_u16(),
        counts: [0; 4],
        errors: Vec::new(),
    };
    if outcome.status != 202 {
        assert_eq!(answer.body["code"], "unusable_file", "{answer:?}");
        assert_eq!(rig.waiting().await, 0);
        return outcome;
    }
    while rig.waiting().await > 0 {
        let mut consumer = rig
            .fleet
            .queue
            .consume(Topic::LeadsIngest, 64)
            .await
            .unwrap();
        for delivery in consumer.next(64).await.unwrap() {
            let batch: LeadBatch =
                message::decode(delivery.kind.as_deref(), &delivery.body).unwrap();
            let done = ingest(&rig.fleet, &batch, "message").await.unwrap();
            assert!(matches!(done, Ingested::Done(_)), "{done:?}");
            delivery.ack().await;
        }
    }
    let path = format!("/v1/imports/{}", answer.body["id"].as_str().unwrap());
    let view = rig.json("GET", &path, Vec::new()).await.unwrap().body;
    assert_eq!(view["state"], "done", "{view}");
    outcome.counts =
        ["rows", "accepted", "duplicate", "rejected"].map(|name| view[name].as_u64().unwrap());
    let mut page = format!("{path}/errors?limit=200");
    loop {
        let answer = rig.json("GET", &page, Vec::new()).await.unwrap().body;
        for error in answer["data"].as_array().unwrap() {
            let text = |member: &str| error[member].as_str().unwrap().to_owned();
            assert!(!text("message").is_empty());
            outcome
                .errors
                .push((error["line"].as_u64().unwrap(), text("code")));
        }
        match answer["next_cursor"].as_str() {
            Some(cursor) => page = format!("{path}/errors?limit=200&cursor={cursor}"),
            None => return outcome,
        }
    }
}

/// Every row is a lead, or has its line and its reason; and every lead can be kept by both stores.
async fn account(
    rig: &Rig,
    name: &str,
    format: Format,
    bytes: &[u8],
    sizes: &[usize],
) -> Result<Outcome, TestCaseError> {
    let campaign = rig.campaign(name).await;
    let outcome = import(rig, &campaign, format, pieces(bytes, sizes)).await;
    let written = open(bytes, format).map(Iterator::count);
    let [rows, accepted, duplicate, rejected] = outcome.counts;
    if let Ok(written) = written {
        prop_assert_eq!(outcome.status, 202);
        prop_assert_eq!(usize::try_from(rows), Ok(written));
        prop_assert_eq!(accepted + duplicate + rejected, rows);
        prop_assert_eq!(
            u64::try_from(outcome.errors.len()),
            Ok(duplicate + rejected)
        );
    } else {
        prop_assert_eq!(outcome.status, 422);
    }
    let leads = rig
        .fleet
        .store
        .list_leads(&campaign.id, None, None, 1_000)
        .await
        .unwrap();
    prop_assert_eq!(u64::try_from(leads.items.len()), Ok(accepted));
    for lead in &leads.items {
        prop_assert!(bson::serialize_to_vec(lead).is_ok(), "{:?}", lead);
    }
    Ok(outcome)
}

#[test]
fn every_row_of_any_file_is_accounted_for() {
    let rig = Rig::new();
    let names = std::cell::Cell::new(0);
    let sizes = prop::collection::vec(1..60_usize, 1..4);
    cases(
        500,
        (select(&GOOD), edits(), sizes),
        |((format, text), edits, sizes)| -> TestCaseResult {
            let bytes = mutated(text.as_bytes(), &edits);
            names.set(names.get() + 1);
            let name = format!("file_{}", names.get());
            rig.runtime
                .block_on(account(&rig, &name, format, &bytes, &sizes))
                .map(drop)
        },
    );
}

#[test]
fn pieces_make_no_difference() {
    let rig = Rig::new();
    let long = (0..900).map(|i| format!("+1555010{i:04},\"é\r\n,{i}\"\r\n"));
    let long = format!("phone,note\r\n+1,x\r\n{}", long.collect::<String>());
    let files = GOOD.iter().copied().chain([(Format::Csv, long.as_str())]);
    for (i, (format, text)) in files.enumerate() {
        let whole = [text.len()];
        let forms: [&[usize]; 4] = [&whole, &[1], &[2, 1, 7], &[4_096]];
        let outcomes = forms.map(|sizes| {
            let name = format!("{i}_{}", sizes.iter().sum::<usize>());
            let outcome = account(&rig, &name, format, text.as_bytes(), sizes);
            rig.runtime.block_on(outcome).unwrap()
        });
        for outcome in &outcomes {
            assert_eq!(*outcome, outcomes[0], "{text:.60}");
        }
        // And cut in two at every byte; the long one at some.
        let step = if i < GOOD.len() { 1 } else { 4_001 };
        for at in (1..text.len()).step_by(step) {
            let name = format!("{i}_cut_{at}");
            let sizes = [at, text.len()];
            let cut = account(&rig, &name, format, text.as_bytes(), &sizes);
            assert_eq!(rig.runtime.block_on(cut).unwrap(), outcomes[0], "{at}");
        }
    }
}

/// Rows wide enough that five hundred of them would be more than a broker takes.
#[test]
fn wide_rows_travel_in_small_messages() {
    let rig = Rig::new();
    let columns: Vec<String> = (0..60).map(|i| format!("v{i}")).collect();
    let mut text = format!("phone,{}\n", columns.join(","));
    for i in 0..60 {
        text += &format!(
            "+1555010{i:04}{}\n",
            format!(",{}", "\u{1F980}".repeat(1_900)).repeat(60)
        );
    }
    rig.runtime.block_on(async {
        let campaign = rig.campaign("wide").await;
        let path = format!("/v1/campaigns/{}/imports", campaign.id);
        let request = Rig::request("POST", &path).header("content-type", "text/csv");
        let answer = rig.send(request.body(Body::from(text)).unwrap()).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let waiting = rig.waiting().await;
        let mut consumer = rig
            .fleet
            .queue
            .consume(Topic::LeadsIngest, 64)
            .await
            .unwrap();
        let messages = consumer.next(64).await.unwrap();
        assert!((10..=60).contains(&waiting), "{waiting}");
        for message in &messages {
            assert!(
                message.body.len() < 2 * 1024 * 1024,
                "{}",
                message.body.len()
            );
        }
    });
}

#[test]
fn only_lists_are_imported() {
    let rig = Rig::new();
    rig.runtime.block_on(async {
        let campaign = rig.campaign("kinds").await;
        let path = format!("/v1/campaigns/{}/imports", campaign.id);
        let kinds: [&[u8]; 9] = [
            b"",
            b"text/plain",
            b"text/csv2",
            b"application/json",
            b";",
            b"\xFF\xFE",
            b"text/csv,text/csv",
            b"multipart/form-data; boundary=x",
            b"application/x-ndjson2",
        ];
        for kind in kinds {
            let request = Rig::request("POST", &path).header("content-type", kind);
            let answer = rig
                .send(request.body(Body::from("phone\n1\n")).unwrap())
                .await;
            assert_eq!(answer.status, 415, "{answer:?}");
        }
        let broken = stream::iter([
            Ok(Bytes::from_static(b"phone\n+442079460119\n")),
            Err(std::io::Error::other("the client is gone")),
        ]);
        let request = Rig::request("POST", &path).header("content-type", "text/csv");
        let answer = rig
            .send(request.body(Body::from_stream(broken)).unwrap())
            .await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(
            (answer.body["code"].as_str(), rig.waiting().await),
            (Some("incomplete_body"), 0)
        );
        assert_ne!(answer.body["detail"], Value::Null);
    });
}
