//! What is found before a campaign dials, and not on the phone: a carrier that cannot do what the
//! flow asks for, a lead that lacks what the flow says.

use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::flow::script::Lacking;
use dialfleet_domain::gate::lacking;
use dialfleet_domain::id::CarrierId;
use dialfleet_domain::lead::LeadState;
use dialfleet_domain::routing::{Feature, needs};

use crate::fleet::Fleet;
use crate::order::OrderError;

/// Leads read at once, and how often: 10,000 in all. Those beyond, and those that come later, are
/// looked at by the gate: none is called with half a sentence.
const PAGE: usize = 500;
const PAGES: usize = 20;

/// Whether a campaign can be started. `incomplete`: also with leads that lack something; they are
/// left out.
///
/// # Errors
/// What stands in the way; the store failed.
pub(crate) async fn preflight(
    fleet: &Fleet,
    campaign: &Campaign,
    incomplete: bool,
) -> Result<(), OrderError> {
    campaign.flow.check().map_err(OrderError::Flow)?;
    carriers(fleet, campaign)?;
    if campaign.flow.is_templated() && !incomplete {
        leads(fleet, campaign).await?;
    }
    Ok(())
}

fn carriers(fleet: &Fleet, campaign: &Campaign) -> Result<(), OrderError> {
    let needed = needs(campaign);
    let mut why = Vec::new();
    let chosen: Vec<&CarrierId> = if campaign.carriers.is_empty() {
        fleet.carriers.keys().collect()
    } else {
        campaign.carriers.iter().collect()
    };
    for id in &chosen {
        let Some(carrier) = fleet.carriers.get(*id) else {
            continue;
        };
        let cannot = carrier.profile().capabilities.cannot;
        let missing: Vec<&str> = needed
            .iter()
            .filter(|feature| cannot.contains(feature))
            .map(|feature: &Feature| feature.name())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        why.push(format!("{id} cannot do {}", missing.join(", ")));
    }
    if why.is_empty() {
        return Ok(());
    }
    Err(OrderError::Unready {
        code: "carrier_cannot",
        why: format!(
            "no carrier of this campaign can do what its flow and its detection ask for: {}; name another carrier, or ask for less",
            why.join("; ")
        ),
    })
}

async fn leads(fleet: &Fleet, campaign: &Campaign) -> Result<(), OrderError> {
    let (mut cursor, mut seen, mut lack) = (None::<String>, 0_usize, 0_usize);
    let mut first = None;
    for _ in 0..PAGES {
        let page = fleet
            .store
            .list_leads(
                &campaign.id,
                Some(LeadState::Ready),
                cursor.as_deref(),
                PAGE,
            )
            .await?;
        seen += page.items.len();
        for lead in &page.items {
            if let Some(what) = lacking(&campaign.flow, lead) {
                lack += 1;
                first.get_or_insert_with(|| (lead.id.clone(), what));
            }
        }
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    let Some((lead, what)) = first else {
        return Ok(());
    };
    let (what, fix) = match what {
        Lacking::Variable(name) => (
            format!("have no \"{name}\""),
            format!("give it a value in flow.defaults.{name}, import the leads with that column"),
        ),
        Lacking::Unusable(why) => (
            format!("cannot be told what the flow says ({why})"),
            "correct them".to_owned(),
        ),
    };
    Err(OrderError::Unready {
        code: "incomplete_leads",
        why: format!(
            "{lack} of the {seen} waiting leads that were looked at {what}, the first is {lead}; {fix}, or start with skip_incomplete, which leaves them out"
        ),
    })
}
