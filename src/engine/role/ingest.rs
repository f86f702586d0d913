//! Leads from the queue into the store.

use sha2::{Digest, Sha256};

use super::{OUT, Role, decode, hold, park};
use crate::fleet::Fleet;
use crate::import::set_aside;
use crate::ingest::Ingested;
use crate::message::LeadBatch;
use crate::port::queue::Delivery;

/// Settles each delivery once its leads are written down, waiting for the store as long as it takes.
pub(super) async fn ingest(fleet: &Fleet, deliveries: Vec<Delivery>) {
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
            let error = match crate::ingest::ingest(fleet, &batch, &id).await {
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
