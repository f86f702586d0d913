//! What a process can be told to do, and the loops that do it. Each loop ends when the process is to
//! stop, and finishes what it has begun.

mod announce;
mod ingest;
mod look;

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tracing::Instrument;

use crate::apply_events::{Written, follow, write_events};
use crate::dialer;
use crate::fleet::Fleet;
use crate::message::{self, CallEventMessage, FillSlot, Payload};
use crate::port::queue::{Consumer, Delivery, Topic};
use crate::port::store::StoreError;
use crate::{audit, compare, media, opt_out, pace, routes, sweep};

/// Unsettled deliveries at most, per queue.
const PREFETCH: u16 = 64;
/// Deliveries processed in one go.
const BATCH: usize = 64;
/// Between two tries while the store or the broker is out.
const OUT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Batches of which something is left to do, at most.
const ASIDE: usize = 16;
/// How long that may go on when this process is to stop.
const LAST_COMMANDS: Duration = Duration::from_secs(1);

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
                alone(ingest::ingest(f, d))
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
            futures_util::future::join(look::plan(fleet), look::scan(fleet))
                .await
                .0
        }
        Role::Reconcile => {
            let sweep = look::repair(fleet, sweep::run(fleet), "sweep");
            let compare = look::repair(fleet, compare::run(fleet), "comparison with the carriers");
            futures_util::future::join3(sweep, compare, look::watch(fleet)).await;
        }
        Role::Media if fleet.media.is_open() => {
            let announced = consume(fleet, role, Topic::Media, PREFETCH, |f, d| {
                alone(announce::announce(f, d))
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
        match fleet.unless_stopping(audit::look_around(fleet)).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => tracing::warn!(%error, "the store's clock could not be read"),
            None => return,
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
        match fleet
            .unless_stopping(audit::beat(fleet, &names, started_at))
            .await
        {
            Some(Ok(answer)) => agrees = answer,
            Some(Err(error)) => {
                fleet.metrics.store_up(false);
                tracing::warn!(%error, "no heartbeat");
            }
            None => break,
        }
        // What was last known holds, also while the store does not answer.
        if !agrees {
            audit::stand_down(fleet);
        }
        if !fleet.pause(audit::PERIOD).await {
            break;
        }
    }
    fleet.part(fleet.store.leave(&fleet.settings.worker)).await;
}

/// What is left to do of a batch, beside the next ones.
type Aside<'a> = BoxFuture<'a, ()>;
/// Processes a batch; it, or what it leaves to do, settles every delivery.
type Work = for<'a> fn(&'a Fleet, Vec<Delivery>) -> BoxFuture<'a, Option<Aside<'a>>>;

/// Work that leaves nothing to do.
fn alone<'a>(work: impl Future<Output = ()> + Send + 'a) -> BoxFuture<'a, Option<Aside<'a>>> {
    Box::pin(async move {
        work.await;
        None
    })
}

/// Does what was put aside until `work` is done.
async fn beside<T>(aside: &mut FuturesUnordered<Aside<'_>>, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Some(()) = aside.next(), if !aside.is_empty() => {}
        }
    }
}

/// Subscribes, and hands what is ready to `work`, batch by batch.
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
    let mut aside = FuturesUnordered::new();
    loop {
        let next = async {
            tokio::select! {
                biased;
                () = fleet.stopping.cancelled() => None,
                next = consumer.next(BATCH) => next,
            }
        };
        let Some(deliveries) = beside(&mut aside, next).await else {
            break;
        };
        let span = tracing::debug_span!("batch", role = role.name(), n = deliveries.len());
        if let Some(first) = deliveries.first() {
            dialfleet_runtime::telemetry::set_parent(&span, &first.headers);
        }
        let work = work(fleet, deliveries).instrument(span);
        let left = beside(&mut aside, work).await;
        aside.extend(left);
        while aside.len() >= ASIDE && fleet.unless_stopping(aside.next()).await.is_some() {}
    }
    // Somebody else does the rest.
    tokio::select! {
        biased;
        () = async { while aside.next().await.is_some() {} } => {}
        () = fleet.clock.sleep(LAST_COMMANDS) => {}
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
            () = consume(fleet, Role::Dial, Topic::Dial, PREFETCH, |f, d| alone(offer(f, d))) => return,
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

/// Writes what happened; what follows from it goes on beside the next batches, so that a carrier that does
/// not answer a command keeps nobody else's events waiting.
async fn apply(fleet: &Fleet, deliveries: Vec<Delivery>) -> Option<Aside<'_>> {
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
    let (mut written, mut done) = (Vec::new(), Vec::new());
    match apply_held(fleet, events.clone()).await {
        Applied::Yes(all) => (written, done) = (all, good),
        Applied::Stopping => return None,
        // One of them is about a document that cannot be read: each on its own.
        Applied::Corrupt(_) => {
            for (event, delivery) in events.into_iter().zip(good) {
                match apply_held(fleet, vec![event]).await {
                    Applied::Yes(one) => {
                        written.extend(one);
                        done.push(delivery);
                    }
                    Applied::Corrupt(why) => park(fleet, Role::Events, delivery, &why).await,
                    Applied::Stopping => break,
                }
            }
        }
    }
    Some(Box::pin(async move {
        let settled = async {
            for delivery in done {
                fleet.metrics.job(Role::Events.name(), "done");
                delivery.ack().await;
            }
        };
        futures_util::future::join(settled, follow(fleet, written)).await;
    }))
}

/// What became of events.
enum Applied {
    /// They are durable, and so are the commands that follow.
    Yes(Vec<Written>),
    /// A document cannot be read, which no waiting mends.
    Corrupt(String),
    /// This process is to stop; unsettled, they come again.
    Stopping,
}

/// Applies events, waiting for the store as long as it takes.
async fn apply_held(fleet: &Fleet, events: Vec<CallEventMessage>) -> Applied {
    let mut wait = OUT.0;
    loop {
        let error = match write_events(fleet, events.clone()).await {
            Ok(written) => return Applied::Yes(written),
            Err(error) => error,
        };
        if error.is_corrupt() {
            return Applied::Corrupt(error.to_string());
        }
        if !hold(fleet, Role::Events, &mut wait, &error).await {
            return Applied::Stopping;
        }
    }
}
