//! Positions in lists: which list, and the last item's sort key, as base64url of JSON. Not the plain
//! key, because a lead's id may be a phone number, and cursors end up in URLs and logs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dialfleet_domain::id::{AttemptId, CampaignId, LeadId, TenantId};
use dialfleet_domain::recording::RecordingState;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::recording::RecordingFilter;
use dialfleet_engine::port::store::{Answer, AttemptFilter, Page, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// The position after an item of a list that is sorted newest first.
pub(crate) type Newest = (Timestamp, String);

/// A list, by what is in it. A cursor of one list is refused by every other.
pub(crate) struct ListName(String);

impl ListName {
    /// The list `kind` of everything that `filters` leave.
    pub(crate) fn new(kind: &str, filters: &[Option<&str>]) -> Self {
        let mut hash = Sha256::new();
        for part in std::iter::once(&Some(kind)).chain(filters) {
            // The length first, and none is not empty, so that no two lists have one name.
            hash.update(
                part.map_or(u64::MAX, |text| text.len() as u64)
                    .to_be_bytes(),
            );
            hash.update(part.unwrap_or_default());
        }
        Self(URL_SAFE_NO_PAD.encode(&hash.finalize()[..6]))
    }

    /// The list of a tenant's attempts that `filter` leaves.
    pub(crate) fn of_attempts(tenant: &TenantId, filter: &AttemptFilter) -> Self {
        let filters = [
            Some(tenant.as_str()),
            filter.campaign.as_ref().map(CampaignId::as_str),
            filter.lead.as_ref().map(LeadId::as_str),
            filter.live.then_some("live"),
        ];
        Self::new("attempts", &filters)
    }

    /// The list of a tenant's recordings that `filter` leaves.
    pub(crate) fn of_recordings(tenant: &TenantId, filter: &RecordingFilter) -> Self {
        let filters = [
            Some(tenant.as_str()),
            filter.campaign.as_ref().map(CampaignId::as_str),
            filter.attempt.as_ref().map(AttemptId::as_str),
            filter.state.map(RecordingState::name),
        ];
        Self::new("recordings", &filters)
    }

    /// The list of a tenant's transcripts with all of `words`.
    pub(crate) fn of_transcripts(tenant: &TenantId, words: &[String]) -> Self {
        let words = words.iter().map(|word| Some(word.as_str()));
        let filters: Vec<_> = std::iter::once(Some(tenant.as_str()))
            .chain(words)
            .collect();
        Self::new("transcripts", &filters)
    }

    /// Reads a cursor that [`ListName::page`] gave out; `None` is the beginning.
    ///
    /// # Errors
    /// Somebody made it up, or it belongs to another list.
    pub(crate) fn after<K: DeserializeOwned>(&self, cursor: Option<&str>) -> Answer<Option<K>> {
        let Some(text) = cursor else {
            return Ok(None);
        };
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|json| serde_json::from_slice::<(String, K)>(&json).ok())
            .filter(|(list, _)| *list == self.0)
            .map(|(_, key)| Some(key))
            .ok_or(StoreError::BadCursor)
    }

    /// A page of what was found with a limit of one more than it may have.
    pub(crate) fn page<T, K: Serialize>(
        &self,
        mut items: Vec<T>,
        limit: usize,
        key: impl Fn(&T) -> K,
    ) -> Page<T> {
        let more = items.len() > limit;
        items.truncate(limit);
        let cursor = items.last().filter(|_| more).map(|last| {
            // Our keys are texts and numbers, which always have a JSON form.
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(&self.0, key(last))).unwrap_or_default())
        });
        Page { items, cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_the_next_page_of_its_list_and_the_last_page_has_none() {
        let list = ListName::new("numbers", &[Some("a"), None]);
        let first = list.page(vec![3, 2, 1], 2, |n| *n);
        assert_eq!(first.items, [3, 2]);
        let cursor = first.cursor.as_deref();
        assert_eq!(list.after::<i32>(cursor).expect("our own"), Some(2));
        assert_eq!(list.page(vec![3, 2], 2, |n| *n).cursor, None);
        assert_eq!(list.after::<i32>(None).expect("the beginning"), None);
        for other in [
            ListName::new("numbers", &[Some("a"), Some("")]),
            ListName::new("numbers", &[None, Some("a")]),
            ListName::new("letters", &[Some("a"), None]),
        ] {
            assert!(matches!(
                other.after::<i32>(cursor),
                Err(StoreError::BadCursor)
            ));
        }
    }
}
