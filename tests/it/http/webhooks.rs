//! Carriers' callbacks.

use dialfleet_domain::call::{Attempt, CallState};
use dialfleet_engine::message::CallEventMessage;

use super::*;

/// An attempt in the store.
async fn live(rig: &Rig) -> Attempt {
    let campaign = rig.campaign("a", CampaignState::Running).await;
    let lead = sample::lead(&campaign.id, 0);
    rig.store()
        .insert_leads(std::slice::from_ref(&lead))
        .await
        .unwrap();
    let attempt = sample::attempt(&lead, 1, 0);
    rig.store()
        .insert_attempts(std::slice::from_ref(&attempt))
        .await;
    attempt
}

/// Where the carrier was told to report, without our host.
fn hook(rig: &Rig, attempt: &Attempt) -> String {
    rig.fleet
        .keys
        .callback_url("", "fake", &sample::carrier(), &attempt.id, 0)
}

/// A callback signed for `path` at our public address.
fn signed(rig: &Rig, path: &str, body: &'static str) -> RequestBuilder {
    let request = rig.bare(Method::POST, path).body(body);
    request.header("X-Signature", format!("{PUBLIC_URL}{path}"))
}

#[tokio::test]
async fn a_genuine_callback_is_queued() {
    let rig = Rig::new().await;
    let attempt = live(&rig).await;
    // As the carrier wrote it: proxies and frameworks must not tidy it up.
    let path = format!("{}?b=%2b1%20x&a=&b=%2B", hook(&rig, &attempt));
    let sent = signed(&rig, &path, "event-1").header("user-agent", "FakeProxy/1");
    answer(sent, 204).await;

    let heard = rig.carrier.heard.lock().unwrap().pop().unwrap();
    assert_eq!(heard.url, format!("{PUBLIC_URL}{path}"));
    assert_eq!(heard.body, "event-1");

    let mut consumer = rig.queue.consume(Topic::CallEvents, 8).await.unwrap();
    let delivery = consumer.next(8).await.unwrap().pop().unwrap();
    let event: CallEventMessage = serde_json::from_slice(&delivery.body).unwrap();
    delivery.ack().await;
    assert_eq!((event.attempt, event.leg), (attempt.id, 0));
    assert_eq!(
        (event.event_key.as_str(), event.statuses),
        ("event-1", vec![CallStatus::Ringing])
    );
    assert_eq!(event.received_at, sample::T0);
    assert_eq!(event.headers["user-agent"], "FakeProxy/1");
}

#[tokio::test]
async fn without_a_broker_a_callback_is_applied_at_once() {
    let rig = Rig::new().await;
    let attempt = live(&rig).await;
    rig.queue.set_down(true);
    let path = hook(&rig, &attempt);
    for _ in 0..2 {
        answer(signed(&rig, &path, "event-1"), 204).await;
    }
    let now = rig.fleet.attempt(&attempt.id).await.unwrap().unwrap();
    assert_eq!(now.state, CallState::Ringing);
    let call = answer(
        rig.get(&format!("/v1/calls/{}", encoded(attempt.id.as_str()))),
        200,
    )
    .await;
    let timeline = call["timeline"].as_array().unwrap();
    assert_eq!(
        timeline
            .iter()
            .filter(|moment| moment["event"] == "ringing")
            .count(),
        1,
        "{call}"
    );
    assert_eq!(call["legs"][0]["call_id"], "CA1");
}

#[tokio::test]
async fn what_is_not_genuine_changes_nothing() {
    let rig = Rig::new().await;
    let attempt = live(&rig).await;
    let path = hook(&rig, &attempt);
    let unsigned = rig.bare(Method::POST, &path).body("event-1");
    // Another token: signed by the carrier, but not an address of ours.
    let (stem, token) = path.rsplit_once('/').unwrap();
    let made_up = format!("{stem}/{}", token.replace('.', ".A"));
    let nobody = path.replacen("/sample/", "/nobody/", 1);
    let other_kind = path.replacen("/fake/", "/twilio/", 1);
    let too_long = rig
        .bare(Method::POST, &path)
        .body("x".repeat(64 * 1024 + 1));
    let table = [
        (unsigned, 403, "forged"),
        (signed(&rig, &made_up, "event-1"), 404, "not_found"),
        (signed(&rig, &nobody, "event-1"), 404, "not_found"),
        (signed(&rig, &other_kind, "event-1"), 404, "not_found"),
        (signed(&rig, &path, "garbage"), 400, "unreadable"),
        (too_long, 413, "payload_too_large"),
        (rig.bare(Method::GET, &path), 405, "method_not_allowed"),
    ];
    for (request, status, code) in table {
        let (was, document) = problem(request, status).await;
        assert_eq!(was, code, "{document}");
    }
    let waiting = rig.queue.depths().await.unwrap();
    assert!(waiting.iter().all(|(_, n)| *n == 0), "{waiting:?}");
    let now = rig.fleet.attempt(&attempt.id).await.unwrap().unwrap();
    assert_eq!(now, attempt);
}
