use std::collections::BTreeSet;

use async_trait::async_trait;
use dialfleet_domain::id::WorkerId;
use proptest::prelude::*;

use super::lane::{LATE, LEASE_MARGIN};
use super::seats::seats_of;
use super::*;

/// A clock that is moved by hand.
#[derive(Clone)]
struct Hand(Arc<Mutex<Duration>>);

/// When it begins.
const START: Duration = Duration::from_secs(1_000);

impl Hand {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(START)))
    }

    fn pass(&self, time: Duration) {
        self.set(START + time);
    }

    fn set(&self, to: Duration) {
        *self.0.lock().expect("not poisoned") = to;
    }
}

#[async_trait]
impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000) + self.uptime()
    }

    fn uptime(&self) -> Duration {
        *self.0.lock().expect("not poisoned")
    }

    async fn sleep(&self, time: Duration) {
        let now = self.uptime();
        self.set(now + time);
    }
}

fn carrier() -> CarrierId {
    CarrierId::parse("c").expect("an id")
}

fn pace(cps: f64, clock: &Hand) -> Pace {
    Pace::new(Arc::new(clock.clone()), [(carrier(), cps)])
}

/// Waits for a token.
async fn token(pace: &Pace, clock: &Hand) -> Token {
    loop {
        match pace.try_take(&carrier()).expect("known") {
            Ok(token) => return token,
            Err(wait) => clock.sleep(wait).await,
        }
    }
}

impl Pace {
    fn give_seats(&self, seats: impl IntoIterator<Item = u32>, until: Duration, offset: f64) {
        self.with(&carrier(), |lane, _| {
            lane.mine = seats.into_iter().collect();
            lane.until = until;
            lane.offset = offset;
        });
    }
}

#[tokio::test]
async fn without_a_seat_there_is_no_token() {
    let clock = Hand::new();
    let pace = pace(5.0, &clock);
    assert!(matches!(pace.try_take(&carrier()), Some(Err(NO_SEAT))));
    pace.give_seats(0..5, START + LEASE, 0.0);
    token(&pace, &clock).await;
    clock.pass(LEASE - LEASE_MARGIN);
    assert!(
        matches!(pace.try_take(&carrier()), Some(Err(NO_SEAT))),
        "the lease is as good as over"
    );
    let nobody = CarrierId::parse("d").expect("an id");
    assert!(pace.try_take(&nobody).is_none());
}

#[tokio::test]
async fn a_token_that_was_given_back_is_used_while_its_moment_lasts() {
    let clock = Hand::new();
    let pace = pace(1.0, &clock);
    pace.give_seats([0], START + Duration::from_secs(100), 0.0);
    let token = token(&pace, &clock).await;
    assert!(pace.try_take(&carrier()).expect("known").is_err());
    let moment = token.moment;
    pace.give_back(token);
    let again = pace
        .try_take(&carrier())
        .expect("known")
        .expect("the spare");
    assert_eq!(again.moment, moment);
    pace.give_back(again);
    clock.set(moment.at + Duration::from_millis(1));
    let wait = pace.try_take(&carrier()).expect("known");
    assert!(
        wait.is_err(),
        "its moment has passed, and the next is a second away"
    );
}

#[tokio::test]
async fn a_late_call_takes_another_moment_or_none() {
    let clock = Hand::new();
    let pace = pace(2.0, &clock);
    pace.give_seats(0..2, START + Duration::from_secs(100), 0.0);
    let token = token(&pace, &clock).await;
    clock.set(token.moment.at + LATE + Duration::from_millis(1));
    let later = pace
        .on_time(token, Duration::from_secs(2))
        .await
        .expect("a later one");
    let at = later.moment.at;
    assert!(clock.uptime() >= at && clock.uptime() <= at + LATE);
    clock.set(at + LATE + Duration::from_millis(1));
    let refused = pace.on_time(later, Duration::from_millis(100)).await;
    assert!(
        refused.is_err(),
        "the next moment is over half a second away"
    );
}

#[tokio::test]
async fn the_moment_of_a_seat_that_was_given_up_is_not_used() {
    let clock = Hand::new();
    let pace = pace(1.0, &clock);
    let until = START + Duration::from_secs(100);
    pace.give_seats([0], until, 0.0);
    let token = token(&pace, &clock).await;
    assert!(pace.is_timely(&token));
    pace.give_seats([], until, 0.0);
    assert!(!pace.is_timely(&token));
    assert!(pace.on_time(token, Duration::from_secs(2)).await.is_err());
}

#[tokio::test]
async fn with_a_slow_store_tokens_are_taken_earlier() {
    let clock = Hand::new();
    let pace = pace(10.0, &clock);
    pace.give_seats(0..10, START + Duration::from_secs(1_000), 0.0);
    let mut missed = 0;
    for _ in 0..60 {
        let token = token(&pace, &clock).await;
        let moment = token.moment;
        clock.sleep(Duration::from_millis(300)).await;
        let used = pace.on_time(token, Duration::from_secs(2)).await;
        missed += u32::from(used.expect("in time").moment != moment);
    }
    assert!(
        (1..20).contains(&missed),
        "{missed} of 60 moments were missed"
    );
}

#[tokio::test]
async fn a_process_that_was_frozen_goes_on() {
    let clock = Hand::new();
    let pace = pace(1.0, &clock);
    pace.give_seats([0], START + Duration::from_secs(10_000), 0.0);
    for _ in 0..20 {
        let token = token(&pace, &clock).await;
        clock.sleep(Duration::from_secs(40)).await;
        let began = clock.uptime();
        let used = pace.on_time(token, Duration::from_secs(3)).await;
        assert!(used.is_ok(), "{:?}", clock.uptime() - began);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Several processes whose ideas of the time differ a little, which come and go, and whose requests
    /// leave late: never more than the rate and one in a second, nor the rate over ten.
    #[test]
    fn the_fleet_never_exceeds_the_rate(
        cps in prop::sample::select(vec![1.0_f64, 2.5, 10.0, 50.0]),
        processes in 1_usize..9,
        churn in prop::collection::vec((0_usize..9, any::<bool>()), 30),
        delays in prop::collection::vec(0_u64..900, 64),
    ) {
        let clock = Hand::new();
        let total = seats_of(cps);
        let mut seats = Seats::default();
        let fleet: Vec<Pace> = (0..processes).map(|_| pace(cps, &clock)).collect();
        let names: Vec<WorkerId> = (0..processes)
            .map(|n| WorkerId::parse(format!("wrk_{n}")).expect("an id"))
            .collect();
        let mut alive = vec![true; processes];
        // Taken, and leaving at the given time.
        let mut under_way: Vec<(usize, Token, Duration)> = Vec::new();
        let mut sent: Vec<Duration> = Vec::new();
        let mut delays = delays.into_iter().cycle();
        for ms in 0..30_000_u64 {
            let now = START + Duration::from_millis(ms);
            clock.set(now);
            let there = clock.now();
            for (i, pace) in fleet.iter().enumerate().filter(|(i, _)| alive[*i]) {
                if ms % 1_000 == u64::try_from(i).expect("small") * 37 {
                    if let Some(next) = seats.turn(total, &names[i], true, there) {
                        seats = next;
                    }
                    let mine: BTreeSet<u32> = seats.of(&names[i], there).into_iter().collect();
                    let off = f64::from(u32::try_from(i).expect("small"));
                    pace.give_seats(mine, now + LEASE, 1_700_000_000_000.0 + off);
                }
                while under_way.len() < 200 {
                    let Some(Ok(token)) = pace.try_take(&carrier()) else { break };
                    let delay = delays.next().expect("endless");
                    under_way.push((i, token, now + Duration::from_millis(delay)));
                }
            }
            if ms % 1_000 == 500 {
                let (who, lives) = churn[usize::try_from(ms / 1_000).expect("small")];
                if who < processes {
                    alive[who] = lives;
                }
            }
            let mut left = Vec::new();
            for (i, token, ready) in under_way {
                let lane = &fleet[i];
                if now == ready {
                    lane.with(&carrier(), |lane, now| lane.prepared(now - token.taken_at));
                }
                let goes = now >= ready && now >= token.moment.at;
                if !goes {
                    left.push((i, token, ready));
                } else if lane.is_timely(&token)
                    && lane.with(&carrier(), |lane, now| lane.pass(now)).expect("known").is_ok()
                {
                    sent.push(now);
                }
            }
            under_way = left;
        }
        for (k, at) in sent.iter().enumerate() {
            let within = |time: u64| {
                let end = *at + Duration::from_secs(time);
                f64::from(u32::try_from(sent[k..].iter().take_while(|t| **t < end).count()).expect("small"))
            };
            prop_assert!(within(1) <= cps + 1.0, "{} in a second at {cps}", within(1));
            prop_assert!(within(10) <= cps.mul_add(10.0, 1.0), "{} in ten at {cps}", within(10));
        }
        let everybody_stayed = churn.iter().all(|(who, lives)| *lives || *who >= processes);
        if everybody_stayed && processes == 1 {
            prop_assert!(sent.len() > 5, "{} were sent", sent.len());
        }
    }
}
