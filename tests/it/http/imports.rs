//! Files of leads.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn upload(rig: &Rig, campaign: &str, kind: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    rig.post(&format!("/v1/campaigns/{campaign}/imports"))
        .header("content-type", kind.to_owned())
        .body(body)
}

#[tokio::test]
async fn every_row_of_a_file_is_accounted_for() {
    let rig = Rig::new().await;
    rig.campaign("a", CampaignState::Draft).await;
    let csv = "phone,ref,priority,city\n\
               +442079460001,one,70,Leeds\n\
               not a number,two,,\n\
               +442079460003,three,high,\n\
               +442079460001,four,,\n\
               +442079460005,one,,\n";
    let sent = upload(&rig, "cmp_a", "text/csv; charset=utf-8", csv);
    let response = sent.send().await.unwrap();
    assert_eq!(response.status(), 202);
    let url = response.headers()["location"].to_str().unwrap().to_owned();
    let import: Value = response.json().await.unwrap();
    assert_eq!(
        (&import["state"], &import["rows"]),
        (&json!("open"), &json!(0))
    );
    assert_eq!(
        url,
        format!("/v1/imports/{}", import["id"].as_str().unwrap())
    );

    rig.ingest(1).await;
    let done = answer(rig.get(&url), 200).await;
    for (member, value) in [
        ("campaign", json!("cmp_a")),
        ("state", json!("done")),
        ("rows", json!(5)),
        ("accepted", json!(1)),
        ("duplicate", json!(2)),
        ("rejected", json!(2)),
        ("error", json!(null)),
        ("errors_url", json!(format!("{url}/errors"))),
        ("done_at", json!("2026-11-21T09:00:00.000Z")),
    ] {
        assert_eq!(done[member], value, "{member}: {done}");
    }
    let of_campaign = answer(rig.get("/v1/campaigns/cmp_a/imports"), 200).await;
    assert_eq!(of_campaign, json!({"data": [done], "next_cursor": null}));

    let mut path = format!("{url}/errors?limit=3");
    let mut seen = Vec::new();
    loop {
        let page = answer(rig.get(&path), 200).await;
        for error in page["data"].as_array().unwrap() {
            assert!(!error["message"].as_str().unwrap().is_empty());
            seen.push((
                error["line"].as_u64().unwrap(),
                error["code"].as_str().unwrap().to_owned(),
            ));
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        path = format!("{url}/errors?limit=3&cursor={cursor}");
    }
    let codes: Vec<_> = seen
        .iter()
        .map(|(line, code)| (*line, code.as_str()))
        .collect();
    assert_eq!(
        codes,
        [
            (3, "bad_phone"),
            (4, "bad_priority"),
            (5, "duplicate"),
            (6, "duplicate")
        ]
    );

    let leads = answer(rig.get("/v1/campaigns/cmp_a/leads"), 200).await;
    let lead = &leads["data"][0];
    for (member, value) in [
        ("id", json!("cmp_a:one")),
        ("ref", json!("one")),
        ("phone", json!("+442079460001")),
        ("priority", json!(70)),
        ("vars", json!({"city": "Leeds"})),
        ("timezones", json!(["Europe/London"])),
        ("state", json!("ready")),
        ("attempts", json!(0)),
        ("last_outcome", json!(null)),
    ] {
        assert_eq!(lead[member], value, "{member}: {lead}");
    }
}

#[tokio::test]
async fn ndjson_is_taken_too() {
    let rig = Rig::new().await;
    rig.campaign("a", CampaignState::Draft).await;
    let lines = "{\"phone\": \"+442079460001\", \"name\": \"Ada\"}\n{\"phone\": 7}\n";
    let import = answer(upload(&rig, "cmp_a", "application/x-ndjson", lines), 202).await;
    rig.ingest(1).await;
    let done = answer(
        rig.get(&format!("/v1/imports/{}", import["id"].as_str().unwrap())),
        200,
    )
    .await;
    assert_eq!(
        (&done["accepted"], &done["rejected"]),
        (&json!(1), &json!(1)),
        "{done}"
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_used_gets_one_sentence() {
    let rig = Rig::new().await;
    rig.campaign("a", CampaignState::Draft).await;
    for (file, sentence) in [
        (&b""[..], "the file is empty"),
        (b"phone\n", "the file has a header but no rows"),
        (
            b"PK\x03\x04\0\0",
            "the file is not text: save it as CSV in UTF-8",
        ),
        (
            b"telephone,city\n1,2\n",
            "the header has no column \"phone\" (it has: telephone, city); name the column with the numbers \"phone\"",
        ),
    ] {
        let (code, document) = problem(upload(&rig, "cmp_a", "text/csv", file), 422).await;
        assert_eq!(
            (code.as_str(), &document["detail"]),
            ("unusable_file", &json!(sentence))
        );
    }
    let refused = answer(rig.get("/v1/campaigns/cmp_a/imports?limit=1"), 200).await;
    assert_eq!(refused["data"][0]["state"], "refused");
}

#[tokio::test]
async fn an_import_needs_a_campaign_a_known_type_and_the_queue() {
    let rig = Rig::new().await;
    rig.campaign("a", CampaignState::Draft).await;
    rig.campaign("s", CampaignState::Stopped).await;
    let csv = "phone\n+442079460001\n";
    let (code, _) = problem(upload(&rig, "cmp_none", "text/csv", csv), 404).await;
    assert_eq!(code, "not_found");
    let (code, _) = problem(upload(&rig, "cmp_s", "text/csv", csv), 409).await;
    assert_eq!(code, "wrong_state");
    let (code, _) = problem(upload(&rig, "cmp_a", "application/json", csv), 415).await;
    assert_eq!(code, "unsupported_media_type");
    rig.queue.set_down(true);
    let response = upload(&rig, "cmp_a", "text/csv", csv).send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "2");
    let (code, _) = problem_of(response, 503).await;
    assert_eq!(code, "busy");
}

/// A client that has told how much it will send, and waits to be asked for it.
async fn begin(rig: &Rig, length: usize) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(rig.addr).await.unwrap();
    let head = format!(
        "POST /v1/campaigns/cmp_a/imports HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\
         content-type: text/csv\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_before_it_is_sent() {
    let rig = Rig::new().await;
    rig.campaign("a", CampaignState::Draft).await;
    let mut stream = begin(&rig, 100 * 1024 * 1024).await;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_stop_lets_requests_in_progress_finish() {
    let rig = Rig::new().await;
    rig.campaign("a", CampaignState::Draft).await;
    let csv = "phone\n+442079460001\n";
    let mut stream = begin(&rig, csv.len()).await;
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");

    rig.shutdown.cancel();
    stream.write_all(csv.as_bytes()).await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 202 Accepted\r\n"), "{rest}");
    rig.server.await.unwrap().unwrap();
}
