//! Webhooks as Telnyx posts them: signed JSON, retried at the pauses asked for, then sent to the
//! failover address; and the record it keeps of each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use super::Front;
use super::wire::iso8601;
use crate::courier::{Failure, Letter, Parcel};

/// The pauses when a call has no policy of its own. Telnyx does not publish its default.
const DEFAULT_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// All tries to both addresses.
const TOTAL: Duration = Duration::from_secs(150);
/// Records kept.
const KEPT: usize = 20_000;

/// What became of the webhooks, oldest first: `GET /v2/webhook_deliveries`.
#[derive(Default)]
pub(super) struct Deliveries(Mutex<VecDeque<Value>>);

impl Deliveries {
    pub(super) fn lock(&self) -> MutexGuard<'_, VecDeque<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, record: Value) {
        let mut records = self.lock();
        records.push_back(record);
        if records.len() > KEPT {
            records.pop_front();
        }
    }
}

/// A webhook for `url`; `event` is its `data`.
pub(super) fn parcel(
    front: &Arc<Front>,
    event: Value,
    url: &str,
    pauses: Option<Vec<Duration>>,
) -> Parcel {
    let pauses = pauses.unwrap_or_else(|| DEFAULT_PAUSES.to_vec());
    let all = || std::iter::once(Duration::ZERO).chain(pauses.clone());
    let to = |url: &str| {
        let url = url.to_owned();
        all().map(move |pause| (pause, url.clone()))
    };
    let mut tries: Vec<_> = to(url).collect();
    if let Some(failover) = &front.failover_url {
        tries.extend(to(failover));
    }
    Parcel {
        name: event["id"].as_str().unwrap_or_default().to_owned(),
        letter: Arc::new(Webhook {
            front: front.clone(),
            started_at: iso8601(front.office.now()),
            event,
        }),
        tries,
        read: front.webhook_timeout,
        total: TOTAL,
        again: vec![
            Failure::Connect,
            Failure::Silence,
            Failure::Redirected,
            Failure::Refused,
            Failure::Broken,
        ],
    }
}

struct Webhook {
    front: Arc<Front>,
    started_at: String,
    event: Value,
}

impl Letter for Webhook {
    fn request(&self, http: &Client, url: &str, nth: u32) -> RequestBuilder {
        let body = json!({
            "data": self.event,
            "meta": {"attempt": nth + 1, "delivered_to": url},
        })
        .to_string();
        let timestamp = (self.front.office.now().millis() / 1_000).to_string();
        let signature = self.front.key.sign(&timestamp, body.as_bytes());
        http.post(url)
            .header("telnyx-signature-ed25519", signature)
            .header("telnyx-timestamp", timestamp)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
    }

    fn settled(&self, delivered: bool) {
        self.front.deliveries.keep(json!({
            "record_type": "webhook_delivery",
            "id": self.event["id"],
            "user_id": "simulated",
            "status": if delivered { "delivered" } else { "failed" },
            "started_at": self.started_at,
            "finished_at": iso8601(self.front.office.now()),
            "webhook": self.event,
            "attempts": [],
        }));
    }
}
