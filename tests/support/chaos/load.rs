//! The work: campaigns of several sizes, fed with leads as fast as they are called, while the APIs
//! die and come back.

use std::fmt::Write;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use dialfleet_simulator::{Network, Script};
use reqwest::Method;
use serde_json::{Value, json};

use super::Options;
use super::desk::Desk;
use super::witness::{Witness, lock};

/// Slots of the campaigns in parts of all slots, the smallest first.
const SIZES: [u32; 5] = [4, 8, 15, 28, 45];
/// Seconds of work that wait in each campaign.
const AHEAD_S: u32 = 25;
/// One in so many is on the list of the campaign before, too: the same person, called twice at once.
const SHARED: u32 = 40;
/// The most leads sent in one file.
const FILE: u32 = 500;
/// Slots of one more campaign, whose calls are long: it is at its limit all the time.
pub(super) const LONG: u32 = 4;

/// A campaign and what was sent for it.
#[derive(Debug)]
pub(super) struct Campaign {
    pub(super) id: String,
    pub(super) limit: u32,
    pub(super) sent: u32,
}

impl Campaign {
    /// Leads that have not been called yet.
    pub(super) fn left(&self, witness: &Witness) -> usize {
        let sent = usize::try_from(self.sent).unwrap_or(usize::MAX);
        sent.saturating_sub(witness.leads_called(&self.id))
    }
}

/// The campaigns and the way to order something.
pub(super) struct Load {
    pub(super) desk: Desk,
    network: Arc<Network>,
    /// The last one is that of long calls.
    pub(super) campaigns: Vec<Campaign>,
    /// Leads that may still be sent.
    left: u32,
    rate: u32,
}

impl Load {
    /// Makes and starts the campaigns, without leads.
    pub(super) async fn start(
        desk: Desk,
        network: Arc<Network>,
        options: &Options,
    ) -> Result<Self> {
        let mut load = Self {
            desk,
            network,
            campaigns: Vec::new(),
            left: options.leads.unwrap_or(u32::MAX),
            rate: options.rate,
        };
        // A call takes half a second, but many slots wait for repair (a lost last callback for 20 s, a
        // proof of absence for 60), and outages are made up for.
        let limits = SIZES.map(|size| (options.rate * 44 * size / 1_000).max(2));
        for (i, limit) in limits.into_iter().chain([LONG]).enumerate() {
            let mut body = campaign(&format!("chaos {i}"), limit);
            if i == SIZES.len() {
                // At the network's speed 3 s.
                let pause = json!({ "do": "pause", "seconds": 50 });
                body["flow"] = json!({ "steps": [pause, pause, pause, pause, pause, pause] });
            }
            let made = load
                .desk
                .ask(Method::POST, "/campaigns", Some(&body))
                .await?;
            let id = made["id"].as_str().context("a campaign has an id")?;
            load.campaigns.push(Campaign {
                id: id.to_owned(),
                limit,
                sent: 0,
            });
        }
        load.order("start").await?;
        Ok(load)
    }

    /// Sends leads where they are about to run out.
    pub(super) async fn feed(&mut self, witness: &Mutex<Witness>) -> Result<()> {
        let slots: u32 = self.campaigns.iter().map(|c| c.limit).sum();
        for i in 0..self.campaigns.len() {
            let campaign = &self.campaigns[i];
            let left = u32::try_from(campaign.left(&lock(witness)))?;
            let ahead = if i == SIZES.len() {
                10 * LONG
            } else {
                (2 * self.rate * AHEAD_S * campaign.limit / slots).max(20)
            };
            // In files worth the trouble.
            let wanted = ahead.saturating_sub(left);
            let n = if wanted * 4 >= ahead { wanted } else { 0 }
                .min(FILE)
                .min(self.left);
            if n > 0 {
                if i == SIZES.len() {
                    for phone in phones(i, campaign.sent, n) {
                        self.network.set_script(phone, PATIENT);
                    }
                }
                let file = leads(i, campaign.sent, n);
                let path = format!("/campaigns/{}/imports", campaign.id);
                self.desk.send_file(&path, &file).await?;
                self.campaigns[i].sent += n;
                self.left -= n;
            }
        }
        Ok(())
    }

    /// Gives all campaigns the same order; one that is done already takes none.
    pub(super) async fn order(&mut self, order: &str) -> Result<()> {
        for i in 0..self.campaigns.len() {
            let path = format!("/campaigns/{}", self.campaigns[i].id);
            let order = format!("{path}/{order}");
            if let Err(refused) = self.desk.ask(Method::POST, &order, None).await
                && self.desk.ask(Method::GET, &path, None).await?["state"] != "done"
            {
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Where each campaign stands.
    pub(super) async fn states(&mut self) -> Result<Vec<Value>> {
        let mut states = Vec::new();
        for i in 0..self.campaigns.len() {
            let path = format!("/campaigns/{}", self.campaigns[i].id);
            states.push(self.desk.ask(Method::GET, &path, None).await?);
        }
        Ok(states)
    }
}

/// The ring timeout of every campaign.
pub(super) const RING_S: u32 = 20;
/// How long a person stays locked after a call that was proven not to have been placed.
const COOLOFF_S: u32 = 30;

/// Answers, and listens to the end.
const PATIENT: Script = Script::Human {
    ring_ms: 1_000,
    talk_ms: 3_600_000,
};

fn campaign(name: &str, limit: u32) -> Value {
    let soon = |delay: u32, max: u32| json!({ "delays_s": [delay], "max": max });
    json!({
        "name": name,
        "concurrency": limit,
        "ring_timeout_s": RING_S,
        "max_duration_s": 300,
        "retry": {
            "max_attempts": 3,
            "unknown_cooloff_s": COOLOFF_S,
            "rules": {
                "busy": soon(2, 2), "no_answer": soon(5, 2), "unreachable": soon(2, 1), "rejected": soon(5, 1),
                "congestion": soon(3, 5), "carrier_error": soon(3, 5), "invalid_number": soon(2, 1),
                "canceled": soon(2, 1), "expired": soon(2, 1), "not_placed": soon(1, 3),
            },
        },
    })
}

/// `n` leads from the `first` on.
fn leads(campaign: usize, first: u32, n: u32) -> String {
    let mut csv = String::from("phone,ref\n");
    for (phone, i) in phones(campaign, first, n).zip(first..) {
        let _ = writeln!(csv, "{phone},L{i}");
    }
    csv
}

fn phones(campaign: usize, first: u32, n: u32) -> impl Iterator<Item = String> {
    (first..first + n).map(move |i| {
        let shared = campaign > 0 && i % SHARED == 0;
        phone(campaign - usize::from(shared), i)
    })
}

/// A number in a range of its own for each campaign. Nothing here can reach a telephone.
fn phone(campaign: usize, i: u32) -> String {
    let area = ["201", "202", "203", "205", "206", "207"][campaign];
    format!("+1{area}{}{:04}", 220 + i / 10_000, i % 10_000)
}

#[cfg(test)]
mod tests {
    use dialfleet_domain::phone::E164;

    use super::*;

    #[test]
    fn numbers_are_valid_and_different() {
        let mut seen = std::collections::BTreeSet::new();
        for campaign in 0..=SIZES.len() {
            for i in (0..40_000).step_by(997) {
                let number = phone(campaign, i);
                assert!(E164::parse(&number, None).is_ok(), "{number}");
                assert!(seen.insert(number));
            }
        }
    }
}
