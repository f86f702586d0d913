//! Documents that cannot be read: they keep nobody waiting, and they are told of.

use std::time::Duration;

use async_trait::async_trait;
use dialfleet_adapters::mongo::MongoStore;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_domain::campaign::CampaignState;
use dialfleet_domain::id::{CarrierCallId, WorkerId};
use dialfleet_domain::lead::LeadState;
use dialfleet_engine::port::Store;
use dialfleet_engine::port::store::{
    Answer, AttemptFilter, ClaimRequest, Heartbeat, IntentAnswer, LeadInserted, StoreError,
};
use dialfleet_tests::sample::{
    at, attempt, campaign, campaign_id, carrier, claim, import, lead, tenant,
};

use super::all_pages;

/// Puts a number where the document has something else, and an index nothing.
#[async_trait]
pub(crate) trait Spoil {
    async fn spoil(&self, collection: &'static str, id: &str, field: &str);
}

#[async_trait]
impl Spoil for SqliteStore {
    async fn spoil(&self, collection: &'static str, id: &str, field: &str) {
        self.spoil_for_tests(collection, id, field).await.unwrap();
    }
}

#[async_trait]
impl Spoil for MongoStore {
    async fn spoil(&self, collection: &'static str, id: &str, field: &str) {
        self.spoil_for_tests(collection, id, field).await.unwrap();
    }
}

fn is_corrupt<T>(answer: Answer<T>) -> bool {
    matches!(answer, Err(StoreError::Corrupt { .. }))
}

/// What was told of, as `kind id`.
fn told(store: &impl Store) -> Vec<String> {
    let found = store.unreadable();
    assert!(found.iter().all(|bad| !bad.why.is_empty()), "{found:?}");
    let names = found.iter().map(|bad| format!("{} {}", bad.what, bad.id));
    names.collect()
}

pub(crate) async fn attempts_are_passed_over(store: &(impl Store + Spoil)) {
    let camp = campaign_id("a");
    let call = CarrierCallId::parse("CA1").unwrap();
    let mut attempts: Vec<_> = (0..4).map(|i| attempt(&lead(&camp, i), 1, i)).collect();
    for (i, a) in (0..).zip(&mut attempts) {
        a.check_at = at(i);
        a.todo_at = Some(at(i));
        a.todo = vec![dialfleet_domain::call::Todo::ProjectLead];
    }
    attempts[0].legs[0].call_id = Some(call.clone());
    let answers = store.insert_attempts(&attempts).await;
    assert!(answers.iter().all(|a| *a == IntentAnswer::Acknowledged));
    // The first two of every order.
    for bad in &attempts[..2] {
        store.spoil("attempts", bad.id.as_str(), "timeline").await;
    }
    let rest = &attempts[2..];
    assert_eq!(store.due_checks(at(9), 2).await.unwrap(), rest);
    assert_eq!(store.due_checks(at(9), 1).await.unwrap(), rest[..1]);
    assert_eq!(store.due_todos(at(9), 2).await.unwrap(), rest);
    assert_eq!(store.live_attempts(&camp).await.unwrap(), rest);
    let phone = &attempts[0].phone;
    assert_eq!(store.live_by_phone(&tenant(), phone).await.unwrap(), []);
    let live = store.live_by_carrier(&carrier(), None, 2).await.unwrap();
    assert_eq!(live, rest);
    let filter = AttemptFilter::default();
    let listed = all_pages(1, async |cursor: Option<String>| {
        let cursor = cursor.as_deref();
        store.list_attempts(&tenant(), &filter, cursor, 1).await
    });
    assert_eq!(listed.await.len(), 2);
    assert_eq!(
        told(store),
        ["attempt cmp_a:r00000:1", "attempt cmp_a:r00001:1"]
    );
    assert_eq!(told(store), [""; 0], "each is told of once");

    // Its slot and its person stay taken, and nobody may think that it is not there.
    assert_eq!(store.taken_slots(&camp).await.unwrap(), [0, 1, 2, 3]);
    let again = attempt(&lead(&camp, 0), 1, 7);
    let answers = store.insert_attempts(&[again]).await;
    assert_ne!(answers, [IntentAnswer::Acknowledged]);
    let ids: Vec<_> = attempts.iter().map(|a| a.id.clone()).collect();
    assert!(is_corrupt(store.attempts(&ids).await));
    assert_eq!(store.attempts(&ids[2..]).await.unwrap().len(), 2);
    assert!(is_corrupt(store.newest_attempt(&lead(&camp, 0).id).await));
    assert!(is_corrupt(
        store.attempts_by_call(&carrier(), &[call]).await
    ));
    assert!(told(store).contains(&"attempt cmp_a:r00000:1".to_owned()));
}

pub(crate) async fn leads_are_passed_over(store: &(impl Store + Spoil)) {
    let camp = campaign_id("a");
    let leads: Vec<_> = (0..25).map(|i| lead(&camp, i)).collect();
    store.insert_leads(&leads).await.unwrap();
    // More than one draws among.
    for bad in &leads[..20] {
        store.spoil("leads", bad.id.as_str(), "zones").await;
    }
    for draw in [0, 7, u64::MAX, 3, 1] {
        let request = ClaimRequest {
            campaign: camp.clone(),
            claim: claim("x"),
            now: at(1),
            draw,
        };
        let claimed = store.claim_leads(&[request]).await.unwrap();
        let claimed = claimed[0].as_ref().expect("a readable one is due");
        assert!(claimed.id >= leads[20].id, "{}", claimed.id);
    }
    assert_eq!(told(store).len(), 20);
    assert_eq!(store.stale_claims(at(9), 9).await.unwrap().len(), 5);
    let listed = all_pages(2, async |cursor: Option<String>| {
        store.list_leads(&camp, None, cursor.as_deref(), 2).await
    });
    assert_eq!(listed.await.len(), 5);
    let again = store.insert_leads(&leads[19..21]).await.unwrap();
    assert_eq!(
        again,
        [
            LeadInserted::SameRef { same_source: false },
            LeadInserted::SameRef { same_source: true },
        ],
        "what cannot be read is nobody's own row"
    );
    assert!(is_corrupt(
        store.leads(std::slice::from_ref(&leads[0].id)).await
    ));
    let counts = store.lead_counts(&camp).await.unwrap();
    assert_eq!((counts.ready, counts.claimed), (20, 5));
    assert!(store.has_open_leads(&camp).await.unwrap());
    let ready = Some(LeadState::Ready);
    let left = store.list_leads(&camp, ready, None, 9).await.unwrap();
    assert_eq!((left.items.len(), left.cursor), (0, None));
}

pub(crate) async fn campaigns_are_passed_over(store: &(impl Store + Spoil)) {
    let campaigns = ["a", "b", "c"].map(|name| {
        let mut campaign = campaign(name);
        campaign.wake_at = Some(at(1));
        campaign
    });
    for campaign in &campaigns {
        store.insert_campaign(campaign).await.unwrap();
    }
    let [a, b, c] = &campaigns;
    store.spoil("campaigns", a.id.as_str(), "retry").await;
    let states = [CampaignState::Running];
    let running = store.campaigns_in(&states, None, 1).await.unwrap();
    assert_eq!(running, std::slice::from_ref(b));
    let listed = store.list_campaigns(&tenant(), None, 9).await.unwrap();
    assert_eq!(listed.items, [c.clone(), b.clone()]);
    let due = store.claim_wakes(at(2), at(20), 1).await.unwrap();
    assert_eq!(due.len(), 1);
    let due = store.claim_wakes(at(2), at(20), 9).await.unwrap();
    assert_eq!(due.len(), 1, "the other one was claimed");
    let wakes = [(a.id.clone(), at(3)), (b.id.clone(), at(3))];
    store.wake(&wakes).await.unwrap();
    let [woken] = &store.campaigns(std::slice::from_ref(&b.id)).await.unwrap()[..] else {
        panic!("asked for one");
    };
    assert_eq!(woken.as_ref().unwrap().wake_at, Some(at(3)));
    assert!(is_corrupt(
        store.campaigns(&[a.id.clone(), b.id.clone()]).await
    ));
    assert_eq!(told(store), ["campaign cmp_a"]);
}

pub(crate) async fn records_are_passed_over(store: &(impl Store + Spoil)) {
    let camp = campaign_id("a");
    let imports = ["x", "y", "z"].map(|name| import(&camp, name));
    for import in &imports {
        store.insert_import(import).await.unwrap();
    }
    store
        .spoil("imports", imports[0].id.as_str(), "tallies")
        .await;
    assert_eq!(store.list_imports(&camp, 9).await.unwrap().len(), 2);
    let open = store.open_imports(&camp, 1).await.unwrap();
    assert_eq!(open, [imports[1].clone()]);
    assert!(is_corrupt(store.import(&imports[0].id).await));
    let beat = |name: &str| Heartbeat {
        worker: WorkerId::parse(format!("wrk_{name}")).unwrap(),
        roles: vec!["dial".to_owned()],
        version: "1".to_owned(),
        started_at: at(0),
        beat_at: at(0) + Duration::from_secs(1),
    };
    for name in ["a", "b"] {
        store.beat(&beat(name)).await.unwrap();
    }
    store.spoil("workers", "wrk_a", "roles").await;
    assert_eq!(store.workers(at(0)).await.unwrap(), [beat("b")]);
    assert_eq!(told(store), ["heartbeat wrk_a", "import imp_x"]);
}
