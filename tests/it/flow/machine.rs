//! Who answered, and what is done about it while the call lasts.

use std::collections::BTreeMap;

use dialfleet_domain::amd::{AmdMode, OnMachine};
use dialfleet_domain::call::{Detected, Ending, Outcome, Party, Todo};
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::flow::{Grain, Input, Program, Script};
use dialfleet_engine::port::carrier::CallStatus;
use dialfleet_engine::port::store::{Cas, SaveAttempt};
use serde_json::json;

use super::Rig;

fn message() -> serde_json::Value {
    json!({
        "steps": [{"do": "say", "text": "Hello"}, {"do": "pause", "seconds": 5}],
        "voicemail": {"steps": [{"do": "say", "text": "Message for {{ first_name }}"}]}
    })
}

const fn heard(detected: Detected) -> CallStatus {
    CallStatus::detected(detected)
}

#[tokio::test]
async fn a_machine_gets_the_message_after_its_greeting() {
    let rig = Rig::new().await;
    let attempt = rig.call(message(), |c| c.amd.mode = AmdMode::Async).await;
    rig.happens(&attempt, "1", vec![CallStatus::Answered]).await;
    rig.happens(&attempt, "2", vec![heard(Detected::MachineEndBeep)])
        .await;
    let told = rig.told();
    let [(path, body)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(path, "/2010-04-01/Accounts/AC1/Calls/CA1.json");
    let fields: BTreeMap<String, String> = form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let text = &fields["Twiml"];
    assert!(
        text.starts_with("<Response><Say>Message for Ann &lt;&amp;&gt;</Say><Redirect"),
        "{text}"
    );
    // Told again, it is not told again.
    rig.happens(&attempt, "3", vec![heard(Detected::MachineEndBeep)])
        .await;
    assert_eq!(rig.told(), []);
    assert!(!rig.read(&attempt).await.left_message());
    let (_, rest) = text.split_once("\"POST\">").unwrap();
    let next = rest.split_once('<').unwrap().0.replace("&amp;", "&");
    let (page, _) = rig.page(&next, &[]).await;
    assert_eq!(page, "<Response><Hangup/></Response>");
    let ended = CallStatus::Ended {
        ending: Ending::Completed,
        duration_s: Some(20),
        sip: None,
    };
    rig.happens(&attempt, "4", vec![ended]).await;
    let after = rig.read(&attempt).await;
    assert_eq!(after.outcome, Some(Outcome::VoicemailLeft));
    assert_eq!(after.detected, Some(Detected::MachineEndBeep));
    // After the end a verdict is an annotation.
    rig.happens(&attempt, "5", vec![heard(Detected::Human)])
        .await;
    let after = rig.read(&attempt).await;
    assert_eq!(after.outcome, Some(Outcome::VoicemailLeft));
    assert_eq!(after.party, Some(Party::Human));
    assert!(!after.todo.contains(&Todo::Judge));
}

#[tokio::test]
async fn a_message_that_was_cut_off_was_not_left() {
    let rig = Rig::new().await;
    let attempt = rig.call(message(), |c| c.amd.mode = AmdMode::Async).await;
    rig.happens(
        &attempt,
        "1",
        vec![CallStatus::Answered, heard(Detected::MachineEndSilence)],
    )
    .await;
    assert_eq!(rig.told().len(), 1);
    let ended = CallStatus::Ended {
        ending: Ending::Completed,
        duration_s: Some(20),
        sip: None,
    };
    rig.happens(&attempt, "2", vec![ended]).await;
    let after = rig.read(&attempt).await;
    assert_eq!(after.outcome, Some(Outcome::MachineHangup));
}

#[tokio::test]
async fn a_machine_is_hung_up_on_and_doubt_is_a_person() {
    let rig = Rig::new().await;
    let hangs_up = |c: &mut Campaign| {
        c.amd.mode = AmdMode::Async;
        c.amd.on_machine = Some(OnMachine::HangUp);
    };
    let attempt = rig.call(message(), hangs_up).await;
    rig.happens(
        &attempt,
        "1",
        vec![CallStatus::Answered, heard(Detected::NotSure)],
    )
    .await;
    assert_eq!(rig.told(), []);
    assert_eq!(rig.read(&attempt).await.party, Some(Party::Unknown));
    let rig = Rig::new().await;
    let attempt = rig.call(message(), hangs_up).await;
    rig.happens(
        &attempt,
        "1",
        vec![CallStatus::Answered, heard(Detected::MachineStart)],
    )
    .await;
    let told = rig.told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1, "Status=completed");
}

#[tokio::test]
async fn a_person_after_all_hears_the_flow() {
    let rig = Rig::new().await;
    let attempt = rig.call(message(), |c| c.amd.mode = AmdMode::Async).await;
    rig.happens(
        &attempt,
        "1",
        vec![CallStatus::Answered, heard(Detected::MachineEndOther)],
    )
    .await;
    rig.told();
    rig.happens(&attempt, "2", vec![heard(Detected::Human)])
        .await;
    let told = rig.told();
    assert_eq!(told.len(), 1, "{told:?}");
    let fields: BTreeMap<String, String> = form_urlencoded::parse(told[0].1.as_bytes())
        .into_owned()
        .collect();
    assert!(
        fields["Twiml"].starts_with("<Response><Say>Hello</Say>"),
        "{fields:?}"
    );
}

#[tokio::test]
async fn with_detection_first_the_first_page_is_the_message() {
    let rig = Rig::new().await;
    let attempt = rig.call(message(), |c| c.amd.mode = AmdMode::Sync).await;
    let (text, next) = rig
        .page(&rig.first(&attempt), &[("AnsweredBy", "machine_end_beep")])
        .await;
    assert!(text.starts_with("<Response><Say>Message for"), "{text}");
    assert_eq!(rig.told(), [], "it was asked, and is not told as well");
    let (text, _) = rig.page(&next, &[]).await;
    assert_eq!(text, "<Response><Hangup/></Response>");
    assert!(rig.read(&attempt).await.left_message());
}

#[tokio::test]
async fn a_carrier_that_asks_is_not_told_as_well() {
    let rig = Rig::new().await;
    let flow = json!({
        "steps": [{"do": "gather", "set": "pin", "prompt": [{"do": "say", "text": "Your pin"}]}],
        "voicemail": {"steps": [{"do": "say", "text": "Message for {{ first_name }}"}]}
    });
    let attempt = rig.call(flow, |c| c.amd.mode = AmdMode::Async).await;
    rig.happens(&attempt, "1", vec![CallStatus::Answered]).await;
    let (text, next) = rig.page(&rig.first(&attempt), &[]).await;
    assert!(text.contains("Your pin"), "{text}");
    // Its verdict is in, and the command that follows from it waits for somebody.
    let mut judged = rig.read(&attempt).await;
    let (expected, store) = (judged.version, &rig.fleet.store);
    let lead = store.leads(std::slice::from_ref(&attempt.lead)).await;
    let lead = lead.unwrap().remove(0).unwrap();
    let campaign = rig.fleet.campaign(&attempt.campaign).await;
    let program = Program::of(&campaign.unwrap().unwrap().flow);
    let script = Script::new(program, &lead.vars, &lead.phone, Grain::Document);
    let input = Input::Machine {
        greeting_over: true,
    };
    let (turn, now) = (judged.turn(), rig.fleet.clock.now());
    judged.hear(&script, turn, input, true, now);
    assert!(matches!(judged.todo.as_slice(), [Todo::Perform { .. }]));
    let save = SaveAttempt {
        attempt: judged,
        expected,
    };
    assert_eq!(store.save_attempts(&[save]).await.unwrap(), [Cas::Won]);

    let (text, _) = rig.page(&next, &[("Digits", "1")]).await;
    assert!(text.starts_with("<Response><Say>Message for"), "{text}");
    let after = rig.read(&attempt).await;
    assert_eq!(
        (after.todo.as_slice(), after.todo_at),
        ([].as_slice(), None)
    );
    assert_eq!(rig.told(), []);
}
