//! Opt-outs that could not be written yet. As long as one is kept here, this process dials nobody.
//!
//! A copy goes to the broker, if that answers: another process writes it if this one dies; and to the
//! spool, if this process has a folder to keep things in: its successor writes it then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dialfleet_domain::id::{AttemptId, CarrierCallId, CarrierId};

use crate::do_not_call;
use crate::fleet::Fleet;
use crate::message::{CallEventMessage, Payload};
use crate::port::carrier::CallStatus;
use crate::port::spool::Spool;
use crate::port::store::DoNotCall;

/// How often they are tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The most that are kept; a carrier has fewer calls under way.
const MAX_KEPT: usize = 10_000;

/// What is kept.
#[derive(Default)]
pub struct OptOuts {
    kept: Mutex<Vec<DoNotCall>>,
    /// There were more than can be kept: they are in the spool only, for the next process.
    overflow: AtomicBool,
    spool: Option<Arc<dyn Spool>>,
}

impl OptOuts {
    /// With what a predecessor left in the spool.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn with(spool: Arc<dyn Spool>) -> std::io::Result<Self> {
        Ok(Self {
            kept: Mutex::new(spool.left()?),
            overflow: AtomicBool::new(false),
            spool: Some(spool),
        })
    }

    /// Whether any waits: nobody is to be dialed then.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.overflow.load(Ordering::Relaxed) && self.entries().is_empty()
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<DoNotCall>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an entry until it is written.
    pub(crate) fn keep(&self, entry: DoNotCall) {
        {
            let mut kept = self.entries();
            let known = kept
                .iter()
                .any(|one| one.phone == entry.phone && one.tenant == entry.tenant);
            if known {
                return;
            }
            if kept.len() < MAX_KEPT {
                kept.push(entry.clone());
            } else {
                self.overflow.store(true, Ordering::Relaxed);
            }
        }
        tracing::error!(
            "an opt-out could not be written yet: this process stops dialing until it is"
        );
        // Whoever dials looks at what is kept, and does not wait for a disk.
        if let Some(spool) = &self.spool
            && let Err(error) = spool.add(&entry)
        {
            tracing::error!(%error, "an opt-out is kept in memory only");
        }
    }
}

/// Has the broker keep a copy, for the events workers.
pub(crate) async fn publish(
    fleet: &Fleet,
    (attempt, leg): (&AttemptId, u8),
    carrier: &CarrierId,
    call_id: &CarrierCallId,
) {
    let event = CallEventMessage {
        carrier: carrier.clone(),
        attempt: attempt.clone(),
        leg,
        call_id: call_id.clone(),
        event_key: format!("{call_id}:opt-out"),
        statuses: vec![CallStatus::OptedOut],
        received_at: fleet.clock.now(),
        raw: String::new(),
        headers: std::collections::BTreeMap::new(),
    };
    let message = event.message(format!("{}:{}", event.carrier, event.event_key));
    if fleet
        .queue
        .publish(vec![message])
        .await
        .iter()
        .any(Result::is_err)
    {
        tracing::error!("the broker did not take an opt-out either");
    }
}

/// Writes what is kept, as soon as the store takes it. Ends when the process is to stop.
pub(crate) async fn write(fleet: &Fleet) {
    loop {
        let kept = fleet.opt_outs.entries().clone();
        for entry in kept {
            let phones = std::slice::from_ref(&entry.phone);
            match do_not_call::add(fleet, &entry.tenant, phones, &entry.source).await {
                Ok(()) => {
                    fleet.metrics.flow("opted_out_late");
                    let mut left = fleet.opt_outs.entries();
                    left.retain(|one| *one != entry);
                    if left.is_empty()
                        && !fleet.opt_outs.overflow.load(Ordering::Relaxed)
                        && let Some(spool) = &fleet.opt_outs.spool
                    {
                        spool.clear();
                        tracing::warn!("every opt-out is written: dialing goes on");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "an opt-out cannot be written yet");
                    break;
                }
            }
        }
        if !fleet.pause(AGAIN).await {
            return;
        }
    }
}
