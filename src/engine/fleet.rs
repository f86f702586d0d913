//! What every use case works with: the ports, and what this process knows about itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dialfleet_domain::call::{Attempt, Verdict};
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::{AttemptId, CampaignId, CarrierId, TenantId, WorkerId};
use dialfleet_runtime::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use crate::dialer::Dialer;
use crate::media::MediaRoom;
use crate::message::{FillSlot, Payload};
use crate::opt_out::OptOuts;
use crate::pace::Pace;
use crate::port::store::{Answer, Cas, SaveAttempt};
use crate::port::{Carrier, Entropy, Queue, Store};
use crate::routes::Routes;
use crate::time::FleetClock;
use crate::token::CallbackKeys;

/// Tries of a compare-and-set before we believe that something is wrong. Each loss means that
/// somebody else made progress, so only a bug gets here.
const CAS_TRIES: usize = 50;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// What this process was told at start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its own name.
    pub worker: WorkerId,
    /// The tenant that the bootstrap key and the command line act for.
    pub tenant: TenantId,
    /// Where carriers reach us, without a slash at the end.
    pub public_url: String,
    /// Divides ring, talk and retry times; 1 except in the demonstration, whose simulated network
    /// is as much faster.
    pub speed: f64,
}

impl Settings {
    /// `time` as this process experiences it.
    #[must_use]
    pub fn scaled(&self, time: Duration) -> Duration {
        time.div_f64(self.speed.max(1.0))
    }
}

/// The ports and the shared parts of one process.
pub struct Fleet {
    /// The source of truth.
    pub store: Arc<dyn Store>,
    /// Work and wake-ups.
    pub queue: Arc<dyn Queue>,
    /// The configured carriers.
    pub carriers: BTreeMap<CarrierId, Arc<dyn Carrier>>,
    /// Time, by the store's clock.
    pub clock: FleetClock,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Counters.
    pub metrics: Metrics,
    /// What it was told.
    pub settings: Settings,
    /// The keys that sign callback URLs.
    pub keys: CallbackKeys,
    /// Calls per second, per carrier.
    pub pace: Pace,
    /// What is known about the carriers.
    pub routes: Routes,
    /// Opt-outs that wait to be written; while any does, nobody is dialed here.
    pub opt_outs: OptOuts,
    /// Where recordings are kept, and who writes them down.
    pub media: MediaRoom,
    /// The slots waiting for a token here; `None` in a process without the role `dial`.
    pub dialer: Option<Dialer>,
    /// Cancelled when this process is to stop: nothing new is begun after that.
    pub stopping: CancellationToken,
}

impl Fleet {
    /// Changes an attempt with a compare-and-set, reading it again whenever somebody was faster.
    /// Returns the attempt as written and the verdict, or `None` when there is no such attempt. A change
    /// that takes a channel which somebody else holds is not made, and is `Ignore`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn amend(
        &self,
        mut attempt: Attempt,
        change: impl Fn(&mut Attempt) -> Verdict + Send + Sync,
    ) -> Answer<Option<(Attempt, Verdict)>> {
        for _ in 0..CAS_TRIES {
            let expected = attempt.version;
            let id = attempt.id.clone();
            let held = attempt.channel.clone();
            let verdict = change(&mut attempt);
            if verdict == Verdict::Ignore {
                return Ok(Some((attempt, verdict)));
            }
            let save = SaveAttempt {
                attempt: attempt.clone(),
                expected,
            };
            match self.store.save_attempts(&[save]).await?.first() {
                Some(Cas::Won) => return Ok(Some((attempt, verdict))),
                Some(Cas::Lost) | None => {
                    let wants = attempt.channel.is_some() && attempt.channel != held;
                    match self.attempt(&id).await? {
                        // Nobody wrote, and it lost all the same: to U4.
                        Some(fresh) if wants && fresh.version == expected => {
                            return Ok(Some((fresh, Verdict::Ignore)));
                        }
                        Some(fresh) => attempt = fresh,
                        None => return Ok(None),
                    }
                }
            }
        }
        tracing::error!(attempt = %attempt.id, "an attempt could not be written in {CAS_TRIES} tries");
        self.metrics.violation("cas_exhausted");
        Ok(None)
    }

    /// Reads one attempt.
    ///
    /// # Errors
    /// The store failed.
    pub async fn attempt(&self, id: &AttemptId) -> Answer<Option<Attempt>> {
        Ok(self
            .store
            .attempts(std::slice::from_ref(id))
            .await?
            .pop()
            .flatten())
    }

    /// Reads one campaign.
    ///
    /// # Errors
    /// The store failed.
    pub async fn campaign(&self, id: &CampaignId) -> Answer<Option<Campaign>> {
        Ok(self
            .store
            .campaigns(std::slice::from_ref(id))
            .await?
            .pop()
            .flatten())
    }

    /// Reads campaigns, in order, with gaps. One that cannot be read is a gap too: nothing is dialed for
    /// it, and the others go on.
    ///
    /// # Errors
    /// The store failed.
    pub(crate) async fn campaigns(&self, ids: &[CampaignId]) -> Answer<Vec<Option<Campaign>>> {
        match self.store.campaigns(ids).await {
            Err(error) if error.is_corrupt() => {}
            answer => return answer,
        }
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.push(match self.campaign(id).await {
                Err(error) if error.is_corrupt() => None,
                answer => answer?,
            });
        }
        Ok(found)
    }

    /// Sends a free slot on: to the dialer of this process, or to whoever listens on `dial`. May be
    /// lost: the planner's scan finds every free slot again.
    pub async fn hand_off(&self, fill: FillSlot) {
        let refused = match &self.dialer {
            Some(dialer) => dialer.offer(fill).err(),
            None => Some(fill),
        };
        let Some(fill) = refused else { return };
        for left in self.publish_slots(vec![fill]).await {
            // Without the broker a planner learns of it from the store.
            if let Err(error) = self.store.wake(&[(left.campaign, self.clock.now())]).await {
                tracing::warn!(%error, "a free slot waits for the planner's scan");
            }
        }
    }

    /// Offers free slots to whoever listens on `dial`, and returns those that were not taken.
    pub(crate) async fn publish_slots(&self, mut fills: Vec<FillSlot>) -> Vec<FillSlot> {
        let message = |fill: &FillSlot| fill.message(format!("{}/{}", fill.campaign, fill.slot));
        let answers = self.queue.publish(fills.iter().map(message).collect());
        let mut answers = answers.await.into_iter();
        let mut why = None;
        fills.retain(|_| match answers.next() {
            Some(Ok(())) => false,
            Some(Err(error)) => {
                why = Some(error);
                true
            }
            None => true,
        });
        if let Some(error) = why {
            tracing::warn!(%error, slots = fills.len(), "free slots could not be published");
        }
        fills
    }

    /// What this process does again and again, unless it is to stop first: another one does it then, and a
    /// store that does not answer must not keep it here. `None`: it is to stop.
    pub(crate) async fn unless_stopping<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.stopping.cancelled() => None,
        }
    }

    /// Says goodbye, which the others would find out by themselves: the same holds.
    pub(crate) async fn part(&self, goodbye: impl Future<Output = Answer<()>>) {
        tokio::select! {
            biased;
            said = goodbye => {
                if let Err(error) = said {
                    tracing::debug!(%error, "left without saying so");
                }
            }
            () = self.clock.sleep(GOODBYE) => {
                tracing::debug!("left without saying so: the store does not answer");
            }
        }
    }

    /// Waits, unless this process is to stop first. Returns whether it may go on.
    pub async fn pause(&self, time: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => false,
            () = self.clock.sleep(time) => true,
        }
    }
}
