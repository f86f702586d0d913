//! Telephone numbers, zones and times of day as people write them.

use chrono_tz::Tz;
use dialfleet_domain::phone::zones::zones_of;
use dialfleet_domain::phone::{E164, Region};
use dialfleet_domain::schedule::{Opening, Schedule, TimeOfDay, Zone};
use dialfleet_domain::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::cases;
use crate::mutate::{edits, mutated};

fn region() -> impl Strategy<Value = Option<Region>> {
    let names = ["US", "GB", "DE", "IT", "AR", "BR", "IN", "RU", "AU", "MX"];
    let regions: Vec<_> = names
        .iter()
        .map(|name| Region::parse(name).unwrap())
        .collect();
    prop::option::of(select(regions))
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,70}",
        "[+0-9() .,'eExX#*;=/-]{0,40}",
        "[+٠-٩０-９0-9 \u{a0}\u{200b}\u{202e}-]{4,24}",
        "\\+[1-9][0-9]{5,16}",
        (
            select(&[
                "+442079460119",
                "+15550100123",
                "(020) 7946 0119",
                "+49 151 23658789",
                "tel:+1-212-555-0123;ext=9"
            ]),
            edits()
        )
            .prop_map(|(text, edits)| String::from_utf8_lossy(&mutated(
                text.as_bytes(),
                &edits
            ))
            .into_owned()),
    ]
}

/// What is taken for a number is one, and the same one when it is read again.
#[test]
fn telephone_numbers() {
    cases(2_500, (number(), region()), |(text, region)| {
        match E164::parse(&text, region) {
            Ok(number) => {
                let digits = number.as_str().strip_prefix('+').unwrap();
                prop_assert!((7..=15).contains(&digits.len()) && !digits.starts_with('0'));
                prop_assert!(
                    digits.bytes().all(|b| b.is_ascii_digit()),
                    "{}",
                    number.as_str()
                );
                prop_assert_eq!(E164::parse(number.as_str(), None), Ok(number.clone()));
                prop_assert_eq!(E164::parse(number.as_str(), region), Ok(number.clone()));
                let stored: E164 = serde_json::from_value(json!(number.as_str())).unwrap();
                prop_assert_eq!(&stored, &number);
                let shown = format!("{number} {number:?}");
                prop_assert!(!shown.contains(digits), "{}", shown);
                let _ = (zones_of(&number), number.region());
            }
            Err(why) => {
                let said = why.to_string();
                let run = |text: &str| text.chars().filter(char::is_ascii_digit).count();
                prop_assert!(!said.is_empty() && run(&said) < 5, "{}", said);
            }
        }
        // Stored ones need not be in any plan.
        if let Ok(number) = serde_json::from_value::<E164>(json!(text)) {
            let _ = (zones_of(&number), number.region(), number.to_string());
        }
        Ok(())
    });
}

#[test]
fn any_stored_number_has_zones() {
    cases(2_000, "\\+[1-9][0-9]{6,14}", |text| {
        let number: E164 = serde_json::from_value(json!(text)).unwrap();
        let mut zones: Vec<_> = zones_of(&number).iter().map(|zone| zone.name()).collect();
        let many = zones.len();
        zones.dedup();
        prop_assert_eq!(zones.len(), many);
        let _ = number.region();
        prop_assert!(!number.to_string().contains(&text[1..]));
        Ok(())
    });
}

#[test]
fn words_for_times_zones_and_countries() {
    let word = prop_oneof![
        "\\PC{0,8}",
        "[0-9:]{3,6}",
        "[0-2][0-9]:[0-9]{2}",
        "[A-Za-z]{2}",
        "(Europe|America|Etc)/[A-Za-z_+0-9-]{0,10}",
    ];
    cases(6_000, word, |word| {
        if let Ok(time) = TimeOfDay::parse(&word) {
            prop_assert_eq!(time.to_string(), word.clone());
        }
        if let Ok(zone) = Zone::parse(&word) {
            prop_assert_eq!(zone.as_str(), word.as_str());
        }
        if let Ok(region) = Region::parse(&word) {
            prop_assert_eq!(region.as_str(), word.trim().to_ascii_uppercase());
        }
        Ok(())
    });
}

/// At the ends of time, too, a schedule says something, and soon.
#[test]
fn schedules_at_any_moment() {
    let zones = [
        Tz::UTC,
        Tz::Europe__London,
        Tz::America__New_York,
        Tz::Asia__Kathmandu,
        Tz::Pacific__Apia,
        Tz::Antarctica__Troll,
    ];
    let moment = prop_oneof![
        any::<i64>(),
        select(&[
            i64::MIN,
            i64::MAX,
            0,
            -1,
            253_402_300_799_999,
            -62_167_219_200_000,
            8_210_266_876_799_999,
            -8_334_601_228_800_000
        ]),
        1_500_000_000_000..2_000_000_000_000_i64,
    ];
    let minute = 0..1_440_u32;
    let zones = prop::sample::subsequence(zones.to_vec(), 0..=6);
    cases(
        1_000,
        (moment, minute, 1..1_440_u32, zones),
        |(moment, from, length, zones)| {
            let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
            let window = json!({ "days": ["mon", "thu"], "from": clock(from), "to": clock((from + length).min(1_440)) });
            let schedule: Schedule =
                serde_json::from_value(json!({ "windows": [window] })).unwrap();
            let now = Timestamp::from_millis(moment);
            if let Opening::Closed { opens: Some(at) } = schedule.check(&zones, now) {
                let clamped = Timestamp::from(now.to_utc());
                prop_assert!(at > clamped, "{:?} after {:?}", at, clamped);
                // Unless that is past the end of all calendars.
                if Timestamp::from(at.to_utc()) == at {
                    prop_assert_eq!(schedule.check(&zones, at), Opening::Open);
                }
            }
            Ok(())
        },
    );
}
