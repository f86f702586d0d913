//! Claims: who gets which lead, and how a claim ends.

use std::collections::BTreeSet;

use dialfleet_domain::lead::{Lead, LeadState};
use dialfleet_engine::port::Store;
use dialfleet_engine::port::store::{Cas, ClaimRequest, Release};
use dialfleet_tests::sample::{T0, at, campaign_id, claim, lead};
use futures_util::future::join_all;

use super::lead::{ask, camp, insert, stored, take};

pub(crate) async fn claimed_by_priority_then_by_due_time(store: &dyn Store) {
    let mut leads: Vec<Lead> = (0..24).map(|i| lead(&camp(), i)).collect();
    for (i, l) in (0_u64..).zip(leads.iter_mut()) {
        // The references say nothing about the order.
        l.due_at = at((i * 7) % 24);
    }
    let mut urgent = lead(&camp(), 50);
    urgent.priority = 99;
    urgent.due_at = at(99);
    let mut urgent_later = lead(&camp(), 51);
    urgent_later.priority = 99;
    urgent_later.due_at = at(101);
    let mut low = lead(&camp(), 52);
    low.priority = 0;
    leads.extend([urgent.clone(), urgent_later.clone(), low.clone()]);
    insert(store, &leads).await;

    let first = take(store, ask("first", u64::MAX)).await.unwrap();
    assert_eq!(
        first.id, urgent.id,
        "the highest priority that is due, though it became due last"
    );
    let mut left: BTreeSet<u64> = (0..24).collect();
    for draw in 0..24 {
        let got = take(store, ask(&format!("c{draw}"), draw * 5))
            .await
            .unwrap();
        let due = got.due_at.since(T0).as_secs();
        assert!(
            left.iter().take(16).any(|first| *first == due),
            "{due} is not among the first 16 of {left:?}"
        );
        left.remove(&due);
    }
    assert_eq!(
        take(store, ask("low", 3)).await.unwrap().id,
        low.id,
        "the lowest comes last"
    );
    assert_eq!(
        take(store, ask("none", 3)).await,
        None,
        "the other urgent one is not due yet"
    );
}

pub(crate) async fn only_due_and_ready_ones_are_claimed(store: &dyn Store) {
    let mut on_time = lead(&camp(), 1);
    on_time.due_at = at(100);
    let mut early = lead(&camp(), 2);
    early.due_at = at(100) + std::time::Duration::from_millis(1);
    let mut done = lead(&camp(), 3);
    done.state = LeadState::Done;
    let mut suppressed = lead(&camp(), 4);
    suppressed.state = LeadState::Suppressed;
    let mut held = lead(&camp(), 5);
    held.state = LeadState::Claimed;
    held.claim = Some(claim("other"));
    held.claimed_at = Some(T0);
    let elsewhere = lead(&campaign_id("b"), 6);
    insert(
        store,
        &[on_time.clone(), early, done, suppressed, held, elsewhere],
    )
    .await;
    assert_eq!(take(store, ask("x", 5)).await.unwrap().id, on_time.id);
    assert_eq!(take(store, ask("y", 5)).await, None);
    assert_eq!(store.claim_leads(&[]).await.unwrap(), []);
}

pub(crate) async fn a_claim_marks_its_lead(store: &dyn Store) {
    let mut l = lead(&camp(), 1);
    l.reason = Some("outside_hours".to_owned());
    l.n = 2;
    insert(store, std::slice::from_ref(&l)).await;
    let claimed = take(store, ask("x", 0)).await.unwrap();
    l.state = LeadState::Claimed;
    l.claim = Some(claim("x"));
    l.claimed_at = Some(at(100));
    assert_eq!(claimed, l);
    assert_eq!(stored(store, &l.id).await, l);
}

pub(crate) async fn one_batch_claims_distinct_leads(store: &dyn Store) {
    insert(
        store,
        &(0..20).map(|i| lead(&camp(), i)).collect::<Vec<_>>(),
    )
    .await;
    let mut requests: Vec<_> = (0..24).map(|i| ask(&format!("c{i}"), 7)).collect();
    requests.insert(
        0,
        ClaimRequest {
            campaign: campaign_id("b"),
            ..ask("nobody", 0)
        },
    );
    let got = store.claim_leads(&requests).await.unwrap();
    assert_eq!(got.len(), 25);
    assert_eq!(got[0], None);
    let ids: BTreeSet<_> = got.iter().flatten().map(|l| l.id.clone()).collect();
    assert_eq!(ids.len(), 20);
    for (request, lead) in requests.iter().zip(&got) {
        assert!(
            lead.as_ref()
                .is_none_or(|l| l.claim.as_ref() == Some(&request.claim))
        );
    }
}

pub(crate) async fn concurrent_claimers_get_distinct_leads(store: &dyn Store) {
    insert(
        store,
        &(0..32).map(|i| lead(&camp(), i)).collect::<Vec<_>>(),
    )
    .await;
    let got = join_all((0..32).map(|i| take(store, ask(&format!("c{i}"), i * 3)))).await;
    let ids: BTreeSet<_> = got.iter().flatten().map(|l| l.id.clone()).collect();
    assert_eq!(ids.len(), 32, "everybody got one, and nobody another's");
    for (i, lead) in got.into_iter().flatten().enumerate() {
        assert_eq!(
            stored(store, &lead.id).await.claim,
            Some(claim(&format!("c{i}")))
        );
    }
    assert_eq!(take(store, ask("late", 0)).await, None);
}

pub(crate) async fn released_only_by_the_claim_that_holds_it(store: &dyn Store) {
    insert(store, &[lead(&camp(), 1), lead(&camp(), 2)]).await;
    let one = take(store, ask("x", 0)).await.unwrap();
    let two = take(store, ask("y", 0)).await.unwrap();
    let good = Release {
        lead: one.id.clone(),
        n: 0,
        claim: claim("x"),
        state: LeadState::Ready,
        due_at: Some(at(500)),
        reason: Some("outside_hours".to_owned()),
    };
    let wrong = [
        Release {
            claim: claim("y"),
            ..good.clone()
        },
        Release {
            n: 1,
            ..good.clone()
        },
        Release {
            lead: lead(&camp(), 9).id,
            ..good.clone()
        },
    ];
    assert_eq!(store.release_claims(&wrong).await.unwrap(), [Cas::Lost; 3]);
    assert_eq!(stored(store, &one.id).await, one);

    let refused = Release {
        lead: two.id.clone(),
        claim: claim("y"),
        state: LeadState::Suppressed,
        due_at: None,
        reason: Some("do_not_call".to_owned()),
        ..good.clone()
    };
    assert_eq!(
        store
            .release_claims(&[good.clone(), refused, good])
            .await
            .unwrap(),
        [Cas::Won, Cas::Won, Cas::Lost]
    );
    let (one, two) = (stored(store, &one.id).await, stored(store, &two.id).await);
    assert_eq!(
        (one.state, one.due_at, one.reason.as_deref()),
        (LeadState::Ready, at(500), Some("outside_hours"))
    );
    assert_eq!((one.claim, one.claimed_at, one.n), (None, None, 0));
    assert_eq!(
        (two.state, two.due_at, two.reason.as_deref()),
        (LeadState::Suppressed, T0, Some("do_not_call"))
    );
}

pub(crate) async fn renewed_only_by_the_claim_that_holds_it(store: &dyn Store) {
    insert(store, &[lead(&camp(), 1)]).await;
    let l = take(store, ask("x", 0)).await.unwrap();
    assert_eq!(
        store
            .renew_claim(&l.id, 0, &claim("y"), at(200))
            .await
            .unwrap(),
        Cas::Lost
    );
    assert_eq!(
        store
            .renew_claim(&l.id, 1, &claim("x"), at(200))
            .await
            .unwrap(),
        Cas::Lost
    );
    assert_eq!(
        store
            .renew_claim(&lead(&camp(), 9).id, 0, &claim("x"), at(200))
            .await
            .unwrap(),
        Cas::Lost
    );
    assert_eq!(stored(store, &l.id).await.claimed_at, Some(at(100)));
    assert_eq!(
        store
            .renew_claim(&l.id, 0, &claim("x"), at(200))
            .await
            .unwrap(),
        Cas::Won
    );
    assert_eq!(
        stored(store, &l.id).await,
        Lead {
            claimed_at: Some(at(200)),
            ..l
        }
    );
}

pub(crate) async fn stale_claims_come_oldest_first(store: &dyn Store) {
    insert(store, &(0..6).map(|i| lead(&camp(), i)).collect::<Vec<_>>()).await;
    for seconds in [130, 110, 120, 140, 110] {
        let request = ClaimRequest {
            now: at(seconds),
            ..ask(&format!("c{seconds}"), 0)
        };
        take(store, request).await.unwrap();
    }
    let times = async |before, limit| {
        let found = store.stale_claims(at(before), limit).await.unwrap();
        found
            .iter()
            .map(|l| l.claimed_at.unwrap().since(T0).as_secs())
            .collect::<Vec<_>>()
    };
    assert_eq!(times(135, 9).await, [110, 110, 120, 130]);
    assert_eq!(times(135, 3).await, [110, 110, 120]);
    assert_eq!(times(110, 9).await, [0; 0], "exactly that old is not older");
    assert_eq!(
        times(999, 9).await.len(),
        5,
        "the unclaimed one is not stale"
    );
}
