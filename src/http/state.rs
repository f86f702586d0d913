//! What every handler gets.

use std::sync::Arc;

use dialfleet_domain::id::TenantId;
use dialfleet_engine::Fleet;
use tokio::sync::Semaphore;

use crate::auth::ApiKey;
use crate::health::Readiness;

/// Files read into memory at once: 64 MiB each at most.
const IMPORTS_AT_ONCE: usize = 4;

/// The state of a router. Clones are the same.
#[derive(Clone)]
pub struct ApiState {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) api_key: ApiKey,
    pub(crate) readiness: Readiness,
    pub(crate) imports: Arc<Semaphore>,
}

impl ApiState {
    /// `api_key` guards `/v1`; whoever has it acts for the tenant of the fleet's settings.
    /// `readiness` is told by the caller when the start is done.
    #[must_use]
    pub fn new(fleet: Arc<Fleet>, api_key: ApiKey, readiness: Readiness) -> Self {
        Self {
            fleet,
            api_key,
            readiness,
            imports: Arc::new(Semaphore::new(IMPORTS_AT_ONCE)),
        }
    }

    /// For whom the key acts.
    pub(crate) fn tenant(&self) -> &TenantId {
        &self.fleet.settings.tenant
    }
}
