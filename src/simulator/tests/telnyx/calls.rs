//! Commands on an answered call, and who listens to them.

use std::time::Duration;

use serde_json::{Value, json};

use super::World;
use crate::tests::{SPEED, person};
use crate::{After, Faults, Person, Script, Who};

impl World {
    /// A call that somebody has answered.
    pub(super) async fn answered(&mut self, to: &str, person: Person, more: &Value) -> String {
        let ring_ms = 500;
        let script = Script::Person { ring_ms, person };
        self.sim.network().set_script(to, script);
        let mut body = self.body(to, &format!("camp:{to}:1"));
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let (status, call) = self.post("calls", &body).await.unwrap();
        assert_eq!(status, 200, "{call}");
        self.event("call.answered").await;
        call["data"]["call_control_id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn command(&self, call: &str, action: &str, body: &Value) {
        let (status, answer) = self.act(call, action, body).await;
        assert_eq!(status, 200, "{action} {body}: {answer}");
    }

    pub(super) fn heard(&self, phone: &str) -> Vec<String> {
        let calls = self.sim.network().heard_by(phone);
        let all = calls.iter().flatten();
        all.map(|heard| heard.sound.to_string()).collect()
    }

    /// Until the network has this to say of the last call.
    pub(super) async fn until_heard(&self, phone: &str, wanted: &str) -> Vec<String> {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        let found = async {
            loop {
                let heard = self.heard(phone);
                if heard.iter().any(|line| line == wanted) {
                    return heard;
                }
                tick.tick().await;
            }
        };
        let found = tokio::time::timeout(super::PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("{wanted}: {:?}", self.heard(phone)))
    }
}

#[tokio::test]
async fn a_transfer_has_a_leg_of_its_own() {
    let mut world = World::at_speed(SPEED).await;
    let network = world.sim.network().clone();
    network.set_script(
        "+15550133099",
        Script::Human {
            ring_ms: 1_000,
            talk_ms: 5_000,
        },
    );
    let table = [
        ("+15550133099", false, "normal_clearing"),
        ("+15550133099", true, "normal_clearing"),
        ("+15550100200", false, "user_busy"),
        ("+15550100300", false, "timeout"),
        ("+15550100600", false, "call_rejected"),
    ];
    for (n, (target, park, cause)) in table.into_iter().enumerate() {
        let to = format!("+155501330{n:02}");
        let call = world
            .answered(&to, person(Who::Human, &[]), &json!({}))
            .await;
        let mut body = json!({"to": target, "timeout_secs": 20, "client_state": "YQ==", "target_leg_client_state": "Yg=="});
        if park {
            body["park_after_unbridge"] = json!("self");
        }
        world.command(&call, "transfer", &body).await;
        let begun = world.event("call.initiated").await;
        assert_ne!(begun["call_control_id"], *call);
        assert_eq!(
            (&begun["to"], &begun["client_state"]),
            (&json!(target), &json!("Yg=="))
        );
        let answered = cause == "normal_clearing";
        if answered {
            assert_eq!(world.event("call.answered").await["client_state"], "Yg==");
            world.event("call.bridged").await;
        }
        let end = world.event("call.hangup").await;
        assert_eq!(
            (&end["hangup_cause"], &end["client_state"]),
            (&json!(cause), &json!("Yg=="))
        );
        if answered && !park {
            let own = world.event("call.hangup").await;
            assert_eq!(own["call_control_id"], *call);
        } else {
            let speak = json!({"payload": "Still here", "voice": "female"});
            world.command(&call, "speak", &speak).await;
            world.event("call.speak.ended").await;
            world.command(&call, "hangup", &json!({})).await;
            world.event("call.hangup").await;
        }
        let status = ["completed", "completed", "busy", "no-answer", "failed"][n];
        let mut expected = vec![format!("passed on to {target}: {status}")];
        if !answered || park {
            expected.push("said \"Still here\"".to_owned());
        }
        let heard = world.until_heard(&to, "hung up by us").await;
        assert_eq!(heard[1..heard.len() - 1], expected);
    }
}

#[tokio::test]
async fn recordings_are_saved_and_their_addresses_expire() {
    let mut world = World::at_speed(SPEED).await;
    let to = "+15550134001";
    let call = world
        .answered(
            to,
            person(Who::Human, &[]),
            &json!({"record": "record-from-answer"}),
        )
        .await;
    world.command(&call, "hangup", &json!({})).await;
    let saved = world.event("call.recording.saved").await;
    assert!(saved.get("call_control_id").is_none(), "{saved}");
    assert_eq!(saved["channels"], "dual");
    let file = async |url: &Value| {
        let answer = world.http.get(url.as_str().unwrap()).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    let (status, mp3) = file(&saved["recording_urls"]["mp3"]).await;
    assert!(status == 200 && mp3.starts_with(b"ID3"));
    let leg = saved["call_leg_id"].as_str().unwrap();
    let (_, listed) = world
        .get(&format!("recordings?filter[call_leg_id]={leg}"))
        .await;
    let id = listed["data"][0]["id"].as_str().unwrap();
    let (_, one) = world.get(&format!("recordings/{id}")).await;
    assert_eq!(one["data"]["call_leg_id"], leg);
    assert_eq!(file(&one["data"]["download_urls"]["mp3"]).await.1, mp3);

    world.sim.faults().set(Faults {
        media_expired: 1.0,
        ..Faults::default()
    });
    let to = "+15550134002";
    let call = world
        .answered(to, person(Who::Human, &[]), &json!({}))
        .await;
    let (status, bad) = world
        .act(
            &call,
            "record_start",
            &json!({"format": "ogg", "channels": "dual"}),
        )
        .await;
    assert_eq!((status, &bad["errors"][0]["code"]), (422, &json!("10015")));
    world
        .command(
            &call,
            "record_start",
            &json!({"format": "wav", "channels": "single"}),
        )
        .await;
    for action in ["record_pause", "record_resume", "record_stop"] {
        world.command(&call, action, &json!({})).await;
    }
    let saved = world.event("call.recording.saved").await;
    let file = async |url: &Value| {
        let answer = world.http.get(url.as_str().unwrap()).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    assert_eq!(file(&saved["recording_urls"]["wav"]).await.0, 403);
    let leg = saved["call_leg_id"].as_str().unwrap();
    let (_, listed) = world
        .get(&format!("recordings?filter[call_leg_id]={leg}"))
        .await;
    let (status, wav) = file(&listed["data"][0]["download_urls"]["wav"]).await;
    assert!(status == 200 && wav.starts_with(b"RIFF"));
    assert_eq!(
        world.heard(to)[1..],
        [
            "recording started",
            "recording paused",
            "recording resumed",
            "recording stopped"
        ]
    );
}

#[tokio::test]
async fn a_stream_begins_and_ends_or_fails() {
    let mut world = World::at_speed(SPEED).await;
    let to = "+15550135001";
    let call = world
        .answered(to, person(Who::Human, &[]), &json!({}))
        .await;
    let stream = |url: &str| {
        json!({
            "stream_url": url,
            "stream_track": "both_tracks",
            "stream_bidirectional_mode": "rtp",
            "custom_parameters": [{"name": "a", "value": "b"}],
            "client_state": "YQ==",
        })
    };
    world
        .command(&call, "streaming_start", &stream("wss://nobody.invalid/a"))
        .await;
    world.event("streaming.failed").await;
    world
        .command(&call, "streaming_start", &stream("wss://a.example/a"))
        .await;
    world.event("streaming.started").await;
    assert_eq!(
        world.event("streaming.stopped").await["client_state"],
        "YQ=="
    );
    world
        .command(&call, "streaming_start", &stream("wss://a.example/b"))
        .await;
    world.event("streaming.started").await;
    world.command(&call, "streaming_stop", &json!({})).await;
    world.event("streaming.stopped").await;
    let (status, _) = world
        .act(&call, "streaming_start", &stream("http://a.example"))
        .await;
    assert_eq!(status, 422);
    assert_eq!(
        world.heard(to)[1..],
        [
            "streamed to wss://a.example/a",
            "streamed to wss://a.example/b"
        ]
    );
}

#[tokio::test]
async fn each_mode_of_detection_has_its_events() {
    let mut world = World::at_speed(SPEED).await;
    let machine = |greeting_ms, then| Who::Machine { greeting_ms, then };
    let (verdict, greeting) = (
        "call.machine.detection.ended",
        "call.machine.greeting.ended",
    );
    let premium = "call.machine.premium.detection.ended";
    let ended = "call.machine.premium.greeting.ended";
    let beeps = machine(6_000, After::Beep);
    let silent = machine(6_000, After::Silence);
    let table = [
        ("detect", Who::Human, vec![(verdict, "human")]),
        ("detect", beeps, vec![(verdict, "machine")]),
        ("detect", Who::Silence, vec![(verdict, "not_sure")]),
        (
            "detect_beep",
            beeps,
            vec![(verdict, "machine"), (greeting, "beep_detected")],
        ),
        ("detect_beep", silent, vec![(verdict, "machine")]),
        (
            "greeting_end",
            silent,
            vec![(verdict, "machine"), (greeting, "ended")],
        ),
        (
            "greeting_end",
            machine(6_000, After::Other),
            vec![(verdict, "machine"), (greeting, "not_sure")],
        ),
        ("premium", Who::Human, vec![(premium, "human_residence")]),
        ("premium", Who::Fax, vec![(premium, "fax_detected")]),
        ("premium", Who::Silence, vec![(premium, "silence")]),
        (
            "premium",
            beeps,
            vec![(premium, "machine"), (ended, "beep_detected")],
        ),
        (
            "premium",
            machine(1_000, After::Beep),
            vec![(ended, "beep_detected")],
        ),
        (
            "premium",
            silent,
            vec![(premium, "machine"), (ended, "no_beep_detected")],
        ),
    ];
    for (n, (mode, who, expected)) in table.into_iter().enumerate() {
        let to = format!("+155501360{n:02}");
        let stays = Person {
            stays_ms: 30_000,
            ..person(who, &[])
        };
        world
            .answered(&to, stays, &json!({"answering_machine_detection": mode}))
            .await;
        let mut told = Vec::new();
        loop {
            let (_, event) = world.next().await;
            let kind = event["data"]["event_type"].as_str().unwrap().to_owned();
            if kind == "call.hangup" {
                break;
            }
            let result = event["data"]["payload"]["result"]
                .as_str()
                .unwrap_or_default();
            told.push((kind, result.to_owned()));
        }
        // Each is a request of its own: they may overtake each other.
        let mut told: Vec<_> = told.iter().map(|(k, r)| (k.as_str(), r.as_str())).collect();
        told.sort_unstable();
        assert_eq!(told, expected, "{mode} {who:?}");
    }
}
