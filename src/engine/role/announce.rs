//! Announced recordings from the queue into the store.

use super::{OUT, Role, decode, hold, park};
use crate::fleet::Fleet;
use crate::message::RecordingEvent;
use crate::port::queue::Delivery;
use crate::record::{self, Announced};

/// Settles each delivery once its recording is written down, waiting for the store as long as it
/// takes.
pub(super) async fn announce(fleet: &Fleet, deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        let event = match decode::<RecordingEvent>(&delivery) {
            Ok(event) => event,
            Err(reason) => {
                park(fleet, Role::Media, delivery, &reason).await;
                continue;
            }
        };
        let mut wait = OUT.0;
        loop {
            match record::announce(fleet, &event).await {
                Ok(Announced::Written) => {
                    fleet.metrics.job(Role::Media.name(), "done");
                    delivery.ack().await;
                    break;
                }
                Ok(Announced::Orphan) => {
                    park(
                        fleet,
                        Role::Media,
                        delivery,
                        "its attempt is not in the store",
                    )
                    .await;
                    break;
                }
                Err(error) if error.is_corrupt() => {
                    park(fleet, Role::Media, delivery, &error.to_string()).await;
                    break;
                }
                Err(error) => {
                    if !hold(fleet, Role::Media, &mut wait, &error).await {
                        return;
                    }
                }
            }
        }
    }
}
