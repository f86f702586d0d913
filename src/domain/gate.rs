//! The gate: may this person be called now? Asked when a lead is picked and again, with fresh facts,
//! after the intent is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::campaign::{Campaign, CampaignState};
use crate::flow::script::Lacking;
use crate::flow::{Flow, Grain, Program, Script};
use crate::lead::Lead;
use crate::schedule::Opening;
use crate::time::Timestamp;

/// What the gate is told besides the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The phone is on the tenant's do-not-call list.
    pub do_not_call: bool,
}

/// Why a call is put off or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The campaign is not running.
    NotRunning,
    /// It is outside the campaign's hours where the person is.
    OutsideHours,
    /// The hours never open where the person is.
    NeverOpen,
    /// The phone is on the do-not-call list.
    DoNotCall,
    /// Another call to this person is live or cooling off.
    PhoneBusy,
    /// No carrier takes calls to this person now.
    NoCarrier,
    /// The lead lacks a variable that the flow says, or has one that makes it unusable.
    MissingVariable,
}

impl Why {
    /// The name used in documents, the API and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotRunning => "not_running",
            Self::OutsideHours => "outside_hours",
            Self::NeverOpen => "never_open",
            Self::DoNotCall => "do_not_call",
            Self::PhoneBusy => "phone_busy",
            Self::NoCarrier => "no_carrier",
            Self::MissingVariable => "missing_variable",
        }
    }
}

/// The gate's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Call.
    Allow,
    /// Not now; at `until` at the earliest.
    Defer {
        /// When to ask again.
        until: Timestamp,
        /// Why.
        why: Why,
    },
    /// Never.
    Refuse {
        /// Why.
        why: Why,
    },
    /// The campaign does not dial: the lead stays as it is.
    Closed,
}

/// What `lead` lacks to be told what `flow` says.
#[must_use]
pub fn lacking(flow: &Flow, lead: &Lead) -> Option<Lacking> {
    let script = Script::new(Program::of(flow), &lead.vars, &lead.phone, Grain::Document);
    script.check(flow).err()
}

/// May `lead` be called now?
#[must_use]
pub fn gate(campaign: &Campaign, lead: &Lead, facts: Facts, now: Timestamp) -> Verdict {
    match campaign.state {
        CampaignState::Running => {}
        CampaignState::Draft
        | CampaignState::Paused
        | CampaignState::Draining
        | CampaignState::Stopped
        | CampaignState::Done => return Verdict::Closed,
    }
    if facts.do_not_call {
        return Verdict::Refuse {
            why: Why::DoNotCall,
        };
    }
    // Nobody is called with half a sentence.
    if campaign.flow.is_templated() && lacking(&campaign.flow, lead).is_some() {
        return Verdict::Refuse {
            why: Why::MissingVariable,
        };
    }
    let Some(schedule) = &campaign.schedule else {
        return Verdict::Allow;
    };
    match schedule.check(&lead.zones, now) {
        Opening::Open => Verdict::Allow,
        Opening::Closed { opens: Some(until) } => Verdict::Defer {
            until,
            why: Why::OutsideHours,
        },
        Opening::Closed { opens: None } => Verdict::Refuse {
            why: Why::NeverOpen,
        },
    }
}
