//! ROUTE: the chain of carriers for a lead, and what it takes to ask the first of them.

use std::time::Duration;

use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::{AttemptId, CarrierId};
use dialfleet_domain::lead::Lead;
use dialfleet_domain::phone::area::{Group, Place};
use dialfleet_domain::routing::{self, Decision, Last, Question};
use dialfleet_domain::time::Timestamp;

use crate::fleet::Fleet;
use crate::pace::Token;
use crate::port::store::Answer;
use crate::routes::Probe;

/// How long a call waits for the pace of the carrier that is best for it, before the next best one
/// whose turn has come is asked.
const BEST_PATIENCE: Duration = Duration::from_secs(1);
/// The column of a lead that names its carrier, for the strategy "assigned".
const ASSIGNED: &str = "carrier";

/// What this process holds for a call, and gives back unless it was used.
#[derive(Default)]
pub(super) struct Held {
    pub(super) token: Option<Token>,
    pub(super) probes: Vec<Probe>,
}

impl Held {
    /// Gives everything back.
    pub(super) async fn give_back(self, fleet: &Fleet) {
        if let Some(token) = self.token {
            fleet.pace.give_back(token);
        }
        fleet.routes.give_back(fleet, self.probes).await;
    }

    /// Takes a token of `carrier`, waiting so long for one, and gives the one in hand back for it.
    /// Returns whether one is in hand now.
    pub(super) async fn take_token(
        &mut self,
        fleet: &Fleet,
        carrier: &CarrierId,
        patience: Duration,
    ) -> bool {
        let began = fleet.clock.uptime();
        loop {
            if self.token.as_ref().map(Token::carrier) == Some(carrier) {
                return true;
            }
            match fleet.pace.try_take(carrier) {
                Some(Ok(taken)) => {
                    if let Some(other) = self.token.replace(taken) {
                        fleet.pace.give_back(other);
                    }
                    return true;
                }
                Some(Err(wait)) if fleet.clock.uptime().saturating_sub(began) + wait < patience => {
                    if !fleet.pause(wait).await {
                        return false;
                    }
                }
                Some(Err(_)) | None => return false,
            }
        }
    }
}

/// Chooses the chain of carriers for a lead.
pub(super) async fn choose(
    fleet: &Fleet,
    campaign: &Campaign,
    lead: &Lead,
) -> Answer<(Decision, Group)> {
    let before = match lead.n {
        0 => None,
        n => match fleet.attempt(&AttemptId::new(&lead.id, n)).await {
            // It would only have been good to know.
            Err(error) if error.is_corrupt() => None,
            found => found?,
        },
    };
    let place = Place::of(&lead.phone);
    let now = fleet.clock.now();
    let named = lead.vars.get(ASSIGNED);
    let assigned = named.and_then(|id| CarrierId::parse(id.clone()).ok());
    let last = before.as_ref().and_then(last_of);
    let question = Question {
        assigned: assigned.as_ref(),
        to: Some(&place),
        last: last.as_ref(),
        ..Question::of(campaign, now, fleet.entropy.draw())
    };
    let candidates = fleet
        .routes
        .candidates(fleet, Some((&lead.phone, &place)), now);
    Ok((routing::choose(&question, &candidates), place.group))
}

fn last_of(attempt: &Attempt) -> Option<Last<'_>> {
    let (_, leg) = attempt.current_leg()?;
    Some(Last {
        carrier: &leg.carrier,
        from: &leg.from,
        outcome: attempt.outcome?,
    })
}

/// Takes what it takes to ask the first of the chain, or else the next one of which that can be had;
/// that one leads then. Returns whether somebody can be asked.
pub(super) async fn prepare(
    fleet: &Fleet,
    decision: &mut Decision,
    group: &Group,
    held: &mut Held,
) -> Answer<bool> {
    let mut patience = BEST_PATIENCE;
    for hop in decision.chain.clone() {
        let in_turn = held.take_token(fleet, &hop.carrier, patience).await;
        patience = Duration::ZERO;
        if !in_turn {
            continue;
        }
        if let Some(probes) = fleet.routes.take_probes(fleet, &hop.carrier, group).await? {
            held.probes.extend(probes);
            decision.lead_with(&hop.carrier, "its turn came first");
            return Ok(true);
        }
    }
    Ok(false)
}

/// When somebody can be asked again, as far as is known.
pub(super) fn again_at(decision: &Decision, now: Timestamp) -> Timestamp {
    let (soon, late) = super::NO_CARRIER_AGAIN;
    let known = decision.excluded.iter().filter_map(|one| one.why.until());
    known.min().unwrap_or(now).clamp(now + soon, now + late)
}
