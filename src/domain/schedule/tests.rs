use chrono::{Datelike, Timelike};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn schedule(value: Value) -> Schedule {
    serde_json::from_value(value).expect("a good schedule")
}

/// Every day, in the leads' own zones.
fn daily(from: &str, to: &str) -> Schedule {
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    schedule(json!({"windows": [{"days": days, "from": from, "to": to}]}))
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect(text)
}

/// `open`, `never`, or when it opens.
fn check(schedule: &Schedule, zones: &[&str], now: &str) -> String {
    let zones: Vec<Zone> = zones.iter().map(|z| Zone::parse(z).expect(z)).collect();
    match schedule.check(&zones, at(now)) {
        Opening::Open => "open".into(),
        Opening::Closed { opens: None } => "never".into(),
        Opening::Closed { opens: Some(t) } => t.to_rfc3339().replace(":00.000Z", "Z"),
    }
}

#[test]
fn office_hours_in_one_zone() {
    let s = schedule(json!({
        "timezone": "Europe/London",
        "windows": [
            {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "20:00"},
            {"days": ["sat"], "from": "10:00", "to": "12:00"},
            {"days": ["sat"], "from": "14:00", "to": "16:00"},
        ],
        "except": ["2026-12-25", "2026-12-28"],
    }));
    for (now, want) in [
        ("2026-11-20T08:59:59.999Z", "2026-11-20T09:00Z"),
        ("2026-11-20T09:00:00Z", "open"),
        ("2026-11-20T19:59:59.999Z", "open"),
        ("2026-11-20T20:00:00Z", "2026-11-21T10:00Z"),
        ("2026-11-21T12:30:00Z", "2026-11-21T14:00Z"),
        ("2026-11-21T18:00:00Z", "2026-11-23T09:00Z"),
        ("2026-07-01T08:30:00Z", "open"),
        ("2026-12-24T21:00:00Z", "2026-12-26T10:00Z"),
        ("2026-12-26T17:00:00Z", "2026-12-29T09:00Z"),
    ] {
        assert_eq!(check(&s, &["Asia/Tokyo"], now), want, "{now}");
    }
}

#[test]
fn a_lead_in_several_zones_is_called_when_all_are_open() {
    let s = daily("09:00", "20:00");
    let both = ["Asia/Kolkata", "America/St_Johns"];
    // 09:00-20:00 is 03:30-14:30Z in India and 11:30-22:30Z (summer) in Newfoundland.
    assert_eq!(
        check(&s, &both, "2026-07-01T04:00:00Z"),
        "2026-07-01T11:30Z"
    );
    assert_eq!(check(&s, &both, "2026-07-01T11:30:00Z"), "open");
    assert_eq!(
        check(&s, &both, "2026-07-01T14:30:00Z"),
        "2026-07-02T11:30Z"
    );
    assert_eq!(
        check(&s, &both, "2026-11-01T15:00:00Z"),
        "2026-11-02T12:30Z"
    );
    let s = daily("09:00", "17:00");
    assert_eq!(
        check(
            &s,
            &["Asia/Kolkata", "Pacific/Honolulu"],
            "2026-07-01T04:00:00Z"
        ),
        "never"
    );
}

/// Open together only while one of them has summer time and the other not.
#[test]
fn a_rare_common_hour_is_found() {
    let s = daily("09:00", "17:00");
    let both = ["Europe/London", "America/Los_Angeles"];
    assert_eq!(
        check(&s, &both, "2026-06-01T12:00:00Z"),
        "2026-10-25T16:00Z"
    );
    assert_eq!(check(&s, &both, "2026-10-25T16:00:00Z"), "open");
}

#[test]
fn without_any_zone_utc_counts() {
    let s = daily("09:00", "10:00");
    assert_eq!(check(&s, &[], "2026-07-01T08:30:00Z"), "2026-07-01T09:00Z");
}

/// Rows of from, to, now and what is expected of `zone`.
fn check_daily(zone: &str, rows: &[[&str; 4]]) {
    for [from, to, now, want] in rows {
        let got = check(&daily(from, to), &[zone], now);
        assert_eq!(got, *want, "{from}-{to} at {now}");
    }
}

#[test]
fn days_on_which_clocks_change_in_london() {
    check_daily(
        "Europe/London",
        &[
            // 2026-03-29: 01:00 GMT becomes 02:00 BST.
            [
                "01:30",
                "05:00",
                "2026-03-29T00:10:00Z",
                "2026-03-29T01:00Z",
            ],
            [
                "02:00",
                "05:00",
                "2026-03-29T00:10:00Z",
                "2026-03-29T01:00Z",
            ],
            [
                "01:00",
                "02:00",
                "2026-03-29T00:10:00Z",
                "2026-03-30T00:00Z",
            ],
            [
                "09:00",
                "20:00",
                "2026-03-28T21:00:00Z",
                "2026-03-29T08:00Z",
            ],
            [
                "09:00",
                "20:00",
                "2026-03-29T19:00:00Z",
                "2026-03-30T08:00Z",
            ],
            // 2026-10-25: 02:00 BST becomes 01:00 GMT.
            [
                "01:30",
                "01:45",
                "2026-10-24T23:30:00Z",
                "2026-10-25T00:30Z",
            ],
            [
                "01:30",
                "01:45",
                "2026-10-25T00:50:00Z",
                "2026-10-25T01:30Z",
            ],
            [
                "00:30",
                "01:30",
                "2026-10-25T00:30:00Z",
                "2026-10-25T01:00Z",
            ],
            [
                "09:00",
                "20:00",
                "2026-10-24T20:00:00Z",
                "2026-10-25T09:00Z",
            ],
        ],
    );
}

#[test]
fn days_on_which_clocks_change_in_new_york() {
    check_daily(
        "America/New_York",
        &[
            // 2026-03-08: 02:00 EST becomes 03:00 EDT.
            [
                "02:30",
                "03:30",
                "2026-03-08T06:59:00Z",
                "2026-03-08T07:00Z",
            ],
            [
                "02:30",
                "03:30",
                "2026-03-08T07:30:00Z",
                "2026-03-09T06:30Z",
            ],
            // 2026-11-01: 02:00 EDT becomes 01:00 EST.
            [
                "01:15",
                "24:00",
                "2026-11-01T04:30:00Z",
                "2026-11-01T05:15Z",
            ],
            [
                "01:15",
                "24:00",
                "2026-11-01T06:10:00Z",
                "2026-11-01T06:15Z",
            ],
            [
                "09:00",
                "21:00",
                "2026-11-01T02:00:00Z",
                "2026-11-01T14:00Z",
            ],
        ],
    );
}

#[test]
fn round_the_clock_and_all_but_never() {
    let s = daily("00:00", "24:00");
    assert_eq!(
        check(&s, &["Europe/London"], "2026-03-29T00:59:59.999Z"),
        "open"
    );
    assert_eq!(check(&s, &["Asia/Tokyo"], "2026-03-29T15:00:00Z"), "open");
    let year: Vec<_> = NaiveDate::from_ymd_opt(2026, 1, 1)
        .expect("a date")
        .iter_days()
        .take(MAX_EXCEPT)
        .collect();
    let s = Schedule::new(None, s.windows().to_vec(), year.into_iter().collect()).expect("good");
    assert_eq!(
        check(&s, &["UTC"], "2026-01-01T00:00:00Z"),
        "2027-01-02T00:00Z"
    );
    assert_eq!(
        check(&s, &["UTC"], "2026-01-01T00:00:00.001Z"),
        "2027-01-02T00:00Z"
    );
    let ends_of_time = [i64::MIN, i64::MAX].map(Timestamp::from_millis);
    for now in ends_of_time {
        s.check(&[Tz::Europe__London], now);
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let window = |from: &str, to: &str| json!([{"days": ["mon"], "from": from, "to": to}]);
    let many = vec![window("09:00", "10:00")[0].clone(); MAX_WINDOWS + 1];
    for (value, why) in [
        (json!({}), "windows"),
        (json!({"windows": []}), "at least one window"),
        (json!({"windows": many}), "at most 64"),
        (
            json!({"windows": [{"days": [], "from": "09:00", "to": "10:00"}]}),
            "one day",
        ),
        (
            json!({"windows": [{"days": ["monday"], "from": "09:00", "to": "10:00"}]}),
            "monday",
        ),
        (
            json!({"windows": window("10:00", "10:00")}),
            "10:00 is not before 10:00",
        ),
        (
            json!({"windows": window("20:00", "06:00")}),
            "split one that passes midnight",
        ),
        (json!({"windows": window("9:00", "10:00")}), "HH:MM"),
        (json!({"windows": window("09:00", "24:01")}), "HH:MM"),
        (json!({"windows": window("09:00", "09:60")}), "HH:MM"),
        (json!({"windows": window("09:00", "+1:00")}), "HH:MM"),
        (json!({"windows": window("09:00", "10:00:00")}), "HH:MM"),
        (
            json!({"timezone": "Mars/Base", "windows": window("09:00", "10:00")}),
            "not a time zone",
        ),
        (
            json!({"timezone": "", "windows": window("09:00", "10:00")}),
            "not a time zone",
        ),
        (
            json!({"windows": window("09:00", "10:00"), "except": ["2026-02-30"]}),
            "out of range",
        ),
        (
            json!({"windows": window("09:00", "10:00"), "exept": []}),
            "exept",
        ),
    ] {
        let error = serde_json::from_value::<Schedule>(value.clone()).expect_err("refused");
        assert!(error.to_string().contains(why), "{value}: {error}");
    }
}

#[test]
fn it_is_stored_as_it_was_written() {
    let full = json!({
        "timezone": "Europe/London",
        "windows": [{"days": ["mon", "sun"], "from": "09:05", "to": "24:00"}],
        "except": ["2026-12-25"],
    });
    let short = json!({"windows": [{"days": ["tue"], "from": "00:00", "to": "00:01"}]});
    for value in [full, short] {
        let read = schedule(value.clone());
        assert_eq!(serde_json::to_value(&read).expect("json"), value);
        assert_eq!(schedule(value), read);
    }
}

#[test]
fn the_json_schema_describes_what_is_read_and_what_is_written() {
    let read = schemars::schema_for!(Schedule).to_value();
    assert_eq!(read["title"], "Schedule");
    assert_eq!(read["required"], json!(["windows"]));
    assert_eq!(read["properties"]["windows"]["maxItems"], MAX_WINDOWS);
    assert_eq!(read["properties"]["except"]["maxItems"], MAX_EXCEPT);
    let written = schemars::generate::SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<Schedule>()
        .to_value();
    let keys: Vec<_> = written["properties"]
        .as_object()
        .expect("object")
        .keys()
        .collect();
    assert_eq!(keys, ["except", "timezone", "windows"]);
}

const ZONES: [Tz; 14] = [
    Tz::Africa__Cairo,
    Tz::Africa__Casablanca,
    Tz::America__Havana,
    Tz::America__Los_Angeles,
    Tz::America__New_York,
    Tz::America__Nuuk,
    Tz::America__Santiago,
    Tz::America__St_Johns,
    Tz::Asia__Kathmandu,
    Tz::Asia__Kolkata,
    Tz::Atlantic__Azores,
    Tz::Australia__Lord_Howe,
    Tz::Europe__London,
    Tz::Pacific__Chatham,
];
/// Windows and offsets are multiples of five minutes here, so samples at that step miss nothing.
const STEP: i64 = 5 * 60_000;

/// The definition, from chrono's calendar.
fn open_by_definition(schedule: &Schedule, zones: &[Tz], at: i64) -> bool {
    zones.iter().all(|zone| {
        let utc = Timestamp::from_millis(at).to_utc();
        let local = utc.with_timezone(zone).naive_local();
        let minute = local.hour() * 60 + local.minute();
        !schedule.except().contains(&local.date())
            && schedule.windows().iter().any(|window| {
                let today = local.weekday().num_days_from_monday();
                window.days.iter().any(|&day| day as u32 == today)
                    && (u32::from(window.from.0)..u32::from(window.to.0)).contains(&minute)
            })
    })
}

fn windows() -> impl Strategy<Value = Vec<Window>> {
    let days = prop::sample::subsequence(
        vec![
            Day::Mon,
            Day::Tue,
            Day::Wed,
            Day::Thu,
            Day::Fri,
            Day::Sat,
            Day::Sun,
        ],
        1..=7,
    );
    let window = (days, 0_u16..288, 1_u16..=288).prop_map(|(days, from, length)| Window {
        days,
        from: TimeOfDay(from * 5),
        to: TimeOfDay((from + length).min(288) * 5),
    });
    prop::collection::vec(window, 1..4)
}

/// Any time in 2020 to 2030, often close to a change of clocks.
fn now() -> impl Strategy<Value = i64> {
    let (from, to) = (1_577_836_800_000, 1_893_456_000_000_i64);
    let near =
        (from..to, -3 * DAY..DAY, prop::sample::select(&ZONES)).prop_map(|(some, away, zone)| {
            next_change(zone, some, some + 400 * DAY).unwrap_or(some) + away
        });
    prop_oneof![from..to, near]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn it_opens_at_the_first_open_moment(
        windows in windows(),
        zones in prop::sample::subsequence(ZONES.to_vec(), 1..=3),
        now in now(),
        except in prop::collection::btree_set(0_u64..20, 0..4),
    ) {
        let today = Timestamp::from_millis(now).to_utc().date_naive();
        let except = except.into_iter().map(|n| today + chrono::Days::new(n)).collect();
        let schedule = Schedule::new(None, windows, except).expect("good");
        let open = |at| open_by_definition(&schedule, &zones, at);
        let horizon = now + 10 * DAY;
        let closed_until = match schedule.check(&zones, Timestamp::from_millis(now)) {
            Opening::Open => {
                prop_assert!(open(now));
                now
            }
            Opening::Closed { opens: None } => horizon,
            Opening::Closed { opens: Some(at) } => {
                prop_assert!(at.millis() > now);
                prop_assert!(open(at.millis()), "closed at {}", at.to_rfc3339());
                prop_assert!(!open(at.millis() - 1));
                at.millis().min(horizon)
            }
        };
        let first = now + (-now).rem_euclid(STEP);
        for at in std::iter::once(now).chain((first..).step_by(300_000)) {
            if at >= closed_until {
                break;
            }
            prop_assert!(!open(at), "open already at {}", Timestamp::from_millis(at).to_rfc3339());
        }
    }
}
