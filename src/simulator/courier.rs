//! Carries callbacks to the client, for every carrier: signed by it, retried as it retries, and
//! damaged as the fault plan says.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::faults::CallbackFault;
use crate::office::Office;
use crate::timetable::CallStatus;

/// A callback of a carrier that sends in order goes out at the latest so long after the one before
/// it, answered or not.
const ORDER_WAIT: Duration = Duration::from_secs(1);
/// Bit that says no further callback of this call will come.
const ABANDONED: u32 = 1 << 31;

/// What a carrier posts.
pub(crate) trait Letter: Send + Sync {
    /// The request of the `nth` try (from 0), signed now.
    fn request(&self, http: &Client, url: &str, nth: u32) -> RequestBuilder;
    /// Every try is over.
    fn settled(&self, _delivered: bool) {}
}

/// How a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection.
    Connect,
    /// No complete answer in time.
    Silence,
    /// An answer that is neither of these nor 2xx.
    Redirected,
    /// 4xx.
    Refused,
    /// 5xx.
    Broken,
}

/// A callback and how its carrier delivers it.
pub(crate) struct Parcel {
    /// Names it in logs.
    pub(crate) name: String,
    pub(crate) letter: Arc<dyn Letter>,
    /// The tries: the pause before each, and its address.
    pub(crate) tries: Vec<(Duration, String)>,
    /// How long one try may take.
    pub(crate) read: Duration,
    /// How long all of them may.
    pub(crate) total: Duration,
    /// After which failures there is another try.
    pub(crate) again: Vec<Failure>,
}

/// The callbacks of one call.
pub(crate) struct Courier {
    office: Arc<Office>,
    carrier: String,
    phone: String,
    key: String,
    /// Whether the carrier means to deliver in order.
    ordered: bool,
    next: u32,
    previous_reordered: bool,
    /// One bit for each sequence number whose first try is over.
    tried: watch::Sender<u32>,
}

impl Courier {
    pub(crate) fn new(
        office: Arc<Office>,
        carrier: String,
        phone: String,
        key: String,
        ordered: bool,
    ) -> Self {
        Self {
            office,
            carrier,
            phone,
            key,
            ordered,
            next: 0,
            previous_reordered: false,
            tried: watch::Sender::new(0),
        }
    }

    /// Sends a callback, made from its sequence number (from 0); returns at once.
    pub(crate) fn send(&mut self, status: CallStatus, make: impl FnOnce(u32) -> Parcel) {
        let seq = self.next;
        self.next += 1;
        let parcel = make(seq);
        let mut fault = self.fault(seq, status);
        fault.reordered &= !status.is_terminal();
        let overtaking = std::mem::replace(&mut self.previous_reordered, fault.reordered);
        let in_turn = self.ordered && seq > 0 && !overtaking;
        let tried = self.tried.clone();
        self.spawn(async move |office| {
            let mut seen = tried.subscribe();
            if fault.reordered {
                // The sender is ours, so the channel cannot close.
                let mask = seen
                    .wait_for(|mask| mask & (bit(seq + 1) | ABANDONED) != 0)
                    .await;
                if mask.is_ok_and(|mask| *mask & ABANDONED != 0) {
                    return;
                }
            } else if in_turn {
                let _ = timeout(ORDER_WAIT, seen.wait_for(|mask| mask & bit(seq - 1) != 0)).await;
            }
            let done = || tried.send_modify(|mask| *mask |= bit(seq));
            parcel.deliver(&office.http, fault, done).await;
        });
    }

    /// Sends a callback outside the order after `wait`; `seq` is only for its faults.
    pub(crate) fn send_aside(&self, status: CallStatus, seq: u32, wait: Duration, parcel: Parcel) {
        let fault = self.fault(seq, status);
        self.spawn(async move |office| {
            sleep(wait).await;
            parcel.deliver(&office.http, fault, || ()).await;
        });
    }

    /// The call vanished: callbacks that wait for a later one are dropped.
    pub(crate) fn abandon(&self) {
        self.tried.send_modify(|mask| *mask |= ABANDONED);
    }

    fn fault(&self, seq: u32, status: CallStatus) -> CallbackFault {
        let plan = &self.office.faults;
        plan.callback(&self.carrier, &self.phone, &self.key, seq, status)
    }

    fn spawn<F>(&self, work: impl FnOnce(Arc<Office>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let office = self.office.clone();
        let stop = office.stop.clone();
        let work = work(office.clone());
        office.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }
}

fn bit(seq: u32) -> u32 {
    1_u32.checked_shl(seq).unwrap_or(0)
}

impl Parcel {
    /// `tried` is called once others need not wait for this one any more.
    async fn deliver(self, http: &Client, fault: CallbackFault, tried: impl FnOnce()) {
        if fault.lost {
            tried();
            return self.letter.settled(false);
        }
        let tries = async {
            if let Some(hold) = fault.late {
                tried();
                sleep(hold).await;
                return self.try_from(http, 0).await;
            }
            let first = self.try_once(http, 0).await;
            tried();
            match first {
                Ok(()) => true,
                Err(failure) if self.again.contains(&failure) => self.try_from(http, 1).await,
                Err(_) => false,
            }
        };
        let held = fault.late.unwrap_or_default();
        // Out of time: lost for good.
        let delivered = timeout(held + self.total, tries).await.unwrap_or(false);
        self.letter.settled(delivered);
        if fault.duplicated {
            let _ = timeout(self.total, self.try_once(http, 0)).await;
        }
    }

    /// The tries from the `first` on. Whether one succeeded.
    async fn try_from(&self, http: &Client, first: usize) -> bool {
        for nth in first..self.tries.len() {
            sleep(self.tries[nth].0).await;
            match self.try_once(http, nth).await {
                Ok(()) => return true,
                Err(failure) if self.again.contains(&failure) => {}
                Err(_) => return false,
            }
        }
        false
    }

    async fn try_once(&self, http: &Client, nth: usize) -> Result<(), Failure> {
        let Some((_, url)) = self.tries.get(nth) else {
            return Err(Failure::Connect);
        };
        let count = u32::try_from(nth).unwrap_or(u32::MAX);
        let request = self.letter.request(http, url, count).timeout(self.read);
        let exchange = async {
            let response = request.send().await?;
            let status = response.status();
            // Read to the end, so that the connection can be used again.
            response.bytes().await.map(|_| status)
        };
        let failure = match exchange.await {
            Ok(status) if status.is_success() => return Ok(()),
            Ok(status) if status.is_client_error() => Failure::Refused,
            Ok(status) if status.is_server_error() => Failure::Broken,
            Ok(_) => Failure::Redirected,
            Err(error) if error.is_connect() => Failure::Connect,
            Err(_) => Failure::Silence,
        };
        tracing::debug!(?failure, callback = %self.name, "A callback was not accepted");
        Err(failure)
    }
}
