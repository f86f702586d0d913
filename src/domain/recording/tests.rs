use std::collections::BTreeMap;

use super::transcript::{About, asked};
use super::*;

const T0: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn secs(n: u64) -> Timestamp {
    T0 + Duration::from_secs(n)
}

fn recording() -> Recording {
    Recording {
        id: RecordingId::parse("rec_1").expect("valid"),
        tenant: TenantId::parse("t").expect("valid"),
        campaign: CampaignId::parse("c").expect("valid"),
        lead: LeadId::parse("c:l").expect("valid"),
        attempt: AttemptId::parse("c:l:1").expect("valid"),
        carrier: CarrierId::parse("tw").expect("valid"),
        call_id: CarrierCallId::parse("CA1").expect("valid"),
        their_id: "RE1".to_owned(),
        url: MediaUrl::new("https://media.example/x?key=secret"),
        channels: Some(2),
        duration_ms: Some(4_000),
        state: RecordingState::Announced,
        media: None,
        transcript: TranscriptState::None,
        language: Some("en-GB".to_owned()),
        tries: 0,
        reason: None,
        failing_since: None,
        since: T0,
        check_at: Some(T0),
        keep_ms: Some(1_000_000),
        announced_at: T0,
        deleted_at: None,
        version: 1,
    }
}

fn media() -> Media {
    Media {
        key: "k".to_owned(),
        bytes: 9,
        sha256: "00".to_owned(),
        content_type: "audio/mpeg".to_owned(),
        sealed: None,
        stored_at: secs(1),
    }
}

#[test]
fn it_is_fetched_then_written_down_then_deleted() {
    let mut r = recording();
    assert_eq!(r.work(T0), Work::Fetch);
    r.claim(T0);
    assert_eq!(r.work(secs(59)), Work::Wait, "somebody works on it");
    assert_eq!(r.work(secs(60)), Work::Fetch, "who seems to have died");
    r.stored(media(), secs(1));
    assert_eq!((r.url.clone(), r.tries), (None, 0));
    assert_eq!(r.work(secs(1)), Work::Transcribe);
    r.claim(secs(1));
    r.transcribing("operations/7", secs(11));
    assert_eq!(
        (r.work(secs(10)), r.work(secs(11))),
        (Work::Wait, Work::Transcribe)
    );
    r.transcribed(secs(12));
    assert_eq!(r.work(secs(1_000)), Work::Wait);
    assert_eq!(r.work(secs(1_001)), Work::Expire);
    r.deleted(secs(1_001));
    assert_eq!(r.work(secs(1_001)), Work::Sweep);
    assert!(!r.swept(secs(1_002)), "somebody may be fetching it");
    assert_eq!(r.work(secs(1_002)), Work::Wait);
    let late = secs(1_001) + LONGEST_LEASE * 2;
    assert_eq!(r.work(late), Work::Sweep);
    assert!(r.swept(late));
    assert_eq!(r.work(secs(99_999_999)), Work::Wait);
    assert_eq!(r.version, 9, "every step is a write");
}

#[test]
fn a_failure_is_tried_again_ever_later_and_given_up_after_a_day() {
    let mut r = recording();
    let (mut now, mut tries) = (T0, 0);
    while r.state == RecordingState::Announced {
        r.claim(now);
        r.not_fetched(Failure::Again("no".to_owned()), now);
        tries += 1;
        let next = r.check_at.unwrap_or(now);
        let wait = next.since(now);
        assert!(wait <= Duration::from_secs(600) && r.lease() <= LONGEST_LEASE);
        // An outage of a minute is over at most this much later.
        if now.since(T0) <= Duration::from_secs(60) {
            assert!(wait <= Duration::from_secs(8));
        }
        now = next.max(now);
    }
    assert_eq!((r.state, r.check_at), (RecordingState::Parked, None));
    assert!((100..250).contains(&tries), "{tries}");
    assert!(r.retry(now) && r.work(now) == Work::Fetch && r.reason.is_none());
    r.not_fetched(Failure::Final("too big".to_owned()), now);
    assert_eq!(r.state, RecordingState::Parked);
}

#[test]
fn another_reason_is_tried_again_soon() {
    let mut r = recording();
    r.not_fetched(Failure::Again("the storage is out".to_owned()), T0);
    r.not_fetched(Failure::Again("the storage is out".to_owned()), secs(64));
    assert_eq!(r.check_at, Some(secs(72)));
    // It is back, and the carrier fails.
    r.not_fetched(Failure::Again("HTTP 500".to_owned()), secs(72));
    assert!(r.check_at <= Some(T0 + Duration::from_millis(73_200)));
    // Two that take turns for hours are not tried each second.
    r.not_fetched(Failure::Again("cut".to_owned()), secs(6_400));
    assert!(r.check_at > Some(secs(6_490)));
}

#[test]
fn a_failed_transcript_costs_nothing_else() {
    let mut r = recording();
    r.stored(media(), secs(1));
    r.transcribing("op", secs(2));
    r.not_transcribed(Failure::Again("out".to_owned()), secs(2));
    assert_eq!(r.transcript, TranscriptState::Waiting);
    r.not_transcribed(Failure::Final("no such language".to_owned()), secs(3));
    assert_eq!(
        (r.state, &r.transcript),
        (RecordingState::Stored, &TranscriptState::Parked)
    );
    assert_eq!(r.check_at, r.expires_at(), "it is deleted in its time");
    assert!(r.retry(secs(9)));
    assert_eq!(r.work(secs(9)), Work::Transcribe);
}

#[test]
fn a_second_announcement_is_a_nudge_and_no_more() {
    let mut r = recording();
    r.claim(T0);
    assert!(r.announced_again(None, secs(2)));
    assert!(r.url.is_some() && r.work(secs(2)) == Work::Fetch);
    r.stored(media(), secs(3));
    let before = r.clone();
    assert!(!r.announced_again(MediaUrl::new("https://x"), secs(4)));
    assert_eq!(r, before);
}

#[test]
fn the_policy_says_which_calls_and_from_when() {
    let flagged = BTreeMap::from([("record".to_owned(), " Yes ".to_owned())]);
    let policy = |when, start| RecordingPolicy {
        when,
        start,
        ..RecordingPolicy::default()
    };
    let start = |p: RecordingPolicy, vars, detects| p.plan(vars, detects).map(|plan| plan.start);
    let none = BTreeMap::new();
    let table = [
        (When::None, Start::Answer, &flagged, true, None),
        (When::All, Start::Answer, &none, true, Some(Start::Answer)),
        (When::All, Start::Human, &none, true, Some(Start::Human)),
        (When::All, Start::Human, &none, false, Some(Start::Answer)),
        (When::Human, Start::Answer, &none, true, Some(Start::Human)),
        (When::Lead, Start::Answer, &none, true, None),
        (
            When::Lead,
            Start::Answer,
            &flagged,
            true,
            Some(Start::Answer),
        ),
    ];
    for (when, from, vars, detects, expected) in table {
        assert_eq!(
            start(policy(when, from), vars, detects),
            expected,
            "{when:?} {from:?}"
        );
    }
    let mut bad = policy(When::All, Start::Answer);
    bad.keep_days = 0;
    assert!(bad.check().is_err());
    bad.keep_days = 30;
    for (language, right) in [("en-GB", true), ("", false), ("en GB", false)] {
        bad.transcribe = Some(Transcribe {
            language: language.to_owned(),
        });
        assert_eq!(bad.check().is_ok(), right, "{language:?}");
    }
}

#[test]
fn a_transcript_is_in_order_within_limits_and_without_numbers() {
    let turn = |channel, start_ms, text: &str| Turn {
        channel,
        start_ms,
        end_ms: start_ms + 10,
        text: text.to_owned(),
    };
    let about = About {
        id: RecordingId::parse("rec_1").expect("valid"),
        tenant: TenantId::parse("t").expect("valid"),
        campaign: CampaignId::parse("c").expect("valid"),
        attempt: AttemptId::parse("c:l:1").expect("valid"),
        language: "en-GB".to_owned(),
    };
    let heard = vec![
        turn(2, 900, " It's 4111 1111 1111 1111 "),
        turn(1, 0, "Good MORNING, good morning"),
        turn(1, 950, "  "),
    ];
    let t = Transcript::new(about, heard, T0);
    let texts: Vec<&str> = t.turns.iter().map(|turn| turn.text.as_str()).collect();
    assert_eq!(texts, ["Good MORNING, good morning", "It's [number]"]);
    assert_eq!(t.words, ["good", "it's", "morning", "number"]);
    assert_eq!(
        asked("Morning, MORNING good"),
        Some(vec!["good".to_owned(), "morning".to_owned()])
    );
    assert_eq!(asked(" ,. "), None);
}

#[test]
fn a_link_is_not_printed() {
    let url = MediaUrl::new("https://user:pw@media.example/x?key=secret").expect("usable");
    assert_eq!(format!("{url:?}"), "MediaUrl(media.example/***)");
    assert!(!format!("{:?}", recording()).contains("secret"));
}
