//! Carries callbacks to the client: signed, in order as far as a slow receiver allows, retried as
//! the connection overrides in the URL's fragment say, and damaged as the fault plan says.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Front, sign};
use crate::faults::CallbackFault;
use crate::timetable::CallStatus;

/// A callback goes out at the latest so long after the one before it, answered or not.
const ORDER_WAIT: Duration = Duration::from_secs(1);
/// First pause before a retry; doubles.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Bit that says no further callback of this call will come.
const ABANDONED: u32 = 1 << 31;

pub(super) type Fields = Vec<(&'static str, String)>;

/// The callbacks of one call.
pub(super) struct Courier {
    front: Arc<Front>,
    phone: String,
    key: String,
    next: u32,
    previous_reordered: bool,
    /// One bit for each sequence number whose first try is over.
    tried: watch::Sender<u32>,
}

struct Parcel {
    front: Arc<Front>,
    url: String,
    fields: Fields,
    token: String,
    fault: CallbackFault,
}

impl Courier {
    pub(super) fn new(front: Arc<Front>, phone: String, key: String) -> Self {
        let tried = watch::Sender::new(0);
        Self {
            front,
            phone,
            key,
            next: 0,
            previous_reordered: false,
            tried,
        }
    }

    /// Sends a status callback; returns at once.
    pub(super) fn send(&mut self, url: &str, status: CallStatus, mut fields: Fields) {
        let seq = self.next;
        self.next += 1;
        fields.push(("SequenceNumber", seq.to_string()));
        let mut fault = self
            .front
            .faults
            .callback(&self.phone, &self.key, seq, status);
        fault.reordered &= !status.is_terminal();
        let overtaking = std::mem::replace(&mut self.previous_reordered, fault.reordered);
        let parcel = self.parcel(url, fields, seq, fault);
        let tried = self.tried.clone();
        self.front.tasks.spawn(async move {
            let front = parcel.front.clone();
            let delivery = async {
                let mut seen = tried.subscribe();
                if fault.reordered {
                    // The sender is ours, so the channel cannot close.
                    let mask = seen
                        .wait_for(|mask| mask & (bit(seq + 1) | ABANDONED) != 0)
                        .await;
                    if mask.is_ok_and(|mask| *mask & ABANDONED != 0) {
                        return;
                    }
                } else if seq > 0 && !overtaking {
                    let _ =
                        timeout(ORDER_WAIT, seen.wait_for(|mask| mask & bit(seq - 1) != 0)).await;
                }
                parcel
                    .deliver(|| tried.send_modify(|mask| *mask |= bit(seq)))
                    .await;
            };
            front.stop.run_until_cancelled(delivery).await;
        });
    }

    /// Sends the result of asynchronous answering machine detection after `wait`.
    pub(super) fn send_detection(&self, url: &str, wait: Duration, fields: Fields) {
        const SEQ: u32 = 100;
        let fault = self
            .front
            .faults
            .callback(&self.phone, &self.key, SEQ, CallStatus::InProgress);
        let parcel = self.parcel(url, fields, SEQ, fault);
        self.front.tasks.spawn(async move {
            let front = parcel.front.clone();
            let delivery = async {
                sleep(wait).await;
                parcel.deliver(|| ()).await;
            };
            front.stop.run_until_cancelled(delivery).await;
        });
    }

    /// The call vanished: callbacks that wait for a later one are dropped.
    pub(super) fn abandon(&self) {
        self.tried.send_modify(|mask| *mask |= ABANDONED);
    }

    fn parcel(&self, url: &str, fields: Fields, seq: u32, fault: CallbackFault) -> Parcel {
        let sid = fields
            .iter()
            .find(|(key, _)| *key == "CallSid")
            .map_or("", |(_, sid)| sid);
        let token = format!("{sid}-{seq}");
        Parcel {
            front: self.front.clone(),
            url: url.to_owned(),
            fields,
            token,
            fault,
        }
    }
}

fn bit(seq: u32) -> u32 {
    1_u32.checked_shl(seq).unwrap_or(0)
}

impl Parcel {
    /// `tried` is called once others need not wait for this one any more.
    async fn deliver(&self, tried: impl FnOnce()) {
        if self.fault.lost {
            return tried();
        }
        let overrides = Overrides::of(&self.url);
        let tries = async {
            if let Some(hold) = self.fault.late {
                tried();
                sleep(hold).await;
                return self.try_again(&overrides, 0).await;
            }
            let again = self.try_once(&overrides).await;
            tried();
            if again {
                self.try_again(&overrides, 1).await;
            }
        };
        let held = self.fault.late.unwrap_or_default();
        // Out of time: lost for good, as with Twilio.
        let _ = timeout(held + overrides.total, tries).await;
        if self.fault.duplicated {
            let _ = timeout(overrides.total, self.try_once(&overrides)).await;
        }
    }

    async fn try_again(&self, overrides: &Overrides, done: u32) {
        for nth in done..=overrides.retries {
            if nth > 0 {
                sleep(RETRY_PAUSE * 2_u32.pow(nth - 1)).await;
            }
            if !self.try_once(overrides).await {
                return;
            }
        }
    }

    /// Whether to try again.
    async fn try_once(&self, overrides: &Overrides) -> bool {
        let request = self.request(overrides.read);
        let exchange = async {
            let response = request.send().await?;
            let status = response.status();
            // Read to the end, so that the connection can be used again.
            response.bytes().await.map(|_| status)
        };
        let failure = match exchange.await {
            Ok(status) if status.is_client_error() => "4xx",
            Ok(status) if status.is_server_error() => "5xx",
            Ok(_) => return false,
            Err(e) if e.is_connect() => "ct",
            Err(_) => "rt",
        };
        tracing::debug!(failure, call.id = %self.token, "A callback was not accepted");
        overrides.policy.iter().any(|p| p == "all" || p == failure)
    }

    fn request(&self, read: Duration) -> reqwest::RequestBuilder {
        let url = self.url.split('#').next().unwrap_or(&self.url);
        let signed = self
            .fields
            .iter()
            .map(|(key, value)| (*key, value.as_str()));
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(&self.fields);
        self.front
            .http
            .post(url)
            .header(
                "X-Twilio-Signature",
                sign(&self.front.auth_token, url, signed),
            )
            .header("I-Twilio-Idempotency-Token", &self.token)
            .header(
                CONTENT_TYPE,
                "application/x-www-form-urlencoded; charset=UTF-8",
            )
            .body(body.finish())
            .timeout(read)
    }
}

/// Connection overrides of a callback URL: `#rt=15000&tt=15000&rc=1&rp=ct`. (`ct` stays at its
/// default: the connect timeout belongs to the client.)
struct Overrides {
    read: Duration,
    total: Duration,
    retries: u32,
    policy: Vec<String>,
}

impl Overrides {
    fn of(url: &str) -> Self {
        let max = Duration::from_millis(15_000);
        let mut found = Self {
            read: max,
            total: max,
            retries: 1,
            policy: vec!["ct".to_owned()],
        };
        let fragment = url.split_once('#').map_or("", |(_, fragment)| fragment);
        for (key, value) in form_urlencoded::parse(fragment.as_bytes()) {
            let number = value.parse::<u32>().ok();
            let millis = number.map(|n| Duration::from_millis(u64::from(n.clamp(100, 15_000))));
            match key.as_ref() {
                "rt" => found.read = millis.unwrap_or(found.read),
                "tt" => found.total = millis.unwrap_or(found.total),
                "rc" => found.retries = number.unwrap_or(found.retries).min(5),
                "rp" => found.policy = value.split(',').map(str::to_owned).collect(),
                _ => {}
            }
        }
        found
    }
}
