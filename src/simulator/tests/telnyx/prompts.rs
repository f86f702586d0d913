//! What is said and played to a person, and the keys that are gathered.

use serde_json::{Value, json};

use super::World;
use crate::tests::{SPEED, person};
use crate::{Person, Who};

/// A command, the keys its listener presses, its event and what that says, and what is heard.
type Case = (
    &'static str,
    Value,
    Vec<&'static str>,
    &'static str,
    Value,
    Vec<&'static str>,
);

fn speak(text: &str) -> Value {
    json!({"payload": text, "voice": "female", "language": "en-US"})
}

fn sounds() -> Vec<Case> {
    vec![
        (
            "speak",
            speak("Hello"),
            vec![],
            "call.speak.ended",
            json!({"status": "completed"}),
            vec!["said \"Hello\""],
        ),
        (
            "speak",
            json!({"payload": "<speak>One <break time=\"1s\"/>&amp; two</speak>", "payload_type": "ssml", "voice": "AWS.Polly.Amy"}),
            vec![],
            "call.speak.ended",
            json!({"status": "completed"}),
            vec!["said \"One & two\""],
        ),
        (
            "playback_start",
            json!({"audio_url": "http://a.example/b.mp3", "loop": 2}),
            vec![],
            "call.playback.ended",
            json!({"status": "completed", "media_url": "http://a.example/b.mp3"}),
            vec![
                "played http://a.example/b.mp3",
                "played http://a.example/b.mp3",
            ],
        ),
        (
            "playback_start",
            json!({"audio_url": "http://nobody.invalid/b.mp3"}),
            vec![],
            "call.playback.ended",
            json!({"status": "file_not_found"}),
            vec![],
        ),
    ]
}

fn gathers() -> Vec<Case> {
    let gather = |more: Value| {
        let mut body = speak("Press");
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    let digits = |digits: &str, status: &str| json!({"digits": digits, "status": status});
    let short = json!({"maximum_digits": 1, "timeout_millis": 2000, "maximum_tries": 2, "valid_digits": "12", "invalid_payload": "Again"});
    vec![
        (
            "gather",
            json!({"maximum_digits": 2}),
            vec!["12"],
            "call.gather.ended",
            digits("12", "valid"),
            vec!["pressed \"12\""],
        ),
        (
            "gather",
            json!({}),
            vec!["12#"],
            "call.gather.ended",
            digits("12", "valid"),
            vec!["pressed \"12\""],
        ),
        (
            "gather",
            json!({}),
            vec![],
            "call.gather.ended",
            digits("", "timeout"),
            vec![],
        ),
        (
            "gather_using_speak",
            gather(short.clone()),
            vec!["1"],
            "call.gather.ended",
            digits("1", "valid"),
            vec!["said \"Press\"", "pressed \"1\""],
        ),
        (
            "gather_using_speak",
            gather(short.clone()),
            vec!["7", "2"],
            "call.gather.ended",
            digits("2", "valid"),
            vec![
                "said \"Press\"",
                "pressed \"7\"",
                "said \"Again\"",
                "pressed \"2\"",
            ],
        ),
        (
            "gather_using_speak",
            gather(short.clone()),
            vec!["7", "8"],
            "call.gather.ended",
            digits("8", "invalid"),
            vec![
                "said \"Press\"",
                "pressed \"7\"",
                "said \"Again\"",
                "pressed \"8\"",
            ],
        ),
        (
            "gather_using_speak",
            gather(short),
            vec![],
            "call.gather.ended",
            digits("", "timeout"),
            vec!["said \"Press\"", "said \"Press\""],
        ),
        (
            "gather_using_audio",
            json!({"audio_url": "http://a.example/b.mp3", "maximum_digits": 1}),
            vec!["3"],
            "call.gather.ended",
            digits("3", "valid"),
            vec!["played http://a.example/b.mp3", "pressed \"3\""],
        ),
    ]
}

#[tokio::test]
async fn every_command_is_heard_and_its_end_told() {
    let mut world = World::at_speed(SPEED).await;
    let table = sounds().into_iter().chain(gathers());
    for (n, (action, body, keys, event, said, expected)) in table.enumerate() {
        let to = format!("+155501310{n:02}");
        let call = world
            .answered(&to, person(Who::Human, &keys), &json!({}))
            .await;
        let mut body = body;
        body["client_state"] = json!("c3RhdGU=");
        body["command_id"] = json!(format!("c-{n}"));
        for _ in 0..2 {
            world.command(&call, action, &body).await;
        }
        let ended = world.event(event).await;
        for (key, value) in said.as_object().unwrap() {
            assert_eq!(&ended[key], value, "{action} {keys:?}: {ended}");
        }
        assert_eq!(ended["client_state"], "c3RhdGU=");
        world.command(&call, "hangup", &json!({})).await;
        let heard = world.until_heard(&to, "hung up by us").await;
        assert_eq!(heard[1..heard.len() - 1], expected, "{action} {keys:?}");
        let (status, over) = world
            .act(
                &call,
                action,
                &json!({"audio_url": "http://a.example/", "payload": "a", "voice": "female"}),
            )
            .await;
        // What is no field of this command is refused before that.
        let code = over["errors"][0]["code"].as_str().unwrap().to_owned();
        assert!(
            status == 422 && ["90018", "10015"].contains(&code.as_str()),
            "{over}"
        );
    }
}

#[tokio::test]
async fn what_is_heard_can_be_stopped() {
    let mut world = World::at_speed(SPEED).await;
    let long = "A very long text ".repeat(60);
    let speak = json!({"payload": long, "voice": "female", "client_state": "YQ=="});
    let to = "+15550132001";
    let call = world
        .answered(to, person(Who::Human, &[]), &json!({}))
        .await;
    world.command(&call, "speak", &speak).await;
    world.command(&call, "speak", &speak).await;
    world.event("call.speak.started").await;
    world
        .command(&call, "playback_stop", &json!({"stop": "all"}))
        .await;
    assert_eq!(world.event("call.speak.ended").await["status"], "cancelled");
    world
        .command(&call, "gather", &json!({"initial_timeout_millis": 60_000}))
        .await;
    world.command(&call, "gather_stop", &json!({})).await;
    assert_eq!(
        world.event("call.gather.ended").await["status"],
        "cancelled"
    );
    world.command(&call, "speak", &speak).await;
    world.event("call.speak.started").await;
    world.command(&call, "hangup", &json!({})).await;
    assert_eq!(
        world.event("call.speak.ended").await["status"],
        "call_hangup"
    );
    let heard = world.until_heard(to, "hung up by us").await;
    assert!(
        heard[1..3].iter().all(|line| line.ends_with(", cut short")),
        "{heard:?}"
    );
    assert_eq!(heard.len(), 4, "the second one was never begun");

    // Pressed in the midst of the prompt.
    let to = "+15550132002";
    let hasty = Person {
        interrupts: true,
        ..person(Who::Human, &["1"])
    };
    let call = world.answered(to, hasty, &json!({})).await;
    let ask = json!({"payload": "Press one or two", "voice": "female", "maximum_digits": 1});
    world.command(&call, "gather_using_speak", &ask).await;
    assert_eq!(world.event("call.gather.ended").await["digits"], "1");
    assert_eq!(
        world.heard(to)[1..],
        ["said \"Press one or two\", cut short", "pressed \"1\""]
    );
}
