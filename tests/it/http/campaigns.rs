//! Campaigns: made, checked, ordered about.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_campaign_is_made_and_shown() {
    let rig = Rig::new().await;
    let new = json!({"name": " Spring ", "carriers": ["sample"], "region": "GB"});
    let response = rig.post("/v1/campaigns").json(&new).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let made: Value = response.json().await.unwrap();
    assert_eq!(
        location,
        format!("/v1/campaigns/{}", made["id"].as_str().unwrap())
    );
    let expected = json!({
        "name": "Spring", "state": "draft", "gen": 1, "concurrency": 5, "weight": 1,
        "carriers": ["sample"], "caller_ids": [], "region": "GB", "schedule": null,
        "amd": {"mode": "off"}, "ring_timeout_s": 30, "max_duration_s": 600,
        "created_at": "2026-11-21T09:00:00.000Z",
        "status": {"code": "draft", "message": "Draft: not started; 0 leads are waiting.", "next_change_at": null},
        "counts": {"leads": 0, "pending": 0, "live": 0, "done": 0, "suppressed": 0, "outcomes": {}},
    });
    for (member, value) in expected.as_object().unwrap() {
        assert_eq!(&made[member], value, "{member}");
    }
    assert_eq!(made["retry"]["max_attempts"], 3);
    let slots = made["slots"].as_array().unwrap();
    assert_eq!(slots.len(), 5);
    assert_eq!(
        slots[4],
        json!({"slot": 4, "state": "free", "call": null, "lead": null, "carrier": null, "since": null})
    );
    assert_eq!(answer(rig.get(&location), 200).await, made);
}

#[tokio::test]
async fn routing_caps_and_presence_are_shown_when_somebody_said_something() {
    let rig = Rig::new().await;
    let weights = json!({"cost": 1, "quality": 2});
    // What is asked for, and what is shown.
    let table = [
        (json!({}), json!({})),
        (
            json!({"routing": {}, "caps": {}, "presence": "local"}),
            json!({}),
        ),
        (
            json!({"routing": {"strategy": "cost"}, "caps": {"hourly": 15, "daily": 80}, "presence": "country"}),
            json!({"routing": {"strategy": "cost", "weights": weights, "explore_percent": 4},
                   "caps": {"hourly": 15, "daily": 80}, "presence": "country"}),
        ),
        (
            json!({"routing": {"strategy": "assigned", "carrier": "sample", "explore_percent": 0}}),
            json!({"routing": {"strategy": "assigned", "carrier": "sample", "weights": weights, "explore_percent": 0}}),
        ),
    ];
    for (mut new, shown) in table {
        new["name"] = "a".into();
        let made = answer(rig.post("/v1/campaigns").json(&new), 201).await;
        for member in ["routing", "caps", "presence"] {
            assert_eq!(made.get(member), shown.get(member), "{member}: {new}");
        }
        let path = format!("/v1/campaigns/{}", made["id"].as_str().unwrap());
        assert_eq!(answer(rig.get(&path), 200).await, made);
    }
    let bad = json!({"name": "a", "caps": {"daily": 0}});
    let (_, document) = problem(rig.post("/v1/campaigns").json(&bad), 422).await;
    assert!(
        document
            .to_string()
            .contains("caps.daily must be at least 1"),
        "{document}"
    );
    let bad = json!({"name": "a", "routing": {"explore_percent": 21}});
    let (_, document) = problem(rig.post("/v1/campaigns").json(&bad), 422).await;
    assert!(
        document
            .to_string()
            .contains("routing.explore_percent must be 0 to 20"),
        "{document}"
    );
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let rig = Rig::new().await;
    let table = [
        (
            json!({"name": "a", "colour": 1}),
            "/colour",
            "unknown_field",
        ),
        (json!({}), "/name", "missing"),
        (json!({"name": " "}), "/name", "bad_value"),
        (
            json!({"name": "a", "concurrency": 0}),
            "/concurrency",
            "bad_value",
        ),
        (
            json!({"name": "a", "concurrency": "5"}),
            "/concurrency",
            "bad_value",
        ),
        (
            json!({"name": "a", "carriers": ["nobody"]}),
            "/carriers",
            "bad_value",
        ),
        (
            json!({"name": "a", "flow": {"steps": []}}),
            "/flow/steps",
            "bad_value",
        ),
        (
            json!({"name": "a", "retry": {"max": 3}}),
            "/retry/max",
            "unknown_field",
        ),
        (
            json!({"name": "a", "routing": {"stratgy": "cost"}}),
            "/routing/stratgy",
            "unknown_field",
        ),
        (
            json!({"name": "a", "routing": {"strategy": "cheap"}}),
            "/routing/strategy",
            "bad_value",
        ),
        (
            json!({"name": "a", "routing": {"weights": {"cost": 0, "quality": 0}}}),
            "/routing",
            "bad_value",
        ),
        (
            json!({"name": "a", "routing": {"explore_percent": 21}}),
            "/routing",
            "bad_value",
        ),
        (
            json!({"name": "a", "routing": {"carrier": "sample"}}),
            "/routing",
            "bad_value",
        ),
        (
            json!({"name": "a", "routing": {"strategy": "assigned", "carrier": "nobody"}}),
            "/routing",
            "bad_value",
        ),
        (
            json!({"name": "a", "caps": {"hourly": 0}}),
            "/caps",
            "bad_value",
        ),
        (
            json!({"name": "a", "caps": {"hourly": 15, "daily": 0}}),
            "/caps",
            "bad_value",
        ),
        (
            json!({"name": "a", "caps": {"hourly": -1}}),
            "/caps/hourly",
            "bad_value",
        ),
        (
            json!({"name": "a", "caps": {"weekly": 1}}),
            "/caps/weekly",
            "unknown_field",
        ),
        (
            json!({"name": "a", "presence": "state"}),
            "/presence",
            "bad_value",
        ),
    ];
    for (body, pointer, code) in table {
        let (kind, document) = problem(rig.post("/v1/campaigns").json(&body), 422).await;
        assert_eq!(kind, "invalid");
        assert_eq!(field(&document), (pointer, code), "{body}: {document}");
    }
    let none = answer(rig.get("/v1/campaigns"), 200).await;
    assert_eq!(none["data"], json!([]), "nothing was made");
}

#[tokio::test]
async fn orders_lead_from_state_to_state() {
    let rig = Rig::new().await;
    let made = answer(rig.post("/v1/campaigns").json(&json!({"name": "a"})), 201).await;
    let path = format!("/v1/campaigns/{}", made["id"].as_str().unwrap());
    let order = |verb: &str| rig.post(&format!("{path}/{verb}"));
    for (verb, state) in [
        ("start", "running"),
        ("start", "running"),
        ("pause", "paused"),
        ("resume", "running"),
        ("drain", "draining"),
        ("stop", "stopped"),
    ] {
        let shown = answer(order(verb), 200).await;
        assert_eq!(shown["state"], state, "{verb}");
        assert_eq!(answer(rig.get(&path), 200).await["state"], state);
    }
    let (code, document) = problem(order("start"), 409).await;
    assert_eq!(code, "wrong_state");
    assert_eq!(
        document["detail"],
        "a campaign that is stopped cannot be told to start"
    );
    problem(rig.post("/v1/campaigns/cmp_none/start"), 404).await;
}

#[tokio::test]
async fn an_order_may_have_a_body_but_no_option_we_do_not_know() {
    let rig = Rig::new().await;
    rig.campaign("a", CampaignState::Draft).await;
    let start = |query: &str| rig.post(&format!("/v1/campaigns/cmp_a/start{query}"));
    let (code, _) = problem(start("?dry_run=true"), 400).await;
    assert_eq!(code, "bad_query");
    let (_, document) = problem(start("").json(&json!({"resaon": "x"})), 422).await;
    assert_eq!(field(&document), ("/resaon", "unknown_field"));
    let (code, _) = problem(start("").body("reason"), 415).await;
    assert_eq!(code, "unsupported_media_type");
    let untouched = answer(rig.get("/v1/campaigns/cmp_a"), 200).await;
    assert_eq!(untouched["state"], "draft");
    let empty = start("").header("content-type", "application/json");
    assert_eq!(answer(empty, 200).await["state"], "running");
    let reasoned = rig.post("/v1/campaigns/cmp_a/stop");
    let reasoned = reasoned.json(&json!({"reason": "the list was wrong"}));
    assert_eq!(answer(reasoned, 200).await["state"], "stopped");
}

#[tokio::test]
async fn the_limit_can_be_changed() {
    let rig = Rig::new().await;
    rig.campaign("a", CampaignState::Running).await;
    let patch = |body: Value| {
        let request = rig.bare(Method::PATCH, "/v1/campaigns/cmp_a");
        request.bearer_auth(KEY).json(&body)
    };
    let shown = answer(patch(json!({"concurrency": 2})), 200).await;
    assert_eq!(
        (&shown["concurrency"], &shown["gen"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(shown["slots"].as_array().unwrap().len(), 2);
    let (_, document) = problem(patch(json!({"concurrency": 1001})), 422).await;
    assert_eq!(field(&document), ("/concurrency", "bad_value"));
    let (_, document) = problem(patch(json!({"concurrency": 3, "name": "b"})), 422).await;
    assert_eq!(field(&document), ("/name", "unknown_field"));
}

#[tokio::test]
async fn live_calls_are_slots_and_pausing_waits_for_intents() {
    let rig = Rig::new().await;
    let campaign = rig.campaign("a", CampaignState::Running).await;
    let leads: Vec<_> = (0..3).map(|i| sample::lead(&campaign.id, i)).collect();
    rig.store().insert_leads(&leads).await.unwrap();
    let attempt = sample::attempt(&leads[0], 1, 1);
    rig.store()
        .insert_attempts(std::slice::from_ref(&attempt))
        .await;

    let shown = answer(rig.get("/v1/campaigns/cmp_a"), 200).await;
    assert_eq!(
        shown["counts"],
        json!({"leads": 3, "pending": 2, "live": 1, "done": 0, "suppressed": 0, "outcomes": {}})
    );
    assert_eq!(
        shown["status"]["message"],
        "Running: 1 of 5 slots busy, 2 leads left."
    );
    assert_eq!(
        shown["slots"][1],
        json!({"slot": 1, "state": "intent", "call": attempt.id.as_str(), "lead": leads[0].id.as_str(),
               "carrier": "sample", "since": "2026-11-21T09:00:00.000Z"})
    );

    let pausing = answer(rig.post("/v1/campaigns/cmp_a/pause"), 202).await;
    assert_eq!(
        (&pausing["state"], &pausing["status"]["code"]),
        (&json!("pausing"), &json!("pausing"))
    );

    // The carrier rings: nothing is on its way out any more, and the call may finish.
    let url = rig
        .fleet
        .keys
        .callback_url("", "fake", &sample::carrier(), &attempt.id, 0);
    rig.queue.set_down(true);
    let hook = rig.bare(Method::POST, &url).body("event-1");
    answer(
        hook.header("x-signature", format!("{PUBLIC_URL}{url}")),
        204,
    )
    .await;
    let paused = answer(rig.get("/v1/campaigns/cmp_a"), 200).await;
    assert_eq!(paused["state"], "paused");
    assert_eq!(
        paused["status"]["message"],
        "Paused: 1 call still to finish; 2 leads are waiting."
    );
    assert_eq!(paused["slots"][1]["state"], "ringing");
}

#[tokio::test]
async fn an_idle_campaign_says_why() {
    let rig = Rig::new().await;
    let campaign = rig.campaign("a", CampaignState::Running).await;
    let status = async || answer(rig.get("/v1/campaigns/cmp_a"), 200).await["status"].clone();
    assert_eq!(status().await["code"], "no_leads");
    let mut lead = sample::lead(&campaign.id, 1);
    lead.due_at = sample::at(90);
    rig.store().insert_leads(&[lead]).await.unwrap();
    assert_eq!(
        status().await,
        json!({"code": "not_due", "message": "Waiting: 1 lead is not due yet; next at 2026-11-21 09:01 UTC.",
               "next_change_at": "2026-11-21T09:01:30.000Z"})
    );
    rig.clock.advance(std::time::Duration::from_secs(90));
    assert_eq!(status().await["code"], "no_workers");
}
