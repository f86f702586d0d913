//! The do-not-call list: who is on it is not called, from the next look at it on.

use dialfleet_domain::call::Attempt;
use dialfleet_domain::id::{AttemptId, TenantId};
use dialfleet_domain::phone::E164;

use crate::fleet::Fleet;
use crate::message::Control;
use crate::port::store::{DoNotCall, StoreError};
use crate::todo;

/// The source of an entry that a person made by a key.
pub(crate) const BY_KEY: &str = "key";

/// Puts phones on the tenant's list: durable first, then everybody is told, then calls
/// to them are ended.
///
/// # Errors
/// The store failed; the phones may or may not be on the list.
pub async fn add(
    fleet: &Fleet,
    tenant: &TenantId,
    phones: &[E164],
    source: &str,
) -> Result<(), StoreError> {
    list(fleet, tenant, phones, source, None).await
}

/// The same for the person on this call, which goes on: it says so.
pub(crate) async fn opt_out(fleet: &Fleet, attempt: &Attempt) -> Result<(), StoreError> {
    let phones = std::slice::from_ref(&attempt.phone);
    list(fleet, &attempt.tenant, phones, BY_KEY, Some(&attempt.id)).await
}

async fn list(
    fleet: &Fleet,
    tenant: &TenantId,
    phones: &[E164],
    source: &str,
    spared: Option<&AttemptId>,
) -> Result<(), StoreError> {
    let at = fleet.clock.now();
    let entries: Vec<DoNotCall> = phones
        .iter()
        .map(|phone| DoNotCall {
            tenant: tenant.clone(),
            phone: phone.clone(),
            source: source.to_owned(),
            at,
        })
        .collect();
    fleet.store.add_do_not_call(&entries).await?;
    for phone in phones {
        let control = Control::DoNotCall {
            tenant: tenant.clone(),
            phone: phone.clone(),
        };
        if let Err(error) = fleet.queue.broadcast(control.encode()).await {
            tracing::warn!(%error, "an opt-out was not broadcast; every worker reads the list before each call");
        }
        let live = fleet.store.live_by_phone(tenant, phone).await?;
        for attempt in live.into_iter().filter(|a| Some(&a.id) != spared) {
            todo::hang_up(fleet, attempt).await?;
        }
    }
    Ok(())
}
