//! Lists, calls, the do-not-call list, workers.

use dialfleet_domain::lead::LeadState;
use dialfleet_engine::port::store::{Cas, Heartbeat, Release};
use serde_json::json;

use super::*;

/// Follows the cursors of a list and returns what `member` of its items says.
async fn pages(rig: &Rig, path: &str, limit: usize, member: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = answer(rig.get(&format!("{path}limit={limit}{cursor}")), 200).await;
        let items = page["data"].as_array().unwrap();
        assert!(items.len() <= limit, "{page}");
        seen.extend(items.iter().map(|i| i[member].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return seen,
        }
    }
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let rig = Rig::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        rig.clock.advance(std::time::Duration::from_secs(1));
        let new = json!({"name": name});
        answer(rig.post("/v1/campaigns").json(&new), 201).await;
    }
    let names = pages(&rig, "/v1/campaigns?", 2, "name").await;
    assert_eq!(names, ["e", "d", "c", "b", "a"]);

    let campaign = rig.campaign("leads", CampaignState::Draft).await;
    let leads: Vec<_> = (0..7).map(|i| sample::lead(&campaign.id, i)).collect();
    rig.store().insert_leads(&leads).await.unwrap();
    let refs = pages(&rig, "/v1/campaigns/cmp_leads/leads?", 3, "ref").await;
    assert_eq!(
        refs,
        [
            "r00000", "r00001", "r00002", "r00003", "r00004", "r00005", "r00006"
        ]
    );
}

#[tokio::test]
async fn leads_are_filtered_by_state() {
    let rig = Rig::new().await;
    let campaign = rig.campaign("a", CampaignState::Draft).await;
    let mut leads: Vec<_> = (0..3).map(|i| sample::lead(&campaign.id, i)).collect();
    leads[1].state = LeadState::Claimed;
    leads[1].claim = Some(sample::claim("x"));
    leads[1].claimed_at = Some(sample::T0);
    rig.store().insert_leads(&leads).await.unwrap();
    let release = Release {
        lead: leads[1].id.clone(),
        n: 0,
        claim: sample::claim("x"),
        state: LeadState::Suppressed,
        due_at: None,
        reason: Some("do_not_call".to_owned()),
    };
    assert_eq!(
        rig.store().release_claims(&[release]).await.unwrap(),
        [Cas::Won]
    );
    let suppressed = answer(rig.get("/v1/campaigns/cmp_a/leads?state=suppressed"), 200).await;
    assert_eq!(suppressed["data"].as_array().unwrap().len(), 1);
    assert_eq!(suppressed["data"][0]["reason"], "do_not_call");
    let ready = pages(&rig, "/v1/campaigns/cmp_a/leads?state=ready&", 1, "ref").await;
    assert_eq!(ready, ["r00000", "r00002"]);
    let (code, _) = problem(rig.get("/v1/campaigns/cmp_a/leads?state=happy"), 400).await;
    assert_eq!(code, "bad_query");
}

#[tokio::test]
async fn calls_are_listed_and_shown_with_their_history() {
    let rig = Rig::new().await;
    let (a, b) = (
        rig.campaign("a", CampaignState::Running).await,
        rig.campaign("b", CampaignState::Running).await,
    );
    let leads = [
        sample::lead(&a.id, 0),
        sample::lead(&a.id, 1),
        sample::lead(&b.id, 2),
    ];
    rig.store().insert_leads(&leads).await.unwrap();
    let mut attempts: Vec<_> = (0..)
        .zip(&leads)
        .map(|(i, lead)| sample::attempt(lead, 1, i))
        .collect();
    for (i, attempt) in (0..).zip(&mut attempts) {
        attempt.intent_at = sample::at(i);
    }
    rig.store().insert_attempts(&attempts).await;
    let ids: Vec<&str> = attempts.iter().map(|attempt| attempt.id.as_str()).collect();

    assert_eq!(
        pages(&rig, "/v1/calls?", 2, "id").await,
        [ids[2], ids[1], ids[0]]
    );
    assert_eq!(
        pages(&rig, "/v1/calls?campaign=cmp_a&live=true&", 1, "id").await,
        [ids[1], ids[0]]
    );
    let of_lead = format!("/v1/calls?lead={}&", encoded(leads[0].id.as_str()));
    assert_eq!(pages(&rig, &of_lead, 5, "id").await, [ids[0]]);

    let call = answer(rig.get(&format!("/v1/calls/{}", encoded(ids[0]))), 200).await;
    for (member, value) in [
        ("id", json!(ids[0])),
        ("campaign", json!("cmp_a")),
        ("lead", json!(leads[0].id.as_str())),
        ("n", json!(1)),
        ("phone", json!("+15550100000")),
        ("state", json!("intent")),
        ("live", json!(true)),
        ("slot", json!(0)),
        ("carrier", json!("sample")),
        ("from", json!("+15550109999")),
        ("outcome", json!(null)),
        ("created_at", json!("2026-11-21T09:00:00.000Z")),
        ("timeline", json!([])),
    ] {
        assert_eq!(call[member], value, "{member}: {call}");
    }
    let decision = &call["decision"];
    let why = decision["why"].as_str().unwrap();
    assert!(why.contains("is the only one eligible"), "{why}");
    let carriers = decision["carriers"].as_array().unwrap();
    let told = |i: usize| (&carriers[i]["carrier"], &carriers[i]["place"]);
    assert_eq!(told(0), (&json!("sample"), &json!(1)));
    assert_eq!(told(1), (&json!("other"), &json!(null)));
    assert_eq!(
        call["legs"],
        json!([{"carrier": "sample", "from": "+15550109999", "state": "intent", "call_id": null, "cost": null,
                "created_at": "2026-11-21T09:00:00.000Z", "refusal": null}])
    );
    // Secrets of the protocol stay inside.
    for word in ["nonce", "nce_", "claim", "clm_", "version", "todo"] {
        assert!(!call.to_string().contains(word), "{word}: {call}");
    }
}

#[tokio::test]
async fn another_tenants_documents_are_not_there() {
    let rig = Rig::new().await;
    let mut foreign = sample::campaign("foreign");
    foreign.tenant = dialfleet_domain::id::TenantId::parse("ten_other").unwrap();
    rig.store().insert_campaign(&foreign).await.unwrap();
    let mut lead = sample::lead(&foreign.id, 1);
    lead.tenant = foreign.tenant.clone();
    let attempt = sample::attempt(&lead, 1, 0);
    rig.store()
        .insert_attempts(std::slice::from_ref(&attempt))
        .await;
    let mut import = sample::import(&foreign.id, "foreign");
    import.tenant = foreign.tenant.clone();
    rig.store().insert_import(&import).await.unwrap();
    for path in [
        "/v1/campaigns/cmp_foreign".to_owned(),
        "/v1/campaigns/cmp_foreign/leads".to_owned(),
        "/v1/campaigns/cmp_foreign/imports".to_owned(),
        "/v1/imports/imp_foreign".to_owned(),
        "/v1/imports/imp_foreign/errors".to_owned(),
        format!("/v1/calls/{}", encoded(attempt.id.as_str())),
    ] {
        problem(rig.get(&path), 404).await;
    }
    problem(rig.post("/v1/campaigns/cmp_foreign/stop"), 404).await;
    for path in ["/v1/campaigns", "/v1/calls?campaign=cmp_foreign"] {
        assert_eq!(
            answer(rig.get(path), 200).await["data"],
            json!([]),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_do_not_call_list_is_kept() {
    let rig = Rig::new().await;
    let entry = |method| rig.bare(method, "/v1/dnc/+442079460001").bearer_auth(KEY);
    let is = |listed: bool| json!({"phone": "+442079460001", "listed": listed});
    assert_eq!(answer(entry(Method::GET), 200).await, is(false));

    let bad = json!({"phones": ["020 7946 0001", "x", "+1"], "region": "GB"});
    let (_, document) = problem(rig.post("/v1/dnc").json(&bad), 422).await;
    let pointers: Vec<_> = document["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/phones/1", "/phones/2"]);
    assert_eq!(
        answer(entry(Method::GET), 200).await,
        is(false),
        "all or none"
    );

    let good = json!({"phones": ["020 7946 0001", "+44 20 7946 0001"], "region": "GB"});
    assert_eq!(
        answer(rig.post("/v1/dnc").json(&good), 200).await,
        json!({"listed": 1})
    );
    assert_eq!(answer(entry(Method::GET), 200).await, is(true));
    answer(entry(Method::DELETE), 204).await;
    assert_eq!(answer(entry(Method::GET), 200).await, is(false));
    problem(entry(Method::DELETE), 404).await;
    let (code, _) = problem(rig.get("/v1/dnc/12"), 400).await;
    assert_eq!(code, "bad_phone");
    problem(rig.post("/v1/dnc").json(&json!({"phones": []})), 422).await;
}

#[tokio::test]
async fn workers_are_those_heard_of_lately() {
    let rig = Rig::new().await;
    for (name, beat_at) in [
        ("wrk_new", sample::at(0)),
        ("wrk_old", sample::T0 - std::time::Duration::from_secs(60)),
    ] {
        let beat = Heartbeat {
            worker: WorkerId::parse(name).unwrap(),
            roles: vec!["dial".to_owned()],
            version: "1".to_owned(),
            started_at: beat_at,
            beat_at,
        };
        rig.store().beat(&beat).await.unwrap();
    }
    let workers = answer(rig.get("/v1/workers"), 200).await;
    let time = "2026-11-21T09:00:00.000Z";
    assert_eq!(
        workers,
        json!({"data": [{"id": "wrk_new", "roles": ["dial"], "version": "1", "started_at": time, "beat_at": time}],
               "next_cursor": null})
    );
}
