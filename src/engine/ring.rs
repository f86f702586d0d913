//! Free slots that wait for a carrier's token, served in turn by campaign weight (deficit round
//! robin, cost 1 a call), so that a campaign with many or short calls cannot take the carrier from
//! the others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dialfleet_domain::id::CampaignId;

use crate::message::FillSlot;

/// Slots one ring may hold. More than every configured slot; beyond it the planner offers again.
const MAX_WAITING: usize = 50_000;

#[derive(Default)]
struct Queue {
    weight: u32,
    deficit: u32,
    slots: VecDeque<FillSlot>,
}

/// The waiting slots of one carrier.
#[derive(Default)]
pub struct Ring {
    campaigns: BTreeMap<CampaignId, Queue>,
    turn: VecDeque<CampaignId>,
    waiting: BTreeSet<(CampaignId, u32)>,
}

impl Ring {
    /// Adds a slot. Returns whether it was new: a slot waits once.
    pub fn join(&mut self, fill: FillSlot, weight: u32) -> bool {
        if self.waiting.len() >= MAX_WAITING
            || !self.waiting.insert((fill.campaign.clone(), fill.slot))
        {
            return false;
        }
        let queue = self.campaigns.entry(fill.campaign.clone()).or_default();
        queue.weight = weight.max(1);
        if queue.slots.is_empty() {
            queue.deficit = queue.weight;
            self.turn.push_back(fill.campaign.clone());
        }
        queue.slots.push_back(fill);
        true
    }

    /// The next slot to fill.
    pub fn take(&mut self) -> Option<FillSlot> {
        let campaign = self.turn.front()?.clone();
        let queue = self.campaigns.get_mut(&campaign)?;
        let fill = queue.slots.pop_front()?;
        self.waiting.remove(&(campaign.clone(), fill.slot));
        queue.deficit = queue.deficit.saturating_sub(1);
        if queue.slots.is_empty() {
            self.turn.pop_front();
            self.campaigns.remove(&campaign);
        } else if queue.deficit == 0 {
            queue.deficit = queue.weight;
            self.turn.rotate_left(1);
        }
        Some(fill)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many slots wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(campaign: &str, slot: u32) -> FillSlot {
        let campaign = CampaignId::parse(campaign).expect("valid");
        FillSlot {
            campaign,
            slot,
            generation: 1,
            freed_at: None,
        }
    }

    #[test]
    fn serves_by_weight_and_each_slot_once() {
        let mut ring = Ring::default();
        for slot in 0..6 {
            assert!(ring.join(fill("a", slot), 2));
            assert!(ring.join(fill("b", slot), 1));
            assert!(!ring.join(fill("a", slot), 2), "a slot waits once");
        }
        let order: String = std::iter::from_fn(|| ring.take())
            .map(|f| f.campaign.as_str().to_owned())
            .collect();
        assert_eq!(order, "aabaabaabbbb");
        assert!(ring.is_empty());
    }
}
