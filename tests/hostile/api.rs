//! The API: whatever a program with a key sends is done, or refused with a sentence; a request is
//! never the server's fault.

use axum::body::Body;
use dialfleet_domain::campaign::MAX_CONCURRENCY;
use dialfleet_domain::flow::{Grain, Input, Program, Script, Session};
use dialfleet_domain::id::CampaignId;
use dialfleet_engine::port::carrier::{DialAnswer, DialRequest};
use dialfleet_tests::sample;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::cases;
use crate::mutate::{edits, mutated, spoiled, spoils};
use crate::rig::{Answer, Rig};

/// A campaign with everything in it.
fn campaign() -> Value {
    json!({
        "name": "Spring", "concurrency": 5, "weight": 2, "carriers": ["sample"], "caller_ids": [sample::phone(9_999).as_str()],
        "region": "GB", "ring_timeout_s": 30, "max_duration_s": 600, "amd": { "mode": "async" },
        "schedule": {
            "timezone": "Europe/London",
            "windows": [{ "days": ["mon", "tue"], "from": "09:00", "to": "17:30" }, { "days": ["sun"], "from": "00:00", "to": "24:00" }],
            "except": ["2026-12-25", "2027-01-01"],
        },
        "retry": { "max_attempts": 3, "unknown_cooloff_s": 900, "rules": { "busy": { "delays_s": [900, 1800], "max": 2 } } },
        "flow": { "steps": [
            { "do": "say", "text": "Hello <you> & \"them\"", "language": "en-GB", "voice": "Polly.Amy" },
            { "do": "pause", "seconds": 3 },
            { "do": "hangup" },
        ] },
    })
}

/// A campaign that was taken can be shown, kept in both stores, and dialed.
async fn can_be_used(rig: &Rig, answer: &Answer) {
    let id = answer.body["id"].as_str().unwrap();
    let shown = rig
        .json("GET", &format!("/v1/campaigns/{id}"), Vec::new())
        .await
        .unwrap();
    assert_eq!(shown.status, 200, "{shown:?}");
    let id = CampaignId::parse(id).unwrap();
    let campaign = rig.fleet.campaign(&id).await.unwrap().unwrap();
    bson::serialize_to_vec(&campaign).unwrap();
    assert!((1..=MAX_CONCURRENCY).contains(&campaign.limit) && !campaign.name.is_empty());
    let lead = sample::lead(&id, 0);
    campaign.flow.check().unwrap();
    let program = Program::of(&campaign.flow);
    let script = Script::new(program, &lead.vars, &lead.phone, Grain::Document);
    let request = DialRequest {
        attempt: sample::attempt(&lead, 1, 0).id,
        leg: 0,
        to: lead.phone,
        from: sample::phone(9_999),
        ring_timeout_s: campaign.ring_timeout_s,
        max_duration_s: campaign.max_duration_s,
        opening: Session::default()
            .take(&script, Input::Done, None)
            .actions
            .into(),
        flow_url: "https://dial.example/webhooks/flow".to_owned(),
        amd: campaign.amd,
        leaves_message: campaign.amd.leaves_message(&campaign.flow),
        record: None,
        callback_url: "https://dial.example/webhooks".to_owned(),
    };
    let carrier = &rig.fleet.carriers[&sample::carrier()];
    match carrier.dial(&request).await {
        // Nobody listens there: it got as far as that.
        DialAnswer::Refused(why) => {
            assert_eq!(why.code, "connect", "{why:?} {:?}", request.opening)
        }
        other => panic!("{other:?}"),
    }
    if let Some(schedule) = campaign.schedule {
        let zones: [chrono_tz::Tz; 0] = [];
        let _ = schedule.check(&zones, sample::T0);
    }
}

#[test]
fn campaigns() {
    let rig = Rig::new();
    let good = campaign();
    let made = rig
        .runtime
        .block_on(rig.json("POST", "/v1/campaigns", good.to_string().into()));
    let made = made.unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    rig.runtime.block_on(can_be_used(&rig, &made));
    let body = prop_oneof![
        4 => spoils().prop_map(move |spoils| spoiled(campaign(), &spoils)),
        1 => edits().prop_map(|edits| mutated(campaign().to_string().as_bytes(), &edits)),
        1 => prop::collection::vec(any::<u8>(), 0..100),
    ];
    cases(1_500, body, |body| {
        rig.runtime.block_on(async {
            let answer = rig.json("POST", "/v1/campaigns", body).await.unwrap();
            match answer.status.as_u16() {
                201 => can_be_used(&rig, &answer).await,
                400 | 413 | 422 => {}
                other => panic!("{other}: {answer:?}"),
            }
        });
        Ok(())
    });
}

#[test]
fn changes_orders_and_phones() {
    let rig = Rig::new();
    let id = rig.runtime.block_on(rig.campaign("a")).id;
    let change = json!({ "concurrency": 7 });
    let order = json!({ "reason": "lunch" });
    let phones = json!({ "phones": ["+442079460119", "020 7946 0120"], "region": "GB" });
    let verbs = ["start", "pause", "resume", "drain", "stop"];
    let targets = verbs
        .map(|verb| ("POST", format!("/v1/campaigns/{id}/{verb}"), order.clone()))
        .into_iter()
        .chain([
            ("PATCH", format!("/v1/campaigns/{id}"), change),
            ("POST", "/v1/dnc".to_owned(), phones),
        ]);
    let targets: Vec<_> = targets.collect();
    let wrong = prop_oneof![spoils().prop_map(Ok), edits().prop_map(Err)];
    cases(
        1_500,
        (select(targets), wrong),
        |((method, path, good), wrong)| {
            let body = match wrong {
                Ok(spoils) => spoiled(good, &spoils),
                Err(edits) => mutated(good.to_string().as_bytes(), &edits),
            };
            rig.runtime.block_on(rig.json(method, &path, body));
            Ok(())
        },
    );
    let now = rig
        .runtime
        .block_on(rig.fleet.campaign(&id))
        .unwrap()
        .unwrap();
    assert!((1..=MAX_CONCURRENCY).contains(&now.limit));
}

#[test]
fn what_a_program_gets_wrong() {
    let rig = Rig::new();
    let with = |place: &str, value: Value| {
        let mut body = campaign();
        *body.pointer_mut(place).unwrap() = value;
        body.to_string()
    };
    let say = |text: &str| json!({ "do": "say", "text": text });
    let table = [
        (String::new(), 400, "malformed_json"),
        ("{".to_owned(), 400, "malformed_json"),
        ("[".repeat(100_000), 422, "invalid"),
        (
            format!("{{\"name\":{}", "[".repeat(100_000)),
            422,
            "invalid",
        ),
        (
            format!("{{\"flow\":{{\"steps\":[{{\"do\":{}", "[".repeat(100_000)),
            400,
            "malformed_json",
        ),
        (format!("\u{feff}{}", campaign()), 400, "malformed_json"),
        (
            campaign().to_string().replace("\"Spring\"", "\"\\ud800\""),
            400,
            "malformed_json",
        ),
        (
            campaign()
                .to_string()
                .replace("\"weight\":2", "\"weight\":2,\"weight\":3"),
            422,
            "invalid",
        ),
        (with("/name", json!("")), 422, "invalid"),
        (with("/name", json!("  ")), 422, "invalid"),
        (with("/name", json!("x".repeat(201))), 422, "invalid"),
        (with("/concurrency", json!(0)), 422, "invalid"),
        (with("/concurrency", json!(1_001)), 422, "invalid"),
        (with("/concurrency", json!(-1)), 422, "invalid"),
        (with("/concurrency", json!(5.0)), 422, "invalid"),
        (
            with("/concurrency", json!(4_294_967_296_u64)),
            422,
            "invalid",
        ),
        (with("/carriers", json!(["nobody"])), 422, "invalid"),
        (with("/carriers", json!([""])), 422, "invalid"),
        (with("/caller_ids", json!(["+15550109998"])), 422, "invalid"),
        (with("/region", json!("UK")), 422, "invalid"),
        (with("/schedule/windows", json!([])), 422, "invalid"),
        (with("/schedule/windows/0/days", json!([])), 422, "invalid"),
        (
            with("/schedule/windows/0/from", json!("24:00")),
            422,
            "invalid",
        ),
        (
            with("/schedule/windows/0/from", json!("9:00")),
            422,
            "invalid",
        ),
        (
            with("/schedule/except", json!(["2026-02-30"])),
            422,
            "invalid",
        ),
        (
            with("/schedule/timezone", json!("Mars/Olympus")),
            422,
            "invalid",
        ),
        (with("/retry/max_attempts", json!(0)), 422, "invalid"),
        (
            with(
                "/retry/rules",
                json!({ "sneeze": { "delays_s": [1], "max": 1 } }),
            ),
            422,
            "invalid",
        ),
        (with("/flow/steps", json!([])), 422, "invalid"),
        (
            with("/flow/steps", json!(vec![json!({ "do": "hangup" }); 101])),
            422,
            "invalid",
        ),
        (
            with("/flow/steps", json!(vec![say(&"a".repeat(1_500)); 14])),
            422,
            "invalid",
        ),
        (with("/flow/steps/1/seconds", json!(0)), 422, "invalid"),
        (with("/ring_timeout_s", json!(4)), 422, "invalid"),
        (with("/max_duration_s", json!(14_401)), 422, "invalid"),
    ];
    rig.runtime.block_on(async {
        for (body, status, code) in table {
            let shown: String = body.chars().take(300).collect();
            let answer = rig
                .json("POST", "/v1/campaigns", body.into())
                .await
                .unwrap();
            assert_eq!(
                (answer.status.as_u16(), answer.body["code"].as_str()),
                (status, Some(code)),
                "{shown}\n{}",
                answer.body["detail"]
            );
        }
        // At the limits.
        let fits = [
            with("/name", json!("🦀".repeat(200))),
            with(
                "/flow/steps",
                json!(vec![json!({ "do": "say", "text": "&".repeat(12) }); 20]),
            ),
            with(
                "/flow/steps",
                json!([{ "do": "say", "text": "a".repeat(1_500) }]),
            ),
            with("/schedule/except", json!(["0000-01-01", "+262142-12-31"])),
        ];
        for body in fits {
            let answer = rig
                .json("POST", "/v1/campaigns", body.into())
                .await
                .unwrap();
            assert_eq!(answer.status, 201, "{}", answer.body["detail"]);
            can_be_used(&rig, &answer).await;
        }
    });
}

#[test]
fn any_address_and_any_question() {
    let rig = Rig::new();
    let id = rig.runtime.block_on(async {
        let campaign = rig.campaign("a").await;
        let leads: Vec<_> = (0..3).map(|i| sample::lead(&campaign.id, i)).collect();
        rig.fleet.store.insert_leads(&leads).await.unwrap();
        let attempt = sample::attempt(&leads[0], 1, 0);
        rig.fleet.store.insert_attempts(&[attempt]).await;
        let import = sample::import(&campaign.id, "a");
        rig.fleet.store.insert_import(&import).await.unwrap();
        campaign.id.to_string()
    });
    let page = rig.json("GET", "/v1/calls?limit=1", Vec::new());
    assert_eq!(rig.runtime.block_on(page).unwrap().status, 200);
    let leads = format!("/v1/campaigns/{id}/leads?limit=1");
    let page = rig
        .runtime
        .block_on(rig.json("GET", &leads, Vec::new()))
        .unwrap();
    let cursor = page.body["next_cursor"].as_str().unwrap().to_owned();

    let paths = [
        "/v1/campaigns".to_owned(),
        format!("/v1/campaigns/{id}"),
        format!("/v1/campaigns/{id}/leads"),
        format!("/v1/campaigns/{id}/imports"),
        "/v1/imports/imp_a".to_owned(),
        "/v1/imports/imp_a/errors".to_owned(),
        "/v1/calls".to_owned(),
        "/v1/calls/cmp_a%3Ar00000%3A1".to_owned(),
        "/v1/dnc/%2B442079460119".to_owned(),
        "/v1/workers".to_owned(),
        "/v1/campaigns/%00".to_owned(),
        "/v1/campaigns/%FF/leads".to_owned(),
        format!("/v1/campaigns/{}", "x".repeat(2_000)),
        "/".to_owned(),
        "/metrics".to_owned(),
    ];
    let path = prop_oneof![
        6 => select(paths.to_vec()),
        1 => "/v1/(campaigns|imports|calls|dnc)/[a-z%0-9:+.]{0,12}(/[a-z%0]{0,8})?",
        1 => "/[!-~]{0,40}",
    ];
    let cursors = [
        cursor,
        "bnVsbA".to_owned(),
        "W10".to_owned(),
        "WzAsIiJd".to_owned(),
        "WzkyMjMzNzIwMzY4NTQ3NzU4MDcsIlx1MDAwMCJd".to_owned(),
    ];
    let value = prop_oneof![
        "[ -~]{0,12}",
        select(&[
            "",
            "0",
            "1",
            "200",
            "201",
            "-1",
            "1e3",
            "99999999999999999999",
            "true",
            "false",
            "%00",
            "%FF",
            "%",
            "+",
            "ready",
            "running",
            "a:b:1"
        ])
        .prop_map(str::to_owned),
        select(cursors.to_vec()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
    ];
    let name = select(&[
        "cursor", "limit", "campaign", "lead", "live", "state", "x", "", "limit[]", "%63ursor",
    ]);
    let query = prop::collection::vec((name, value), 0..4);
    let method = select(&[
        "GET", "GET", "GET", "POST", "DELETE", "PATCH", "PUT", "HEAD", "OPTIONS", "BREW",
    ]);
    cases(4_000, (method, path, query), |(method, path, query)| {
        let query: Vec<_> = query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let uri = format!("{path}?{}", query.join("&"));
        let request = Rig::request(method, &uri).header("content-type", "application/json");
        if let Ok(request) = request.body(Body::empty()) {
            rig.runtime.block_on(rig.send(request));
        }
        Ok(())
    });
}

#[test]
fn without_the_key_nothing_is_told() {
    let rig = Rig::new();
    let keys = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer test-ke",
        "Bearer test-key2",
        "Basic test-key",
        "test-key",
        "Bearer test-key\u{e9}",
    ];
    rig.runtime.block_on(async {
        for key in keys {
            for path in [
                "/v1/campaigns",
                "/v1/nowhere",
                "/v1/dnc/%FF",
                "/v1/calls?limit=x",
            ] {
                let request =
                    axum::http::Request::get(path).header("authorization", key.as_bytes());
                let answer = rig.send(request.body(Body::empty()).unwrap()).await;
                assert_eq!(answer.status, 401, "{path} {key:?}");
            }
        }
    });
}
