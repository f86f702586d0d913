//! A call: one attempt at one lead.

use std::collections::BTreeMap;

use dialfleet_domain::call::attempt::Moment;
use dialfleet_domain::call::cost::{Basis, Cost};
use dialfleet_domain::call::{
    Attempt, Detected, Ending, Leg, LegState, Outcome, Party, RefusalClass, Suspicion,
};
use dialfleet_domain::id::{AttemptId, CampaignId, CarrierCallId, CarrierId, LeadId};
use dialfleet_domain::money::Money;
use dialfleet_domain::phone::E164;
use serde::Serialize;

use super::{CostView, DecisionView, Time};

/// A call as lists show it: one attempt at one lead.
#[derive(Debug, Serialize)]
pub(crate) struct CallView {
    id: AttemptId,
    campaign: CampaignId,
    lead: LeadId,
    n: u32,
    phone: E164,
    state: &'static str,
    /// The phone is locked by it: live, unresolved or cooling off.
    live: bool,
    slot: Option<u32>,
    carrier: Option<CarrierId>,
    from: Option<E164>,
    outcome: Option<Outcome>,
    party: Option<Party>,
    /// The carrier's own terminal word.
    ending: Option<Ending>,
    sip: Option<u16>,
    created_at: Time,
    ringing_at: Option<Time>,
    answered_at: Option<Time>,
    ended_at: Option<Time>,
    duration_s: Option<u32>,
    /// What it costs as far as is known; `null` where nobody knows a price.
    cost: Option<CostView>,
    /// What detection heard, as closely as the carrier says.
    #[serde(skip_serializing_if = "Option::is_none")]
    detected: Option<Detected>,
    /// Why the answer may be none.
    #[serde(skip_serializing_if = "Option::is_none")]
    suspicion: Option<Suspicion>,
    /// What the flow set: keys that were pressed, answers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    vars: BTreeMap<String, String>,
}

impl From<Attempt> for CallView {
    fn from(a: Attempt) -> Self {
        Self {
            cost: a.cost().map(CostView::from),
            live: a.is_live(),
            carrier: a.current_leg().map(|(_, leg)| leg.carrier.clone()),
            from: a.current_leg().map(|(_, leg)| leg.from.clone()),
            id: a.id,
            campaign: a.campaign,
            lead: a.lead,
            n: a.n,
            phone: a.phone,
            state: a.state.name(),
            slot: a.slot,
            outcome: a.outcome,
            party: a.party,
            ending: a.ending,
            sip: a.sip,
            created_at: a.intent_at.into(),
            ringing_at: a.ringing_at.map(Time),
            answered_at: a.answered_at.map(Time),
            ended_at: a.ended_at.map(Time),
            duration_s: a.duration_s,
            detected: a.detected,
            suspicion: a.suspicion,
            vars: a.session.map(|s| s.vars().clone()).unwrap_or_default(),
        }
    }
}

/// A call by itself, with its history.
#[derive(Debug, Serialize)]
pub(crate) struct CallDetail {
    #[serde(flatten)]
    call: CallView,
    /// Why these carriers, in this order.
    decision: Option<DecisionView>,
    legs: Vec<LegView>,
    timeline: Vec<MomentView>,
    /// When we look after it next, while it is live.
    check_at: Option<Time>,
    /// Until when the phone stays locked after an unclear attempt.
    cooloff_until: Option<Time>,
}

impl From<Attempt> for CallDetail {
    fn from(mut attempt: Attempt) -> Self {
        let legs = std::mem::take(&mut attempt.legs);
        let current = legs.last().cloned();
        let cost = current.as_ref().and_then(|leg| leg.bill.as_ref()?.cost);
        let timeline = std::mem::take(&mut attempt.timeline);
        let mut this = Self {
            decision: attempt.decision.take().map(|d| DecisionView::from(*d)),
            legs: legs.into_iter().map(LegView::from).collect(),
            timeline: timeline.into_iter().map(MomentView::from).collect(),
            check_at: attempt.is_live().then_some(Time(attempt.check_at)),
            cooloff_until: attempt.cooloff_until.map(Time),
            call: attempt.into(),
        };
        this.call.carrier = current.as_ref().map(|leg| leg.carrier.clone());
        this.call.from = current.map(|leg| leg.from);
        this.call.cost = cost.map(CostView::from);
        this
    }
}

/// One request to one carrier.
#[derive(Debug, Serialize)]
struct LegView {
    carrier: CarrierId,
    from: E164,
    state: LegState,
    call_id: Option<CarrierCallId>,
    created_at: Time,
    refusal: Option<RefusalView>,
    cost: Option<CostView>,
}

/// Why a carrier did not place it.
#[derive(Debug, Serialize)]
struct RefusalView {
    class: RefusalClass,
    code: String,
    message: String,
}

impl From<Leg> for LegView {
    fn from(leg: Leg) -> Self {
        Self {
            cost: leg_cost(&leg),
            carrier: leg.carrier,
            from: leg.from,
            state: leg.state,
            call_id: leg.call_id,
            created_at: leg.intent_at.into(),
            refusal: leg.refusal.map(|r| RefusalView {
                class: r.class,
                code: r.code,
                message: r.message,
            }),
        }
    }
}

/// What is refused costs nothing.
fn leg_cost(leg: &Leg) -> Option<CostView> {
    let cost = leg.bill.as_ref()?.cost?;
    Some(if leg.state == LegState::Refused {
        Cost {
            money: Money::zero(cost.money.currency()),
            by: Basis::Tariff,
        }
        .into()
    } else {
        cost.into()
    })
}

/// One line of a call's history.
#[derive(Debug, Serialize)]
struct MomentView {
    at: Time,
    event: String,
    note: Option<String>,
}

impl From<Moment> for MomentView {
    fn from(moment: Moment) -> Self {
        Self {
            at: moment.at.into(),
            event: moment.event,
            note: moment.note,
        }
    }
}
