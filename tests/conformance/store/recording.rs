//! Recordings and transcripts.

use dialfleet_domain::id::{CampaignId, CarrierCallId, RecordingId, TenantId};
use dialfleet_domain::recording::transcript::{About, words};
use dialfleet_domain::recording::{
    MediaUrl, Recording, RecordingState, Transcript, TranscriptState, Turn,
};
use dialfleet_engine::port::Store;
use dialfleet_engine::port::recording::RecordingFilter;
use dialfleet_engine::port::store::{Cas, Inserted};
use dialfleet_tests::sample::{at, attempt, campaign_id, carrier, lead, tenant};
use futures_util::future::join_all;

use super::all_pages;

fn recording(n: u32) -> Recording {
    let camp = campaign_id(if n.is_multiple_of(2) { "even" } else { "odd" });
    let call = attempt(&lead(&camp, n), 1, 0);
    Recording {
        id: RecordingId::parse(format!("rec_{n:03}")).unwrap(),
        tenant: tenant(),
        campaign: camp,
        lead: call.lead,
        attempt: call.id,
        carrier: carrier(),
        call_id: CarrierCallId::parse(format!("CA{n}")).unwrap(),
        their_id: format!("RE{n}"),
        url: MediaUrl::new("https://media.example/{\"$set\": 1}?'; --"),
        channels: Some(2),
        duration_ms: None,
        state: RecordingState::Announced,
        media: None,
        transcript: TranscriptState::None,
        language: Some("en-GB".to_owned()),
        tries: 0,
        reason: None,
        failing_since: None,
        since: at(0),
        check_at: Some(at(u64::from(n))),
        keep_ms: Some(1_000),
        announced_at: at(u64::from(n / 2)),
        deleted_at: None,
        version: 1,
    }
}

fn transcript(n: u32, said: &str) -> Transcript {
    let r = recording(n);
    let about = About {
        id: r.id,
        tenant: r.tenant,
        campaign: r.campaign,
        attempt: r.attempt,
        language: "en-GB".to_owned(),
    };
    let turn = Turn {
        channel: 1,
        start_ms: 5,
        end_ms: 9,
        text: said.to_owned(),
    };
    Transcript::new(about, vec![turn], at(u64::from(n)))
}

pub(crate) async fn one_announced_twice_is_one(store: &dyn Store) {
    let first = recording(1);
    assert_eq!(store.recording(&first.id).await.unwrap(), None);
    assert_eq!(
        store.insert_recording(&first).await.unwrap(),
        Inserted::Fresh
    );
    let mut again = first.clone();
    again.their_id = "other".to_owned();
    assert_eq!(
        store.insert_recording(&again).await.unwrap(),
        Inserted::Present
    );
    assert_eq!(
        store.recording(&first.id).await.unwrap(),
        Some(first.clone())
    );
    let many = (0..8).map(|_| async { store.insert_recording(&recording(2)).await.unwrap() });
    let fresh = join_all(many)
        .await
        .into_iter()
        .filter(|a| *a == Inserted::Fresh);
    assert_eq!(fresh.count(), 1);
}

pub(crate) async fn saved_only_over_the_version_that_was_read(store: &dyn Store) {
    let mut first = recording(1);
    assert_eq!(
        store.save_recording(&first, 0).await.unwrap(),
        Cas::Lost,
        "it is not there"
    );
    store.insert_recording(&first).await.unwrap();
    first.claim(at(5));
    assert_eq!(store.save_recording(&first, 2).await.unwrap(), Cas::Lost);
    let claims = (0..8).map(|_| {
        let first = first.clone();
        async move { store.save_recording(&first, 1).await.unwrap() }
    });
    let won = join_all(claims)
        .await
        .into_iter()
        .filter(|a| *a == Cas::Won);
    assert_eq!(won.count(), 1, "one of them has it");
    assert_eq!(store.recording(&first.id).await.unwrap(), Some(first));
}

pub(crate) async fn due_ones_come_earliest_first(store: &dyn Store) {
    for n in [3, 1, 2, 9] {
        store.insert_recording(&recording(n)).await.unwrap();
    }
    let due = |now, limit| async move {
        let due = store.due_recordings(at(now), limit).await.unwrap();
        due.into_iter()
            .map(|r| r.id.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(due(3, 9).await, ["rec_001", "rec_002", "rec_003"]);
    assert_eq!(due(3, 2).await, ["rec_001", "rec_002"]);
    let mut one = recording(1);
    one.put_off(None);
    store.save_recording(&one, 1).await.unwrap();
    let mut two = recording(2);
    two.put_off(Some(at(7)));
    store.save_recording(&two, 1).await.unwrap();
    assert_eq!(due(6, 9).await, ["rec_003"]);
    assert_eq!(due(9, 9).await, ["rec_003", "rec_002", "rec_009"]);
}

pub(crate) async fn listed_newest_first_by_filter(store: &dyn Store) {
    for n in 0..7 {
        store.insert_recording(&recording(n)).await.unwrap();
    }
    let mut parked = recording(4);
    parked.state = RecordingState::Parked;
    parked.version = 2;
    store.save_recording(&parked, 1).await.unwrap();
    let list = |who: &'static str, filter: RecordingFilter| async move {
        let who = if who.is_empty() {
            tenant()
        } else {
            TenantId::parse(who).unwrap()
        };
        let (who, filter) = (&who, &filter);
        let all = all_pages(2, |cursor| async move {
            store
                .list_recordings(who, filter, cursor.as_deref(), 2)
                .await
        });
        let all: Vec<Recording> = all.await;
        all.into_iter().map(|r| r.their_id).collect::<Vec<_>>()
    };
    let all = RecordingFilter::default();
    assert_eq!(
        list("", all.clone()).await,
        ["RE6", "RE5", "RE4", "RE3", "RE2", "RE1", "RE0"]
    );
    assert!(list("ten_other", all.clone()).await.is_empty());
    let campaign: CampaignId = campaign_id("even");
    let even = RecordingFilter {
        campaign: Some(campaign),
        ..all.clone()
    };
    assert_eq!(list("", even.clone()).await, ["RE6", "RE4", "RE2", "RE0"]);
    let state = RecordingFilter {
        state: Some(RecordingState::Parked),
        ..even
    };
    assert_eq!(list("", state).await, ["RE4"]);
    let call = RecordingFilter {
        attempt: Some(recording(3).attempt),
        ..all
    };
    assert_eq!(list("", call).await, ["RE3"]);
}

pub(crate) async fn transcripts_are_replaced_found_and_deleted(store: &dyn Store) {
    store
        .put_transcript(&transcript(1, "Good morning, Vietnam"))
        .await
        .unwrap();
    store
        .put_transcript(&transcript(2, "good evening"))
        .await
        .unwrap();
    store
        .put_transcript(&transcript(3, "good GOOD morning {$set: 'x'}"))
        .await
        .unwrap();
    let find = |who: &'static str, question: &'static str| async move {
        let who = if who.is_empty() {
            tenant()
        } else {
            TenantId::parse(who).unwrap()
        };
        let words: Vec<String> = words(question).collect();
        let (who, words) = (&who, &words);
        let all = all_pages(1, |cursor| async move {
            store
                .search_transcripts(who, words, cursor.as_deref(), 1)
                .await
        });
        let all: Vec<Transcript> = all.await;
        all.into_iter()
            .map(|t| t.id.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(find("", "good").await, ["rec_003", "rec_002", "rec_001"]);
    assert_eq!(find("", "morning good").await, ["rec_003", "rec_001"]);
    assert_eq!(find("", "vietnam morning good").await, ["rec_001"]);
    assert!(find("", "good night").await.is_empty());
    assert!(find("", "").await.is_empty());
    assert!(find("ten_other", "good").await.is_empty());
    let replaced = transcript(1, "goodbye");
    store.put_transcript(&replaced).await.unwrap();
    assert_eq!(
        store.transcript(&replaced.id).await.unwrap(),
        Some(replaced.clone())
    );
    assert_eq!(find("", "morning").await, ["rec_003"]);
    assert_eq!(find("", "goodbye").await, ["rec_001"]);
    store.delete_transcript(&replaced.id).await.unwrap();
    store.delete_transcript(&replaced.id).await.unwrap();
    assert_eq!(store.transcript(&replaced.id).await.unwrap(), None);
    assert!(find("", "goodbye").await.is_empty());
}
