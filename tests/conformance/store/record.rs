//! Everything else: evidence, do-not-call lists, imports, processes, keys, duties.

use std::collections::BTreeMap;

use dialfleet_domain::id::{AttemptId, CallbackId, TenantId, WorkerId};
use dialfleet_domain::import::{ImportState, RowError, Tally};
use dialfleet_domain::lead::LeadState;
use dialfleet_engine::port::Store;
use dialfleet_engine::port::store::{
    AttemptFilter, Callback, Cas, DoNotCall, Heartbeat, Inserted, MacKey, StoreError,
};
use dialfleet_tests::sample::{
    at, attempt, campaign, campaign_id, carrier, import, import_id, lead, phone, tenant,
};
use futures_util::future::join_all;

fn worker(name: &str) -> WorkerId {
    WorkerId::parse(format!("wrk_{name}")).unwrap()
}

fn callback(key: &str, seconds: u64) -> Callback {
    Callback {
        id: CallbackId::parse(format!("sample:{key}")).unwrap(),
        carrier: carrier(),
        attempt: Some(AttemptId::parse("cmp_a:r1:1").unwrap()),
        raw: "CallStatus=ringing&To=%2B15550100001&x='\"".to_owned(),
        headers: BTreeMap::from([("x-signature.v1".to_owned(), "$abc=".to_owned())]),
        received_at: at(seconds),
    }
}

pub(crate) async fn callbacks_are_stored_once(store: &dyn Store) {
    use Inserted::{Fresh, Present};
    let first = store
        .insert_callbacks(&[callback("1", 1), callback("2", 1), callback("1", 1)])
        .await
        .unwrap();
    assert_eq!(first, [Fresh, Fresh, Present]);
    let again = store
        .insert_callbacks(&[callback("3", 2), callback("2", 2)])
        .await
        .unwrap();
    assert_eq!(again, [Fresh, Present]);
    assert_eq!(store.insert_callbacks(&[]).await.unwrap(), []);
    let same = [callback("9", 3)];
    let answers = join_all((0..16).map(|_| store.insert_callbacks(&same))).await;
    let fresh = answers
        .into_iter()
        .flat_map(Result::unwrap)
        .filter(|answer| *answer == Fresh)
        .count();
    assert_eq!(fresh, 1);
}

pub(crate) async fn callbacks_are_deleted_by_age(store: &dyn Store) {
    let callbacks: Vec<_> = (1..=5).map(|i| callback(&i.to_string(), i)).collect();
    store.insert_callbacks(&callbacks).await.unwrap();
    assert_eq!(store.delete_callbacks(at(4), 2).await.unwrap(), 2);
    assert_eq!(store.delete_callbacks(at(4), 9).await.unwrap(), 1);
    assert_eq!(store.delete_callbacks(at(4), 9).await.unwrap(), 0);
    let left = store.insert_callbacks(&callbacks).await.unwrap();
    let present = left
        .iter()
        .filter(|answer| **answer == Inserted::Present)
        .count();
    assert_eq!(present, 2, "the ones at 4 and 5 are younger");
}

pub(crate) async fn do_not_call_lists_are_by_tenant(store: &dyn Store) {
    let other = TenantId::parse("ten_other").unwrap();
    let entry = |tenant: &TenantId, i, seconds| DoNotCall {
        tenant: tenant.clone(),
        phone: phone(i),
        source: "api".to_owned(),
        at: at(seconds),
    };
    let (tenant, phones) = (tenant(), [1, 2, 3].map(phone));
    store
        .add_do_not_call(&[
            entry(&tenant, 1, 1),
            entry(&tenant, 3, 1),
            entry(&other, 2, 1),
        ])
        .await
        .unwrap();
    store
        .add_do_not_call(&[entry(&tenant, 1, 5)])
        .await
        .unwrap();
    assert_eq!(
        store.do_not_call(&tenant, &phones).await.unwrap(),
        [true, false, true]
    );
    assert_eq!(
        store.do_not_call(&other, &phones).await.unwrap(),
        [false, true, false]
    );
    assert_eq!(store.do_not_call(&tenant, &[]).await.unwrap(), [false; 0]);
    assert!(store.remove_do_not_call(&tenant, &phones[0]).await.unwrap());
    assert!(!store.remove_do_not_call(&tenant, &phones[0]).await.unwrap());
    assert!(
        !store.remove_do_not_call(&tenant, &phones[1]).await.unwrap(),
        "that is another tenant's"
    );
    assert_eq!(
        store.do_not_call(&tenant, &phones).await.unwrap(),
        [false, false, true]
    );
}

pub(crate) async fn imports_are_read_and_listed(store: &dyn Store) {
    let camp = campaign_id("a");
    assert_eq!(store.open_imports(&camp, 9).await.unwrap(), []);
    assert_eq!(store.import(&import_id("x")).await.unwrap(), None);
    let mut imports: Vec<_> = ["x", "y", "z"].map(|name| import(&camp, name)).into();
    imports[0].created_at = at(2);
    imports[1].created_at = at(1);
    imports[2].created_at = at(2);
    imports[2].state = ImportState::Done;
    for one in &imports {
        assert_eq!(store.insert_import(one).await.unwrap(), Inserted::Fresh);
    }
    store
        .insert_import(&import(&campaign_id("b"), "other"))
        .await
        .unwrap();
    let mut changed = imports[0].clone();
    changed.unreadable = 9;
    assert_eq!(
        store.insert_import(&changed).await.unwrap(),
        Inserted::Present
    );
    assert_eq!(
        store.import(&imports[0].id).await.unwrap().as_ref(),
        Some(&imports[0])
    );
    let [x, y, z] = [0, 1, 2].map(|i: usize| imports[i].clone());
    assert_eq!(
        store.list_imports(&camp, 9).await.unwrap(),
        [z.clone(), x.clone(), y.clone()]
    );
    assert_eq!(store.list_imports(&camp, 2).await.unwrap(), [z, x.clone()]);
    assert_eq!(
        store.open_imports(&camp, 9).await.unwrap(),
        [y.clone(), x],
        "oldest first"
    );
    assert_eq!(store.open_imports(&camp, 1).await.unwrap(), [y]);
}

pub(crate) async fn tallies_replace_their_own_batch(store: &dyn Store) {
    let camp = campaign_id("a");
    store.insert_import(&import(&camp, "x")).await.unwrap();
    let id = import_id("x");
    let tally = |accepted, duplicate, rejected| Tally {
        accepted,
        duplicate,
        rejected,
        ..Tally::default()
    };
    assert_eq!(
        store
            .tally_import(&import_id("nobody"), 0, tally(1, 0, 0), at(4))
            .await
            .unwrap(),
        None
    );
    let first = store
        .tally_import(&id, 0, tally(400, 90, 10), at(4))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (first.total(), first.is_complete()),
        (tally(400, 90, 10), false)
    );
    assert_eq!(first.heard_at, Some(at(4)));
    let again = store
        .tally_import(&id, 0, tally(400, 90, 10), at(4))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        again.total(),
        tally(400, 90, 10),
        "a redelivered batch does not count twice"
    );
    let second = store
        .tally_import(&id, 1, tally(5, 0, 0), at(4))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        second.tallies,
        BTreeMap::from([(0, tally(400, 90, 10)), (1, tally(5, 0, 0))])
    );
    store.close_import(&id, 2, 3).await.unwrap();
    store
        .close_import(&import_id("nobody"), 2, 3)
        .await
        .unwrap();
    let closed = store.import(&id).await.unwrap().unwrap();
    assert_eq!((closed.batches, closed.unreadable), (Some(2), 3));
    assert_eq!(
        (closed.total(), closed.is_complete()),
        (tally(405, 90, 13), true)
    );

    // Batches that end at the same time all count.
    store.insert_import(&import(&camp, "y")).await.unwrap();
    let id = import_id("y");
    let answers =
        join_all((0..16).map(|batch| store.tally_import(&id, batch, tally(1, 0, 0), at(4)))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().is_some()));
    assert_eq!(
        store.import(&id).await.unwrap().unwrap().total(),
        tally(16, 0, 0)
    );
}

pub(crate) async fn an_import_ends_once(store: &dyn Store) {
    let camp = campaign_id("a");
    store.insert_import(&import(&camp, "x")).await.unwrap();
    let id = import_id("x");
    let why = Some("the header has no column \"phone\"".to_owned());
    assert_eq!(
        store
            .end_import(&id, ImportState::Refused, why.clone(), at(5))
            .await
            .unwrap(),
        Cas::Won
    );
    assert_eq!(
        store
            .end_import(&id, ImportState::Done, None, at(6))
            .await
            .unwrap(),
        Cas::Lost
    );
    assert_eq!(
        store
            .end_import(&import_id("nobody"), ImportState::Done, None, at(6))
            .await
            .unwrap(),
        Cas::Lost
    );
    let ended = store.import(&id).await.unwrap().unwrap();
    assert_eq!(
        (ended.state, ended.refused, ended.done_at),
        (ImportState::Refused, why, Some(at(5)))
    );
    assert_eq!(store.open_imports(&camp, 9).await.unwrap(), []);

    store.insert_import(&import(&camp, "y")).await.unwrap();
    let id = import_id("y");
    let answers =
        join_all((0..8).map(|_| store.end_import(&id, ImportState::Done, None, at(7)))).await;
    assert_eq!(
        answers
            .into_iter()
            .filter(|answer| matches!(answer, Ok(Cas::Won)))
            .count(),
        1
    );
    let ended = store.import(&id).await.unwrap().unwrap();
    assert_eq!(
        (ended.state, ended.refused, ended.done_at),
        (ImportState::Done, None, Some(at(7)))
    );
}

pub(crate) async fn row_errors_are_one_per_line(store: &dyn Store) {
    let row = |import: &str, line| RowError {
        import: import_id(import),
        line,
        code: "bad_phone".to_owned(),
        message: format!("line {line}: \"12\" is too short"),
    };
    store
        .insert_row_errors(&[
            row("x", 12),
            row("x", 2),
            row("x", 110),
            row("x", 12),
            row("y", 5),
        ])
        .await
        .unwrap();
    store
        .insert_row_errors(&[row("x", 2), row("x", 7)])
        .await
        .unwrap();
    store.insert_row_errors(&[]).await.unwrap();
    let id = import_id("x");
    assert_eq!(
        store.row_errors(&id, 0, 9).await.unwrap(),
        [2, 7, 12, 110].map(|line| row("x", line))
    );
    assert_eq!(
        store.row_errors(&id, 2, 2).await.unwrap(),
        [7, 12].map(|line| row("x", line))
    );
    assert_eq!(store.row_errors(&id, 110, 2).await.unwrap(), []);
    assert_eq!(
        store.row_errors(&import_id("nobody"), 0, 2).await.unwrap(),
        []
    );
}

pub(crate) async fn heartbeats_come_and_go(store: &dyn Store) {
    let beat = |name: &str, seconds| Heartbeat {
        worker: worker(name),
        roles: vec!["dial".to_owned(), "events".to_owned()],
        version: "1.2.3".to_owned(),
        started_at: at(0),
        beat_at: at(seconds),
    };
    for (name, seconds) in [("b", 10), ("a", 20), ("c", 5), ("b", 30)] {
        store.beat(&beat(name, seconds)).await.unwrap();
    }
    assert_eq!(
        store.workers(at(10)).await.unwrap(),
        [beat("a", 20), beat("b", 30)]
    );
    assert_eq!(
        store.workers(at(30)).await.unwrap(),
        [beat("b", 30)],
        "exactly since then counts"
    );
    store.leave(&worker("b")).await.unwrap();
    store.leave(&worker("nobody")).await.unwrap();
    assert_eq!(
        store.workers(at(0)).await.unwrap(),
        [beat("a", 20), beat("c", 5)]
    );
}

fn key(i: u32) -> MacKey {
    MacKey {
        id: format!("k{i}"),
        secret: format!("{i:064x}"),
    }
}

pub(crate) async fn the_first_key_wins(store: &dyn Store) {
    assert_eq!(store.mac_keys(&key(1)).await.unwrap(), [key(1)]);
    assert_eq!(store.mac_keys(&key(2)).await.unwrap(), [key(1)]);
    assert_eq!(store.mac_keys(&key(1)).await.unwrap(), [key(1)]);
}

pub(crate) async fn concurrent_first_boots_agree_on_the_key(store: &dyn Store) {
    let candidates: Vec<_> = (0..16).map(key).collect();
    let answers = join_all(candidates.iter().map(|candidate| store.mac_keys(candidate))).await;
    let keys: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(keys[0].len(), 1);
    assert!(keys.iter().all(|answer| *answer == keys[0]));
}

pub(crate) async fn a_duty_has_one_holder_at_a_time(store: &dyn Store) {
    let hold = async |task: &str, who: &str, now, until| {
        store
            .hold_duty(task, &worker(who), at(now), at(until))
            .await
            .unwrap()
    };
    assert_eq!(hold("compare", "a", 0, 20).await, Cas::Won);
    assert_eq!(hold("compare", "b", 5, 25).await, Cas::Lost);
    assert_eq!(hold("scan", "b", 5, 25).await, Cas::Won, "another duty");
    assert_eq!(
        hold("compare", "a", 10, 30).await,
        Cas::Won,
        "its holder goes on"
    );
    assert_eq!(
        hold("compare", "b", 25, 45).await,
        Cas::Lost,
        "which moved the end"
    );
    assert_eq!(hold("compare", "b", 31, 51).await, Cas::Won, "expired");
    assert_eq!(hold("compare", "a", 32, 52).await, Cas::Lost);
}

pub(crate) async fn concurrent_candidates_for_a_duty_have_one_winner(store: &dyn Store) {
    for round in 0..3 {
        let workers: Vec<_> = (0..16).map(|i| worker(&format!("{round}_{i}"))).collect();
        let now = round * 100;
        let answers = join_all(
            workers
                .iter()
                .map(|who| store.hold_duty("compare", who, at(now), at(now + 50))),
        )
        .await;
        assert_eq!(
            answers
                .into_iter()
                .filter(|answer| matches!(answer, Ok(Cas::Won)))
                .count(),
            1,
            "round {round}"
        );
    }
}

pub(crate) async fn the_clock_goes_forward(store: &dyn Store) {
    let first = store.clock().await.unwrap();
    assert!(
        first.millis() > 1_700_000_000_000,
        "in milliseconds, and not from before this was written"
    );
    assert!(store.clock().await.unwrap() >= first);
    store.ping().await.unwrap();
}

pub(crate) async fn an_incomplete_import_can_still_be_done(store: &dyn Store) {
    let camp = campaign_id("a");
    let mut new = import(&camp, "x");
    new.batches = Some(1);
    store.insert_import(&new).await.unwrap();
    let id = import_id("x");
    let parked = Tally {
        parked: 500,
        why: Some("the campaign is stopped".to_owned()),
        ..Tally::default()
    };
    let set_aside = store.tally_import(&id, 0, parked.clone(), at(1)).await;
    let set_aside = set_aside.unwrap().unwrap();
    assert_eq!((set_aside.total(), set_aside.is_complete()), (parked, true));
    let (state, missing) = set_aside.end();
    assert_eq!(state, ImportState::Incomplete);
    let ended = store.end_import(&id, state, missing.clone(), at(2)).await;
    assert_eq!(ended.unwrap(), Cas::Won);
    let stored = store.import(&id).await.unwrap().unwrap();
    assert_eq!((stored.state, stored.refused), (state, missing));
    assert_eq!(store.open_imports(&camp, 9).await.unwrap(), []);
    let refused = store.end_import(&id, ImportState::Refused, None, at(3));
    assert_eq!(refused.await.unwrap(), Cas::Lost);

    // The message is delivered again after all.
    let taken = Tally {
        accepted: 500,
        ..Tally::default()
    };
    let complete = store.tally_import(&id, 0, taken.clone(), at(4)).await;
    let complete = complete.unwrap().unwrap();
    assert_eq!(complete.end(), (ImportState::Done, None));
    let done = store.end_import(&id, ImportState::Done, None, at(5)).await;
    assert_eq!(done.unwrap(), Cas::Won);
    let stored = store.import(&id).await.unwrap().unwrap();
    assert_eq!(
        (stored.state, stored.refused.clone(), stored.total()),
        (ImportState::Done, None, taken)
    );
    assert_eq!(
        (stored.heard_at, stored.done_at),
        (Some(at(4)), Some(at(5)))
    );
}

pub(crate) async fn made_up_cursors_are_refused(store: &dyn Store) {
    fn refused<T>(answer: Result<T, StoreError>) -> bool {
        matches!(answer, Err(StoreError::BadCursor))
    }
    let (tenant, camp) = (tenant(), campaign_id("a"));
    for cursor in ["", "!", "bm8", "eyJhIjoxfQ"] {
        assert!(
            refused(store.list_campaigns(&tenant, Some(cursor), 9).await),
            "{cursor:?}"
        );
        assert!(
            refused(store.list_leads(&camp, None, Some(cursor), 9).await),
            "{cursor:?}"
        );
        let filter = AttemptFilter::default();
        assert!(
            refused(store.list_attempts(&tenant, &filter, Some(cursor), 9).await),
            "{cursor:?}"
        );
    }
}

pub(crate) async fn a_cursor_belongs_to_its_list(store: &dyn Store) {
    let (tenant, other) = (tenant(), TenantId::parse("ten_other").unwrap());
    let (a, b) = (campaign_id("a"), campaign_id("b"));
    for name in ["a", "b"] {
        store.insert_campaign(&campaign(name)).await.unwrap();
    }
    let leads: Vec<_> = [1, 2].into_iter().map(|i| lead(&a, i)).collect();
    store.insert_leads(&leads).await.unwrap();
    let intents: Vec<_> = (1..).zip(&leads).map(|(i, l)| attempt(l, 1, i)).collect();
    store.insert_attempts(&intents).await;
    let all = AttemptFilter::default();
    let campaigns = store.list_campaigns(&tenant, None, 1).await.unwrap().cursor;
    let of_leads = store.list_leads(&a, None, None, 1).await.unwrap().cursor;
    let attempts = store.list_attempts(&tenant, &all, None, 1).await;
    let attempts = attempts.unwrap().cursor;
    let (campaigns, of_leads, attempts) = (
        campaigns.as_deref(),
        of_leads.as_deref(),
        attempts.as_deref(),
    );
    assert!(campaigns.is_some() && of_leads.is_some() && attempts.is_some());
    fn refused<T>(answer: Result<T, StoreError>) -> bool {
        matches!(answer, Err(StoreError::BadCursor))
    }
    assert!(refused(store.list_campaigns(&tenant, attempts, 9).await));
    assert!(refused(store.list_campaigns(&other, campaigns, 9).await));
    assert!(refused(store.list_leads(&b, None, of_leads, 9).await));
    let ready = Some(LeadState::Ready);
    assert!(refused(store.list_leads(&a, ready, of_leads, 9).await));
    assert!(refused(
        store.list_attempts(&tenant, &all, campaigns, 9).await
    ));
    let live = AttemptFilter {
        live: true,
        ..all.clone()
    };
    assert!(refused(
        store.list_attempts(&tenant, &live, attempts, 9).await
    ));
    // In its own it is good.
    let rest = store.list_campaigns(&tenant, campaigns, 9).await.unwrap();
    assert_eq!(rest.items.len(), 1);
    let rest = store.list_leads(&a, None, of_leads, 9).await.unwrap();
    assert_eq!(rest.items, leads[1..]);
    let rest = store.list_attempts(&tenant, &all, attempts, 9).await;
    assert_eq!(rest.unwrap().items.len(), 1);
}
