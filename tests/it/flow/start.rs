//! What is found before a campaign is made, or begins.

use dialfleet_tests::sample;
use serde_json::json;

use super::Rig;

impl Rig {
    async fn api(&self, path: &str, body: serde_json::Value) -> (u16, serde_json::Value) {
        let response = self
            .client
            .post(format!("http://{}/v1{path}", self.addr))
            .bearer_auth("key")
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }
}

#[tokio::test]
async fn a_wrong_flow_is_refused_with_its_place() {
    let rig = Rig::new().await;
    let table = [
        (
            json!([{"do": "pause", "seconds": 61}]),
            "/flow/steps/0/seconds",
        ),
        (
            json!([{"do": "menu", "options": {"1": [{"do": "say", "txt": "x"}]}}]),
            "/flow/steps/0/options/1/0/txt",
        ),
        (json!([{"do": "sing"}]), "/flow/steps/0"),
    ];
    for (steps, pointer) in table {
        let new = json!({"name": "a", "flow": {"steps": steps}});
        let (status, problem) = rig.api("/campaigns", new).await;
        assert_eq!(status, 422, "{problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let amd = json!({"name": "a", "amd": {"mode": "async", "on_machine": "leave_message"}});
    let (status, problem) = rig.api("/campaigns", amd).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (422, &json!("/amd"))
    );
}

#[tokio::test]
async fn what_a_lead_lacks_is_found_at_the_start() {
    let rig = Rig::new().await;
    let flow = json!({"steps": [{"do": "say", "text": "Hello {{ first_name }}"}]});
    let (status, made) = rig
        .api("/campaigns", json!({"name": "a", "flow": flow}))
        .await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap();
    let campaign = dialfleet_domain::id::CampaignId::parse(id).unwrap();
    let lacks = sample::lead(&campaign, 1);
    let mut has = sample::lead(&campaign, 2);
    has.vars.insert("first_name".to_owned(), "Ann".to_owned());
    rig.fleet.store.insert_leads(&[lacks, has]).await.unwrap();
    let start = format!("/campaigns/{id}/start");
    let (status, problem) = rig.api(&start, json!({})).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("incomplete_leads"))
    );
    let said = problem["detail"].as_str().unwrap();
    assert!(
        said.starts_with("1 of the 2 waiting leads") && said.contains("first_name"),
        "{said}"
    );
    let (status, started) = rig.api(&start, json!({"skip_incomplete": true})).await;
    assert_eq!(
        (status, &started["state"]),
        (200, &json!("running")),
        "{started}"
    );
}
