//! What a process can be told to do, and the loops that do it. Each loop ends when the process is to
//! stop, and finishes what it has begun.

use std::time::Duration;

use dialfleet_domain::id::CampaignId;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use tracing::Instrument;

use crate::apply_events::apply_events;
use crate::dialer;
use crate::fleet::Fleet;
use crate::ingest::{Ingested, ingest};
use crate::message::{CallEventMessage, FillSlot, LeadBatch, Payload};
use crate::port::queue::{Consumer, Delivery, Topic};
use crate::port::store::{Cas, StoreError};
use crate::{audit, compare, plan, sweep};

/// Unsettled deliveries at most, per queue.
const PREFETCH: u16 = 64;
/// Deliveries processed in one go.
const BATCH: usize = 64;
/// Between two turns of the planner and of the sweeper.
const TICK: Duration = Duration::from_millis(500);
/// Between two tries while the store or the broker is out.
const OUT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Between two passes of the safety scan.
const SCAN_PAUSE: Duration = Duration::from_secs(3);
/// How long the duty of the safety scan is held.
const SCAN_DUTY: Duration = Duration::from_secs(5);
/// Callbacks are kept as evidence for this long.
const KEEP_CALLBACKS: Duration = Duration::from_secs(30 * 24 * 3600);

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Leads from the queue into the store.
    Ingest,
    /// Free slots into calls.
    Dial,
    /// Callbacks into state.
    Events,
    /// Wake-ups.
    Plan,
    /// Repair.
    Reconcile,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::Ingest,
        Self::Dial,
        Self::Events,
        Self::Plan,
        Self::Reconcile,
    ];

    /// The name used in flags, heartbeats and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Dial => "dial",
            Self::Events => "events",
            Self::Plan => "plan",
            Self::Reconcile => "reconcile",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Runs a role until this process is to stop.
pub async fn run(fleet: &Fleet, role: Role) {
    match role {
        Role::Ingest => {
            consume(fleet, role, Topic::LeadsIngest, 8, |f, d| {
                Box::pin(ingest_one_by_one(f, d))
            })
            .await
        }
        Role::Dial => {
            let offers = consume(fleet, role, Topic::Dial, PREFETCH, |f, d| {
                Box::pin(offer(f, d))
            });
            futures_util::future::join(offers, dialer::run(fleet)).await;
        }
        Role::Events => {
            consume(fleet, role, Topic::CallEvents, PREFETCH * 4, |f, d| {
                Box::pin(apply(f, d))
            })
            .await
        }
        Role::Plan => {
            futures_util::future::join(plan_loop(fleet), scan_loop(fleet))
                .await
                .0
        }
        Role::Reconcile => {
            futures_util::future::join(sweep_loop(fleet), watch_loop(fleet))
                .await
                .0
        }
    }
}

/// Says every few seconds that this process is alive. While the clock is wrong, dialing is held.
pub async fn heartbeat(fleet: &Fleet, roles: &[Role]) {
    let names: Vec<&str> = roles.iter().map(|r| r.name()).collect();
    let started_at = fleet.clock.now();
    let mut agrees = true;
    loop {
        match audit::beat(fleet, &names, started_at).await {
            Ok(answer) => agrees = answer,
            Err(error) => {
                fleet.metrics.store_up(false);
                tracing::warn!(%error, "no heartbeat");
            }
        }
        // What was last known holds, also while the store does not answer.
        if !agrees {
            audit::stand_down(fleet);
        }
        if !fleet.pause(audit::PERIOD).await {
            break;
        }
    }
    if let Err(error) = fleet.store.leave(&fleet.settings.worker).await {
        tracing::debug!(%error, "left without saying so");
    }
}

/// Processes and settles a batch.
type Work = for<'a> fn(&'a Fleet, Vec<Delivery>) -> BoxFuture<'a, ()>;

/// Subscribes, and hands what is ready to `work`, batch by batch. `work` settles every delivery.
async fn consume(fleet: &Fleet, role: Role, topic: Topic, prefetch: u16, work: Work) {
    let mut wait = OUT.0;
    let mut consumer: Box<dyn Consumer> = loop {
        match fleet.queue.consume(topic, prefetch).await {
            Ok(consumer) => break consumer,
            Err(error) => {
                tracing::warn!(%error, topic = topic.name(), "cannot subscribe; trying again")
            }
        }
        if !fleet.pause(wait).await {
            return;
        }
        wait = (wait * 2).min(OUT.1);
    };
    loop {
        let deliveries = tokio::select! {
            biased;
            () = fleet.stopping.cancelled() => break,
            next = consumer.next(BATCH) => next,
        };
        let Some(deliveries) = deliveries else { break };
        let span = tracing::debug_span!("batch", role = role.name(), n = deliveries.len());
        if let Some(first) = deliveries.first() {
            dialfleet_runtime::telemetry::set_parent(&span, &first.headers);
        }
        work(fleet, deliveries).instrument(span).await;
    }
}

/// Reads a payload, or says why it cannot be read.
fn decode<T: Payload>(delivery: &Delivery) -> Result<T, String> {
    if let Some(kind) = delivery
        .kind
        .as_deref()
        .filter(|k| !k.is_empty() && *k != T::KIND)
    {
        return Err(format!("expected {}, got {kind}", T::KIND));
    }
    serde_json::from_slice(&delivery.body).map_err(|e| format!("not a {}: {e}", T::KIND))
}

async fn park(fleet: &Fleet, role: Role, delivery: Delivery, reason: &str) {
    fleet.metrics.job(role.name(), "parked");
    tracing::warn!(
        message = delivery.id.as_deref().unwrap_or("-"),
        reason,
        "a message was put aside"
    );
    delivery.park(reason).await;
}

/// The store is out: waits a little longer each time. What was received is held meanwhile, so nothing
/// more is taken from the queue. Returns whether to try again; not when this process is to stop.
async fn hold(fleet: &Fleet, role: Role, wait: &mut Duration, error: &StoreError) -> bool {
    fleet.metrics.job(role.name(), "retry");
    tracing::warn!(%error, role = role.name(), "the store is out; holding what was received");
    let time = *wait;
    *wait = (time * 2).min(OUT.1);
    fleet.pause(time).await
}

async fn ingest_one_by_one(fleet: &Fleet, deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        let batch: LeadBatch = match decode(&delivery) {
            Ok(batch) => batch,
            Err(reason) => {
                park(fleet, Role::Ingest, delivery, &reason).await;
                continue;
            }
        };
        // Without an id of its own, equal content is the same message.
        let id = delivery
            .id
            .clone()
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| short_hash(&delivery.body));
        let mut wait = OUT.0;
        let ingested = loop {
            match ingest(fleet, &batch, &id).await {
                Ok(ingested) => break ingested,
                Err(error) if hold(fleet, Role::Ingest, &mut wait, &error).await => {}
                // Stopping: unsettled, so it comes again.
                Err(_) => return,
            }
        };
        match ingested {
            Ingested::Done(tally) => {
                fleet.metrics.job(Role::Ingest.name(), "done");
                tracing::debug!(
                    accepted = tally.accepted,
                    duplicate = tally.duplicate,
                    rejected = tally.rejected,
                    "ingested"
                );
                delivery.ack().await;
            }
            Ingested::Park(reason) => park(fleet, Role::Ingest, delivery, &reason).await,
        }
    }
}

fn short_hash(body: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(32);
    for byte in &Sha256::digest(body)[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

async fn offer(fleet: &Fleet, deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        match decode::<FillSlot>(&delivery) {
            Ok(fill) => {
                if let Some(dialer) = &fleet.dialer {
                    dialer.offer(fill);
                }
                fleet.metrics.job(Role::Dial.name(), "done");
                delivery.ack().await;
            }
            Err(reason) => park(fleet, Role::Dial, delivery, &reason).await,
        }
    }
}

async fn apply(fleet: &Fleet, deliveries: Vec<Delivery>) {
    let mut events = Vec::with_capacity(deliveries.len());
    let mut good = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        match decode::<CallEventMessage>(&delivery) {
            Ok(event) => {
                events.push(event);
                good.push(delivery);
            }
            Err(reason) => park(fleet, Role::Events, delivery, &reason).await,
        }
    }
    let mut wait = OUT.0;
    while let Err(error) = apply_events(fleet, events.clone()).await {
        if !hold(fleet, Role::Events, &mut wait, &error).await {
            // Stopping: unsettled, so they come again.
            return;
        }
    }
    for delivery in good {
        fleet.metrics.job(Role::Events.name(), "done");
        delivery.ack().await;
    }
}

async fn plan_loop(fleet: &Fleet) {
    loop {
        match plan::plan_due(fleet).await {
            // More may be due.
            Ok(n) if n >= plan::MAX_WAKES && !fleet.stopping.is_cancelled() => continue,
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "no planning"),
        }
        if !fleet.pause(TICK).await {
            return;
        }
    }
}

async fn scan_loop(fleet: &Fleet) {
    let mut after: Option<CampaignId> = None;
    let mut running = 0;
    loop {
        let now = fleet.clock.now();
        match fleet
            .store
            .hold_duty("scan", &fleet.settings.worker, now, now + SCAN_DUTY)
            .await
        {
            Ok(Cas::Won) => match plan::scan(fleet, after.take(), &mut running).await {
                Ok(next) => after = next,
                Err(error) => tracing::warn!(%error, "no scan"),
            },
            Ok(Cas::Lost) => after = None,
            Err(error) => tracing::warn!(%error, "no scan"),
        }
        // Between two passes longer than between two pages of one.
        let wait = if after.is_some() {
            TICK * 2
        } else {
            SCAN_PAUSE
        };
        if !fleet.pause(wait).await {
            return;
        }
    }
}

async fn sweep_loop(fleet: &Fleet) {
    loop {
        if let Err(error) = sweep::sweep(fleet).await {
            tracing::warn!(%error, "no sweep");
        }
        if !fleet.pause(TICK * 2).await {
            return;
        }
    }
}

async fn watch_loop(fleet: &Fleet) {
    let mut compared = None;
    loop {
        let now = fleet.clock.uptime();
        if compared.is_none_or(|at| now.saturating_sub(at) >= compare::PERIOD) {
            compared = Some(now);
            if let Err(error) = compare::compare(fleet).await {
                tracing::warn!(%error, "no comparison with the carriers");
            }
        }
        if let Err(error) = audit::audit(fleet).await {
            fleet.metrics.store_up(false);
            tracing::warn!(%error, "no audit");
        }
        if let Err(error) = fleet
            .store
            .delete_callbacks(fleet.clock.now() - KEEP_CALLBACKS, 1_000)
            .await
        {
            tracing::debug!(%error, "old callbacks were not deleted");
        }
        if !fleet.pause(audit::PERIOD).await {
            return;
        }
    }
}
