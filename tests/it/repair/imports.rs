//! Imports whose batches do not come.

use std::time::Duration;

use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::import::{Import, ImportState, Tally};
use dialfleet_domain::lead::LeadState;
use dialfleet_engine::Role;
use dialfleet_engine::message::{BatchOf, LeadBatch, LeadRow, Payload};
use dialfleet_engine::port::store::{CampaignStore, LeadStore, RecordStore};
use dialfleet_tests::sample::{self, at};

use super::Rig;

fn batch(campaign: &Campaign, import: &Import, batch: u32) -> LeadBatch {
    LeadBatch {
        campaign: campaign.id.clone(),
        import: Some(BatchOf {
            id: import.id.clone(),
            batch,
        }),
        leads: (0..3)
            .map(|i| LeadRow {
                phone: format!("+44207946{batch:02}{i:02}"),
                ..LeadRow::default()
            })
            .collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_put_aside_is_counted_until_it_is_delivered_again() {
    let rig = Rig::new().await;
    let mut campaign = sample::campaign("a");
    campaign.state = CampaignState::Stopped;
    rig.store.insert_campaign(&campaign).await.unwrap();
    let mut import = sample::import(&campaign.id, "x");
    import.batches = Some(1);
    rig.store.insert_import(&import).await.unwrap();
    let message = batch(&campaign, &import, 0).message("imp_x/0".to_owned());
    rig.fleet.queue.publish(vec![message]).await;
    let soon = Duration::from_secs(10);
    let ended = rig
        .run(Role::Ingest, "the import ends", soon, async || {
            let now = rig.store.import(&import.id).await.unwrap().unwrap();
            match now.state {
                ImportState::Incomplete => Ok(now),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    assert_eq!(ended.total().parked, 3);
    let why = ended.refused.unwrap();
    assert!(why.contains("stopped"), "{why}");
    assert_eq!(rig.store.open_imports(&campaign.id, 9).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_never_comes_does_not_keep_its_campaign_open_for_ever() {
    let rig = Rig::new().await;
    let mut campaign = sample::campaign("a");
    campaign.wake_at = Some(at(0));
    rig.store.insert_campaign(&campaign).await.unwrap();
    let mut lead = sample::lead(&campaign.id, 1);
    lead.state = LeadState::Done;
    rig.store.insert_leads(&[lead]).await.unwrap();
    // More than are looked at in one go, and the incomplete one is the oldest.
    for i in 0..120 {
        let mut import = sample::import(&campaign.id, &format!("{i:03}"));
        import.batches = Some(2);
        rig.store.insert_import(&import).await.unwrap();
        for batch in 0..2 {
            if (i, batch) != (0, 1) {
                let tally = rig
                    .store
                    .tally_import(&import.id, batch, Tally::default(), at(0));
                tally.await.unwrap();
            }
        }
    }
    let done = async || {
        let now = rig.fleet.campaign(&campaign.id).await.unwrap().unwrap();
        match now.state {
            CampaignState::Done => Ok(()),
            other => Err(other.name().to_owned()),
        }
    };
    let bound = Duration::from_secs(20 * 60);
    rig.run(Role::Plan, "the campaign is done", bound, done)
        .await;
    assert!(rig.elapsed() >= Duration::from_secs(15 * 60), "too early");
    let first = sample::import_id("000");
    let lost = rig.store.import(&first).await.unwrap().unwrap();
    assert_eq!(lost.state, ImportState::Incomplete);
    assert!(lost.refused.unwrap().contains("1 of 2"));
    let last = rig.store.import(&sample::import_id("119")).await.unwrap();
    assert_eq!(last.unwrap().state, ImportState::Done);

    // It comes after all: its rows are dialed.
    let message = batch(&campaign, &sample::import(&campaign.id, "000"), 1);
    let sent = message.message("imp_000/1".to_owned());
    rig.fleet.queue.publish(vec![sent]).await;
    let soon = Duration::from_secs(10);
    rig.run(Role::Ingest, "it is taken", soon, async || {
        let import = rig.store.import(&first).await.unwrap().unwrap();
        let campaign = rig.fleet.campaign(&campaign.id).await.unwrap().unwrap();
        match (import.state, campaign.state) {
            (ImportState::Done, CampaignState::Running) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}
