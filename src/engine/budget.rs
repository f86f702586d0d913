//! Budgets: whether a campaign may pay for one more call.
//!
//! What a campaign spent and reserved is the sum of its attempts, which the store adds up over an index
//! ([`campaign_spend`](crate::port::store::AttemptStore::campaign_spend)). Nothing is projected, so a
//! crash can neither lose a cost nor count it twice. A process reads the sum at most once a second and
//! a campaign, and adds what it reserved itself since; what others reserved within that second it does
//! not see. So a budget can be overrun by the calls that the fleet begins within a second, and by what
//! live calls last longer than was expected: by no more than twice the campaign's limit × its dearest
//! call.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use dialfleet_domain::budget::Decision as Answered;
use dialfleet_domain::budget::{Account, Budget, Pause};
use dialfleet_domain::call::cost::money_of;
use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::CampaignId;
use dialfleet_domain::money::{Currency, Money, MoneyError};
use dialfleet_domain::routing;

use crate::fleet::Fleet;
use crate::order::announce;
use crate::port::store::{Answer, CampaignChange, SpendSum};

/// How old a sum may be.
const FRESH: Duration = Duration::from_secs(1);
/// A campaign that was not asked about for so long is forgotten.
const FORGET: Duration = Duration::from_secs(60);

/// What this process knows of campaigns with a budget.
#[derive(Default)]
pub(crate) struct Accounts {
    known: Mutex<BTreeMap<CampaignId, Known>>,
    /// One question at a time.
    turn: tokio::sync::Mutex<()>,
}

struct Known {
    /// When the sum was asked for (uptime).
    at: Duration,
    account: Result<Account, Pause>,
    /// Reserved here since then, and in the time of the sum before: some of that may be in the sum
    /// already, and a call waits a second too long rather than being paid for twice.
    since: Vec<Money>,
    before: Vec<Money>,
}

impl Accounts {
    fn known(&self) -> MutexGuard<'_, BTreeMap<CampaignId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the calls of a decision cost at most: its dearest carrier's, because each may be asked.
fn dearest(decision: &routing::Decision, currency: Currency) -> Money {
    let nothing = Money::zero(currency);
    let costs = decision
        .chain
        .iter()
        .filter_map(|hop| decision.of(&hop.carrier)?.per_call);
    let dearer = |a: Money, b: Money| match a.compare(b) {
        Ok(std::cmp::Ordering::Less) => b,
        Ok(_) => a,
        // What is in another currency is for the budget to refuse.
        Err(_) => b,
    };
    costs.fold(nothing, dearer)
}

/// Whether a campaign may pay for the call that `decision` is about; if so, it is reserved here.
/// `None`: there is no budget.
///
/// # Errors
/// The store failed.
pub(crate) async fn ask(
    fleet: &Fleet,
    campaign: &Campaign,
    decision: &routing::Decision,
) -> Answer<Option<Answered>> {
    let Some(budget) = campaign.budget else {
        return Ok(None);
    };
    let next = dearest(decision, budget.total.currency());
    let _turn = fleet.routes.budgets.turn.lock().await;
    read(fleet, campaign, &budget).await?;
    let mut known = fleet.routes.budgets.known();
    let Some(known) = known.get_mut(&campaign.id) else {
        return Ok(None);
    };
    let account = match known.with_own() {
        Ok(account) => account,
        Err(pause) => return Ok(Some(Answered::Pause(pause))),
    };
    let answer = budget.decide(&account, next);
    if matches!(answer, Answered::Allow { .. }) {
        known.since.push(next);
    }
    Ok(Some(answer))
}

/// Reads the sum, if the one that is known is too old.
async fn read(fleet: &Fleet, campaign: &Campaign, budget: &Budget) -> Answer<()> {
    let accounts = &fleet.routes.budgets;
    let now = fleet.clock.uptime();
    let fresh = |known: &Known| now.saturating_sub(known.at) < FRESH;
    if accounts.known().get(&campaign.id).is_some_and(fresh) {
        return Ok(());
    }
    let sums = fleet.store.campaign_spend(&campaign.id).await?;
    let account = add_up(&sums, budget.total.currency());
    let mut known = accounts.known();
    known.retain(|_, known| now.saturating_sub(known.at) < FORGET);
    let before = known.remove(&campaign.id).map_or(Vec::new(), |k| k.since);
    let fresh = Known {
        at: now,
        account,
        since: Vec::new(),
        before,
    };
    known.insert(campaign.id.clone(), fresh);
    Ok(())
}

impl Known {
    fn with_own(&self) -> Result<Account, Pause> {
        let Account { spent, reserved } = self.account?;
        let own = self.since.iter().chain(&self.before).copied();
        let reserved = Money::sum(own.chain([reserved])).map_err(|_| Pause::Absurd)?;
        Ok(Account {
            spent,
            reserved: reserved.unwrap_or(Money::zero(spent.currency())),
        })
    }
}

/// What was spent and what is reserved, in the budget's currency. Sums in another one that are not
/// zero cannot be added, and pause the campaign.
fn add_up(sums: &[SpendSum], currency: Currency) -> Result<Account, Pause> {
    let of = |open: bool| {
        let mut total = Money::zero(currency);
        for sum in sums.iter().filter(|sum| sum.open == open && sum.units > 0) {
            let money = money_of(sum.units, sum.currency);
            total = total.plus(money).map_err(|error| match error {
                MoneyError::Mixed { left, right } => Pause::Currency {
                    budget: left,
                    calls: right,
                },
                MoneyError::Overflow | MoneyError::Amount | MoneyError::Currency => Pause::Absurd,
            })?;
        }
        Ok(total)
    };
    Ok(Account {
        spent: of(false)?,
        reserved: of(true)?,
    })
}

/// Pauses a campaign, with its reason, unless somebody changed it meanwhile.
///
/// # Errors
/// The store failed.
pub(crate) async fn pause(fleet: &Fleet, campaign: &Campaign, why: Pause) -> Answer<()> {
    if campaign.state != CampaignState::Running {
        return Ok(());
    }
    let change = CampaignChange {
        state: Some(CampaignState::Paused),
        paused_by: Some(why),
        at: fleet.clock.now(),
        ..CampaignChange::default()
    };
    let (id, generation) = (&campaign.id, campaign.generation);
    let changed = fleet.store.change_campaign(id, generation, change).await?;
    if changed.is_some() {
        tracing::warn!(campaign = %id, %why, "paused");
        announce(fleet, id).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use dialfleet_domain::id::CarrierId;

    use super::*;

    fn sum(currency: &str, open: bool, units: i64) -> SpendSum {
        SpendSum {
            carrier: CarrierId::parse("c").expect("valid"),
            currency: Currency::parse(currency).expect("valid"),
            open,
            units,
            attempts: 1,
        }
    }

    #[test]
    fn sums_are_of_one_currency() {
        let usd = Currency::USD;
        let sums = [
            sum("USD", false, 100_000_000),
            sum("USD", true, 50_000_000),
            sum("EUR", false, 0),
        ];
        let account = add_up(&sums, usd).expect("one currency");
        assert_eq!(account.spent, Money::parse("1", "USD").expect("valid"));
        assert_eq!(account.reserved, Money::parse("0.5", "USD").expect("valid"));
        let mixed = add_up(&[sum("EUR", false, 1)], usd);
        assert!(matches!(mixed, Err(Pause::Currency { .. })));
    }
}
