//! Campaign documents.

use dialfleet_domain::caller_id::Presence;
use dialfleet_domain::campaign::{CampaignState, FormerLimit};
use dialfleet_domain::id::TenantId;
use dialfleet_domain::routing::Strategy;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::Store;
use dialfleet_engine::port::store::{CampaignChange, Cas, Inserted};
use dialfleet_tests::sample::{T0, at, campaign, campaign_id, tenant};
use futures_util::future::{join, join_all};

use super::all_pages;

async fn stored(store: &dyn Store, name: &str) -> dialfleet_domain::campaign::Campaign {
    store
        .campaigns(&[campaign_id(name)])
        .await
        .unwrap()
        .remove(0)
        .unwrap()
}

async fn insert(store: &dyn Store, name: &str, state: CampaignState, wake_at: Option<Timestamp>) {
    let mut c = campaign(name);
    c.state = state;
    c.wake_at = wake_at;
    assert_eq!(store.insert_campaign(&c).await.unwrap(), Inserted::Fresh);
}

pub(crate) async fn inserted_once(store: &dyn Store) {
    let mut first = campaign("a");
    first.routing.strategy = Some(Strategy::Quality);
    first.caps.hourly = Some(15);
    first.presence = Presence::Country;
    assert_eq!(
        store.insert_campaign(&first).await.unwrap(),
        Inserted::Fresh
    );
    let mut second = first.clone();
    second.name = "another".to_owned();
    assert_eq!(
        store.insert_campaign(&second).await.unwrap(),
        Inserted::Present
    );
    assert_eq!(stored(store, "a").await, first);
}

pub(crate) async fn read_in_order_with_gaps(store: &dyn Store) {
    insert(store, "a", CampaignState::Draft, None).await;
    insert(store, "b", CampaignState::Draft, None).await;
    let ids = ["b", "nobody", "a", "b"].map(campaign_id);
    let found = store.campaigns(&ids).await.unwrap();
    let names: Vec<_> = found
        .iter()
        .map(|c| c.as_ref().map(|c| c.name.as_str()))
        .collect();
    assert_eq!(names, [Some("b"), None, Some("a"), Some("b")]);
    assert_eq!(store.campaigns(&[]).await.unwrap(), []);
}

pub(crate) async fn text_of_any_kind_survives(store: &dyn Store) {
    let mut c = campaign("a");
    c.name =
        "O'Brien's \"5 $ off\" {a.b: $set} \\ 100% _ ; -- Größe 電話 \u{1F4DE} \u{200d}".to_owned();
    c.former_limit = Some(FormerLimit {
        limit: 9,
        until: at(3),
    });
    store.insert_campaign(&c).await.unwrap();
    assert_eq!(stored(store, "a").await, c);
}

pub(crate) async fn listed_newest_first_in_pages(store: &dyn Store) {
    // Two were made in the same millisecond: the id decides.
    for (name, made) in [("a", 1), ("b", 2), ("c", 2), ("d", 3), ("e", 4)] {
        let mut c = campaign(name);
        c.created_at = at(made);
        store.insert_campaign(&c).await.unwrap();
    }
    let mut other = campaign("other");
    other.tenant = TenantId::parse("ten_other").unwrap();
    store.insert_campaign(&other).await.unwrap();

    let tenant = tenant();
    let list = async |cursor: Option<String>, size| {
        store.list_campaigns(&tenant, cursor.as_deref(), size).await
    };
    for size in [1, 2, 3, 5, 50] {
        let all = all_pages(size, |cursor| list(cursor, size)).await;
        assert_eq!(
            all.iter().map(|c| c.name.as_str()).collect::<String>(),
            "edcba",
            "pages of {size}"
        );
    }

    // A newer one in the meantime moves nothing on the next page.
    let first = list(None, 2).await.unwrap();
    let mut newer = campaign("f");
    newer.created_at = at(9);
    store.insert_campaign(&newer).await.unwrap();
    let second = list(first.cursor, 2).await.unwrap();
    assert_eq!(
        second
            .items
            .iter()
            .map(|c| c.name.as_str())
            .collect::<String>(),
        "cb"
    );
}

pub(crate) async fn changed_only_in_the_expected_generation(store: &dyn Store) {
    insert(store, "a", CampaignState::Draft, None).await;
    let start = CampaignChange {
        state: Some(CampaignState::Running),
        at: at(1),
        ..CampaignChange::default()
    };
    let id = campaign_id("a");
    assert_eq!(
        store.change_campaign(&id, 7, start.clone()).await.unwrap(),
        None
    );
    assert_eq!(
        store
            .change_campaign(&campaign_id("nobody"), 1, start.clone())
            .await
            .unwrap(),
        None
    );
    let changed = store
        .change_campaign(&id, 1, start.clone())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (changed.state, changed.generation, changed.changed_at),
        (CampaignState::Running, 2, at(1))
    );
    assert_eq!(stored(store, "a").await, changed);
    assert_eq!(
        store.change_campaign(&id, 1, start).await.unwrap(),
        None,
        "the old generation is gone"
    );

    // Many who read the same generation: one of them changes it.
    let limits = join_all((1..=16).map(|limit| {
        let change = CampaignChange {
            limit: Some((limit, None)),
            at: at(2),
            ..CampaignChange::default()
        };
        store.change_campaign(&id, 2, change)
    }))
    .await;
    let won: Vec<_> = limits.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(stored(store, "a").await, won[0]);
}

pub(crate) async fn a_change_leaves_the_rest_alone(store: &dyn Store) {
    insert(store, "a", CampaignState::Running, Some(at(50))).await;
    let id = campaign_id("a");
    let former = FormerLimit {
        limit: 5,
        until: at(10),
    };
    let lower = CampaignChange {
        limit: Some((2, Some(former))),
        at: at(1),
        ..CampaignChange::default()
    };
    let c = store.change_campaign(&id, 1, lower).await.unwrap().unwrap();
    assert_eq!(
        (c.limit, c.former_limit, c.state),
        (2, Some(former), CampaignState::Running)
    );
    assert_eq!(
        (c.wake_at, c.wake_seq, c.changed_at),
        (Some(at(50)), 0, T0),
        "neither woken nor its state changed"
    );

    let raise = CampaignChange {
        limit: Some((8, None)),
        wake: Some(at(20)),
        at: at(2),
        ..CampaignChange::default()
    };
    let c = store.change_campaign(&id, 2, raise).await.unwrap().unwrap();
    assert_eq!((c.limit, c.former_limit, c.generation), (8, None, 3));
    assert_eq!((c.wake_at, c.wake_seq), (Some(at(20)), 1));

    let later = CampaignChange {
        wake: Some(at(90)),
        at: at(3),
        ..CampaignChange::default()
    };
    let c = store.change_campaign(&id, 3, later).await.unwrap().unwrap();
    assert_eq!(
        (c.wake_at, c.wake_seq),
        (Some(at(20)), 2),
        "the earlier time stays"
    );
}

pub(crate) async fn waking_keeps_the_earlier_time_and_counts(store: &dyn Store) {
    insert(store, "a", CampaignState::Running, None).await;
    insert(store, "b", CampaignState::Paused, Some(at(5))).await;
    let (a, b, nobody) = (campaign_id("a"), campaign_id("b"), campaign_id("nobody"));
    store
        .wake(&[
            (a.clone(), at(30)),
            (b.clone(), at(9)),
            (nobody, at(1)),
            (a.clone(), at(20)),
        ])
        .await
        .unwrap();
    let (woken, kept) = (stored(store, "a").await, stored(store, "b").await);
    assert_eq!(
        (woken.wake_at, woken.wake_seq, woken.generation),
        (Some(at(20)), 2, 1)
    );
    assert_eq!((kept.wake_at, kept.wake_seq), (Some(at(5)), 1));
    store.wake(&[]).await.unwrap();

    let wakes: Vec<_> = (0..32).map(|i| [(a.clone(), at(100 - i))]).collect();
    for answer in join_all(wakes.iter().map(|wake| store.wake(wake))).await {
        answer.unwrap();
    }
    let woken = stored(store, "a").await;
    assert_eq!(
        (woken.wake_at, woken.wake_seq),
        (Some(at(20)), 34),
        "none of the concurrent ones is lost"
    );
}

pub(crate) async fn due_wakes_are_claimed_once_until_the_lease_ends(store: &dyn Store) {
    insert(store, "late", CampaignState::Running, Some(at(9))).await;
    insert(store, "early", CampaignState::Draining, Some(at(1))).await;
    insert(store, "now", CampaignState::Running, Some(at(10))).await;
    insert(store, "future", CampaignState::Running, Some(at(11))).await;
    insert(store, "never", CampaignState::Running, None).await;
    for (i, state) in CampaignState::ALL.into_iter().enumerate() {
        if !matches!(state, CampaignState::Running | CampaignState::Draining) {
            insert(store, &format!("idle{i}"), state, Some(at(0))).await;
        }
    }
    let claimed = store.claim_wakes(at(10), at(15), 2).await.unwrap();
    let seen: Vec<_> = claimed
        .iter()
        .map(|c| (c.name.as_str(), c.wake_at))
        .collect();
    assert_eq!(
        seen,
        [("early", Some(at(1))), ("late", Some(at(9)))],
        "as they were read, earliest first"
    );
    let (held, seq) = (stored(store, "early").await, claimed[0].wake_seq);
    assert_eq!(
        (held.wake_at, held.wake_seq),
        (Some(at(15)), seq),
        "a claim is not a wake-up"
    );
    assert_eq!(
        store.claim_wakes(at(10), at(15), 9).await.unwrap().len(),
        1,
        "only the one that is left"
    );
    assert_eq!(store.claim_wakes(at(10), at(15), 9).await.unwrap().len(), 0);
    let again = store.claim_wakes(at(15), at(20), 9).await.unwrap();
    assert_eq!(
        again.len(),
        4,
        "whoever held them is succeeded, and one more is due"
    );
}

pub(crate) async fn concurrent_wake_claims_share_the_campaigns(store: &dyn Store) {
    for i in 0..8 {
        insert(store, &format!("c{i}"), CampaignState::Running, Some(at(1))).await;
    }
    let claims = join_all((0..16).map(|_| store.claim_wakes(at(2), at(99), 8))).await;
    let mut names: Vec<_> = claims
        .into_iter()
        .flat_map(Result::unwrap)
        .map(|c| c.name)
        .collect();
    names.sort();
    assert_eq!(
        names,
        (0..8).map(|i| format!("c{i}")).collect::<Vec<_>>(),
        "each went to one caller"
    );
}

pub(crate) async fn a_wake_is_settled_only_if_nobody_woke_it_since(store: &dyn Store) {
    insert(store, "a", CampaignState::Running, Some(at(5))).await;
    let id = campaign_id("a");
    assert_eq!(
        store.settle_wake(&id, 0, Some(at(60))).await.unwrap(),
        Cas::Won
    );
    assert_eq!(stored(store, "a").await.wake_at, Some(at(60)));
    store.wake(&[(id.clone(), at(7))]).await.unwrap();
    assert_eq!(store.settle_wake(&id, 0, None).await.unwrap(), Cas::Lost);
    assert_eq!(
        stored(store, "a").await.wake_at,
        Some(at(7)),
        "the wake-up is not lost"
    );
    assert_eq!(store.settle_wake(&id, 1, None).await.unwrap(), Cas::Won);
    assert_eq!(stored(store, "a").await.wake_at, None);
    assert_eq!(store.claim_wakes(at(999), at(1000), 9).await.unwrap(), []);
    assert_eq!(
        store
            .settle_wake(&campaign_id("nobody"), 0, None)
            .await
            .unwrap(),
        Cas::Lost
    );
}

pub(crate) async fn finished_only_if_nobody_woke_it_since(store: &dyn Store) {
    use CampaignState::{Done, Draining, Running};
    insert(store, "a", Running, None).await;
    let id = campaign_id("a");
    store.wake(&[(id.clone(), at(1))]).await.unwrap();
    assert_eq!(
        store
            .finish_campaign(&id, 0, Running, Done, at(2))
            .await
            .unwrap(),
        Cas::Lost
    );
    assert_eq!(
        store
            .finish_campaign(&id, 1, Draining, Done, at(2))
            .await
            .unwrap(),
        Cas::Lost
    );
    assert_eq!(
        store
            .finish_campaign(&campaign_id("nobody"), 0, Running, Done, at(2))
            .await
            .unwrap(),
        Cas::Lost
    );
    assert_eq!(stored(store, "a").await.state, Running);
    assert_eq!(
        store
            .finish_campaign(&id, 1, Running, Done, at(2))
            .await
            .unwrap(),
        Cas::Won
    );
    let done = stored(store, "a").await;
    assert_eq!(
        (done.state, done.generation, done.changed_at, done.wake_seq),
        (Done, 2, at(2), 1)
    );
    assert_eq!(
        store
            .finish_campaign(&id, 1, Running, Done, at(3))
            .await
            .unwrap(),
        Cas::Lost,
        "once"
    );
}

pub(crate) async fn waking_and_finishing_at_once_lose_no_wake(store: &dyn Store) {
    for i in 0..16 {
        let name = format!("c{i}");
        insert(store, &name, CampaignState::Running, None).await;
        let id = campaign_id(&name);
        let wakes = [(id.clone(), at(1))];
        let finish =
            store.finish_campaign(&id, 0, CampaignState::Running, CampaignState::Done, at(2));
        let (woke, finished) = join(store.wake(&wakes), finish).await;
        woke.unwrap();
        let after = stored(store, &name).await;
        let expected = match finished.unwrap() {
            Cas::Won => CampaignState::Done,
            Cas::Lost => CampaignState::Running,
        };
        assert_eq!(
            (after.state, after.wake_at, after.wake_seq),
            (expected, Some(at(1)), 1)
        );
    }
}

pub(crate) async fn listed_by_state_after_an_id(store: &dyn Store) {
    use CampaignState::{Done, Draft, Paused, Running};
    for (name, state) in [
        ("a", Running),
        ("b", Paused),
        ("c", Running),
        ("d", Done),
        ("e", Paused),
    ] {
        insert(store, name, state, None).await;
    }
    let names = async |states: &[CampaignState], after: Option<&str>, limit| {
        let after = after.map(campaign_id);
        let found = store
            .campaigns_in(states, after.as_ref(), limit)
            .await
            .unwrap();
        found.into_iter().map(|c| c.name).collect::<String>()
    };
    assert_eq!(names(&[Running, Paused], None, 9).await, "abce");
    assert_eq!(names(&[Paused, Running], None, 2).await, "ab");
    assert_eq!(names(&[Running, Paused], Some("b"), 9).await, "ce");
    assert_eq!(names(&[Draft], None, 9).await, "");
    assert_eq!(names(&[], None, 9).await, "");
}
