//! A campaign's budget: whether one more call may be paid for.
//!
//! Spent is what ended calls cost (the carrier's figure where it is known, the estimate until then);
//! reserved is what live calls are expected to cost. A call is allowed while both and its own
//! estimate fit. When only the live calls stand in the way it waits for them, because most cost less
//! than was reserved; when what is spent leaves no room the campaign is paused, with its reason.
//!
//! Estimates are for the expected length, so a budget can be overrun by what the live calls last
//! longer: at most by the campaign's limit × the cost of its longest call. A budget that must never
//! be overrun is given estimates for the longest call.

use std::cmp::Ordering;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::money::{Currency, Money, MoneyError};

/// What a campaign may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// In all, over the campaign's life.
    pub total: Money,
}

/// Where a campaign's money stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// What ended calls cost.
    pub spent: Money,
    /// What live calls are expected to cost.
    pub reserved: Money,
}

/// Whether one more call may be paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may, and this much is left after it.
    Allow {
        /// Neither spent nor reserved.
        left: Money,
    },
    /// Not while the live calls are: one of them may end below its estimate.
    Wait {
        /// What live calls are expected to cost.
        reserved: Money,
    },
    /// Not at all: the campaign pauses.
    Pause(Pause),
}

/// Why a campaign pauses: stored with it, shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Pause {
    /// The budget is used up, or what is left does not pay for a call.
    Spent {
        /// What was spent.
        spent: Money,
        /// Of how much.
        total: Money,
    },
    /// Its carriers bill in another currency.
    Currency {
        /// The budget's.
        budget: Currency,
        /// The calls'.
        calls: Currency,
    },
    /// The amounts are beyond what can be added: something is wrong with them.
    Absurd,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spent { spent, total } => write!(
                f,
                "the budget is used up: {spent} of {total} are spent, and the rest does not pay for another call"
            ),
            Self::Currency { budget, calls } => write!(
                f,
                "the budget is in {budget} and the calls are billed in {calls}: set a budget in {calls}"
            ),
            Self::Absurd => f.write_str("the costs cannot be added up: check the rate decks"),
        }
    }
}

impl Budget {
    /// Whether a call that is expected to cost `next` may be placed.
    #[must_use]
    pub fn decide(&self, account: &Account, next: Money) -> Decision {
        self.weigh(account, next).unwrap_or_else(|error| {
            Decision::Pause(match error {
                MoneyError::Mixed { left, right } => Pause::Currency {
                    budget: self.total.currency(),
                    calls: if left == self.total.currency() {
                        right
                    } else {
                        left
                    },
                },
                MoneyError::Overflow | MoneyError::Amount | MoneyError::Currency => Pause::Absurd,
            })
        })
    }

    fn weigh(&self, account: &Account, next: Money) -> Result<Decision, MoneyError> {
        let unspent = self.total.minus(account.spent)?;
        // A call that costs nothing may go only while there is something left: a deck of zeros must not
        // make a budget endless.
        let left = unspent.minus(account.reserved)?.minus(next)?;
        let pays =
            |money: Money| Ok(money.compare(Money::zero(money.currency()))? != Ordering::Less);
        Ok(if !unspent.is_positive() || !pays(unspent.minus(next)?)? {
            Decision::Pause(Pause::Spent {
                spent: account.spent,
                total: self.total,
            })
        } else if pays(left)? {
            Decision::Allow { left }
        } else {
            Decision::Wait {
                reserved: account.reserved,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;

    fn usd(cents: i64) -> Money {
        Money::new(Decimal::new(cents, 2), Currency::USD)
    }

    fn decide(total: i64, spent: i64, reserved: i64, next: i64) -> Decision {
        let account = Account {
            spent: usd(spent),
            reserved: usd(reserved),
        };
        Budget { total: usd(total) }.decide(&account, usd(next))
    }

    #[test]
    fn decisions_by_the_table() {
        let spent = |spent, total| {
            Decision::Pause(Pause::Spent {
                spent: usd(spent),
                total: usd(total),
            })
        };
        for (total, used, reserved, next, want) in [
            (100, 0, 0, 1, Decision::Allow { left: usd(99) }),
            (100, 90, 8, 2, Decision::Allow { left: usd(0) }),
            (100, 90, 9, 2, Decision::Wait { reserved: usd(9) }),
            (100, 99, 0, 2, spent(99, 100)),
            (100, 100, 0, 0, spent(100, 100)),
            (100, 120, 5, 1, spent(120, 100)),
            (0, 0, 0, 0, spent(0, 0)),
        ] {
            let got = decide(total, used, reserved, next);
            assert_eq!(got, want, "{total} {used} {reserved} {next}");
        }
    }

    #[test]
    fn another_currency_pauses_and_says_so() {
        let budget = Budget { total: usd(100) };
        let rupee = Money::parse("1", "INR").expect("valid");
        let account = Account {
            spent: usd(0),
            reserved: usd(0),
        };
        let Decision::Pause(why) = budget.decide(&account, rupee) else {
            panic!("must pause");
        };
        assert!(why.to_string().contains("set a budget in INR"), "{why}");
        let json = serde_json::to_value(why).expect("serialises");
        assert_eq!(json["is"], "currency");
    }

    proptest! {
        #[test]
        fn what_is_allowed_fits(total in 0i64..10_000, spent in 0i64..10_000, reserved in 0i64..10_000, next in 0i64..1_000) {
            match decide(total, spent, reserved, next) {
                Decision::Allow { left } => {
                    prop_assert!(spent + reserved + next <= total && spent < total);
                    prop_assert_eq!(left, usd(total - spent - reserved - next));
                }
                Decision::Wait { .. } => prop_assert!(spent + next <= total && spent + reserved + next > total),
                Decision::Pause(_) => prop_assert!(spent + next > total || spent >= total),
            }
        }
    }
}
