use dialfleet_domain::time::Timestamp;
use futures_util::stream;

use super::*;

fn tenant() -> TenantId {
    TenantId::parse("t").unwrap()
}

fn body(chunks: &[Result<&'static [u8], MediaError>]) -> MediaStream {
    let chunks: Vec<_> = chunks
        .iter()
        .map(|chunk| chunk.clone().map(Bytes::from_static))
        .collect();
    stream::iter(chunks).boxed()
}

fn media(bytes: u64, sealed: Option<String>) -> Media {
    Media {
        key: "recordings/t/2026/11/21/rec_1".to_owned(),
        bytes,
        sha256: String::new(),
        content_type: "audio/x-wav".to_owned(),
        sealed,
        stored_at: Timestamp::default(),
    }
}

async fn gather(got: Result<MediaStream, MediaError>) -> Result<Vec<u8>, MediaError> {
    let chunks: Vec<Bytes> = got?.try_collect().await?;
    Ok(chunks.concat())
}

fn keys() -> Keys {
    Keys::parse("k1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap()
}

#[tokio::test]
async fn a_folder_keeps_gives_parts_and_forgets() {
    for keys in [None, Some(keys())] {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Folder(folder.path().join("media"));
        let objects = Objects::open(&place, keys.clone()).unwrap();
        let key = media(0, None).key;
        let put = objects
            .put(&tenant(), &key, body(&[Ok(b"hello "), Ok(b"world")]))
            .await;
        let sealed = put.unwrap();
        assert_eq!(sealed.is_some(), keys.is_some());
        let there = std::fs::read(folder.path().join("media").join(&key)).unwrap();
        assert_eq!(there == b"hello world", keys.is_none());
        let media = media(11, sealed);
        for (range, text) in [(0..11, "hello world"), (6..11, "world"), (4..7, "o w")] {
            let part = gather(objects.get(&tenant(), &media, range).await).await;
            assert_eq!(part.unwrap(), text.as_bytes());
        }
        let beyond = gather(objects.get(&tenant(), &media, 5..12).await).await;
        assert_eq!(beyond, Err(MediaError::NotFound));
        objects.delete(&key).await.unwrap();
        objects.delete(&key).await.unwrap();
        let gone = gather(objects.get(&tenant(), &media, 0..11).await).await;
        assert_eq!(gone, Err(MediaError::NotFound));
    }
}

#[tokio::test]
async fn nothing_of_a_body_that_breaks_off_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::open(&Place::Folder(folder.path().to_owned()), None).unwrap();
    let big: &'static [u8] = vec![1; PART + 1].leak();
    for first in [&b"few"[..], big] {
        let broken = [Ok(first), Err(MediaError::TooBig(9))];
        let put = objects.put(&tenant(), "a/b", body(&broken)).await;
        assert_eq!(put, Err(MediaError::TooBig(9)));
        let found: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().is_file())
            .collect();
        assert!(found.is_empty(), "{found:?}");
        assert!(!folder.path().join("a/b").exists());
    }
}

#[tokio::test]
async fn a_sealed_one_is_not_given_out_without_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::Folder(folder.path().to_owned());
    let with = Objects::open(&place, Some(keys())).unwrap();
    let key = media(0, None).key;
    let sealed = with
        .put(&tenant(), &key, body(&[Ok(b"hello")]))
        .await
        .unwrap();
    let without = Objects::open(&place, None).unwrap();
    let got = gather(without.get(&tenant(), &media(5, sealed), 0..5).await).await;
    assert_eq!(got, Err(no_key("k1")));
}

#[tokio::test]
async fn a_storage_that_fails_at_the_end_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    // Where the folder `a` would have to be.
    std::fs::write(folder.path().join("a"), "in the way").unwrap();
    let objects = Objects::open(&Place::Folder(folder.path().to_owned()), None).unwrap();
    let big: &'static [u8] = vec![1; PART + 1].leak();
    for whole in [&b"few"[..], big] {
        let put = objects.put(&tenant(), "a/b", body(&[Ok(whole)])).await;
        assert!(matches!(put, Err(MediaError::Unavailable(_))), "{put:?}");
    }
}
