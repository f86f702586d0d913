use serde_json::{Value, json};

use super::server::{Reply, Server, whole};
use super::*;

fn step(step: u32) -> StepRequest {
    let action = match step {
        0 => Action::Say(Saying {
            text: "Good morning".to_owned(),
            language: Some("en-GB".to_owned()),
            voice: None,
            ssml: false,
        }),
        1 => Action::Pause { seconds: 2 },
        _ => Action::Hangup,
    };
    step_request(step, vec![action])
}

async fn perform(n: u32, replies: Vec<Reply>) -> (Result<(), CarrierError>, Vec<(String, Value)>) {
    let server = Server::start(replies).await;
    let done = telnyx(&server.base_url, PATIENT).perform(&step(n)).await;
    let read = |request: &String| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let line = head.lines().next().unwrap().to_owned();
        (line, serde_json::from_str(body).unwrap())
    };
    (done, server.seen().iter().map(read).collect())
}

fn path(action: &str) -> String {
    format!("POST /v2/calls/v3:one/actions/{action} HTTP/1.1")
}

#[tokio::test]
async fn each_step_is_one_command_that_carries_its_number() {
    let (done, sent) = perform(0, vec![whole(200, DONE)]).await;
    assert!(done.is_ok(), "{done:?}");
    let [(line, body)] = sent.as_slice() else {
        panic!("{sent:?}")
    };
    assert_eq!(*line, path("speak"));
    let state = state::State::decode(body["client_state"].as_str().unwrap()).unwrap();
    assert_eq!(
        (state.attempt.as_str(), state.leg, state.step),
        ("a:b:1", 0, Some(0))
    );
    let first = body["command_id"].clone();
    let spoken = json!({
        "payload": "Good morning", "payload_type": "text", "voice": "female", "language": "en-GB",
        "client_state": body["client_state"], "command_id": first,
    });
    assert_eq!(*body, spoken);
    // Commanded again, it is the same command.
    let (_, again) = perform(0, vec![whole(200, DONE)]).await;
    assert_eq!(again[0].1["command_id"], first);

    let (_, sent) = perform(1, vec![whole(200, DONE)]).await;
    assert_eq!(sent[0].0, path("gather"));
    assert_eq!(sent[0].1["timeout_millis"], 2_000);
    assert_ne!(sent[0].1["command_id"], first);
}

#[tokio::test]
async fn the_flow_ends_with_the_call() {
    for last in [2, u32::MAX] {
        let (done, sent) = perform(last, vec![whole(200, DONE)]).await;
        assert!(done.is_ok(), "{done:?}");
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].0, path("hangup"), "{last}");
        assert_eq!(sent[0].1.as_object().unwrap().len(), 1, "{sent:?}");
    }
}

#[tokio::test]
async fn a_step_that_is_refused_for_good_ends_the_call() {
    let replies = vec![whole(422, &error("10015")), whole(200, DONE)];
    let (done, sent) = perform(0, replies).await;
    assert!(done.is_ok(), "{done:?}");
    let lines: Vec<&String> = sent.iter().map(|(line, _)| line).collect();
    assert_eq!(lines, [&path("speak"), &path("hangup")]);
}

#[tokio::test]
async fn a_step_that_fails_for_now_is_an_error() {
    for (status, body) in [
        (422, error("90034")),
        (429, error("10011")),
        (500, error("10007")),
        (502, String::new()),
    ] {
        let (done, sent) = perform(0, vec![whole(status, &body)]).await;
        let passes = matches!(done, Err(CarrierError::Unavailable(_)));
        assert!(passes && sent.len() == 1, "{status} {done:?}");
    }
    let (done, _) = perform(0, vec![whole(401, &error("10009"))]).await;
    assert!(
        matches!(done, Err(CarrierError::Unauthorized(_))),
        "{done:?}"
    );
    let (done, _) = perform(0, vec![whole(422, &error("90018"))]).await;
    assert!(matches!(done, Err(CarrierError::AlreadyEnded)), "{done:?}");
    let (done, _) = perform(0, vec![Reply::Cut(Vec::new())]).await;
    assert!(
        matches!(done, Err(CarrierError::Unavailable(_))),
        "{done:?}"
    );
}

#[tokio::test]
async fn hang_up_says_what_became_of_it() {
    let hang_up = async |reply| {
        let server = Server::start([reply]).await;
        let done = telnyx(&server.base_url, PATIENT)
            .hang_up(&call_id("v3:one"))
            .await;
        assert_eq!(first_lines(&server), [path("hangup")]);
        done
    };
    assert!(hang_up(whole(200, DONE)).await.is_ok());
    let ended = hang_up(whole(422, &error("90018"))).await;
    assert!(
        matches!(ended, Err(CarrierError::AlreadyEnded)),
        "{ended:?}"
    );
    for (status, code) in [(404, "10005"), (422, "90015")] {
        let missing = hang_up(whole(status, &error(code))).await;
        assert!(
            matches!(missing, Err(CarrierError::NotFound)),
            "{missing:?}"
        );
    }
    let ours = hang_up(whole(403, &error("10010"))).await;
    assert!(
        matches!(ours, Err(CarrierError::Unauthorized(_))),
        "{ours:?}"
    );
    for reply in [
        whole(500, &error("90018")),
        whole(429, ""),
        whole(404, "<html>"),
        whole(422, &error("10015")),
        Reply::Cut(vec![]),
    ] {
        let failed = hang_up(reply).await;
        assert!(
            matches!(failed, Err(CarrierError::Unavailable(_))),
            "{failed:?}"
        );
    }
}

#[tokio::test]
async fn what_nobody_asked_for_ends_what_is_heard() {
    let server = Server::start(vec![
        whole(200, DONE),
        // There is nothing to stop.
        whole(422, &error("90040")),
        whole(200, DONE),
    ])
    .await;
    let mut request = step(0);
    request.interrupts = true;
    let done = telnyx(&server.base_url, PATIENT).perform(&request).await;
    assert!(done.is_ok(), "{done:?}");
    assert_eq!(
        first_lines(&server),
        [path("playback_stop"), path("gather_stop"), path("speak")]
    );
    let seen = server.seen();
    let stop = seen[0].split_once("\r\n\r\n").unwrap().1;
    let stop: Value = serde_json::from_str(stop).unwrap();
    assert_eq!(stop.as_object().unwrap().len(), 1, "no state: {stop}");
}
