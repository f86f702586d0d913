use std::collections::BTreeMap;

use dialfleet_domain::flow::Codec;
use dialfleet_domain::phone::E164;
use proptest::prelude::*;

use super::*;

const URL: &str = "https://d.example/f?t=1&o=9";

fn saying(text: &str) -> Action {
    Action::Say(Saying {
        text: text.to_owned(),
        language: None,
        voice: None,
        ssml: false,
    })
}

fn spoken(text: &str) -> Action {
    Action::Say(Saying {
        text: text.to_owned(),
        language: Some("en-GB".to_owned()),
        voice: Some("Polly.Amy".to_owned()),
        ssml: true,
    })
}

fn page(actions: Vec<Action>, then: Then) -> Page {
    Page {
        actions,
        then,
        next_url: URL.to_owned(),
    }
}

fn one(action: Action) -> String {
    let text = document(&page(vec![action], Then::End)).unwrap();
    let inner = text.strip_prefix("<Response>").unwrap();
    inner.strip_suffix("</Response>").unwrap().to_owned()
}

#[test]
fn every_action_has_its_verb() {
    let table = [
        (saying("Hi"), "<Say>Hi</Say>"),
        (
            spoken("<s>Hi &amp; <break time=\"1s\"/></s>"),
            "<Say voice=\"Polly.Amy\" language=\"en-GB\"><s>Hi &amp; <break time=\"1s\"/></s></Say>",
        ),
        (
            Action::Play {
                url: "https://x.example/a.mp3?b=1&c=2".to_owned(),
            },
            "<Play>https://x.example/a.mp3?b=1&amp;c=2</Play>",
        ),
        (Action::Pause { seconds: 3 }, "<Pause length=\"3\"/>"),
        (
            Action::Record { on: true },
            "<Start><Recording name=\"flow\"/></Start>",
        ),
        (
            Action::Record { on: false },
            "<Stop><Recording name=\"flow\"/></Stop>",
        ),
        (
            Action::Stream {
                url: "wss://a.example/x".to_owned(),
                codec: Codec::Pcmu,
                params: BTreeMap::from([("name".to_owned(), "\"Ann\" & <Bob>".to_owned())]),
            },
            "<Connect><Stream url=\"wss://a.example/x\">\
             <Parameter name=\"name\" value=\"&quot;Ann&quot; &amp; &lt;Bob&gt;\"/></Stream></Connect>",
        ),
        (
            Action::Transfer {
                to: Target::Number("+442079460000".to_owned()),
                caller_id: Some(E164::parse("+442079460119", None).unwrap()),
                timeout_s: 20,
            },
            "<Dial action=\"https://d.example/f?t=1&amp;o=9\" method=\"POST\" timeout=\"20\" \
             answerOnBridge=\"true\" callerId=\"+442079460119\"><Number>+442079460000</Number></Dial>",
        ),
        (
            Action::Transfer {
                to: Target::Sip("sip:desk@x.example".to_owned()),
                caller_id: None,
                timeout_s: 5,
            },
            "<Dial action=\"https://d.example/f?t=1&amp;o=9\" method=\"POST\" timeout=\"5\" \
             answerOnBridge=\"true\"><Sip>sip:desk@x.example</Sip></Dial>",
        ),
        (
            Action::Transfer {
                to: Target::Queue("A & B".to_owned()),
                caller_id: None,
                timeout_s: 5,
            },
            "<Enqueue action=\"https://d.example/f?t=1&amp;o=9\" method=\"POST\">A &amp; B</Enqueue>",
        ),
        (Action::Hangup, "<Hangup/>"),
    ];
    for (action, xml) in table {
        assert_eq!(one(action), xml);
    }
}

#[test]
fn a_question_asks_back_also_when_nothing_is_pressed() {
    let gather = Action::Gather {
        prompt: vec![saying("One?"), Action::Pause { seconds: 1 }],
        max_digits: 1,
        finish_on: None,
        timeout_s: 5,
        opt_out: vec!['9'],
    };
    let text = document(&page(vec![saying("Hello"), gather], Then::Ask)).unwrap();
    assert_eq!(
        text,
        "<Response><Say>Hello</Say>\
         <Gather action=\"https://d.example/f?t=1&amp;o=9\" method=\"POST\" input=\"dtmf\" numDigits=\"1\" \
         timeout=\"5\" finishOnKey=\"\" actionOnEmptyResult=\"true\"><Say>One?</Say><Pause length=\"1\"/></Gather>\
         </Response>"
    );
}

#[test]
fn what_does_not_ask_by_itself_is_followed_by_a_redirect() {
    let text = document(&page(vec![saying("Message")], Then::Ask)).unwrap();
    assert_eq!(
        text,
        "<Response><Say>Message</Say><Redirect method=\"POST\">https://d.example/f?t=1&amp;o=9</Redirect></Response>"
    );
}

#[test]
fn hostile_text_stays_text() {
    let table = [
        (
            "</Say><Dial>+15550100123</Dial>",
            "&lt;/Say&gt;&lt;Dial&gt;+15550100123&lt;/Dial&gt;",
        ),
        ("a & b &amp; c", "a &amp; b &amp;amp; c"),
        ("]]> 'quoted' \"twice\"", "]]&gt; 'quoted' \"twice\""),
        ("héllo 👋🏽 नमस्ते", "héllo 👋🏽 नमस्ते"),
        ("a\0b\u{1}c\u{1b}d\u{FFFE}e\u{FFFF}f\tg\n", "abcdef\tg\n"),
    ];
    for (text, written) in table {
        assert_eq!(one(saying(text)), format!("<Say>{written}</Say>"));
    }
}

#[test]
fn ssml_that_is_none_is_not_written() {
    for bad in [
        "</Say><Hangup/>",
        "<s>",
        "</s>",
        "<!-- x -->",
        "<?x?>",
        "<![CDATA[x]]>",
        "<!DOCTYPE x>",
    ] {
        let text = document(&page(vec![spoken(bad)], Then::End));
        assert!(text.is_err(), "{bad}: {text:?}");
    }
}

#[test]
fn what_fits_goes_inline_and_the_rest_is_fetched() {
    let around = "<Response><Say></Say></Response>".len();
    let long = |n: usize| page(vec![saying(&"é".repeat(n))], Then::End);
    let fits = long(MAX_INLINE - around);
    assert_eq!(inline(&fits).unwrap().chars().count(), MAX_INLINE);
    let over = long(MAX_INLINE - around + 1);
    assert!(matches!(inline(&over), Err(TwimlError::TooLong(4_001, _))));
    assert!(fetched(&over).is_ok());
    assert!(matches!(
        fetched(&long(MAX_FETCHED)),
        Err(TwimlError::TooLong(..))
    ));
}

/// The elements of a document, or why it is none.
fn elements(text: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader::from_str(text);
    let mut found = Vec::new();
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Eof => return Ok(found),
            Event::Start(e) | Event::Empty(e) => {
                for attribute in e.attributes() {
                    attribute.map_err(|e| e.to_string())?;
                }
                let name = String::from_utf8_lossy(e.name().as_ref()).into_owned();
                found.push(name);
            }
            Event::End(_) | Event::Text(_) | Event::GeneralRef(_) => {}
            other => return Err(format!("{other:?}")),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in the texts, the document is one, and has the elements that were meant.
    #[test]
    fn any_text_makes_a_document(text in any::<String>(), value in ".{0,200}", ssml in "[<>/&a-z \"=!?-]{0,30}") {
        let params = BTreeMap::from([("x".to_owned(), value.clone())]);
        let stream = Action::Stream { url: "wss://a.example/".to_owned(), codec: Codec::Pcmu, params };
        let queue = Action::Transfer { to: Target::Queue(value), caller_id: None, timeout_s: 5 };
        let written = document(&page(vec![saying(&text), stream, queue], Then::Ask)).unwrap();
        let expected = ["Response", "Say", "Connect", "Stream", "Parameter", "Enqueue"];
        prop_assert_eq!(elements(&written), Ok(expected.map(str::to_owned).to_vec()));
        if dialfleet_domain::flow::text::check_ssml(&ssml).is_ok() {
            let written = document(&page(vec![spoken(&ssml), Action::Hangup], Then::End)).unwrap();
            let found = elements(&written).unwrap();
            prop_assert_eq!(found.iter().filter(|name| *name == "Hangup").count(), 1);
            prop_assert_eq!(found.last().map(String::as_str), Some("Hangup"));
        }
    }
}
