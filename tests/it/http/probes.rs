//! What operators probe.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn ready_means_started_not_stopping_and_everything_answers() {
    let rig = Rig::new().await;
    let ready = || rig.bare(Method::GET, "/readyz");
    answer(ready(), 200).await;

    // The answer is fresh for two seconds.
    rig.queue.set_down(true);
    rig.clock.advance(Duration::from_millis(1_999));
    answer(ready(), 200).await;
    rig.clock.advance(Duration::from_millis(1));
    let (code, document) = problem(ready(), 503).await;
    assert_eq!(
        (code.as_str(), field(&document)),
        ("not_ready", ("broker", "unreachable"))
    );
    assert_eq!(document["detail"], "broker: the broker does not answer");

    rig.queue.set_down(false);
    rig.clock.advance(Duration::from_secs(2));
    answer(ready(), 200).await;
    rig.fleet.stopping.cancel();
    let (_, document) = problem(ready(), 503).await;
    assert_eq!(field(&document), ("process", "stopping"));
    answer(rig.bare(Method::GET, "/healthz"), 200).await;
}

#[tokio::test]
async fn a_worker_serves_probes_and_nothing_else() {
    let mut rig = Rig::new().await;
    rig.readiness = Readiness::new();
    let router = dialfleet_http::ops_router(rig.fleet.clone(), rig.readiness.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.addr = listener.local_addr().unwrap();
    rig.server = service::spawn(dialfleet_http::serve_router(
        listener,
        router,
        rig.shutdown.clone(),
    ));

    let (_, document) = problem(rig.bare(Method::GET, "/readyz"), 503).await;
    assert_eq!(field(&document), ("process", "starting"));
    rig.readiness.set_started();
    answer(rig.bare(Method::GET, "/readyz"), 200).await;
    answer(rig.bare(Method::GET, "/healthz"), 200).await;
    for path in ["/v1/campaigns", "/"] {
        problem(rig.get(path), 404).await;
    }
}

#[tokio::test]
async fn counters_and_the_index_are_text() {
    let rig = Rig::new().await;
    let metrics = rig.bare(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(
        metrics.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = metrics.text().await.unwrap();
    assert!(
        text.contains("dialfleet_invariant_violations_total"),
        "{text}"
    );
    let index = rig.bare(Method::GET, "/").send().await.unwrap();
    assert_eq!(index.status(), 200);
    assert!(index.text().await.unwrap().contains("/v1/campaigns/{id}"));
}
