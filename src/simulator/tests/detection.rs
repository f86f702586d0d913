//! Twilio's detection of machines, before the document or beside it.

use super::documents::heard;
use super::{SPEED, World, person};
use crate::{After, Faults, Person, Who};

const BEEPS: Who = Who::Machine {
    greeting_ms: 6_000,
    then: After::Beep,
};
const NO_BEEP: Who = Who::Machine {
    greeting_ms: 6_000,
    then: After::Silence,
};

#[tokio::test]
async fn detection_says_who_answered() {
    let mut world = World::at_speed(SPEED).await;
    let table = [
        ("Enable", person(Who::Human, &[]), "human"),
        ("Enable", person(BEEPS, &[]), "machine_start"),
        ("Enable", person(Who::Fax, &[]), "fax"),
        ("Enable", person(Who::Silence, &[]), "unknown"),
        ("DetectMessageEnd", person(Who::Human, &[]), "human"),
        ("DetectMessageEnd", person(BEEPS, &[]), "machine_end_beep"),
        (
            "DetectMessageEnd",
            person(NO_BEEP, &[]),
            "machine_end_silence",
        ),
        (
            "DetectMessageEnd",
            person(
                Who::Machine {
                    greeting_ms: 4_000,
                    then: After::Other,
                },
                &[],
            ),
            "machine_end_other",
        ),
        (
            "DetectMessageEnd",
            person(
                Who::Machine {
                    greeting_ms: 40_000,
                    then: After::Beep,
                },
                &[],
            ),
            "unknown",
        ),
    ];
    world.serves("/held", "text/xml", "<Response><Say>Word</Say></Response>");
    for (n, (mode, person, expected)) in table.into_iter().enumerate() {
        let to = format!("+155501290{n:02}");
        world.is(&to, person.clone());
        let amd = ("MachineDetection", mode.to_owned());
        let held = ("Url", format!("{}/held", world.origin));
        let sid = world.call(&to, &[amd.clone(), held]).await;
        let asked = world.next_at("/held").await;
        assert_eq!(asked.get("AnsweredBy"), expected, "{mode}");
        assert_ne!(asked.get("MachineDetectionDuration"), "");
        let end = world.until_end().await.pop().unwrap();
        assert_eq!(
            (end.get("AnsweredBy"), end.get("CallSid")),
            (expected, sid.as_str())
        );
        if expected == "machine_end_beep" {
            let got = heard(world.sim.network(), &to);
            let word = ["beep", "said \"Word\" after the beep"];
            assert_eq!(got[1..3], word, "{got:?}");
        }

        // The same beside the document, which begins at once.
        let to = format!("+155501291{n:02}");
        world.is(&to, person);
        let aside = [
            amd,
            ("AsyncAmd", "true".to_owned()),
            ("AsyncAmdStatusCallback", format!("{}/amd", world.origin)),
        ];
        let sid = world.call(&to, &aside).await;
        assert_eq!(
            world.next_at("/amd").await.get("AnsweredBy"),
            expected,
            "{mode}"
        );
        if expected == "machine_end_beep" {
            let leave = "<Response><Say>Message</Say></Response>".to_owned();
            assert_eq!(world.update(&sid, &[("Twiml", leave)]).await, 200);
        } else {
            assert_eq!(
                world
                    .update(&sid, &[("Status", "completed".to_owned())])
                    .await,
                200
            );
        }
        world.until_end().await;
        let got = heard(world.sim.network(), &to);
        let left = got.contains(&"said \"Message\" after the beep".to_owned());
        assert_eq!(left, expected == "machine_end_beep", "{got:?}");
    }
}

#[tokio::test]
async fn detection_after_the_end_is_unknown_or_silent() {
    let mut world = World::new(Faults::default()).await;
    let mut told = 0;
    for n in 0..20 {
        let to = format!("+155501300{n:02}");
        let gone = Person {
            stays_ms: 1_000,
            ..Person::default()
        };
        world.is(&to, gone);
        let fields = [
            ("MachineDetection", "Enable".to_owned()),
            ("MachineDetectionSpeechEndThreshold", "5000".to_owned()),
            ("AsyncAmd", "true".to_owned()),
            ("AsyncAmdStatusCallback", format!("{}/amd", world.origin)),
        ];
        world.call(&to, &fields).await;
    }
    // All are over, and whatever is told is told soon.
    let mut ends = 0;
    while ends < 20 || told == 0 {
        let callback = world.next().await;
        if callback.path == "/amd" {
            assert_eq!(callback.get("AnsweredBy"), "unknown");
            told += 1;
        } else {
            ends += 1;
        }
    }
    assert!(told < 20);
}
