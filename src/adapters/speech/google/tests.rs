use async_trait::async_trait;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use dialfleet_domain::recording::Turn;
use dialfleet_domain::time::Timestamp;
use futures_util::{StreamExt, stream};

use super::*;
use crate::carrier::test_server::{Server, whole};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

struct Stopped;

#[async_trait]
impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn uptime(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _time: Duration) {}
}

fn key() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).unwrap()
}

fn key_file(key: &RsaKeyPair, base: &str) -> Secret {
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let file = json!({
        "client_email": "d@p1.example", "private_key": pem, "private_key_id": "kid1",
        "project_id": "p1", "token_uri": format!("{base}/token"),
    });
    Secret::new(&file.to_string())
}

fn google(server: &Server, credentials: Option<Secret>, bucket: Option<&str>) -> Google {
    let config = GoogleConfig {
        credentials,
        project: Some("p1".to_owned()),
        location: "eu".to_owned(),
        model: "long".to_owned(),
        bucket: bucket.map(str::to_owned),
        speech_url: Some(server.base_url.clone()),
        storage_url: Some(server.base_url.clone()),
        metadata_url: server.base_url.clone(),
    };
    Google::new(config, Arc::new(Stopped)).unwrap()
}

fn speech(duration_ms: u64) -> Speech {
    Speech {
        name: "rec_1".to_owned(),
        language: "en-GB".to_owned(),
        channels: 2,
        duration_ms: Some(duration_ms),
        content_type: "audio/x-wav".to_owned(),
        bytes: 4,
        body: stream::iter([Ok(Bytes::from_static(b"RI")), Ok(Bytes::from_static(b"FF"))]).boxed(),
    }
}

fn token() -> crate::carrier::test_server::Reply {
    whole(
        200,
        r#"{"access_token":"ya29.t","expires_in":3599,"token_type":"Bearer"}"#,
    )
}

fn heard() -> Value {
    json!({ "results": [
        { "channelTag": 1, "resultEndOffset": "2s", "languageCode": "en-gb", "alternatives": [
            { "transcript": "Good morning.", "confidence": 0.9, "words": [
                { "startOffset": "0.5s", "endOffset": "1s", "word": "Good" },
                { "startOffset": "1s", "endOffset": "1.640s", "word": "morning." } ] },
            { "transcript": "Could mourning." } ] },
        { "channelTag": 2, "resultEndOffset": "3.100s", "alternatives": [ { "transcript": "Hello?" } ] },
        { "channelTag": 2, "resultEndOffset": "4s", "alternatives": [ { "transcript": "Yes." } ] },
        { "channelTag": 1, "resultEndOffset": "5s" },
    ]})
}

fn turns() -> Vec<Turn> {
    let turn = |channel, start_ms, end_ms, text: &str| Turn {
        channel,
        start_ms,
        end_ms,
        text: text.to_owned(),
    };
    vec![
        turn(1, 500, 1_640, "Good morning."),
        turn(2, 0, 3_100, "Hello?"),
        turn(2, 3_100, 4_000, "Yes."),
    ]
}

fn first_line(request: &str) -> &str {
    request.lines().next().unwrap()
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn short_sound_is_asked_with_a_signed_assertion_and_answered_at_once() {
    let server = Server::start([token(), whole(200, &heard().to_string())]).await;
    let key = key();
    let google = google(&server, Some(key_file(&key, &server.base_url)), None);
    assert_eq!(google.begin(speech(30_000)).await, Ok(Heard::All(turns())));
    let seen = server.seen();
    assert_eq!(first_line(&seen[0]), "POST /token HTTP/1.1");
    let form = seen[0].split_once("\r\n\r\n").unwrap().1;
    let form: Vec<(String, String)> = form_urlencoded::parse(form.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(
        form[0],
        (
            "grant_type".to_owned(),
            "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()
        )
    );
    let (signed, signature) = form[1].1.rsplit_once('.').unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
    public
        .verify(
            signed.as_bytes(),
            &URL_SAFE_NO_PAD.decode(signature).unwrap(),
        )
        .expect("signed with the account's key");
    let part = |text: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    let (head, claims) = signed.split_once('.').unwrap();
    assert_eq!(
        part(head),
        json!({ "alg": "RS256", "typ": "JWT", "kid": "kid1" })
    );
    let iat = NOW.millis() / 1_000;
    assert_eq!(
        part(claims),
        json!({
            "iss": "d@p1.example", "scope": "https://www.googleapis.com/auth/cloud-platform",
            "aud": format!("{}/token", server.base_url), "iat": iat, "exp": iat + 3_600,
        })
    );
    assert_eq!(
        first_line(&seen[1]),
        "POST /v2/projects/p1/locations/eu/recognizers/_:recognize HTTP/1.1"
    );
    assert!(
        seen[1]
            .to_ascii_lowercase()
            .contains("authorization: bearer ya29.t")
    );
    let asked = body(&seen[1]);
    assert_eq!(asked["content"], STANDARD.encode("RIFF"));
    assert_eq!(asked["config"]["languageCodes"], json!(["en-GB"]));
    assert_eq!(
        asked["config"]["features"]["multiChannelMode"],
        "SEPARATE_RECOGNITION_PER_CHANNEL"
    );
}

#[tokio::test]
async fn long_sound_goes_to_the_bucket_and_is_asked_after() {
    let name = "projects/p1/locations/eu/operations/7";
    let running = json!({ "name": name, "metadata": {} }).to_string();
    let file = json!({ "inlineResult": { "transcript": heard() } });
    let done = json!({
        "name": name, "done": true,
        "response": { "@type": "x", "results": { "gs://b/dialfleet-speech/rec_1": file } },
    });
    let server = Server::start([
        token(),
        whole(200, "{}"),
        whole(200, &running),
        whole(200, &running),
        whole(200, &done.to_string()),
        whole(204, ""),
    ])
    .await;
    let google = google(&server, None, Some("b"));
    let operation = format!("{name}#dialfleet-speech/rec_1");
    assert_eq!(
        google.begin(speech(600_000)).await,
        Ok(Heard::Later(operation.clone()))
    );
    assert_eq!(
        google.go_on(&operation).await,
        Ok(Heard::Later(operation.clone()))
    );
    assert_eq!(google.go_on(&operation).await, Ok(Heard::All(turns())));
    let seen = server.seen();
    let lines: Vec<&str> = seen.iter().map(|r| first_line(r)).collect();
    assert_eq!(
        lines,
        [
            "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1",
            "POST /upload/storage/v1/b/b/o?uploadType=media&name=dialfleet-speech%2Frec_1 HTTP/1.1",
            "POST /v2/projects/p1/locations/eu/recognizers/_:batchRecognize HTTP/1.1",
            "GET /v2/projects/p1/locations/eu/operations/7 HTTP/1.1",
            "GET /v2/projects/p1/locations/eu/operations/7 HTTP/1.1",
            "DELETE /storage/v1/b/b/o/dialfleet-speech%2Frec_1 HTTP/1.1",
        ],
        "one token is enough for all"
    );
    assert!(
        seen[0]
            .to_ascii_lowercase()
            .contains("metadata-flavor: google")
    );
    assert!(seen[1].ends_with("\r\n\r\nRIFF"));
    assert_eq!(
        body(&seen[2])["files"],
        json!([{ "uri": "gs://b/dialfleet-speech/rec_1" }])
    );
}

#[tokio::test]
async fn a_failure_is_for_now_or_for_good() {
    let said = |code: u16| {
        let error = json!({ "error": { "code": code, "message": "no", "status": "X" } });
        whole(code, &error.to_string())
    };
    let wrong =
        json!({ "name": "o", "done": true, "error": { "code": 3, "message": "bad sound" } });
    let server = Server::start([
        token(),
        said(503),
        said(400),
        said(401),
        token(),
        whole(200, &wrong.to_string()),
        said(404),
        whole(200, "<html>"),
    ])
    .await;
    let google = google(&server, None, None);
    let later = |answer| matches!(answer, Err(TranscribeError::Unavailable(_)));
    let never = |answer| matches!(answer, Err(TranscribeError::Refused(_)));
    assert!(later(google.begin(speech(1_000)).await), "503");
    assert!(never(google.begin(speech(1_000)).await), "400");
    assert!(
        later(google.begin(speech(1_000)).await),
        "401: with a new token, perhaps"
    );
    assert!(never(google.go_on("o").await), "the operation failed");
    assert!(never(google.go_on("o").await), "404");
    assert!(later(google.go_on("o").await), "no answer of Google's");
    assert!(never(google.begin(speech(600_000)).await), "no bucket");
    let nobody = Server::start([]).await;
    let google = self::google(&nobody, None, None);
    assert!(later(google.begin(speech(1_000)).await), "no token");
}

#[test]
fn a_faulty_key_file_is_refused() {
    let server = |credentials: Option<&str>, project: Option<&str>| {
        let config = GoogleConfig {
            credentials: credentials.map(Secret::new),
            project: project.map(str::to_owned),
            location: "global".to_owned(),
            model: "long".to_owned(),
            bucket: None,
            speech_url: Some("http://127.0.0.1:9".to_owned()),
            storage_url: Some("http://127.0.0.1:9".to_owned()),
            metadata_url: METADATA.to_owned(),
        };
        Google::new(config, Arc::new(Stopped)).err()
    };
    for text in [
        "",
        "{}",
        r#"{"client_email":"a","private_key":"b","token_uri":"c"}"#,
    ] {
        assert!(
            matches!(
                server(Some(text), Some("p")),
                Some(GoogleError::Credentials)
            ),
            "{text}"
        );
    }
    assert!(matches!(server(None, None), Some(GoogleError::Project)));
    assert!(server(None, Some("p")).is_none());
}
