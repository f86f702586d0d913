//! Who gets in, and what everybody else is told.

use super::*;

#[tokio::test]
async fn without_a_key_nobody_gets_in() {
    let rig = Rig::new().await;
    let doors = [
        ("/v1/campaigns", None),
        ("/v1/campaigns", Some("Bearer wrong")),
        ("/v1/campaigns", Some("Bearer ")),
        ("/v1/campaigns", Some("Basic dGVzdC1rZXk=")),
        // Which addresses there are is nobody's business either.
        ("/v1/nothing", None),
        ("/v1/campaigns/x/start", None),
    ];
    for (path, header) in doors {
        let mut request = rig.bare(Method::GET, path);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let response = request.send().await.unwrap();
        let scheme = response.headers().get("www-authenticate").cloned();
        let (code, _) = problem_of(response, 401).await;
        assert_eq!(code, "unauthorized", "{path} {header:?}");
        assert_eq!(scheme.unwrap(), "Bearer realm=\"dialfleet\"");
    }
    let lower_case = rig.bare(Method::GET, "/v1/campaigns");
    let lower_case = lower_case.header("authorization", format!("bearer {KEY}"));
    assert_eq!(answer(lower_case, 200).await["data"], serde_json::json!([]));
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let rig = Rig::new().await;
    let table = [
        (rig.bare(Method::GET, "/nothing"), 404, "not_found"),
        (rig.get("/v1/nothing"), 404, "not_found"),
        (rig.get("/v1/campaigns/cmp_none"), 404, "not_found"),
        (rig.get("/v1/imports/imp_none"), 404, "not_found"),
        (rig.get("/v1/calls/nothing"), 404, "not_found"),
        (rig.get("/v1/calls/c%3Ar%3A1"), 404, "not_found"),
        (rig.get("/v1/campaigns/%FF"), 400, "bad_request"),
        (rig.get("/v1/campaigns?colour=red"), 400, "bad_query"),
        (rig.get("/v1/campaigns?limit=0"), 400, "bad_query"),
        (rig.get("/v1/campaigns?limit=201"), 400, "bad_query"),
        (rig.get("/v1/campaigns?cursor=made-up"), 400, "bad_cursor"),
        (rig.get("/v1/calls?live=perhaps"), 400, "bad_query"),
        (rig.get("/v1/calls?lead=nobody"), 400, "bad_query"),
        (
            rig.post("/v1/campaigns").body("{}"),
            415,
            "unsupported_media_type",
        ),
        (
            rig.post("/v1/campaigns")
                .header("content-type", "application/json")
                .body("{"),
            400,
            "malformed_json",
        ),
        (
            rig.post("/v1/campaigns")
                .header("content-type", "application/json")
                .body(" ".repeat(1024 * 1024 + 1)),
            413,
            "payload_too_large",
        ),
    ];
    for (request, status, code) in table {
        let shown = format!("{request:?}");
        let (was, document) = problem(request, status).await;
        assert_eq!(was, code, "{shown}: {document}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let rig = Rig::new().await;
    let response = rig.bare(Method::PUT, "/v1/campaigns").bearer_auth(KEY);
    let response = response.send().await.unwrap();
    assert_eq!(response.headers()["allow"], "GET,HEAD,POST");
    let (code, _) = problem_of(response, 405).await;
    assert_eq!(code, "method_not_allowed");
    let (code, _) = problem(rig.get("/v1/campaigns/cmp_1/start"), 405).await;
    assert_eq!(code, "method_not_allowed");
}

#[tokio::test]
async fn every_response_has_an_id() {
    let rig = Rig::new().await;
    let with = |id: &str| rig.bare(Method::GET, "/healthz").header("request-id", id);
    let id = async |request: RequestBuilder| {
        let response = request.send().await.unwrap();
        response.headers()["request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(id(with("order-66.a_b")).await, "order-66.a_b");
    let made = [
        id(rig.bare(Method::GET, "/healthz")).await,
        id(with("a b")).await,
        id(with(&"x".repeat(65))).await,
    ];
    for id in &made {
        assert!(id.starts_with("req_") && id.len() == 20, "{id}");
    }
    assert_ne!(made[0], made[1]);
    let response = rig.get("/v1/campaigns").send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_server_goes_on() {
    let rig = Rig::new().await;
    let path = "/webhooks/fake/sample/a/0/t";
    let hook = rig.bare(Method::POST, path).body("panic");
    let hook = hook.header("x-signature", format!("{PUBLIC_URL}{path}"));
    let (code, document) = problem(hook, 500).await;
    assert_eq!(code, "internal");
    assert!(!document.to_string().contains("on purpose"), "{document}");
    answer(rig.bare(Method::GET, "/healthz"), 200).await;
}
