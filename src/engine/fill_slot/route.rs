//! ROUTE: the chain of carriers for a lead, and what it takes to ask the first of them.

use std::time::Duration;

use dialfleet_domain::breaker::Admission;
use dialfleet_domain::call::Attempt;
use dialfleet_domain::caller_id::{Number, Usage};
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::{AttemptId, CarrierId};
use dialfleet_domain::lead::Lead;
use dialfleet_domain::phone::area::{Group, Place};
use dialfleet_domain::routing::{self, Decision, Exclusion, Last, Question, Strategy};
use dialfleet_domain::time::Timestamp;

use crate::dialer::{SOON, wait_for};
use crate::fleet::Fleet;
use crate::pace::Token;
use crate::port::store::Answer;
use crate::routes::Probe;
use crate::routes::channels::{Reserved, Taken};

/// When somebody is asked again who can be asked later: not sooner, and not later, whatever the
/// breakers say.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The same for a person to whom no carrier goes, by its rates or the lead's own wish.
const UNSERVED_AGAIN: Duration = Duration::from_secs(15 * 60);
/// The column of a lead that names its carrier, for the strategy "assigned".
const ASSIGNED: &str = "carrier";

/// What this process holds for a call, and gives back unless it was used.
#[derive(Default)]
pub(super) struct Held {
    pub(super) token: Option<Token>,
    pub(super) channel: Option<Reserved>,
    pub(super) probes: Vec<Probe>,
}

impl Held {
    /// Gives everything back.
    pub(super) async fn give_back(self, fleet: &Fleet) {
        if let Some(token) = self.token {
            fleet.pace.give_back(token);
        }
        if let Some(channel) = self.channel {
            fleet.routes.channels.give_back(&channel);
        }
        fleet.routes.give_back(fleet, self.probes).await;
    }

    /// Takes a channel of `carrier`, and gives the one in hand back for it. Returns whether the carrier
    /// may be asked: it has one, or its channels are not counted.
    pub(super) fn take_channel(&mut self, fleet: &Fleet, carrier: &CarrierId) -> bool {
        if self.channel.as_ref().is_some_and(|c| c.carrier == *carrier) {
            return true;
        }
        if let Some(other) = self.channel.take() {
            fleet.routes.channels.give_back(&other);
        }
        let draw = fleet.entropy.draw();
        match fleet.routes.channels.try_take(carrier, draw) {
            Taken::Uncounted => true,
            Taken::Got(channel) => {
                self.channel = Some(channel);
                true
            }
            Taken::Full => false,
        }
    }

    /// An attempt holds the channel in hand, whoever's.
    pub(super) fn channel_taken(&mut self, fleet: &Fleet) {
        if let Some(channel) = self.channel.take() {
            fleet.routes.channels.taken(&channel);
        }
    }

    /// Takes a token of `carrier`, waiting so long for one, and gives the one in hand back for it.
    /// Returns whether one is in hand now.
    pub(super) async fn take_token(
        &mut self,
        fleet: &Fleet,
        carrier: &CarrierId,
        patience: Duration,
    ) -> bool {
        let held = self.token.as_ref();
        if held.is_some_and(|token| token.carrier() == carrier && fleet.pace.is_timely(token)) {
            return true;
        }
        // Others may use it while this one waits.
        self.token
            .take()
            .into_iter()
            .for_each(|token| fleet.pace.give_back(token));
        let began = fleet.clock.uptime();
        loop {
            match fleet.pace.try_take(carrier) {
                Some(Ok(taken)) => {
                    self.token = Some(taken);
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
    let decision = routing::choose(&question, &candidates);
    if let Some(dialer) = &fleet.dialer {
        dialer.wants(&campaign.id, &decision.scored);
    }
    Ok((decision, place.group))
}

fn last_of(attempt: &Attempt) -> Option<Last<'_>> {
    let (_, leg) = attempt.current_leg()?;
    Some(Last {
        carrier: &leg.carrier,
        from: &leg.from,
        outcome: attempt.outcome?,
    })
}

/// Whom a campaign's calls would be given, whoever is called: what is wrong with the carriers
/// themselves, and not with one person's number.
pub(crate) fn choose_for_anybody(fleet: &Fleet, campaign: &Campaign) -> Decision {
    let now = fleet.clock.now();
    let candidates = fleet.routes.candidates(fleet, None, now);
    routing::choose(&for_anybody(campaign, now), &candidates)
}

/// The same as if nothing were wrong: which carriers are the campaign's at all.
pub(crate) fn choose_at_best(fleet: &Fleet, campaign: &Campaign) -> Decision {
    let now = fleet.clock.now();
    let mut candidates = fleet.routes.candidates(fleet, None, now);
    for candidate in &mut candidates {
        (candidate.excluded, candidate.breaker) = (None, Admission::Free);
        let fresh = |number: &Number| Number {
            usage: Usage::default(),
            ..number.clone()
        };
        candidate.caller_ids = candidate.caller_ids.iter().map(fresh).collect();
    }
    routing::choose(&for_anybody(campaign, now), &candidates)
}

fn for_anybody(campaign: &Campaign, now: Timestamp) -> Question<'_> {
    let mut question = Question::of(campaign, now, 0);
    question.policy.explore_percent = 0;
    if question.policy.carrier.is_none() && question.policy.strategy == Some(Strategy::Assigned) {
        // Each lead names its own.
        question.policy.strategy = None;
    }
    question
}

/// Takes what it takes to ask the first of the chain, or else the next one of which that can be had;
/// that one leads then. Returns whether somebody can be asked.
pub(super) async fn prepare(
    fleet: &Fleet,
    decision: &mut Decision,
    group: &Group,
    held: &mut Held,
) -> Answer<bool> {
    // Of a lead that was passed over.
    let probes = std::mem::take(&mut held.probes);
    fleet.routes.give_back(fleet, probes).await;
    for hop in decision.chain.clone() {
        ready(fleet, &hop.carrier).await;
        if !held.take_channel(fleet, &hop.carrier)
            || !held
                .take_token(fleet, &hop.carrier, patience(fleet, &hop.carrier))
                .await
        {
            continue;
        }
        if let Some(probes) = fleet.routes.take_probes(fleet, &hop.carrier, group).await? {
            held.probes = probes;
            decision.lead_with(&hop.carrier, "its turn came first");
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a request may have to wait for is had before its moment and its fence count.
pub(super) async fn ready(fleet: &Fleet, carrier: &CarrierId) {
    if let Some(carrier) = fleet.carriers.get(carrier) {
        fleet.unless_stopping(carrier.prepare()).await;
    }
}

/// How long a call waits for the pace of a carrier before the next best one is asked: not at all where
/// slots wait for so long already. It is because of them that this one waited for another carrier.
fn patience(fleet: &Fleet, carrier: &CarrierId) -> Duration {
    let wait = fleet
        .dialer
        .as_ref()
        .map(|dialer| wait_for(fleet, dialer, carrier));
    if wait.is_some_and(|wait| wait > SOON) {
        Duration::ZERO
    } else {
        SOON
    }
}

/// When somebody can be asked again.
pub(super) fn again_at(decision: &Decision, now: Timestamp) -> Timestamp {
    let (soon, late) = AGAIN;
    if !decision.chain.is_empty() {
        // Only their turn did not come.
        return now + soon;
    }
    let until = |why: &Exclusion| {
        // These end with any call.
        let any = matches!(why, Exclusion::NoChannel | Exclusion::NoPace);
        if any { Some(now + soon) } else { why.until() }
    };
    let known = decision.excluded.iter().filter_map(|one| until(&one.why));
    known.min().map_or(now + UNSERVED_AGAIN, |until| {
        until.clamp(now + soon, now + late)
    })
}
