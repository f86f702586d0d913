//! The language, instruction by instruction, and what holds for any flow and any inputs.

mod any;
mod language;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::action::Saying;
use super::script::Lacking;
use super::*;
use crate::call::Party;
use crate::phone::E164;

fn flow(steps: Value) -> Flow {
    let flow = Flow::read(&json!({ "steps": steps })).expect("a flow");
    flow.check().expect("a good one");
    flow
}

fn phone() -> E164 {
    E164::parse("+442079460119", None).expect("a number")
}

fn vars(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    of.iter().map(owned).collect()
}

fn script(flow: &Flow, grain: Grain, of: &[(&str, &str)]) -> Script {
    Script::new(Program::of(flow), &vars(of), &phone(), grain)
}

fn keys(text: &str) -> Input {
    Input::Keys {
        keys: Keys::parse(text).expect("keys"),
    }
}

/// What a call does with these inputs, in short words.
fn played(flow: &Flow, grain: Grain, inputs: &[Input]) -> Vec<String> {
    let script = script(flow, grain, &[("first_name", "Ann"), ("country", "GB")]);
    let mut session = Session::default();
    let mut turns = Vec::new();
    for input in inputs {
        let turn = session.take(&script, *input, None);
        assert_eq!(session.again(&script), Some(turn.clone()), "asked again");
        turns.push(short(&turn));
    }
    turns
}

fn short(turn: &Turn) -> String {
    let mut words: Vec<String> = turn.actions.iter().map(word).collect();
    words.push(
        match turn.then {
            Then::Ask => "?",
            Then::OptOut => "!",
            Then::End => ".",
        }
        .to_owned(),
    );
    words.join(" ")
}

fn word(action: &Action) -> String {
    match action {
        Action::Say(Saying { text, .. }) => format!("\"{text}\""),
        Action::Play { url } => format!("play({url})"),
        Action::Pause { seconds } => format!("pause({seconds})"),
        Action::Gather {
            prompt, max_digits, ..
        } => {
            let prompt: Vec<String> = prompt.iter().map(word).collect();
            format!("gather({} {max_digits})", prompt.join(" "))
        }
        Action::Record { on } => format!("record({on})"),
        Action::Stream { url, params, .. } => format!("stream({url} {params:?})"),
        Action::Transfer { to, timeout_s, .. } => format!("transfer({} {timeout_s})", to.address()),
        Action::Hangup => "hangup".to_owned(),
    }
}

const DONE: Input = Input::Done;

#[test]
fn a_straight_flow_is_one_document_or_one_command_after_another() {
    let straight = flow(json!([
        {"do": "say", "text": "Hello {{ first_name }}"},
        {"do": "record"},
        {"do": "play", "url": "https://x.example/{{ country | lower }}.mp3"},
        {"do": "pause", "seconds": 2},
        {"do": "set", "var": "a", "value": "b"},
        {"do": "record", "on": false}
    ]));
    assert!(Program::of(&straight).is_straight());
    assert_eq!(
        played(&straight, Grain::Document, &[DONE]),
        [
            "\"Hello Ann\" record(true) play(https://x.example/gb.mp3) pause(2) record(false) hangup ."
        ]
    );
    assert_eq!(
        played(&straight, Grain::Command, &[DONE; 5]),
        [
            "\"Hello Ann\" ?",
            "record(true) play(https://x.example/gb.mp3) ?",
            "pause(2) ?",
            "record(false) hangup .",
            "hangup ."
        ]
    );
}

fn menu() -> Flow {
    flow(json!([
        {"do": "menu", "set": "choice", "tries": 2,
         "prompt": [{"do": "say", "text": "One or nine"}],
         "options": {
            "1": [{"do": "say", "text": "One"}],
            "2": [{"do": "hangup"}],
            "9": [{"do": "opt_out"}]},
         "no_input": [{"do": "say", "text": "Nothing"}]},
        {"do": "say", "text": "After {{ choice }}"}
    ]))
}

#[test]
fn a_menu_leads_by_key_and_asks_again() {
    let asks = "gather(\"One or nine\" 1) ?";
    let bye = "\"You will not be called again. Goodbye.\" hangup .";
    let sorry = "\"We heard your wish, but could not record it yet. We will keep trying. Goodbye.\" hangup .";
    let written = |written| Input::OptedOut { written };
    let table: [(&[Input], &[&str]); 9] = [
        (&[DONE, keys("1")], &[asks, "\"One\" \"After 1\" hangup ."]),
        (&[DONE, keys("2")], &[asks, "hangup ."]),
        (&[DONE, keys("9")], &[asks, "!"]),
        (&[DONE, keys("9"), written(true)], &[asks, "!", bye]),
        (&[DONE, keys("9"), written(false)], &[asks, "!", sorry]),
        (&[DONE, keys("9"), DONE], &[asks, "!", sorry]),
        (
            &[DONE, keys(""), keys("1")],
            &[asks, asks, "\"One\" \"After 1\" hangup ."],
        ),
        (
            &[DONE, keys("7"), DONE],
            &[asks, asks, "\"Nothing\" \"After \" hangup ."],
        ),
        (
            &[DONE, Input::Failed, Input::Failed, DONE],
            &[asks, asks, "\"Nothing\" \"After \" hangup .", "hangup ."],
        ),
    ];
    for (inputs, expected) in table {
        assert_eq!(
            played(&menu(), Grain::Document, inputs),
            expected,
            "{inputs:?}"
        );
    }
    assert_eq!(
        played(
            &menu(),
            Grain::Command,
            &[DONE, keys("9"), written(true), DONE]
        ),
        [
            asks,
            "!",
            "\"You will not be called again. Goodbye.\" ?",
            "hangup ."
        ]
    );
}

#[test]
fn a_menus_gather_knows_which_keys_opt_out() {
    let mut session = Session::default();
    let turn = session.take(&script(&menu(), Grain::Document, &[]), DONE, None);
    let Some(Action::Gather { opt_out, .. }) = turn.actions.first() else {
        panic!("{turn:?}")
    };
    assert_eq!(opt_out, &['9']);
}

#[test]
fn digits_are_gathered_if_there_are_enough() {
    let pin = flow(json!([
        {"do": "gather", "set": "pin", "max_digits": 4, "min_digits": 4, "tries": 2,
         "prompt": [{"do": "say", "text": "A"}, {"do": "pause", "seconds": 1}, {"do": "say", "text": "B"}],
         "no_input": [{"do": "say", "text": "None"}]},
        {"do": "say", "text": "It is {{ pin | spell }}, {{ digits }}"}
    ]));
    let asks = "gather(\"A\" pause(1) \"B\" 4) ?";
    let table: [(&[Input], &[&str]); 3] = [
        (
            &[DONE, keys("1234")],
            &[asks, "\"It is 1 2 3 4, 1234\" hangup ."],
        ),
        (
            &[DONE, keys("123"), keys("4321")],
            &[asks, asks, "\"It is 4 3 2 1, 4321\" hangup ."],
        ),
        (
            &[DONE, keys("123"), keys("")],
            &[asks, asks, "\"None\" \"It is , \" hangup ."],
        ),
    ];
    for (inputs, expected) in table {
        assert_eq!(
            played(&pin, Grain::Document, inputs),
            expected,
            "{inputs:?}"
        );
    }
    // Told one thing at a time, the prompt is heard part by part, and again at the second try.
    let (once, twice) = (
        ["\"A\" ?", "pause(1) ?", "gather(\"B\" 4) ?"],
        [DONE, DONE, DONE],
    );
    let heard = played(
        &pin,
        Grain::Command,
        &[&twice[..], &[keys("")], &twice[1..]].concat(),
    );
    assert_eq!(heard, [once, once].concat());
}

#[test]
fn a_branch_goes_by_what_it_is_told() {
    let branch = |on: &str| {
        flow(json!([{"do": "branch", "on": on,
            "cases": {"GB": [{"do": "say", "text": "British"}], "human": [{"do": "say", "text": "Person"}]},
            "else": [{"do": "say", "text": "Other"}]}]))
    };
    let said = |flow: &Flow, party| {
        let script = script(flow, Grain::Document, &[("country", "gb")]);
        short(&Session::default().take(&script, DONE, party))
    };
    assert_eq!(said(&branch("{{ country }}"), None), "\"British\" hangup .");
    assert_eq!(
        said(&branch("{{ party }}"), Some(Party::Human)),
        "\"Person\" hangup ."
    );
    assert_eq!(said(&branch("{{ party }}"), None), "\"Other\" hangup .");
    assert_eq!(
        said(&branch("{% if country == 'gb' %}human{% endif %}"), None),
        "\"Person\" hangup ."
    );
}

#[test]
fn a_transfer_goes_on_by_its_end() {
    let transfer = flow(json!([
        {"do": "transfer", "to": {"number": "+442079460000"}, "timeout_s": 20,
         "failed": [{"do": "say", "text": "Nobody"}, {"do": "hangup"}]},
        {"do": "say", "text": "Back"}
    ]));
    let rings = "transfer(+442079460000 20) ?";
    let over = |connected| Input::Transferred { connected };
    let table: [(Input, &str); 4] = [
        (over(true), "\"Back\" hangup ."),
        (over(false), "\"Nobody\" hangup ."),
        (Input::Failed, "\"Nobody\" hangup ."),
        (DONE, "\"Back\" hangup ."),
    ];
    for (input, expected) in table {
        assert_eq!(
            played(&transfer, Grain::Document, &[DONE, input]),
            [rings, expected]
        );
    }
    // Nobody to connect to is nobody who answers.
    let to = flow(
        json!([{"do": "transfer", "to": {"number": "{{ desk }}"}, "failed": [{"do": "say", "text": "Nobody"}]}]),
    );
    let script = script(&to, Grain::Document, &[("desk", "no number")]);
    assert_eq!(
        short(&Session::default().take(&script, DONE, None)),
        "\"Nobody\" hangup ."
    );
}

#[test]
fn a_stream_gets_the_leads_words_and_then_the_flow_goes_on() {
    let stream = flow(json!([
        {"do": "stream", "url": "wss://a.example/x", "params": {"name": "{{ first_name }}"}},
        {"do": "say", "text": "Bye"}
    ]));
    assert_eq!(
        played(&stream, Grain::Document, &[DONE, DONE]),
        [
            "stream(wss://a.example/x {\"name\": \"Ann\"}) ?",
            "\"Bye\" hangup ."
        ]
    );
}

fn with_voicemail() -> Flow {
    let flow = Flow::read(&json!({
        "steps": [{"do": "say", "text": "Hi"}, {"do": "pause", "seconds": 5}],
        "voicemail": {"steps": [{"do": "say", "text": "Message"}, {"do": "pause", "seconds": 1}], "wait_s": 20}
    }));
    flow.expect("a flow")
}

#[test]
fn a_message_is_left_when_it_was_heard_to_its_end() {
    let flow = with_voicemail();
    flow.check().expect("good");
    for (grain, heard) in [
        (Grain::Document, vec!["\"Message\" pause(1) ?", "hangup ."]),
        (
            Grain::Command,
            vec!["\"Message\" ?", "pause(1) ?", "hangup ."],
        ),
    ] {
        let script = script(&flow, grain, &[]);
        // The greeting is over, or nobody said so and the time is up.
        for (input, waits) in [(true, false), (false, true)] {
            let mut session = Session::default();
            session.take(&script, DONE, None);
            let machine = Some(Party::Machine);
            assert!(session.hears_machine(&script.program, input));
            let mut turn = session.take(
                &script,
                Input::Machine {
                    greeting_over: input,
                },
                machine,
            );
            if waits {
                assert_eq!(short(&turn), "pause(20) ?");
                assert!(!session.hears_machine(&script.program, false));
                assert!(session.hears_machine(&script.program, true));
                turn = session.take(&script, DONE, machine);
            }
            for (i, expected) in heard.iter().enumerate() {
                assert_eq!(&short(&turn), expected);
                assert!(!session.hears_machine(&script.program, true), "it is begun");
                let last = i + 1 == heard.len();
                assert_eq!(session.message_left, last, "{grain:?} {expected}");
                if !last {
                    turn = session.take(&script, DONE, machine);
                }
            }
        }
    }
}

#[test]
fn a_message_that_could_not_be_played_was_not_left() {
    let flow = with_voicemail();
    let script = script(&flow, Grain::Command, &[]);
    let mut session = Session::default();
    let machine = Some(Party::Machine);
    session.take(
        &script,
        Input::Machine {
            greeting_over: true,
        },
        machine,
    );
    let turn = session.take(&script, Input::Failed, machine);
    assert_eq!(
        (short(&turn).as_str(), session.message_left),
        ("hangup .", false)
    );
}

#[test]
fn a_person_after_all_hears_the_flow_from_the_beginning() {
    let flow = with_voicemail();
    let script = script(&flow, Grain::Document, &[]);
    let mut session = Session::default();
    session.take(
        &script,
        Input::Machine {
            greeting_over: false,
        },
        Some(Party::Machine),
    );
    assert!(session.leaves_message(&script.program));
    let turn = session.take(&script, Input::Human, Some(Party::Human));
    assert_eq!(short(&turn), "\"Hi\" pause(5) hangup .");
    assert!(!session.leaves_message(&script.program) && !session.message_left);
}

#[test]
fn what_a_lead_lacks_is_known_before_the_call() {
    let says = flow(json!([
        {"do": "say", "text": "{{ first_name | title }} {{ pin }} {{ phone }} {{ digits }}"},
        {"do": "gather", "set": "pin"}
    ]));
    let check = |flow: &Flow, of: &[(&str, &str)]| script(flow, Grain::Document, of).check(flow);
    let missing = |name: &str| Err(Lacking::Variable(name.to_owned()));
    assert_eq!(check(&says, &[("First Name", "ann")]), Ok(()));
    assert_eq!(check(&says, &[("last_name", "x")]), missing("first_name"));
    assert_eq!(
        check(&says, &[("first_name", "  ")]),
        missing("first_name"),
        "empty"
    );
    let mut defaults = says.clone();
    defaults.defaults = vars(&[("first_name", "there")]);
    assert_eq!(check(&defaults, &[]), Ok(()));
    // Also what is said only to some.
    let deep =
        flow(json!([{"do": "menu", "options": {"1": [{"do": "say", "text": "{{ balance }}"}]}}]));
    assert_eq!(check(&deep, &[]), missing("balance"));
    let ssml = flow(json!([{"do": "say", "ssml": true, "text": "<s>{{ name }}</s>"}]));
    assert_eq!(
        check(&ssml, &[("name", "<break/> & \u{1F44B}")]),
        Ok(()),
        "values are no SSML"
    );
    let host = flow(json!([{"do": "play", "url": "https://x.example/{{ name }}.mp3"}]));
    assert!(matches!(
        check(&host, &[("name", "a b")]),
        Err(Lacking::Unusable(_))
    ));
}

#[test]
fn what_fails_on_the_phone_is_an_apology() {
    let says = flow(json!([{"do": "say", "text": "{{ name }}"}]));
    let of = |grain| script(&says, grain, &[]);
    let mut session = Session::default();
    let turn = session.take(&of(Grain::Document), DONE, None);
    assert!(turn.failed.is_some() && turn.then == Then::End);
    assert_eq!(
        short(&turn),
        "\"We are sorry, something went wrong on our side. Goodbye.\" hangup ."
    );
    assert_eq!(played_on(&mut session, &of(Grain::Document)), "hangup .");
    let mut session = Session::default();
    let turn = session.take(&of(Grain::Command), DONE, None);
    assert!(turn.failed.is_some() && turn.then == Then::Ask && turn.actions.len() == 1);
    assert_eq!(played_on(&mut session, &of(Grain::Command)), "hangup .");
}

fn played_on(session: &mut Session, script: &Script) -> String {
    short(&session.take(script, DONE, None))
}

#[test]
fn a_long_value_is_cut_and_not_refused() {
    let says = flow(json!([{"do": "say", "text": "{{ a }}{{ a }}"}]));
    let long = "é".repeat(2_000);
    let script = script(&says, Grain::Document, &[("a", &long)]);
    let turn = Session::default().take(&script, DONE, None);
    let Some(Action::Say(saying)) = turn.actions.first() else {
        panic!("{turn:?}")
    };
    assert_eq!(saying.text.chars().count(), action::MAX_SAID);
}
