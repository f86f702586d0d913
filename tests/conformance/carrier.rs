//! What every carrier must do, whoever it is: its adapter over real HTTP against its front of the
//! simulated network, its callbacks through our own door into a store. The network is the witness.
//!
//! To put another carrier through all of it: a [`Subject`] in `subjects.rs`, and one line here.
//!
//! ```ignore
//! carrier_conformance!(acme);
//! ```

mod rig;
mod subjects;
mod unsigned;

use dialfleet_domain::call::{CallState, Outcome, RefusalClass};
use dialfleet_engine::port::carrier::{CallStatus, CarrierError, DialAnswer};
use dialfleet_simulator::{Faults, Search};

use self::rig::{BUSY, CONGESTED, DECLINES, HUMAN, NO_SUCH_NUMBER, NOBODY, Rig, TALKS_FOR_AN_HOUR};
use self::subjects::Subject;

/// Runs every check against the carrier `$name`, as tests of a module of that name.
macro_rules! carrier_conformance {
    ($name:ident) => {
        carrier_conformance! { @ $name;
            a_call_rings_once_and_its_end_is_heard
            every_end_has_its_outcome
            a_refusal_places_nothing
            what_may_have_been_placed_is_unclear_and_sent_once
            an_address_where_nobody_listens_is_a_refusal
            wrong_credentials_are_our_fault
            a_call_is_hung_up_once
            it_is_told_how_long_to_talk_or_says_that_it_cannot_be
            it_answers_questions_or_says_that_it_cannot
            strangers_callbacks_change_nothing
        }
    };
    (@ $name:ident; $($check:ident)*) => {
        mod $name {
            $(
                #[tokio::test]
                async fn $check() {
                    super::$check(&super::subjects::$name()).await;
                }
            )*
        }
    };
}

carrier_conformance!(twilio);
carrier_conformance!(telnyx);
carrier_conformance!(sanspbx);

async fn a_call_rings_once_and_its_end_is_heard(subject: &Subject) {
    let rig = Rig::new(subject).await;
    let attempt = rig.intend(HUMAN).await;
    let DialAnswer::Accepted { call_id, .. } = rig.dial(&attempt).await else {
        panic!("not accepted")
    };
    let ended = rig.ended(&attempt).await;
    assert_eq!(ended.outcome, Some(Outcome::Answered));
    assert_eq!(ended.legs[0].call_id.as_ref(), Some(&call_id));
    let rings = rig.carrier.profile().capabilities.ringing_event;
    assert_eq!(ended.ringing_at.is_some(), rings);
    let ledger = rig.simulator.network().ledger();
    assert_eq!(ledger.rings[attempt.phone.as_str()], 1);
    assert_eq!((ledger.creates, ledger.placed), (1, 1));
    assert_eq!((ledger.violations_total, ledger.total_live), (0, 0));
    let said = format!("{call_id} {call_id:?}");
    assert!(
        !said.contains(&attempt.phone.as_str()[2..]),
        "it prints the number: {said}"
    );
}

async fn every_end_has_its_outcome(subject: &Subject) {
    let rig = Rig::new(subject).await;
    let unanswered = [BUSY, NOBODY, NO_SUCH_NUMBER, CONGESTED, DECLINES];
    for (phone, outcome) in unanswered.into_iter().zip(subject.outcomes) {
        let attempt = rig.intend(phone).await;
        let answer = rig.dial(&attempt).await;
        assert!(
            matches!(answer, DialAnswer::Accepted { .. }),
            "{phone}: {answer:?}"
        );
        assert_eq!(rig.ended(&attempt).await.outcome, Some(outcome), "{phone}");
    }
}

async fn a_refusal_places_nothing(subject: &Subject) {
    let rig = Rig::new(subject).await;
    rig.break_things(|f| f.create_429 = 1.0);
    let answer = rig.dial(&rig.intend(HUMAN).await).await;
    let later = |why| matches!(why, RefusalClass::RetryLater);
    assert!(
        matches!(&answer, DialAnswer::Refused(why) if later(why.class)),
        "{answer:?}"
    );
    rig.break_things(|f| f.create_refused = 1.0);
    let answer = rig.dial(&rig.intend(HUMAN + 1).await).await;
    let DialAnswer::Refused(why) = &answer else {
        panic!("{answer:?}")
    };
    assert!(why.class.may_fail_over(), "{answer:?}");
    let ledger = rig.simulator.network().ledger();
    assert_eq!((ledger.creates, ledger.placed), (2, 0));
}

async fn what_may_have_been_placed_is_unclear_and_sent_once(subject: &Subject) {
    let faults: [fn(&mut Faults); 4] = [
        |f| f.create_500_before = 1.0,
        |f| f.create_500_after = 1.0,
        |f| f.create_reset_before = 1.0,
        |f| f.create_reset_after = 1.0,
    ];
    let rig = Rig::new(subject).await;
    for (n, fault) in (0..).zip(faults) {
        rig.break_things(fault);
        let attempt = rig.intend(HUMAN + n).await;
        let answer = rig.dial(&attempt).await;
        assert!(matches!(answer, DialAnswer::Unclear(_)), "{n}: {answer:?}");
        assert_eq!(
            rig.simulator.network().ledger().creates,
            u64::from(n) + 1,
            "sent again"
        );
        if n % 2 == 1 {
            // Its own callback says that it was placed, and how it ended.
            assert_eq!(rig.ended(&attempt).await.outcome, Some(Outcome::Answered));
        }
    }
    assert_eq!(rig.simulator.network().ledger().violations_total, 0);
}

async fn an_address_where_nobody_listens_is_a_refusal(subject: &Subject) {
    let rig = Rig::new(subject).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let carrier = (subject.carrier)(&closed);
    let answer = carrier.dial(&rig.request(&rig.intend(HUMAN).await)).await;
    let DialAnswer::Refused(why) = &answer else {
        panic!("{answer:?}")
    };
    assert_eq!(
        (why.class, why.code.as_str()),
        (RefusalClass::Failover, "connect")
    );
}

async fn wrong_credentials_are_our_fault(subject: &Subject) {
    let rig = Rig::new(subject).await;
    let carrier = (subject.stranger)(&rig.simulator.base_url());
    let answer = carrier.dial(&rig.request(&rig.intend(HUMAN).await)).await;
    let fault = |why| matches!(why, RefusalClass::ConfigFault);
    assert!(
        matches!(&answer, DialAnswer::Refused(why) if fault(why.class)),
        "{answer:?}"
    );
    let attempt = rig.intend(TALKS_FOR_AN_HOUR).await;
    let DialAnswer::Accepted { call_id, .. } = rig.dial(&attempt).await else {
        panic!("not accepted")
    };
    let done = carrier.hang_up(&call_id).await;
    assert!(
        matches!(done, Err(CarrierError::Unauthorized(_))),
        "{done:?}"
    );
    assert_eq!(rig.simulator.network().ledger().placed, 1);
}

async fn a_call_is_hung_up_once(subject: &Subject) {
    let rig = Rig::new(subject).await;
    let attempt = rig.intend(TALKS_FOR_AN_HOUR).await;
    let DialAnswer::Accepted { call_id, .. } = rig.dial(&attempt).await else {
        panic!("not accepted")
    };
    rig.carrier.hang_up(&call_id).await.unwrap();
    rig.ended(&attempt).await;
    // Over, or ending: both are a confirmation.
    let again = rig.carrier.hang_up(&call_id).await;
    assert!(
        matches!(again, Ok(()) | Err(CarrierError::AlreadyEnded)),
        "{again:?}"
    );
    assert_eq!(rig.simulator.network().ledger().total_live, 0);
}

async fn it_is_told_how_long_to_talk_or_says_that_it_cannot_be(subject: &Subject) {
    let rig = Rig::new(subject).await;
    let attempt = rig.intend(TALKS_FOR_AN_HOUR).await;
    let mut request = rig.request(&attempt);
    request.max_duration_s = 60;
    rig.carrier.dial(&request).await;
    if rig.carrier.profile().capabilities.longest_call.is_some() {
        rig.simulator.network().reset();
        return;
    }
    assert_eq!(rig.ended(&attempt).await.outcome, Some(Outcome::Answered));
    let calls = rig.simulator.network().calls(&Search::default(), |_| true);
    assert_eq!(calls[0].duration.map(|talk| talk.as_secs()), Some(60));
}

async fn it_answers_questions_or_says_that_it_cannot(subject: &Subject) {
    let rig = Rig::new(subject).await;
    let attempt = rig.intend(TALKS_FOR_AN_HOUR).await;
    let DialAnswer::Accepted { call_id, .. } = rig.dial(&attempt).await else {
        panic!("not accepted")
    };
    let (to, from) = (&attempt.phone, &attempt.legs[0].from);
    if !rig.carrier.profile().capabilities.pollable {
        let looked = rig.carrier.look(&call_id).await;
        assert!(
            matches!(looked, Err(CarrierError::Unsupported)),
            "{looked:?}"
        );
        let found = rig.carrier.find(to, from).await;
        assert!(matches!(found, Err(CarrierError::Unsupported)), "{found:?}");
        let live = rig.carrier.live().await;
        assert!(matches!(live, Err(CarrierError::Unsupported)), "{live:?}");
        return;
    }
    let record = rig.carrier.look(&call_id).await.unwrap();
    assert!(
        !matches!(record.status, CallStatus::Ended { .. }),
        "{record:?}"
    );
    let found = rig.carrier.find(to, from).await.unwrap();
    assert_eq!(
        found.iter().map(|r| &r.call_id).collect::<Vec<_>>(),
        [&call_id]
    );
    let live = rig.carrier.live().await.unwrap();
    assert_eq!(
        live.iter().map(|r| &r.call_id).collect::<Vec<_>>(),
        [&call_id]
    );
    rig.carrier.hang_up(&call_id).await.unwrap();
    rig.ended(&attempt).await;
    let record = rig.carrier.look(&call_id).await.unwrap();
    assert!(
        matches!(record.status, CallStatus::Ended { .. }),
        "{record:?}"
    );
    assert!(rig.carrier.live().await.unwrap().is_empty());
    rig.break_things(|f| f.read_500 = 1.0);
    assert!(matches!(
        rig.carrier.find(to, from).await,
        Err(CarrierError::Unavailable(_))
    ));
    assert!(matches!(
        rig.carrier.live().await,
        Err(CarrierError::Unavailable(_))
    ));
}

async fn strangers_callbacks_change_nothing(subject: &Subject) {
    let rig = Rig::new(subject).await;
    let attempt = rig.intend(HUMAN).await;
    let url = rig.request(&attempt).callback_url;
    let (stem, token) = url.rsplit_once('/').unwrap();
    let wrong_token = format!("{stem}/{}", token.replace('.', ".A"));
    let other_leg = format!("{}/7/{token}", stem.rsplit_once('/').unwrap().0);
    let ended = subject.ended.replace("{call}", "made-up");
    // The third is genuine only where nobody signs, and then it is one of ours.
    let signed = rig.carrier.profile().capabilities.signed_callbacks;
    for (n, to) in [&wrong_token, &other_leg, &url].into_iter().enumerate() {
        if n == 2 && !signed {
            continue;
        }
        let status = rig.post(to, subject.content_type, ended.clone()).await;
        assert!(matches!(status, 403 | 404), "{n}: {status}");
        assert_eq!(rig.attempt(&attempt).await, attempt, "{n}");
    }
    let garbage = rig
        .post(&url, subject.content_type, "\u{1}".to_owned())
        .await;
    assert!(matches!(garbage, 400 | 403), "{garbage}");
    assert_eq!(rig.attempt(&attempt).await.state, CallState::Intent);
}
