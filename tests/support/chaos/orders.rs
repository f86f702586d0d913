//! Orders that a campaign manager gives while everything breaks: the limit of the campaign of long calls is
//! lowered and raised, and it is paused and goes on. What was ordered must hold soon after it was confirmed.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::desk::Desk;
use super::load::LONG;
use super::witness::{Ms, Witness, now};

/// The lowered limit.
const LOW: u32 = 2;
/// Between two orders, with the whole limit.
const FREELY: Duration = Duration::from_secs(5);
/// How long an order holds.
const HOLD: Duration = Duration::from_secs(45);
/// From the confirmation on a request may still leave for 3 s (FENCE), be under way on a stalled connection
/// for 9 s more, and be held by the carrier for 9 s before it places the call (`wreck`).
const GRACE_MS: Ms = 25_000;

/// What was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Lower,
    Pause,
}

impl Order {
    /// How many calls may be under way when one is placed.
    const fn most(self) -> usize {
        match self {
            Self::Lower => LOW as usize,
            Self::Pause => 0,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lower => write!(f, "a limit of {LOW}"),
            Self::Pause => f.write_str("a pause"),
        }
    }
}

/// An order, from its confirmation to just before it was taken back.
#[derive(Debug)]
pub(super) struct Held {
    order: Order,
    from: Ms,
    to: Ms,
}

impl Held {
    /// Whether it held so long that it means something.
    pub(super) const fn is_shown(&self) -> bool {
        self.to > self.from + GRACE_MS
    }

    /// Calls that were placed in spite of it.
    pub(super) fn broken(&self, witness: &Witness, campaign: &str) -> Vec<String> {
        let calls: Vec<_> = witness.calls().filter(|c| c.campaign == campaign).collect();
        let (from, to) = (self.from + GRACE_MS, self.to);
        let placed = calls.iter().map(|c| c.placed_at);
        placed
            .filter(|at| (from..to).contains(at))
            .filter_map(|at| {
                let live = |c: &&&_| is_live(c, at);
                let live = calls.iter().filter(live).count();
                (live > self.order.most()).then(|| {
                    let ms = at - self.from;
                    format!("{} for {ms} ms, and a call made {live} live", self.order)
                })
            })
            .collect()
    }
}

fn is_live(call: &super::witness::Seen, at: Ms) -> bool {
    call.placed_at <= at && call.ended_at.is_none_or(|end| end > at)
}

/// Gives orders until `end`, and takes the last one back.
pub(super) async fn give(mut desk: Desk, campaign: &str, end: Instant) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    let path = format!("/campaigns/{campaign}");
    for order in [Order::Lower, Order::Pause].into_iter().cycle() {
        sleep(FREELY).await;
        if Instant::now() >= end {
            break;
        }
        tell(&mut desk, &path, order, true).await?;
        let from = now();
        sleep_until((Instant::now() + HOLD).min(end)).await;
        let to = now();
        tell(&mut desk, &path, order, false).await?;
        held.push(Held { order, from, to });
    }
    Ok(held)
}

async fn tell(desk: &mut Desk, path: &str, order: Order, begins: bool) -> Result<Value> {
    match order {
        Order::Lower => {
            let limit = if begins { LOW } else { LONG };
            let body = json!({ "concurrency": limit });
            desk.ask(Method::PATCH, path, Some(&body)).await
        }
        Order::Pause => {
            let word = if begins { "pause" } else { "resume" };
            desk.ask(Method::POST, &format!("{path}/{word}"), None)
                .await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::witness::Seen;
    use super::*;

    #[test]
    fn calls_are_held_against_the_order_in_force() {
        let call = |placed_at, ended_at| Seen {
            attempt: "a:b:1".to_owned(),
            campaign: "a".to_owned(),
            placed_at,
            ended_at,
            answered: true,
        };
        let held = |order| Held {
            order,
            from: 0,
            to: 60_000,
        };
        let broken = |order, calls: &[Seen]| {
            let witness = Witness::of(calls.iter().cloned());
            held(order).broken(&witness, "a").len()
        };
        let long = [call(30_000, None), call(40_000, None), call(50_000, None)];
        assert_eq!(broken(Order::Lower, &long), 1, "the third");
        assert_eq!(broken(Order::Pause, &long), 3);
        let young = [call(24_000, None)];
        assert_eq!(broken(Order::Pause, &young), 0, "it was under way");
        let short = [
            call(30_000, Some(50_000)),
            call(40_000, None),
            call(50_000, None),
        ];
        assert_eq!(broken(Order::Lower, &short), 0);
        let late = [call(60_000, None)];
        assert_eq!(broken(Order::Pause, &late), 0, "it was taken back");
    }
}
