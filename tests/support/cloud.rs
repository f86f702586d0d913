//! The parts of two clouds that recordings need: a bucket as S3 has it, and Google's speech-to-text
//! with its tokens and its own bucket. Each can be out; each counts what it was asked in vain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What everybody says.
pub const SAID: &str = "My card is 4111 1111 1111 1111, thank you.";

/// One of the two services.
#[derive(Debug, Default)]
pub struct Service {
    out: AtomicBool,
    in_vain: AtomicU64,
    served: AtomicU64,
}

impl Service {
    /// Takes it away, or brings it back.
    pub fn set_out(&self, out: bool) {
        self.out.store(out, Ordering::SeqCst);
    }

    /// How often it was asked while it was out.
    #[must_use]
    pub fn in_vain(&self) -> u64 {
        self.in_vain.load(Ordering::SeqCst)
    }

    /// How often it did what it was asked.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::SeqCst)
    }

    fn is_out(&self) -> bool {
        let out = self.out.load(Ordering::SeqCst);
        let count = if out { &self.in_vain } else { &self.served };
        count.fetch_add(1, Ordering::SeqCst);
        out
    }
}

#[derive(Default)]
struct Shared {
    storage: Service,
    speech: Service,
    objects: Mutex<BTreeMap<String, Bytes>>,
    operations: AtomicU64,
}

impl Shared {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both, on one port.
pub struct Cloud {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _task: JoinSet<()>,
}

impl Cloud {
    /// Starts them.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            addr,
            shared,
            _task: task,
        })
    }

    /// Where they are.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The bucket.
    #[must_use]
    pub fn storage(&self) -> &Service {
        &self.shared.storage
    }

    /// The ear.
    #[must_use]
    pub fn speech(&self) -> &Service {
        &self.shared.speech
    }

    /// What is kept, by name.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.shared.objects().clone()
    }

    /// What makes a process use them.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let url = self.url();
        [
            ("MEDIA_URL", "s3://voices/recordings"),
            ("MEDIA_S3_ENDPOINT", &url),
            ("MEDIA_S3_KEY_ID", "key"),
            ("MEDIA_S3_SECRET", "secret"),
            (
                "MEDIA_KEYS",
                "k1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
            ),
            ("TRANSCRIBER", "google"),
            ("GOOGLE_SPEECH_PROJECT", "p1"),
            ("GOOGLE_SPEECH_BUCKET", "staging"),
            ("GOOGLE_SPEECH_URL", &url),
            ("GOOGLE_STORAGE_URL", &url),
            ("GOOGLE_METADATA_URL", &url),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

async fn answer(
    State(cloud): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path();
    if path.starts_with("/computeMetadata/") {
        let token = json!({ "access_token": "t", "expires_in": 3_600, "token_type": "Bearer" });
        return axum::Json(token).into_response();
    }
    let google = ["/v2/", "/upload/storage/", "/storage/v1/"];
    if google.iter().any(|prefix| path.starts_with(prefix)) {
        if cloud.speech.is_out() {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        return speech(&cloud, &method, path);
    }
    if cloud.storage.is_out() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    bucket(&cloud, &method, path, &headers, body)
}

fn heard() -> Value {
    let words = json!([{ "startOffset": "0.100s", "endOffset": "1.500s", "word": "My" }]);
    let said = json!([{ "transcript": SAID, "words": words }]);
    json!({ "results": [{ "channelTag": 1, "resultEndOffset": "2s", "alternatives": said }] })
}

fn speech(cloud: &Shared, method: &Method, path: &str) -> Response {
    if path.ends_with(":recognize") {
        return axum::Json(heard()).into_response();
    }
    if path.ends_with(":batchRecognize") {
        let n = cloud.operations.fetch_add(1, Ordering::SeqCst);
        let name = format!("projects/p1/locations/global/operations/{n}");
        return axum::Json(json!({ "name": name })).into_response();
    }
    if let Some(name) = path.strip_prefix("/v2/").filter(|_| method == Method::GET) {
        let file = json!({ "inlineResult": { "transcript": heard() } });
        let response = json!({ "results": { "gs://staging/x": file } });
        return axum::Json(json!({ "name": name, "done": true, "response": response }))
            .into_response();
    }
    axum::Json(json!({})).into_response()
}

fn bucket(
    cloud: &Shared,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Response {
    let mut objects = cloud.objects();
    match *method {
        Method::PUT => {
            objects.insert(path.to_owned(), body);
            (StatusCode::OK, [(header::ETAG, "\"e\"")]).into_response()
        }
        Method::DELETE => {
            objects.remove(path);
            StatusCode::NO_CONTENT.into_response()
        }
        _ => {
            let Some(object) = objects.get(path) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            let asked = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
            let asked = asked.and_then(|v| v.strip_prefix("bytes=")?.split_once('-'));
            let Some((Ok(first), Ok(last))) =
                asked.map(|(a, b)| (a.parse::<usize>(), b.parse::<usize>()))
            else {
                return object.clone().into_response();
            };
            let end = (last + 1).min(object.len());
            if first >= end {
                return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            }
            let range = format!("bytes {first}-{}/{}", end - 1, object.len());
            let part = object.slice(first..end);
            (
                StatusCode::PARTIAL_CONTENT,
                [(header::CONTENT_RANGE, range)],
                part,
            )
                .into_response()
        }
    }
}
