//! What a process can be told to do, and the loops that do it. Each loop ends when the process is to
//! stop, and finishes what it has begun.

mod announce;

use std::time::Duration;

use dialfleet_domain::id::CampaignId;
use futures_util::future::BoxFuture;
use sha2::{Digest, Sha256};
use tracing::Instrument;

use crate::apply_events::apply_events;
use crate::dialer;
use crate::fleet::Fleet;
use crate::import::set_aside;
use crate::ingest::{Ingested, ingest};
use crate::message::{self, CallEventMessage, FillSlot, LeadBatch, Payload};
use crate::port::queue::{Consumer, Delivery, Topic};
use crate::port::store::{Answer, Cas, StoreError};
use crate::{audit, compare, media, opt_out, pace, plan, routes, sweep};

/// Unsettled deliveries at most, per queue.
const PREFETCH: u16 = 64;
/// Deliveries processed in one go.
const BATCH: usize = 64;
/// Between two turns of the planner.
const TICK: Duration = Duration::from_millis(500);
/// Between two tries while the store or the broker is out.
const OUT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Between two passes of the safety scan.
const SCAN_PAUSE: Duration = Duration::from_secs(3);
/// How long the duty of the safety scan is held.
const SCAN_DUTY: Duration = Duration::from_secs(5);
/// How long repair may go on when this process is to stop.
const REPAIR_GRACE: Duration = Duration::from_secs(1);
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
    /// Recordings and transcripts.
    Media,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Ingest,
        Self::Dial,
        Self::Events,
        Self::Plan,
        Self::Reconcile,
        Self::Media,
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
            Self::Media => "media",
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
    if !know_time(fleet).await {
        return;
    }
    match role {
        Role::Ingest => {
            consume(fleet, role, Topic::LeadsIngest, 8, |f, d| {
                Box::pin(ingest_one_by_one(f, d))
            })
            .await
        }
        Role::Dial => {
            let dialing = dialer::run(fleet);
            futures_util::future::join3(take_offers(fleet), dialing, pace::keep_seats(fleet)).await;
            routes::leave(fleet).await;
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
            let sweep = repair(fleet, sweep::run(fleet), "sweep");
            let compare = repair(fleet, compare::run(fleet), "comparison with the carriers");
            futures_util::future::join3(sweep, compare, watch_loop(fleet)).await;
        }
        Role::Media if fleet.media.is_open() => {
            let announced = consume(fleet, role, Topic::Media, PREFETCH, |f, d| {
                Box::pin(announce::announce(f, d))
            });
            futures_util::future::join(announced, media::run(fleet)).await;
        }
        // Somebody else's work: this process has nowhere to keep them.
        Role::Media => fleet.stopping.cancelled().await,
    }
}

/// What a process without roles does besides answering: keeps its time by the store's, and shares
/// what it learns about the carriers.
pub async fn keep_time(fleet: &Fleet) {
    let opt_outs = opt_out::write(fleet);
    futures_util::future::join3(look_around(fleet), routes::keep(fleet), opt_outs).await;
}

async fn look_around(fleet: &Fleet) {
    loop {
        if let Err(error) = audit::look_around(fleet).await {
            tracing::warn!(%error, "the store's clock could not be read");
        }
        if !fleet.pause(audit::PERIOD).await {
            return;
        }
    }
}

/// Waits until this process knows the fleet's time. Returns whether it does; not when it is to stop.
async fn know_time(fleet: &Fleet) -> bool {
    let mut wait = OUT.0;
    while !fleet.clock.is_set() {
        if let Err(error) = audit::look_around(fleet).await {
            tracing::warn!(%error, "the store's clock could not be read");
            if !fleet.pause(wait).await {
                return false;
            }
            wait = (wait * 2).min(OUT.1);
        }
    }
    true
}

/// Says every few seconds that this process is alive, and shares what it learns about the carriers.
/// While the clock is wrong, dialing is held.
pub async fn heartbeat(fleet: &Fleet, roles: &[Role]) {
    let opt_outs = opt_out::write(fleet);
    futures_util::future::join3(beat(fleet, roles), routes::keep(fleet), opt_outs).await;
}

async fn beat(fleet: &Fleet, roles: &[Role]) {
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
    message::decode(delivery.kind.as_deref(), &delivery.body)
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
        if fleet.stopping.is_cancelled() {
            // Unsettled, so it comes again, here or elsewhere.
            return;
        }
        let batch: LeadBatch = match decode(&delivery) {
            Ok(batch) => batch,
            Err(reason) => {
                park(fleet, Role::Ingest, delivery, &reason).await;
                continue;
            }
        };
        // Equal content is the same message; an equal id is not enough, people reuse those.
        let content = short_hash(&delivery.body);
        let id = match delivery.id.as_deref() {
            None | Some("") => content,
            Some(id) => format!("{id}_{}", &content[..12]),
        };
        let mut wait = OUT.0;
        let ingested = loop {
            let error = match ingest(fleet, &batch, &id).await {
                Ok(Ingested::Park(reason)) => match set_aside(fleet, &batch, &reason).await {
                    Ok(()) => break Ingested::Park(reason),
                    Err(error) => error,
                },
                Ok(done) => break done,
                Err(error) => error,
            };
            if error.is_corrupt() {
                break Ingested::Park(error.to_string());
            }
            if !hold(fleet, Role::Ingest, &mut wait, &error).await {
                // Stopping: unsettled, so it comes again.
                return;
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

/// Takes free slots from the queue, while the dialer is open. Not subscribed otherwise: what the
/// broker sends ahead would wait here, where nobody dials.
async fn take_offers(fleet: &Fleet) {
    let Some(dialer) = &fleet.dialer else { return };
    loop {
        tokio::select! {
            biased;
            () = fleet.stopping.cancelled() => return,
            () = dialer.until(true) => {}
        }
        tokio::select! {
            biased;
            () = consume(fleet, Role::Dial, Topic::Dial, PREFETCH, |f, d| Box::pin(offer(f, d))) => return,
            // What is unsettled goes back.
            () = dialer.until(false) => {}
        }
    }
}

async fn offer(fleet: &Fleet, deliveries: Vec<Delivery>) {
    let Some(dialer) = &fleet.dialer else { return };
    for delivery in deliveries {
        match decode::<FillSlot>(&delivery) {
            Ok(fill) => {
                if dialer.offer(fill).is_err() {
                    // Closed: the subscription ends at this await, and what is unsettled goes to
                    // somebody else. To return would be to ask for the same again, for ever.
                    return dialer.until(true).await;
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
    match apply_held(fleet, events.clone()).await {
        Applied::Yes => {
            for delivery in good {
                fleet.metrics.job(Role::Events.name(), "done");
                delivery.ack().await;
            }
        }
        Applied::Stopping => {}
        // One of them is about a document that cannot be read: each on its own.
        Applied::Corrupt(_) => {
            for (event, delivery) in events.into_iter().zip(good) {
                match apply_held(fleet, vec![event]).await {
                    Applied::Yes => {
                        fleet.metrics.job(Role::Events.name(), "done");
                        delivery.ack().await;
                    }
                    Applied::Corrupt(why) => park(fleet, Role::Events, delivery, &why).await,
                    Applied::Stopping => return,
                }
            }
        }
    }
}

/// What became of events.
enum Applied {
    /// They are durable.
    Yes,
    /// A document cannot be read, which no waiting mends.
    Corrupt(String),
    /// This process is to stop; unsettled, they come again.
    Stopping,
}

/// Applies events, waiting for the store as long as it takes.
async fn apply_held(fleet: &Fleet, events: Vec<CallEventMessage>) -> Applied {
    let mut wait = OUT.0;
    loop {
        let Err(error) = apply_events(fleet, events.clone()).await else {
            return Applied::Yes;
        };
        if error.is_corrupt() {
            return Applied::Corrupt(error.to_string());
        }
        if !hold(fleet, Role::Events, &mut wait, &error).await {
            return Applied::Stopping;
        }
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

/// Repairs, unless this process is to stop: what is half done then is found again by another, and
/// must not wait for a carrier that does not answer. Returns whether the store answered.
async fn repair<T>(fleet: &Fleet, work: impl Future<Output = Answer<T>>, what: &str) -> bool {
    let brief = async {
        fleet.stopping.cancelled().await;
        fleet.clock.sleep(REPAIR_GRACE).await;
    };
    tokio::select! {
        biased;
        done = work => {
            if let Err(error) = &done {
                tracing::warn!(%error, "no {what}");
            }
            done.is_ok()
        }
        () = brief => {
            tracing::info!("left the {what} to others");
            true
        }
    }
}

async fn watch_loop(fleet: &Fleet) {
    loop {
        if !repair(fleet, audit::audit(fleet), "audit").await {
            fleet.metrics.store_up(false);
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
