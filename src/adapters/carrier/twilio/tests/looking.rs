use dialfleet_domain::call::Ending;
use dialfleet_engine::port::carrier::CallStatus;

use super::server::{Reply, Server, http, whole};
use super::*;

fn sid(text: &str) -> CarrierCallId {
    CarrierCallId::parse(text).unwrap()
}

fn call(sid: &str, status: &str, second: u32) -> String {
    format!(
        r#"{{"sid":"{sid}","to":"+15550100123","from":"+15550109999","status":"{status}","duration":null,
            "date_created":"Sat, 21 Nov 2026 04:15:{second:02} +0000"}}"#
    )
}

fn page(calls: &[String], next: &str) -> String {
    format!(
        r#"{{"calls":[{}],"next_page_uri":{next},"page":0}}"#,
        calls.join(",")
    )
}

fn first_lines(server: &Server) -> Vec<String> {
    server
        .seen()
        .iter()
        .map(|request| request.lines().next().unwrap().to_owned())
        .collect()
}

async fn find(replies: Vec<Reply>) -> (Result<Vec<CallRecord>, CarrierError>, Server) {
    let server = Server::start(replies).await;
    let request = dial_request();
    let found = twilio(&server.base_url, PATIENT)
        .find(&request.to, &request.from)
        .await;
    (found, server)
}

fn sids(records: &[CallRecord]) -> Vec<&str> {
    records
        .iter()
        .map(|record| record.call_id.as_str())
        .collect()
}

#[tokio::test]
async fn find_reads_every_page_newest_first() {
    let next = r#""/2010-04-01/Accounts/AC1/Calls.json?PageSize=1000&Page=1&PageToken=PACA2""#;
    let (found, server) = find(vec![
        whole(
            200,
            &page(
                &[call("CA3", "in-progress", 30), call("CA1", "busy", 10)],
                next,
            ),
        ),
        whole(200, &page(&[call("CA2", "completed", 20)], "null")),
    ])
    .await;
    let found = found.unwrap();
    assert_eq!(sids(&found), ["CA3", "CA2", "CA1"]);
    assert_eq!(found[0].status, CallStatus::Answered);
    assert!(matches!(
        found[2].status,
        CallStatus::Ended {
            ending: Ending::Busy,
            ..
        }
    ));
    assert_eq!(
        first_lines(&server),
        [
            "GET /2010-04-01/Accounts/AC1/Calls.json?To=%2B15550100123&From=%2B15550109999&PageSize=1000 HTTP/1.1",
            "GET /2010-04-01/Accounts/AC1/Calls.json?PageSize=1000&Page=1&PageToken=PACA2 HTTP/1.1",
        ]
    );
    assert!(
        find(vec![whole(200, &page(&[], "null"))])
            .await
            .0
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_partial_list_is_an_error() {
    let next = r#""/2010-04-01/Accounts/AC1/Calls.json?Page=1""#;
    let first = || whole(200, &page(&[call("CA1", "busy", 1)], next));
    let complete = http(200, &page(&[], "null"));
    let half = Reply::Cut(complete.as_bytes()[..complete.len() - 3].to_vec());
    let second_pages = [
        whole(500, r#"{"code":20500,"message":"m","status":500}"#),
        whole(404, r#"{"code":20404,"message":"m","status":404}"#),
        whole(429, ""),
        whole(200, "{}"),
        whole(200, r#"{"calls":[]}"#),
        whole(204, ""),
        whole(200, &page(&[r#"{"sid":"CA9"}"#.to_owned()], "null")),
        whole(200, &page(&[call("CA9", "busy", 99)], "null")),
        Reply::Cut(Vec::new()),
        half,
    ];
    for (n, second) in second_pages.into_iter().enumerate() {
        let (found, server) = find(vec![first(), second]).await;
        assert!(
            matches!(found, Err(CarrierError::Unavailable(_))),
            "{n}: {found:?}"
        );
        assert_eq!(server.seen().len(), 2, "{n}");
    }
    let (found, _) = find(vec![first(), whole(401, r#"{"code":20003,"message":"m"}"#)]).await;
    assert!(
        matches!(found, Err(CarrierError::Unauthorized(_))),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_list_without_end_and_one_that_leads_away_are_errors() {
    let again = page(&[], r#""/2010-04-01/Accounts/AC1/Calls.json?Page=1""#);
    let (found, server) = find((0..40).map(|_| whole(200, &again)).collect()).await;
    assert!(
        matches!(found, Err(CarrierError::Unavailable(_))),
        "{found:?}"
    );
    assert_eq!(server.seen().len(), 20);

    let elsewhere = Server::start([whole(200, &page(&[], "null"))]).await;
    for next in [
        format!("{}/x", elsewhere.base_url),
        "//evil.example/x".to_owned(),
        "@h/".to_owned(),
    ] {
        let (found, _) = find(vec![
            whole(200, &page(&[], &format!("{next:?}"))),
            whole(500, ""),
        ])
        .await;
        assert!(
            matches!(found, Err(CarrierError::Unavailable(_))),
            "{next}: {found:?}"
        );
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn live_calls_are_asked_for_state_by_state() {
    let server = Server::start([
        whole(
            200,
            &page(
                &[call("CA1", "queued", 1), call("CA2", "queued", 2)],
                "null",
            ),
        ),
        // Moved on between the lists.
        whole(200, &page(&[call("CA2", "ringing", 2)], "null")),
        whole(200, &page(&[call("CA3", "in-progress", 3)], "null")),
    ])
    .await;
    let live = twilio(&server.base_url, PATIENT).live().await.unwrap();
    assert_eq!(sids(&live), ["CA1", "CA2", "CA3"]);
    assert_eq!(live[1].status, CallStatus::Ringing);
    let asked = ["queued", "ringing", "in-progress"].map(|status| {
        format!("GET /2010-04-01/Accounts/AC1/Calls.json?Status={status}&PageSize=1000 HTTP/1.1")
    });
    assert_eq!(first_lines(&server), asked);

    let server = Server::start([whole(200, &page(&[], "null")), whole(500, "")]).await;
    let live = twilio(&server.base_url, PATIENT).live().await;
    assert!(
        matches!(live, Err(CarrierError::Unavailable(_))),
        "{live:?}"
    );
}

#[tokio::test]
async fn look_asks_for_one_call() {
    let server = Server::start([whole(200, &call("CA1", "no-answer", 1))]).await;
    let record = twilio(&server.base_url, PATIENT)
        .look(&sid("CA1"))
        .await
        .unwrap();
    assert!(matches!(
        record.status,
        CallStatus::Ended {
            ending: Ending::NoAnswer,
            ..
        }
    ));
    assert_eq!(
        first_lines(&server),
        ["GET /2010-04-01/Accounts/AC1/Calls/CA1.json HTTP/1.1"]
    );

    let look = async |reply| {
        let server = Server::start([reply]).await;
        let result = twilio(&server.base_url, PATIENT)
            .look(&sid("../CA 1"))
            .await;
        let line = first_lines(&server).remove(0);
        assert_eq!(
            line,
            "GET /2010-04-01/Accounts/AC1/Calls/..%2FCA%201.json HTTP/1.1"
        );
        result.unwrap_err()
    };
    let missing = r#"{"code":20404,"message":"not found","status":404}"#;
    assert!(matches!(
        look(whole(404, missing)).await,
        CarrierError::NotFound
    ));
    assert!(matches!(
        look(whole(404, "<html>")).await,
        CarrierError::Unavailable(_)
    ));
    assert!(matches!(
        look(whole(401, "{}")).await,
        CarrierError::Unauthorized(_)
    ));
    assert!(matches!(
        look(whole(500, missing)).await,
        CarrierError::Unavailable(_)
    ));
    assert!(matches!(
        look(whole(200, &call("CA2", "busy", 1))).await,
        CarrierError::Unavailable(_)
    ));
    assert!(matches!(
        look(Reply::Cut(vec![])).await,
        CarrierError::Unavailable(_)
    ));
}

#[tokio::test]
async fn hang_up_says_what_became_of_it() {
    let server = Server::start([whole(200, &call("CA1", "completed", 1))]).await;
    twilio(&server.base_url, PATIENT)
        .hang_up(&sid("CA1"))
        .await
        .unwrap();
    let request = server.seen().remove(0);
    assert!(request.starts_with("POST /2010-04-01/Accounts/AC1/Calls/CA1.json HTTP/1.1\r\n"));
    assert!(request.ends_with("\r\n\r\nStatus=completed"), "{request}");

    let hang_up = async |reply| {
        let server = Server::start([reply]).await;
        twilio(&server.base_url, PATIENT)
            .hang_up(&sid("CA1"))
            .await
            .unwrap_err()
    };
    let ended = r#"{"code":21220,"message":"Call is not in-progress","status":400}"#;
    let missing = r#"{"code":20404,"message":"not found","status":404}"#;
    assert!(matches!(
        hang_up(whole(400, ended)).await,
        CarrierError::AlreadyEnded
    ));
    assert!(matches!(
        hang_up(whole(404, missing)).await,
        CarrierError::NotFound
    ));
    assert!(matches!(
        hang_up(whole(403, missing)).await,
        CarrierError::Unauthorized(_)
    ));
    assert!(matches!(
        hang_up(whole(500, ended)).await,
        CarrierError::Unavailable(_)
    ));
    assert!(matches!(
        hang_up(whole(429, "")).await,
        CarrierError::Unavailable(_)
    ));
    assert!(matches!(
        hang_up(Reply::Cut(vec![])).await,
        CarrierError::Unavailable(_)
    ));
}
