//! What holds for any flow and any inputs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn any_text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        Just("Hello {{ first_name }}".to_owned()),
        Just("{{ missing }}".to_owned()),
        Just("{{ digits }} {{ party }}".to_owned()),
        Just("{% if party == 'human' %}a{% else %}b{% endif %}".to_owned()),
        ".{1,40}",
    ]
}

fn any_sound() -> impl Strategy<Value = Step> + Clone {
    prop_oneof![
        any_text().prop_map(|text| Step::Say {
            text,
            language: None,
            voice: None,
            ssml: false
        }),
        (1..60_u32).prop_map(|seconds| Step::Pause { seconds }),
        Just(Step::Play {
            url: "https://x.example/a.mp3".to_owned()
        }),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let leaf = prop_oneof![
        4 => any_sound(),
        1 => any_text().prop_map(|value| Step::Set { var: "v".to_owned(), value }),
        1 => any::<bool>().prop_map(|on| Step::Record { on }),
        1 => Just(Step::Stream { url: "wss://a.example/".to_owned(), codec: Codec::Pcmu, params: BTreeMap::new(), capacity: None }),
        1 => Just(Step::Voicemail),
        1 => Just(Step::OptOut { say: None }),
        1 => Just(Step::Hangup),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let block = prop::collection::vec(inner, 0..4);
        let prompt = prop::collection::vec(any_sound(), 0..3);
        prop_oneof![
            (prompt.clone(), block.clone(), 1..5_u8, 1..6_u8).prop_map(
                |(prompt, no_input, max_digits, tries)| {
                    let set = Some("v".to_owned());
                    let finish_on = "#".to_owned();
                    Step::Gather {
                        set,
                        prompt,
                        max_digits,
                        min_digits: 1,
                        finish_on,
                        timeout_s: 5,
                        tries,
                        no_input,
                    }
                }
            ),
            (
                prompt,
                prop::collection::btree_map("[0-9*#]", block.clone(), 1..4),
                block.clone(),
                1..6_u8
            )
                .prop_map(|(prompt, options, no_input, tries)| {
                    Step::Menu {
                        prompt,
                        options,
                        set: None,
                        timeout_s: 5,
                        tries,
                        no_input,
                    }
                }),
            (
                any_text(),
                prop::collection::btree_map("[a-c0-9]", block.clone(), 1..3),
                block.clone()
            )
                .prop_map(|(on, cases, otherwise)| Step::Branch {
                    on,
                    cases,
                    otherwise
                }),
            block.prop_map(|failed| Step::Transfer {
                to: Target::Queue("desk".to_owned()),
                caller_id: ShownNumber::Ours,
                timeout_s: 30,
                failed,
            }),
        ]
    })
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => Just(Input::Done),
        1 => Just(Input::Failed),
        4 => "[0-9*#]{0,3}".prop_map(|text| keys(&text)),
        1 => any::<bool>().prop_map(|connected| Input::Transferred { connected }),
        1 => any::<bool>().prop_map(|greeting_over| Input::Machine { greeting_over }),
        1 => Just(Input::Human),
        1 => any::<bool>().prop_map(|written| Input::OptedOut { written }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any flow ends, whatever comes; asked again it says the same; it survives its storage; and for
    /// a carrier that is told one thing at a time there is at most one that takes time.
    #[test]
    fn every_flow_ends(
        steps in prop::collection::vec(any_step(), 1..8),
        inputs in prop::collection::vec(any_input(), 0..60),
        command in any::<bool>(),
    ) {
        let mut flow = Flow::of(steps);
        flow.voicemail = Some(Voicemail {
            steps: vec![Step::Pause { seconds: 1 }],
            max_s: 30,
            wait_s: 20,
        });
        let text = serde_json::to_string(&flow).expect("JSON");
        prop_assert_eq!(&serde_json::from_str::<Flow>(&text).expect("a flow"), &flow);
        let grain = if command { Grain::Command } else { Grain::Document };
        let script = script(&flow, grain, &[("first_name", "Ann")]);
        let mut session = Session::default();
        for input in inputs {
            let turn = session.take(&script, input, None);
            prop_assert_eq!(session.again(&script), Some(turn.clone()));
            let stored = serde_json::to_string(&session).expect("JSON");
            prop_assert_eq!(&serde_json::from_str::<Session>(&stored).expect("a session"), &session);
            let lasting = turn.actions.iter().filter(|a| !a.is_instant()).count();
            prop_assert!(!command || lasting <= 1, "{:?}", turn);
        }
        // From anywhere, hearing nothing more, it comes to its end: each step waits for a few inputs
        // at most.
        let bound = 200 + 40 * script.program.ops().len();
        let ended = (0..bound).any(|_| session.take(&script, DONE, None).then == Then::End);
        prop_assert!(ended);
    }

    #[test]
    fn any_text_is_refused_or_said(text in any::<String>(), ssml in any::<bool>()) {
        let step = Step::Say { text, language: None, voice: None, ssml };
        let flow = Flow::of(vec![step]);
        if flow.check().is_ok() {
            let script = script(&flow, Grain::Document, &[]);
            let _ = Session::default().take(&script, DONE, None);
        }
    }
}
