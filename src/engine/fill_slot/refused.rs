//! After a refusal: the next leg, written by compare-and-set with its channel, or the end.

use std::time::Duration;

use dialfleet_domain::call::{Attempt, CallEvent, CallState, Refusal, Verdict};
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::Nonce;
use dialfleet_domain::phone::area::Group;
use dialfleet_domain::routing::Hop;

use super::conclude::conclude;
use super::leg::next_leg;
use super::route::Held;
use crate::fleet::Fleet;
use crate::routes::channels;

/// Writes that `leg` was refused, and the next leg with it. Returns the attempt with that leg, its
/// nonce, and the uptime of its intent; `None` when the chain ends here.
pub(super) async fn go_on(
    fleet: &Fleet,
    mut attempt: Attempt,
    campaign: &Campaign,
    (leg, why): (u8, Refusal),
    (hops, group): (&mut impl Iterator<Item = Hop>, &Group),
    held: &mut Held,
) -> Option<(Attempt, Nonce, Duration)> {
    let refused = attempt.legs.last()?.clone();
    loop {
        let next = next_leg(fleet, &attempt, campaign, &why, (hops, group), held).await;
        let at = fleet.clock.uptime();
        let nonce = next.as_ref().map(|leg| leg.nonce.clone());
        let event = CallEvent::Refused {
            leg,
            why: why.clone(),
            next: next.map(Box::new),
        };
        let (after, verdict) = conclude(fleet, attempt, event).await?;
        let waits = after.state == CallState::Intent;
        // Also when a write of which nobody knew had happened, and this one found the leg there.
        if let Some(nonce) = nonce.as_ref().filter(|nonce| waits && after.is_mine(nonce)) {
            held.channel_taken(fleet);
            channels::free(fleet, &refused);
            return Some((after, nonce.clone(), at));
        }
        match verdict {
            // The channel went to somebody else, and nothing was written: the one after it.
            Verdict::Ignore if nonce.is_some() && waits && after.is_mine(&refused.nonce) => {
                held.channel_taken(fleet);
                attempt = after;
            }
            Verdict::Go(_) | Verdict::Ignore | Verdict::Note | Verdict::Zombie => return None,
        }
    }
}
