use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dialfleet_domain::call::{Detected, Ending};
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha1::Sha1;

use super::*;

const URL: &str = "https://d.example/webhooks/twilio/t1/YTpiOjE/0/m";
const ACCOUNT: &str = "AC1";
const HUMAN: CallStatus = CallStatus::detected(Detected::Human);
const MACHINE: CallStatus = CallStatus::detected(Detected::MachineStart);

fn token() -> Secret {
    Secret::new("12345")
}

fn sign(fields: &BTreeMap<String, String>) -> String {
    let text = fields
        .iter()
        .fold(URL.to_owned(), |text, (key, value)| text + key + value);
    let mac = Hmac::<Sha1>::new_from_slice(b"12345")
        .unwrap()
        .chain_update(text);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn signed(body: &str) -> RawCallback {
    let fields = form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let headers = [
        ("x-twilio-signature".to_owned(), sign(&fields)),
        (
            "content-type".to_owned(),
            "application/x-www-form-urlencoded; charset=UTF-8".to_owned(),
        ),
    ];
    RawCallback {
        url: URL.to_owned(),
        headers: headers.into(),
        peer: None,
        body: body.to_owned().into(),
    }
}

fn news(more: &str) -> CallbackNews {
    read(
        ACCOUNT,
        &token(),
        &signed(&format!("CallSid=CA1&AccountSid=AC1&{more}")),
    )
    .unwrap()
}

fn ended(ending: Ending, duration_s: Option<u32>, sip: Option<u16>) -> CallStatus {
    CallStatus::Ended {
        ending,
        duration_s,
        sip,
    }
}

#[test]
fn callbacks_say_what_they_say() {
    let table = [
        (
            "CallStatus=queued&SequenceNumber=0",
            vec![CallStatus::Initiated],
        ),
        (
            "CallStatus=initiated&SequenceNumber=0",
            vec![CallStatus::Initiated],
        ),
        (
            "CallStatus=ringing&SequenceNumber=1&StirStatus=B",
            vec![CallStatus::Ringing],
        ),
        (
            "CallStatus=in-progress&SequenceNumber=2",
            vec![CallStatus::Answered],
        ),
        (
            "CallStatus=completed&SequenceNumber=3&CallDuration=42&Duration=1&SipResponseCode=200",
            vec![ended(Ending::Completed, Some(42), Some(200))],
        ),
        (
            "CallStatus=completed&SequenceNumber=3&CallDuration=9&AnsweredBy=machine_start",
            vec![MACHINE, ended(Ending::Completed, Some(9), None)],
        ),
        (
            "CallStatus=failed&SequenceNumber=1&CallDuration=0&SipResponseCode=404",
            vec![ended(Ending::InvalidNumber, Some(0), Some(404))],
        ),
        (
            "CallStatus=no-answer&SequenceNumber=2&SipResponseCode=487",
            vec![ended(Ending::NoAnswer, None, Some(487))],
        ),
        (
            "CallStatus=busy&SequenceNumber=2&SipResponseCode=x",
            vec![ended(Ending::Busy, None, None)],
        ),
        // Detection.
        (
            "AnsweredBy=human&MachineDetectionDuration=2400",
            vec![HUMAN],
        ),
        (
            "AnsweredBy=machine_end_beep&CallStatus=in-progress",
            vec![
                CallStatus::Answered,
                CallStatus::detected(Detected::MachineEndBeep),
            ],
        ),
        ("AnsweredBy=human&CallStatus=completed", vec![HUMAN]),
        // Words we do not know end nothing.
        ("CallStatus=on-hold&SequenceNumber=4", vec![]),
        (
            "CallStatus=Completed&SequenceNumber=4&SipResponseCode=404",
            vec![],
        ),
        (
            "CallStatus=on-hold&SequenceNumber=4&AnsweredBy=human",
            vec![HUMAN],
        ),
        (
            "CallStatus=completed&SequenceNumber=3&CallDuration=-1",
            vec![ended(Ending::Completed, None, None)],
        ),
    ];
    for (more, statuses) in table {
        assert_eq!(news(more).statuses, statuses, "{more}");
        assert_eq!(news(more).call_id.as_str(), "CA1");
    }
}

#[test]
fn an_event_has_one_key_however_often_it_comes() {
    assert_eq!(
        news("CallStatus=ringing&SequenceNumber=1").event_key,
        "CA1:1:ringing"
    );
    let mut raw = signed("CallSid=CA1&AccountSid=AC1&AnsweredBy=human");
    let by_body = read(ACCOUNT, &token(), &raw).unwrap().event_key;
    assert_eq!(by_body, read(ACCOUNT, &token(), &raw).unwrap().event_key);
    assert!(by_body.starts_with("CA1:body:"), "{by_body}");
    raw.headers
        .insert("i-twilio-idempotency-token".to_owned(), "7f-1".to_owned());
    assert_eq!(
        read(ACCOUNT, &token(), &raw).unwrap().event_key,
        "CA1:token:7f-1"
    );
    for token_text in ["x".repeat(300), "a b\u{e9}".to_owned()] {
        raw.headers
            .insert("i-twilio-idempotency-token".to_owned(), token_text);
        let key = read(ACCOUNT, &token(), &raw).unwrap().event_key;
        assert!(key.len() == 64 && key.is_ascii(), "{key}");
    }
    // The number of the event counts for more than the token of the delivery.
    let mut raw = signed("CallSid=CA1&AccountSid=AC1&CallStatus=ringing&SequenceNumber=1");
    raw.headers
        .insert("i-twilio-idempotency-token".to_owned(), "7f-1".to_owned());
    assert_eq!(
        read(ACCOUNT, &token(), &raw).unwrap().event_key,
        "CA1:1:ringing"
    );
}

#[test]
fn what_is_not_ours_is_forged() {
    let genuine = signed("CallSid=CA1&AccountSid=AC1&CallStatus=ringing&SequenceNumber=1");
    let refused = |change: &dyn Fn(&mut RawCallback)| {
        let mut raw = genuine.clone();
        change(&mut raw);
        read(ACCOUNT, &token(), &raw) == Err(CallbackRefused::Forged)
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|raw| drop(
        raw.headers.remove("x-twilio-signature")
    )));
    assert!(refused(&|raw| drop(
        raw.headers
            .insert("x-twilio-signature".into(), "AAAA".into())
    )));
    assert!(refused(&|raw| raw.url = raw.url.replace("/0/", "/1/")));
    assert!(refused(&|raw| {
        raw.body = "CallSid=CA2&AccountSid=AC1&CallStatus=ringing&SequenceNumber=1".into()
    }));
    assert!(refused(&|raw| drop(
        raw.headers
            .insert("content-type".into(), "application/json".into())
    )));
    // The header may not choose an algorithm: the signature is judged as ever.
    assert!(!refused(&|raw| {
        let settings = "key=SK1,algorithm=HMAC_SHA256".to_owned();
        raw.headers
            .insert("x-twilio-webhooks-signature-settings".into(), settings);
    }));
    for body in [
        "CallSid=CA1&AccountSid=AC2&CallStatus=ringing",
        "CallSid=CA1&CallStatus=ringing",
        "",
    ] {
        assert_eq!(
            read(ACCOUNT, &token(), &signed(body)),
            Err(CallbackRefused::Forged),
            "{body}"
        );
    }
}

#[test]
fn a_recording_is_news_when_it_is_complete() {
    let told =
        news("RecordingSid=RE1&RecordingStatus=completed&RecordingDuration=31&RecordingChannels=2");
    assert_eq!(told.statuses, []);
    let recording = told.recording.unwrap();
    assert_eq!((recording.id.as_str(), recording.url), ("RE1", None));
    assert_eq!(
        (recording.channels, recording.duration_ms),
        (Some(2), Some(31_000))
    );
    for not_yet in ["in-progress", "absent", "failed"] {
        let told = news(&format!("RecordingSid=RE1&RecordingStatus={not_yet}"));
        assert_eq!(
            (told.recording, told.statuses.len()),
            (None, 0),
            "{not_yet}"
        );
    }
    // The end of a recorded call names it, too.
    let told =
        news("CallStatus=completed&SequenceNumber=3&RecordingSid=RE2&RecordingUrl=https%3A%2F%2Fx");
    assert_eq!(told.statuses.len(), 1);
    assert_eq!(told.recording.unwrap().id, "RE2");
    assert_eq!(
        news("CallStatus=ringing&RecordingSid=..%2FRE1").recording,
        None
    );
}

#[test]
fn genuine_but_strange_bodies_are_unreadable() {
    for body in [
        "AccountSid=AC1&CallStatus=ringing",
        "AccountSid=AC1&CallSid=&CallStatus=ringing",
        "AccountSid=AC1&CallSid=CA%0A1&CallStatus=ringing",
        "AccountSid=AC1&CallSid=CA1",
        "AccountSid=AC1&CallSid=CA1&CallStatus=",
        "AccountSid=AC1&RecordingSid=RE1&RecordingStatus=completed",
    ] {
        let read = read(ACCOUNT, &token(), &signed(body));
        assert!(
            matches!(read, Err(CallbackRefused::Unreadable(_))),
            "{body}: {read:?}"
        );
    }
    let mut json = signed("");
    let body = br#"{"CallSid":"CA1"}"#;
    json.url = format!("{URL}?bodySHA256={}", hash(body));
    json.body = body.as_slice().into();
    let mac = Hmac::<Sha1>::new_from_slice(b"12345")
        .unwrap()
        .chain_update(&json.url);
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    json.headers.insert("x-twilio-signature".into(), signature);
    json.headers.insert(
        "content-type".into(),
        "Application/JSON; charset=utf-8".into(),
    );
    assert!(matches!(
        read(ACCOUNT, &token(), &json),
        Err(CallbackRefused::Unreadable(_))
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        body in prop::collection::vec(any::<u8>(), 0..300),
        url in ".{0,60}",
        signature in "[A-Za-z0-9+/=]{0,40}",
        kind in prop::sample::select(vec!["application/json", "application/x-www-form-urlencoded", ""]),
    ) {
        let headers = [("x-twilio-signature", signature.as_str()), ("content-type", kind)];
        let headers = headers.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let raw = RawCallback { url, headers, peer: None, body: body.into() };
        prop_assert_eq!(read(ACCOUNT, &token(), &raw), Err(CallbackRefused::Forged));
    }

    #[test]
    fn no_signed_fields_make_it_panic(
        fields in prop::collection::btree_map(
            prop::sample::select(vec!["CallStatus", "AnsweredBy", "SequenceNumber", "CallDuration",
                "SipResponseCode", "CallSid", "X"]),
            prop_oneof![".{0,12}", prop::sample::select(vec!["completed", "ringing", "human", "404"])
                .prop_map(str::to_owned)],
            0..7,
        ),
    ) {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("AccountSid", ACCOUNT).extend_pairs(&fields);
        let read = read(ACCOUNT, &token(), &signed(&body.finish()));
        prop_assert!(!matches!(read, Err(CallbackRefused::Forged)));
        if let Ok(news) = read {
            prop_assert!(!news.event_key.is_empty() && news.event_key.len() <= MAX_KEY);
            prop_assert!(news.statuses.len() <= 2);
        }
    }
}
