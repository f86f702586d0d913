//! Why this carrier: the router asked without a call.

use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::CarrierId;
use dialfleet_domain::phone::E164;
use dialfleet_domain::phone::area::Place;
use dialfleet_domain::routing::{self, Decision, Question};

use super::refresh;
use crate::fleet::Fleet;
use crate::port::store::Answer;

/// Whom a call to `to` would be given now, and why: for a campaign, or for one that leaves everything
/// open; as if `without` had been asked already. Nothing is explored.
///
/// # Errors
/// The store failed.
pub async fn explain(
    fleet: &Fleet,
    to: &E164,
    campaign: Option<&Campaign>,
    without: &[CarrierId],
) -> Answer<Decision> {
    refresh(fleet).await?;
    let (now, place) = (fleet.clock.now(), Place::of(to));
    let asked = campaign.map_or_else(
        || Question::open(now, 0),
        |campaign| Question::of(campaign, now, 0),
    );
    let mut question = Question {
        to: Some(&place),
        tried: without,
        ..asked
    };
    question.policy.explore_percent = 0;
    let candidates = fleet.routes.candidates(fleet, Some((to, &place)), now);
    Ok(routing::choose(&question, &candidates))
}
