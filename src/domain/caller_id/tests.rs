use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn phone(text: &str) -> E164 {
    serde_json::from_value(text.into()).expect(text)
}

fn at(seconds: u64) -> Timestamp {
    T0 + Duration::from_secs(seconds)
}

fn pool() -> Vec<Number> {
    [
        "+12125550100",
        "+12125550101",
        "+17185550100",
        "+13105550100",
        "+442079460100",
    ]
    .map(|text| Number::placed(phone(text)))
    .into()
}

fn wish(to: Option<&Place>) -> Wish<'_> {
    Wish {
        wanted: &[],
        to,
        seen: None,
        not: None,
        presence: Presence::Local,
        caps: Caps::default(),
    }
}

#[test]
fn the_nearest_number_is_shown() {
    let pool = pool();
    for (to, from, near) in [
        ("+12125550199", "+1212", Nearness::Area),
        ("+17185550199", "+1718", Nearness::Area),
        ("+15185550199", "+1", Nearness::State),
        ("+16195550199", "+1310", Nearness::State),
        ("+16025550199", "+1", Nearness::Country),
        ("+442079460199", "+4420", Nearness::Area),
        ("+441612345678", "+4420", Nearness::Country),
        ("+918012345678", "+", Nearness::Any),
    ] {
        for draw in 0..20 {
            let place = Place::of(&phone(to));
            let choice = choose(&pool, &wish(Some(&place)), T0, draw).expect(to);
            assert_eq!(choice.nearness, near, "{to}");
            let shown = choice.number.as_str();
            assert!(shown.starts_with(from), "{to} {shown}");
            if near == Nearness::State && from == "+1" {
                assert!(
                    shown.starts_with("+1212") || shown.starts_with("+1718"),
                    "{shown}"
                );
            }
        }
    }
    let place = Place::of(&phone("+12125550199"));
    let national = Wish {
        presence: Presence::Country,
        ..wish(Some(&place))
    };
    let choice = choose(&pool, &national, T0, 3).expect("some");
    assert_eq!(choice.nearness, Nearness::Country);
}

#[test]
fn what_the_person_saw_is_shown_again_unless_it_was_blocked() {
    let pool = pool();
    let place = Place::of(&phone("+12125550199"));
    let seen = phone("+13105550100");
    let mut wish = Wish {
        seen: Some(&seen),
        ..wish(Some(&place))
    };
    let choice = choose(&pool, &wish, T0, 0).expect("some");
    assert_eq!(
        (choice.number, choice.nearness),
        (seen.clone(), Nearness::Known)
    );
    wish.not = Some(&seen);
    assert_eq!(
        choose(&pool, &wish, T0, 0).expect("some").nearness,
        Nearness::Area
    );
    // The only one there is: blocked or not.
    let only = [Number::placed(seen.clone())];
    assert_eq!(choose(&only, &wish, T0, 0).expect("some").number, seen);
}

#[test]
fn a_campaign_shows_its_own_numbers_only() {
    let pool = pool();
    let wanted = [phone("+442079460100"), phone("+33123456789")];
    let mut wish = Wish {
        wanted: &wanted,
        ..wish(None)
    };
    assert_eq!(choose(&pool, &wish, T0, 7).expect("one").number, wanted[0]);
    wish.wanted = &wanted[1..];
    assert_eq!(choose(&pool, &wish, T0, 7), Err(NoCallerId::NotOwned));
    assert_eq!(choose(&[], &wish, T0, 7), Err(NoCallerId::NotOwned));
}

#[test]
fn a_number_at_its_cap_rests_until_the_hour_or_day_is_over() {
    let caps = Caps {
        hourly: Some(2),
        daily: Some(3),
    };
    let mut usage = Usage::default();
    let left = |usage: &Usage, second| usage.left(&caps, at(second));
    usage = usage.add(1, &caps, at(0));
    assert_eq!(left(&usage, 1), Ok(1));
    usage = usage.add(1, &caps, at(10));
    assert_eq!(left(&usage, 11), Err(at(3600)));
    assert_eq!(left(&usage, 3600), Ok(1));
    usage = usage.add(1, &caps, at(3600));
    assert_eq!(left(&usage, 3601), Err(at(86_400)));
    assert_eq!(left(&usage, 86_400), Ok(2));
    // Late in the hour the rest is a quarter of an hour at least.
    let late = Usage::default()
        .add(1, &caps, at(0))
        .add(1, &caps, at(3_590));
    assert_eq!(left(&late, 3_601), Err(at(3_590) + MIN_REST));
    // A cap that was lowered afterwards counts at once.
    let lower = Caps {
        hourly: Some(1),
        daily: None,
    };
    assert_eq!(
        Usage::default().add(1, &caps, at(0)).left(&lower, at(1)),
        Err(at(3600))
    );
    assert_eq!(
        Usage::default().rest(at(50)).left(&Caps::default(), at(1)),
        Err(at(50))
    );
}

#[test]
fn when_all_rest_none_is_shown_and_the_first_to_be_free_is_named() {
    let caps = Caps {
        hourly: Some(1),
        daily: None,
    };
    let mut pool = pool();
    for (i, one) in (0..).zip(&mut pool) {
        one.usage = one.usage.add(1, &caps, at(i * 60));
    }
    let wish = Wish { caps, ..wish(None) };
    assert_eq!(
        choose(&pool, &wish, at(300), 0),
        Err(NoCallerId::Resting { until: at(3600) })
    );
    assert!(choose(&pool, &wish, at(3600), 0).is_ok());
}

#[test]
fn calls_are_spread_by_what_is_left() {
    let caps = Caps {
        hourly: None,
        daily: Some(100),
    };
    let mut pool = pool();
    pool[0].usage = pool[0].usage.add(75, &caps, T0);
    let place = Place::of(&phone("+12125550199"));
    let wish = Wish {
        caps,
        ..wish(Some(&place))
    };
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for draw in 0..1_250 {
        let choice = choose(&pool, &wish, T0, draw).expect("some");
        *seen.entry(choice.number.as_str().to_owned()).or_default() += 1;
    }
    assert_eq!(seen.into_values().collect::<Vec<_>>(), [250, 1_000]);
}

proptest! {
    #[test]
    fn no_cap_is_ever_exceeded(
        hourly in 1u32..6, daily in 1u32..20, draws in prop::collection::vec((any::<u64>(), 0u64..600), 1..300),
    ) {
        let caps = Caps { hourly: Some(hourly), daily: Some(daily) };
        let mut pool = pool();
        let mut calls: Vec<(usize, u64)> = Vec::new();
        let mut now = 0;
        for (draw, wait) in draws {
            now += wait;
            if let Ok(choice) = choose(&pool, &Wish { caps, ..wish(None) }, at(now), draw) {
                let i = pool.iter().position(|one| one.number == choice.number).expect("owned");
                pool[i].usage = pool[i].usage.add(1, &caps, at(now));
                calls.push((i, now));
            }
        }
        // Counted windows begin with a call, so any hour that begins with one may hold parts of two.
        for i in 0..pool.len() {
            let times: Vec<u64> = calls.iter().filter(|c| c.0 == i).map(|c| c.1).collect();
            let mut start = 0;
            while let Some(first) = times.get(start) {
                let n = times[start..].iter().take_while(|t| **t < first + 3_600).count();
                prop_assert!(n <= hourly as usize, "{} in the hour from {}", n, first);
                start += n;
            }
        }
    }

    #[test]
    fn what_is_chosen_is_owned_wanted_and_free(draw in any::<u64>(), used in prop::collection::vec(0u32..4, 5), want in 0usize..5) {
        let caps = Caps { hourly: Some(3), daily: None };
        let mut pool = pool();
        for (one, used) in pool.iter_mut().zip(&used) {
            one.usage = one.usage.add(*used, &caps, T0);
        }
        let wanted: Vec<E164> = pool[want..].iter().map(|one| one.number.clone()).collect();
        let place = Place::of(&phone("+13105550199"));
        let got = choose(&pool, &Wish { wanted: &wanted, caps, ..wish(Some(&place)) }, at(1), draw);
        let free: Vec<&E164> = pool[want..].iter().zip(&used[want..]).filter(|(_, used)| **used < 3).map(|(one, _)| &one.number).collect();
        match got {
            Ok(choice) => prop_assert!(free.contains(&&choice.number)),
            Err(_) => prop_assert!(free.is_empty()),
        }
    }
}

#[test]
fn a_cap_is_at_least_one() {
    let caps = |hourly, daily| Caps { hourly, daily };
    for (caps, want) in [
        (caps(None, None), Ok(())),
        (caps(Some(1), Some(1)), Ok(())),
        (caps(Some(u32::MAX), None), Ok(())),
        (caps(Some(0), None), Err(BadCaps::Hourly)),
        (caps(Some(15), Some(0)), Err(BadCaps::Daily)),
    ] {
        assert_eq!(caps.check(), want, "{caps:?}");
    }
    assert!(BadCaps::Hourly.to_string().starts_with("caps.hourly"));
    assert!(BadCaps::Daily.to_string().starts_with("caps.daily"));
}
