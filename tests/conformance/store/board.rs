//! Notes that the fleet shares.

use dialfleet_engine::port::Store;
use dialfleet_engine::port::board::Note;
use dialfleet_engine::port::store::Cas;
use futures_util::future::join_all;

fn note(key: &str, version: u64, body: &str) -> Note {
    Note {
        key: key.to_owned(),
        version,
        body: body.to_owned(),
    }
}

pub(crate) async fn notes_are_written_over_the_version_before(store: &dyn Store) {
    let hostile = "{\"$set\": \"'; --\", \"n\": 1}";
    let answers = store
        .save_notes(&[note("seats/a", 1, hostile), note("seats/b", 2, "2")])
        .await
        .unwrap();
    assert_eq!(
        answers,
        [Cas::Won, Cas::Lost],
        "there is no version 1 of b to write over"
    );
    let answers = store
        .save_notes(&[note("seats/a", 1, "again"), note("seats/a", 3, "ahead")])
        .await
        .unwrap();
    assert_eq!(answers, [Cas::Lost, Cas::Lost]);
    let keys = ["seats/b", "seats/a"].map(str::to_owned);
    let found = store.notes(&keys).await.unwrap();
    assert_eq!(found, [None, Some(note("seats/a", 1, hostile))]);
    let next = note("seats/a", 2, "two");
    let answers = store.save_notes(std::slice::from_ref(&next)).await.unwrap();
    assert_eq!(answers, [Cas::Won]);
    assert_eq!(store.notes(&keys).await.unwrap(), [None, Some(next)]);
    assert_eq!(store.notes(&[]).await.unwrap(), []);
}

pub(crate) async fn concurrent_writers_of_a_note_have_one_winner(store: &dyn Store) {
    for version in [1, 2, 3] {
        let writers = (0..8).map(|who| async move {
            let mine = note("breaker/x", version, &who.to_string());
            store.save_notes(&[mine]).await.unwrap()
        });
        let won = join_all(writers).await;
        let won = won.iter().filter(|a| **a == [Cas::Won]).count();
        assert_eq!(won, 1, "version {version}");
    }
}

pub(crate) async fn notes_are_listed_by_the_beginning_of_their_key(store: &dyn Store) {
    let keys = ["route/b", "route/a", "routes/a", "rout", "route/%"];
    let notes = keys.map(|key| note(key, 1, key));
    assert_eq!(store.save_notes(&notes).await.unwrap(), [Cas::Won; 5]);
    let listed = |prefix: &'static str, limit| async move {
        let found = store.notes_with(prefix, limit).await.unwrap();
        found.into_iter().map(|n| n.key).collect::<Vec<_>>()
    };
    assert_eq!(listed("route/", 9).await, ["route/%", "route/a", "route/b"]);
    assert_eq!(listed("route/", 2).await, ["route/%", "route/a"]);
    assert!(listed("route.", 9).await.is_empty());
}
