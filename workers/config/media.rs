//! Where recordings are kept, with which keys.

use std::path::PathBuf;

use dialfleet_adapters::carrier::Secret;
use dialfleet_adapters::media::{Keys, Place};
use dialfleet_adapters::speech::google::{GoogleConfig, METADATA};
use dialfleet_engine::media::MAX_BYTES;

use super::source::Source;

/// Bytes of a mebibyte.
const MIB: u64 = 1024 * 1024;
/// The most mebibytes that one recording may have.
const MOST_MIB: u64 = 4_096;

/// What the environment says of recordings.
#[derive(Debug, Clone)]
pub(crate) struct MediaConfig {
    /// `MEDIA_URL` and what belongs to it; absent means a folder beside the data.
    pub(crate) place: Option<Place>,
    /// `MEDIA_KEYS`: absent means that nothing is encrypted.
    pub(crate) keys: Option<Keys>,
    /// `MEDIA_MAX_MB`.
    pub(crate) max_bytes: u64,
    /// `TRANSCRIBER` and what belongs to it; absent means that nothing is written down.
    pub(crate) transcriber: Option<GoogleConfig>,
}

impl MediaConfig {
    /// Reads it; what is wrong is noted.
    pub(crate) fn read(source: &dyn Source, wrong: &mut Vec<String>) -> Self {
        let mut note = |why: String| {
            wrong.push(why);
            None
        };
        let place = place(source).unwrap_or_else(&mut note);
        let keys = source.secret("MEDIA_KEYS").and_then(|text| {
            let keys = text.map(|text| Keys::parse(&text)).transpose();
            keys.map_err(|why| format!("MEDIA_KEYS: {why}"))
        });
        let keys = keys.unwrap_or_else(|why| {
            note(why);
            None
        });
        let max_bytes = match source.get("MEDIA_MAX_MB").as_deref().map(str::parse) {
            None => MAX_BYTES,
            Some(Ok(n @ 1..=MOST_MIB)) => n * MIB,
            Some(Ok(_) | Err(_)) => {
                note(format!(
                    "MEDIA_MAX_MB must be a number from 1 to {MOST_MIB}"
                ));
                MAX_BYTES
            }
        };
        let transcriber = transcriber(source).unwrap_or_else(|why| {
            note(why);
            None
        });
        Self {
            place,
            keys,
            max_bytes,
            transcriber,
        }
    }
}

fn transcriber(source: &dyn Source) -> Result<Option<GoogleConfig>, String> {
    match source.get("TRANSCRIBER").as_deref() {
        None | Some("none") => return Ok(None),
        Some("google") => {}
        Some(_) => return Err("TRANSCRIBER must be google or none".to_owned()),
    }
    let credentials = source.get("GOOGLE_APPLICATION_CREDENTIALS");
    let credentials = credentials.map(|path| {
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|e| format!("GOOGLE_APPLICATION_CREDENTIALS: {path}: {e}"));
        text.map(|text| Secret::new(&text))
    });
    let or = |name, usual: &str| source.get(name).unwrap_or_else(|| usual.to_owned());
    Ok(Some(GoogleConfig {
        credentials: credentials.transpose()?,
        project: source.get("GOOGLE_SPEECH_PROJECT"),
        location: or("GOOGLE_SPEECH_LOCATION", "global"),
        model: or("GOOGLE_SPEECH_MODEL", "long"),
        bucket: source.get("GOOGLE_SPEECH_BUCKET"),
        speech_url: source.get("GOOGLE_SPEECH_URL"),
        storage_url: source.get("GOOGLE_STORAGE_URL"),
        metadata_url: or("GOOGLE_METADATA_URL", METADATA),
    }))
}

fn place(source: &dyn Source) -> Result<Option<Place>, String> {
    let Some(url) = source.get("MEDIA_URL") else {
        return Ok(None);
    };
    let bad =
        || "MEDIA_URL must be file:///folder, s3://bucket/prefix or gs://bucket/prefix".to_owned();
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_matches('/').to_owned();
    match scheme {
        // The host of a file is this machine.
        "file" if rest.starts_with('/') => Ok(Some(Place::Folder(PathBuf::from(rest)))),
        "s3" | "gs" if bucket.is_empty() => Err(bad()),
        "s3" => {
            let secret = source.secret("MEDIA_S3_SECRET")?;
            let key = match (source.get("MEDIA_S3_KEY_ID"), secret) {
                (Some(id), Some(secret)) => Some((id, Secret::new(&secret))),
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => {
                    return Err("MEDIA_S3_KEY_ID and MEDIA_S3_SECRET belong together".to_owned());
                }
            };
            Ok(Some(Place::S3 {
                bucket: bucket.to_owned(),
                prefix,
                endpoint: source.get("MEDIA_S3_ENDPOINT"),
                region: source.get("MEDIA_S3_REGION"),
                key,
            }))
        }
        "gs" => Ok(Some(Place::Gcs {
            bucket: bucket.to_owned(),
            prefix,
            credentials: source
                .get("GOOGLE_APPLICATION_CREDENTIALS")
                .map(PathBuf::from),
            endpoint: source.get("GOOGLE_STORAGE_URL"),
        })),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<MediaConfig, String> {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let source: BTreeMap<String, String> = pairs.collect();
        let mut wrong = Vec::new();
        let config = MediaConfig::read(&source, &mut wrong);
        if wrong.is_empty() {
            Ok(config)
        } else {
            Err(wrong.join("; "))
        }
    }

    #[test]
    fn a_place_is_a_url() {
        let place = |url| read(&[("MEDIA_URL", url)]).unwrap().place.unwrap();
        assert_eq!(place("file:///var/x"), Place::Folder("/var/x".into()));
        assert!(
            matches!(place("s3://b/p/q/"), Place::S3 { bucket, prefix, key: None, .. } if bucket == "b" && prefix == "p/q")
        );
        assert!(
            matches!(place("gs://b"), Place::Gcs { bucket, prefix, .. } if bucket == "b" && prefix.is_empty())
        );
        assert!(read(&[]).unwrap().place.is_none());
        for bad in ["/var/x", "file://var/x", "s3:///p", "ftp://x/"] {
            let error = read(&[("MEDIA_URL", bad)]).unwrap_err();
            assert!(error.contains("MEDIA_URL"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        let error = read(&[
            ("MEDIA_URL", "s3://b"),
            ("MEDIA_S3_SECRET", "hunter2"),
            ("MEDIA_KEYS", "k1:hunter2"),
            ("MEDIA_MAX_MB", "0"),
            ("TRANSCRIBER", "google"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json"),
        ])
        .unwrap_err();
        for name in [
            "MEDIA_S3_SECRET",
            "MEDIA_KEYS",
            "MEDIA_MAX_MB",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ] {
            assert!(error.contains(name), "{error}");
        }
        assert!(!error.contains("hunter2"), "{error}");
    }
}
