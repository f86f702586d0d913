//! Lead documents: inserting, projecting, counting.

use std::collections::BTreeMap;

use dialfleet_domain::call::Outcome;
use dialfleet_domain::id::{CampaignId, LeadId};
use dialfleet_domain::lead::{Lead, LeadState, Projection, Source};
use dialfleet_engine::port::Store;
use dialfleet_engine::port::store::{Cas, ClaimRequest, LeadCounts, LeadInserted};
use dialfleet_tests::sample::{at, campaign_id, claim, import_id, lead, phone};
use futures_util::future::join_all;

use super::all_pages;

pub(super) fn camp() -> CampaignId {
    campaign_id("a")
}

pub(super) async fn insert(store: &dyn Store, leads: &[Lead]) {
    let answers = store.insert_leads(leads).await.unwrap();
    assert!(
        answers.iter().all(|answer| *answer == LeadInserted::Fresh),
        "{answers:?}"
    );
}

pub(super) async fn stored(store: &dyn Store, id: &LeadId) -> Lead {
    store
        .leads(std::slice::from_ref(id))
        .await
        .unwrap()
        .remove(0)
        .unwrap()
}

pub(super) fn ask(token: &str, draw: u64) -> ClaimRequest {
    ClaimRequest {
        campaign: camp(),
        claim: claim(token),
        now: at(100),
        draw,
    }
}

pub(super) async fn take(store: &dyn Store, request: ClaimRequest) -> Option<Lead> {
    store.claim_leads(&[request]).await.unwrap().remove(0)
}

fn projection(of: &Lead, n: u32, state: LeadState, outcome: Outcome) -> Projection {
    Projection {
        lead: of.id.clone(),
        n,
        state,
        due_at: at(1_000),
        budget_used: n,
        outcomes: BTreeMap::from([(outcome, n)]),
        outcome,
    }
}

async fn project(store: &dyn Store, projection: Projection) -> Cas {
    store.project_leads(&[projection]).await.unwrap().remove(0)
}

pub(crate) async fn inserted_once_per_reference_and_phone(store: &dyn Store) {
    let first = lead(&camp(), 1);
    insert(store, std::slice::from_ref(&first)).await;

    let mut same_ref = lead(&camp(), 1);
    same_ref.phone = phone(2);
    same_ref.source = None;
    let mut same_phone = lead(&camp(), 3);
    same_phone.phone = phone(1);
    // The same person in another campaign is another lead.
    let elsewhere = lead(&campaign_id("b"), 1);
    assert_eq!(
        store
            .insert_leads(&[same_ref, same_phone.clone(), elsewhere])
            .await
            .unwrap(),
        [
            LeadInserted::SameRef { same_source: false },
            LeadInserted::SamePhone { same_source: false },
            LeadInserted::Fresh
        ]
    );
    assert_eq!(
        stored(store, &first.id).await,
        first,
        "the first one stays as it was"
    );
    assert_eq!(store.leads(&[same_phone.id]).await.unwrap(), [None]);
}

pub(crate) async fn redelivered_rows_are_recognised(store: &dyn Store) {
    let first = lead(&camp(), 1);
    insert(store, std::slice::from_ref(&first)).await;
    let mut other_line = first.clone();
    other_line.source = Some(Source {
        import: import_id("sample"),
        line: 77,
    });
    let mut other_import = first.clone();
    other_import.source = Some(Source {
        import: import_id("other"),
        line: 3,
    });
    // A row whose reference was corrected by its owner, but which is the same row of the same file.
    let mut moved = lead(&camp(), 9);
    moved.phone = phone(1);
    moved.source.clone_from(&first.source);
    assert_eq!(
        store
            .insert_leads(&[first.clone(), other_line, other_import, moved])
            .await
            .unwrap(),
        [
            LeadInserted::SameRef { same_source: true },
            LeadInserted::SameRef { same_source: false },
            LeadInserted::SameRef { same_source: false },
            LeadInserted::SamePhone { same_source: true },
        ]
    );

    let mut anonymous = lead(&camp(), 20);
    anonymous.source = None;
    insert(store, std::slice::from_ref(&anonymous)).await;
    let again = store.insert_leads(&[anonymous]).await.unwrap();
    assert_eq!(
        again,
        [LeadInserted::SameRef { same_source: false }],
        "nobody knows where it came from"
    );
}

pub(crate) async fn a_batch_is_answered_row_by_row(store: &dyn Store) {
    let mut batch: Vec<Lead> = (0..500).map(|i| lead(&camp(), i)).collect();
    insert(store, &batch[..250]).await;
    for (i, answer) in store
        .insert_leads(&batch)
        .await
        .unwrap()
        .into_iter()
        .enumerate()
    {
        let expected = if i < 250 {
            LeadInserted::SameRef { same_source: true }
        } else {
            LeadInserted::Fresh
        };
        assert_eq!(answer, expected, "row {i}");
    }
    assert_eq!(store.insert_leads(&[]).await.unwrap(), []);

    // Twice in one batch: the first in order is the one.
    batch = vec![lead(&camp(), 900), lead(&camp(), 900), lead(&camp(), 901)];
    batch[1].source = None;
    assert_eq!(
        store.insert_leads(&batch).await.unwrap(),
        [
            LeadInserted::Fresh,
            LeadInserted::SameRef { same_source: false },
            LeadInserted::Fresh
        ]
    );
}

pub(crate) async fn vars_of_any_kind_survive_every_write(store: &dyn Store) {
    let mut l = lead(&camp(), 1);
    l.id = LeadId::new(&camp(), "O'Brien: \"é\" $1.50 100%_;--").unwrap();
    l.vars = BTreeMap::from([
        ("$set".to_owned(), "{\"$gt\": \"\"}".to_owned()),
        ("first.name".to_owned(), "Zoë \u{1F4DE} 電話".to_owned()),
        (
            "quote ' \" \\".to_owned(),
            "'; DROP TABLE leads; --".to_owned(),
        ),
        ("_id".to_owned(), "line\nbreak\ttab".to_owned()),
        ("empty".to_owned(), String::new()),
    ]);
    insert(store, std::slice::from_ref(&l)).await;
    assert_eq!(stored(store, &l.id).await, l);
    let claimed = take(store, ask("x", 0)).await.unwrap();
    assert_eq!((&claimed.id, &claimed.vars), (&l.id, &l.vars));
    assert_eq!(
        project(store, projection(&l, 1, LeadState::Ready, Outcome::Busy)).await,
        Cas::Won
    );
    assert_eq!(stored(store, &l.id).await.vars, l.vars);
    let page = store.list_leads(&camp(), None, None, 9).await.unwrap();
    assert_eq!(page.items[0].vars, l.vars);
}

pub(crate) async fn read_in_order_with_gaps(store: &dyn Store) {
    let leads = [lead(&camp(), 1), lead(&camp(), 2)];
    insert(store, &leads).await;
    let ids = [
        leads[1].id.clone(),
        lead(&camp(), 7).id,
        leads[0].id.clone(),
        leads[1].id.clone(),
    ];
    let [one, two] = leads;
    assert_eq!(
        store.leads(&ids).await.unwrap(),
        [Some(two.clone()), None, Some(one), Some(two)]
    );
    assert_eq!(store.leads(&[]).await.unwrap(), []);
}

pub(crate) async fn projected_once_and_in_order(store: &dyn Store) {
    let mut waiting = lead(&camp(), 1);
    waiting.reason = Some("outside_hours".to_owned());
    insert(store, &[waiting]).await;
    let l = take(store, ask("x", 0)).await.unwrap();
    let first = projection(&l, 1, LeadState::Ready, Outcome::Busy);
    let second = projection(&l, 2, LeadState::Ready, Outcome::NoAnswer);
    let of_nobody = Projection {
        lead: lead(&camp(), 9).id,
        ..first.clone()
    };
    assert_eq!(
        project(store, second.clone()).await,
        Cas::Lost,
        "not before the first"
    );
    assert_eq!(project(store, of_nobody).await, Cas::Lost);
    assert_eq!(
        project(store, projection(&l, 0, LeadState::Done, Outcome::Busy)).await,
        Cas::Lost
    );
    assert_eq!(stored(store, &l.id).await, l);

    assert_eq!(project(store, first.clone()).await, Cas::Won);
    let after = stored(store, &l.id).await;
    let expected = Lead {
        state: LeadState::Ready,
        n: 1,
        due_at: at(1_000),
        budget_used: 1,
        outcomes: BTreeMap::from([(Outcome::Busy, 1)]),
        last_outcome: Some(Outcome::Busy),
        reason: None,
        claim: None,
        claimed_at: None,
        ..l
    };
    assert_eq!(after, expected);
    assert_eq!(project(store, second).await, Cas::Won);
    assert_eq!(
        project(store, first).await,
        Cas::Lost,
        "a late one cannot bring an old state back"
    );
    assert_eq!(
        stored(store, &expected.id).await.last_outcome,
        Some(Outcome::NoAnswer)
    );
}

pub(crate) async fn concurrent_projections_count_once(store: &dyn Store) {
    let l = lead(&camp(), 1);
    insert(store, std::slice::from_ref(&l)).await;
    let answers = join_all(
        (0..16).map(|_| project(store, projection(&l, 1, LeadState::Ready, Outcome::Busy))),
    )
    .await;
    assert_eq!(answers.iter().filter(|cas| **cas == Cas::Won).count(), 1);
    assert_eq!(stored(store, &l.id).await.n, 1);
}

pub(crate) async fn final_leads_stay_final(store: &dyn Store) {
    for (i, state) in [(1, LeadState::Done), (2, LeadState::Suppressed)] {
        let mut l = lead(&camp(), i);
        l.state = state;
        insert(store, std::slice::from_ref(&l)).await;
        assert_eq!(
            project(store, projection(&l, 1, LeadState::Ready, Outcome::Busy)).await,
            Cas::Lost
        );
        assert_eq!(stored(store, &l.id).await, l);
    }
}

pub(crate) async fn listed_by_id_in_pages(store: &dyn Store) {
    let mut leads: Vec<Lead> = (10..21).map(|i| lead(&camp(), i)).collect();
    leads[3].state = LeadState::Done;
    leads[7].state = LeadState::Done;
    leads.reverse();
    insert(store, &leads).await;
    leads.reverse();
    // A campaign whose id begins like this one's.
    insert(
        store,
        &[lead(&campaign_id("a2"), 1), lead(&campaign_id("a:b"), 2)],
    )
    .await;

    let camp = camp();
    let list = async |state, cursor: Option<String>, size| {
        store
            .list_leads(&camp, state, cursor.as_deref(), size)
            .await
    };
    for size in [1, 4, 11, 50] {
        assert_eq!(
            all_pages(size, |cursor| list(None, cursor, size)).await,
            leads,
            "pages of {size}"
        );
        let done = all_pages(size, |cursor| list(Some(LeadState::Done), cursor, size)).await;
        assert_eq!(
            done,
            [leads[3].clone(), leads[7].clone()],
            "pages of {size}"
        );
    }
    let first = list(None, None, 4).await.unwrap();
    insert(store, &[lead(&camp, 1)]).await;
    let second = list(None, first.cursor, 4).await.unwrap();
    assert_eq!(
        second.items,
        leads[4..8],
        "one that came before the position moves nothing"
    );
    assert!(
        all_pages(5, |cursor| list(Some(LeadState::Claimed), cursor, 5))
            .await
            .is_empty()
    );
}

pub(crate) async fn counted_by_state_and_outcome(store: &dyn Store) {
    assert_eq!(
        store.lead_counts(&camp()).await.unwrap(),
        LeadCounts::default()
    );
    assert!(!store.has_open_leads(&camp()).await.unwrap());
    let mut leads: Vec<Lead> = (0..9).map(|i| lead(&camp(), i)).collect();
    for (i, outcome) in [
        (0, Outcome::HumanConnected),
        (1, Outcome::HumanConnected),
        (2, Outcome::Unwanted),
    ] {
        leads[i].state = LeadState::Done;
        leads[i].last_outcome = Some(outcome);
    }
    leads[3].state = LeadState::Suppressed;
    leads[3].last_outcome = Some(Outcome::Busy);
    leads[4].last_outcome = Some(Outcome::Busy);
    insert(store, &leads).await;
    insert(store, &[lead(&campaign_id("b"), 1)]).await;
    take(store, ask("x", 0)).await.unwrap();
    let counts = store.lead_counts(&camp()).await.unwrap();
    assert_eq!(
        (counts.ready, counts.claimed, counts.done, counts.suppressed),
        (4, 1, 3, 1)
    );
    let outcomes = BTreeMap::from([
        ("human_connected".to_owned(), 2),
        ("unwanted".to_owned(), 1),
    ]);
    assert_eq!((counts.total(), counts.outcomes), (9, outcomes));
}

pub(crate) async fn the_next_due_time_is_the_earliest(store: &dyn Store) {
    assert_eq!(store.next_due(&camp()).await.unwrap(), None);
    let mut leads: Vec<Lead> = (0..3).map(|i| lead(&camp(), i)).collect();
    leads[0].due_at = at(60);
    leads[1].due_at = at(30);
    leads[2].due_at = at(10);
    leads[2].state = LeadState::Done;
    insert(store, &leads).await;
    assert_eq!(store.next_due(&camp()).await.unwrap(), Some(at(30)));
    let l = take(store, ask("x", 0)).await;
    let l2 = take(store, ask("y", 0)).await;
    assert!(l.is_some() && l2.is_some());
    assert_eq!(
        store.next_due(&camp()).await.unwrap(),
        None,
        "a claimed one is nobody's next"
    );
    assert!(
        store.has_open_leads(&camp()).await.unwrap(),
        "but it is open"
    );
    for l in [l, l2].into_iter().flatten() {
        assert_eq!(
            project(store, projection(&l, 1, LeadState::Done, Outcome::Answered)).await,
            Cas::Won
        );
    }
    assert!(!store.has_open_leads(&camp()).await.unwrap());
}
