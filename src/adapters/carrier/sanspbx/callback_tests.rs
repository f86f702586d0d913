use dialfleet_domain::id::CarrierCallId;
use proptest::prelude::*;

use super::*;

const LINKED: &str = "api-2-05550100123-1700000000000";

fn reader() -> Reader {
    let sources = Sources::new(&["203.0.113.0/24".to_owned()], &[]).unwrap();
    Reader::new(
        sources,
        &BTreeMap::from([
            ("Voice Mail".to_owned(), Ending::Completed),
            ("busy".to_owned(), Ending::Unreachable),
        ]),
    )
}

fn plain_reader() -> Reader {
    Reader::new(reader().sources, &BTreeMap::new())
}

fn raw(body: &str) -> RawCallback {
    RawCallback {
        url: "https://d.example/webhooks/sanspbx/s1/YTpiOjE/0/m".to_owned(),
        headers: BTreeMap::new(),
        peer: Some("203.0.113.7".parse().unwrap()),
        body: body.to_owned().into(),
    }
}

fn statuses(reader: &Reader, more: &str) -> Vec<CallStatus> {
    let body =
        format!(r#"{{"Linkedid":"{LINKED}","did":"7946000","call_to":"05550100123",{more}}}"#);
    reader.read(&raw(&body)).unwrap().statuses
}

fn ended(ending: Ending, duration_s: Option<u32>, sip: Option<u16>) -> Vec<CallStatus> {
    vec![CallStatus::Ended {
        ending,
        duration_s,
        sip,
    }]
}

#[test]
fn dispositions_make_the_ending() {
    let table = [
        ("answer", Ending::Completed),
        ("answered", Ending::Completed),
        ("ANSWERED", Ending::Completed),
        ("noanswer", Ending::NoAnswer),
        ("NO ANSWER", Ending::NoAnswer),
        ("no_answer", Ending::NoAnswer),
        ("No-Answer", Ending::NoAnswer),
        ("busy", Ending::Busy),
        ("BUSY", Ending::Busy),
        ("failed", Ending::Unreachable),
        ("FAIL", Ending::Unreachable),
        ("CHANUNAVAIL", Ending::Unreachable),
        ("CONGESTION", Ending::Congestion),
        ("cancelled", Ending::Canceled),
        ("CANCEL", Ending::Canceled),
    ];
    for (word, ending) in table {
        let said = statuses(&plain_reader(), &format!(r#""disposition":"{word}""#));
        assert_eq!(said, ended(ending, None, None), "{word}");
    }
    for word in [
        "ringing",
        "initiated",
        "answering",
        "unanswered",
        "voicemail",
        "0",
    ] {
        let said = statuses(&plain_reader(), &format!(r#""disposition":"{word}""#));
        assert_eq!(said, [], "{word}");
    }
}

#[test]
fn causes_say_more_than_words() {
    let table = [
        ("failed", "21", Ending::Declined, None),
        ("failed", "1", Ending::InvalidNumber, None),
        ("failed", "34", Ending::Congestion, None),
        ("failed", "17", Ending::Busy, None),
        ("failed", "16", Ending::NoAnswer, None),
        ("failed", "27", Ending::Unreachable, None),
        ("failed", "127", Ending::CarrierError, None),
        ("failed", "404", Ending::InvalidNumber, Some(404)),
        ("failed", "603", Ending::Declined, Some(603)),
        ("failed", "487", Ending::NoAnswer, Some(487)),
        ("failed", "503", Ending::Congestion, Some(503)),
        ("failed", "0", Ending::Unreachable, None),
        ("failed", "200", Ending::Unreachable, None),
        ("failed", "x", Ending::Unreachable, None),
        ("failed", "", Ending::Unreachable, None),
        ("busy", "603", Ending::Declined, Some(603)),
        ("busy", "607", Ending::Unwanted, Some(607)),
        ("busy", "608", Ending::Blocked, Some(608)),
        ("busy", "404", Ending::Busy, Some(404)),
        ("noanswer", "21", Ending::Declined, None),
        ("noanswer", "487", Ending::NoAnswer, Some(487)),
        ("answered", "16", Ending::Completed, None),
        ("answered", "404", Ending::Completed, Some(404)),
    ];
    for (word, cause, ending, sip) in table {
        for key in [
            "hangupcause",
            "HangupCause",
            "hangup_cause",
            "sip_code",
            "cause",
        ] {
            let said = statuses(
                &plain_reader(),
                &format!(r#""disposition":"{word}","{key}":"{cause}""#),
            );
            assert_eq!(said, ended(ending, None, sip), "{word} {cause}");
        }
    }
    let as_number = statuses(
        &plain_reader(),
        r#""disposition":"failed","hangupcause":21"#,
    );
    assert_eq!(as_number, ended(Ending::Declined, None, None));
}

#[test]
fn the_configuration_adds_words_and_overrules_ours() {
    let table = [
        ("voicemail", Ending::Completed),
        ("VOICE MAIL", Ending::Completed),
        ("busy", Ending::Unreachable),
        ("answered", Ending::Completed),
    ];
    for (word, ending) in table {
        let said = statuses(&reader(), &format!(r#""disposition":"{word}""#));
        assert_eq!(said, ended(ending, None, None), "{word}");
    }
}

#[test]
fn a_callback_is_read() {
    let body = format!(
        r#"{{"data":{{"linkedId":"{LINKED}","Disposition":"answer","billsec":200,"rec_path":"/2026/a.wav"}}}}"#
    );
    let news = reader().read(&raw(&body)).unwrap();
    assert_eq!(news.call_id, call_id(LINKED).unwrap());
    assert_eq!(news.statuses, ended(Ending::Completed, Some(200), None));
    assert_eq!(
        reader().read(&raw(&body)).unwrap(),
        news,
        "the same on a repeated delivery"
    );
    let other = reader().read(&raw(&body.replace("200", "201"))).unwrap();
    assert_ne!(other.event_key, news.event_key);
    assert!(
        CarrierCallId::parse(format!("s1:{}", news.event_key)).is_ok(),
        "fits a document's id"
    );
}

#[test]
fn what_is_not_from_there_is_forged_whatever_it_says() {
    let body = format!(r#"{{"Linkedid":"{LINKED}","disposition":"answer"}}"#);
    for peer in [None, Some("198.51.100.1"), Some("::1")] {
        let mut raw = raw(&body);
        raw.peer = peer.map(|peer| peer.parse().unwrap());
        raw.headers
            .insert("x-forwarded-for".to_owned(), "203.0.113.7".to_owned());
        assert_eq!(
            reader().read(&raw),
            Err(CallbackRefused::Forged),
            "{peer:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    for body in [
        "",
        "[]",
        "disposition=answer",
        r#"{"disposition":"answer"}"#,
        r#"{"Linkedid":"","disposition":"answer"}"#,
        r#"{"Linkedid":"x"}"#,
        r#"{"Linkedid":"x","disposition":true}"#,
    ] {
        let read = reader().read(&raw(body));
        assert!(
            matches!(read, Err(CallbackRefused::Unreadable(_))),
            "{body}: {read:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut raw = raw("");
        raw.body = body.into();
        let _ = reader().read(&raw);
    }

    #[test]
    fn no_fields_make_it_panic(linked in ".{0,300}", word in ".{0,20}", cause in ".{0,6}", billsec in any::<i64>()) {
        let body = serde_json::json!({
            "Linkedid": linked, "disposition": word, "hangupcause": cause, "billsec": billsec,
        });
        if let Ok(news) = reader().read(&raw(&body.to_string())) {
            prop_assert!(news.statuses.len() <= 1);
        }
    }
}
