//! Documents for tests: plain ones that a test changes where it matters. The same arguments make
//! the same document.

use std::collections::BTreeMap;
use std::time::Duration;

use dialfleet_domain::call::attempt::NewAttempt;
use dialfleet_domain::call::{Attempt, Leg, LegState};
use dialfleet_domain::caller_id::{Caps, Presence};
use dialfleet_domain::campaign::{Amd, Campaign, CampaignState, DEFAULT_CONCURRENCY};
use dialfleet_domain::flow::Flow;
use dialfleet_domain::id::{CampaignId, CarrierId, ClaimToken, ImportId, LeadId, Nonce, TenantId};
use dialfleet_domain::import::Import;
use dialfleet_domain::lead::{DEFAULT_PRIORITY, Lead, LeadState, Source};
use dialfleet_domain::phone::E164;
use dialfleet_domain::recording::RecordingPolicy;
use dialfleet_domain::retry::RetryPolicy;
use dialfleet_domain::routing::{Candidate, Decision, Exclusion, Policy, Question, choose};
use dialfleet_domain::schedule::Zone;
use dialfleet_domain::time::Timestamp;

/// When every sample was made: 2026-11-21 09:00 UTC, a Saturday.
pub const T0: Timestamp = Timestamp::from_millis(1_795_251_600_000);

/// The time `seconds` after [`T0`].
#[must_use]
pub fn at(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

/// The tenant of every sample.
#[must_use]
pub fn tenant() -> TenantId {
    TenantId::parse("ten_sample").expect("a valid id")
}

/// The carrier of every sample.
#[must_use]
pub fn carrier() -> CarrierId {
    CarrierId::parse("sample").expect("a valid id")
}

/// A campaign id.
#[must_use]
pub fn campaign_id(name: &str) -> CampaignId {
    CampaignId::parse(format!("cmp_{name}")).expect("a valid id")
}

/// A claim token.
#[must_use]
pub fn claim(name: &str) -> ClaimToken {
    ClaimToken::parse(format!("clm_{name}")).expect("a valid id")
}

/// The `i`th phone number, all different; the first ten thousand are the simulator's.
///
/// # Panics
/// Beyond ten million.
#[must_use]
pub fn phone(i: u32) -> E164 {
    let text = if i < 10_000 {
        format!("+1555010{i:04}")
    } else {
        format!("+1556{i:07}")
    };
    // Only the shape is checked this way: nobody has these numbers.
    serde_json::from_value(text.into()).expect("+ and eleven digits")
}

/// A running campaign with the default limit and nothing due.
#[must_use]
pub fn campaign(name: &str) -> Campaign {
    Campaign {
        id: campaign_id(name),
        tenant: tenant(),
        name: name.to_owned(),
        state: CampaignState::Running,
        generation: 1,
        limit: DEFAULT_CONCURRENCY,
        former_limit: None,
        weight: 1,
        carriers: Vec::new(),
        caller_ids: Vec::new(),
        routing: Policy::default(),
        caps: Caps::default(),
        presence: Presence::default(),
        region: None,
        schedule: None,
        retry: RetryPolicy::default(),
        flow: Flow::default(),
        amd: Amd::default(),
        recording: RecordingPolicy::default(),
        ring_timeout_s: 30,
        max_duration_s: 600,
        budget: None,
        paused_by: None,
        wake_at: None,
        wake_seq: 0,
        created_at: T0,
        changed_at: T0,
    }
}

/// A ready lead that is due at [`T0`]; its reference is `r<i>` and its phone [`phone`]`(i)`.
#[must_use]
pub fn lead(campaign: &CampaignId, i: u32) -> Lead {
    Lead {
        id: LeadId::new(campaign, &format!("r{i:05}")).expect("a valid reference"),
        campaign: campaign.clone(),
        tenant: tenant(),
        phone: phone(i),
        zones: vec![Zone::parse("Europe/London").expect("a zone")],
        vars: BTreeMap::new(),
        priority: DEFAULT_PRIORITY,
        state: LeadState::Ready,
        due_at: T0,
        n: 0,
        budget_used: 0,
        outcomes: BTreeMap::new(),
        last_outcome: None,
        reason: None,
        claim: None,
        claimed_at: None,
        source: Some(Source {
            import: import_id("sample"),
            line: u64::from(i) + 2,
        }),
        created_at: T0,
    }
}

/// A leg at `carrier` that nobody has answered yet, written down at [`T0`].
#[must_use]
pub fn leg(carrier: &CarrierId, nonce: &str) -> Leg {
    Leg {
        carrier: carrier.clone(),
        from: phone(9_999),
        state: LegState::Intent,
        nonce: Nonce::parse(format!("nce_{nonce}")).expect("a valid id"),
        intent_at: T0,
        call_id: None,
        refusal: None,
        longest_ms: None,
        channel: None,
        bill: None,
    }
}

/// The `n`th attempt at `lead`, an intent in `slot` at [`carrier`].
#[must_use]
pub fn attempt(lead: &Lead, n: u32, slot: u32) -> Attempt {
    Attempt::intend(NewAttempt {
        tenant: lead.tenant.clone(),
        lead: lead.id.clone(),
        n,
        phone: lead.phone.clone(),
        slot,
        campaign_gen: 1,
        claim: claim("sample"),
        leg: leg(&carrier(), &format!("{}_{n}", lead.id.reference())),
        ring: Duration::from_secs(30),
        talk: Duration::from_secs(600),
        cooloff: Duration::from_secs(900),
        decision: Some(Box::new(decision())),
    })
}

/// A decision between two carriers, one of which cannot be asked.
#[must_use]
pub fn decision() -> Decision {
    let [one, mut other] = [carrier(), CarrierId::parse("other").expect("a valid id")]
        .map(|id| Candidate::new(id, 1, &[phone(1)]));
    other.excluded = Some(Exclusion::Resting { until: Some(T0) });
    choose(&Question::open(T0, 0), &[one, other])
}

/// An import id.
#[must_use]
pub fn import_id(name: &str) -> ImportId {
    ImportId::parse(format!("imp_{name}")).expect("a valid id")
}

/// An open import into `campaign`.
#[must_use]
pub fn import(campaign: &CampaignId, name: &str) -> Import {
    Import::open(import_id(name), tenant(), campaign.clone(), T0)
}
