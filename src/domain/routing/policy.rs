//! How a campaign wants its carriers chosen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::CarrierId;

/// The most that may be spent on exploration, in percent of calls.
pub const MAX_EXPLORE_PERCENT: u32 = 20;
/// The largest weight.
pub const MAX_WEIGHT: u32 = 100;

/// By what carriers are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// By cost and quality, weighed.
    Weighted,
    /// By cost per connected minute alone.
    Cost,
    /// By quality alone.
    Quality,
    /// In the campaign's order.
    Fixed,
    /// The one that the lead or the campaign names, and no other.
    Assigned,
}

impl Strategy {
    /// The name used in documents and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weighted => "weighted",
            Self::Cost => "cost",
            Self::Quality => "quality",
            Self::Fixed => "fixed",
            Self::Assigned => "assigned",
        }
    }

    /// Whether it learns, so that a part of the calls is worth spending on routes little known.
    #[must_use]
    pub const fn explores(self) -> bool {
        match self {
            Self::Weighted | Self::Quality => true,
            Self::Cost | Self::Fixed | Self::Assigned => false,
        }
    }
}

/// What counts how much. Only their ratio matters: 1 to 1 is answers for money (twice the answers are
/// worth twice the price); 1 to 2, the default, is for lists whose leads are worth more than their calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// Of cost per connected minute.
    #[schemars(range(max = 100))]
    pub cost: u32,
    /// Of quality.
    #[schemars(range(max = 100))]
    pub quality: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            cost: 1,
            quality: 2,
        }
    }
}

/// A campaign's routing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Absent: in the campaign's order if it names carriers, else weighted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// For the weighted strategy.
    pub weights: Weights,
    /// Calls spent on carriers other than the best, to keep knowing them; 0 also stops learning
    /// about new ones.
    #[schemars(range(max = 20))]
    pub explore_percent: u32,
    /// For the assigned strategy, where the lead names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier: Option<CarrierId>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            strategy: None,
            weights: Weights::default(),
            explore_percent: 4,
            carrier: None,
        }
    }
}

/// Why a policy is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadPolicy {
    /// Nothing counts, or something too much.
    #[error("routing.weights: cost and quality are 0 to {MAX_WEIGHT}, and not both 0")]
    Weights,
    /// Too much exploration.
    #[error("routing.explore_percent must be 0 to {MAX_EXPLORE_PERCENT}")]
    Explore,
    /// A carrier that no strategy asks.
    #[error("routing.carrier is for the strategy \"assigned\"")]
    Carrier,
}

impl Policy {
    /// Checks what the types cannot hold.
    ///
    /// # Errors
    /// See [`BadPolicy`].
    pub fn check(&self) -> Result<(), BadPolicy> {
        let Weights { cost, quality } = self.weights;
        if cost > MAX_WEIGHT || quality > MAX_WEIGHT || cost + quality == 0 {
            return Err(BadPolicy::Weights);
        }
        if self.explore_percent > MAX_EXPLORE_PERCENT {
            return Err(BadPolicy::Explore);
        }
        if self.carrier.is_some() && self.strategy != Some(Strategy::Assigned) {
            return Err(BadPolicy::Carrier);
        }
        Ok(())
    }

    /// The strategy for a campaign that names carriers, or does not.
    #[must_use]
    pub fn strategy(&self, names_carriers: bool) -> Strategy {
        self.strategy.unwrap_or(if names_carriers {
            Strategy::Fixed
        } else {
            Strategy::Weighted
        })
    }
}
