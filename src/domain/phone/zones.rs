//! The time zones a phone number may be in, by its leading digits.
//!
//! A number says where its line was issued, not where the phone is; so when it is unclear the answer
//! is *all* the zones it could be, and callers act only when every one of them allows it:
//! - digits that name a place: the zones of the longest known prefix;
//! - a mobile number in a country where those are issued nationwide, and numbers without a place
//!   (toll-free): all zones of the country. The Russian and Australian mobile ranges would otherwise
//!   count as Moscow and Sydney;
//! - North America has no mobile ranges: the area code decides, and those without a place have rows
//!   that hold their country's zones.
//!
//! The data is `zones.csv`, written by `zones.py`, which says what was changed and why.

use std::sync::LazyLock;

use chrono_tz::Tz;

use super::E164;

/// Longest prefix in the data, in digits.
const LONGEST: usize = 9;
const NORTH_AMERICA: i32 = 1;

/// Sorted by prefix as text, for binary search.
static ZONES: LazyLock<Vec<(&str, Vec<Tz>)>> = LazyLock::new(|| {
    include_str!("zones.csv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (prefix, zones) = line.split_once(',').expect("a row is prefix,zones");
            let zones = zones
                .split('&')
                .map(|name| {
                    name.parse()
                        .expect("a zone chrono-tz has; a test reads all")
                })
                .collect();
            (prefix, zones)
        })
        .collect()
});

/// All time zones `phone` may be in, by name, without repetition.
///
/// Empty when the number says nothing at all: the simulator's numbers ([`E164::is_test`]) and global
/// services such as +800. What that means is for the caller: a schedule without a zone of its own
/// takes UTC.
#[must_use]
pub fn zones_of(phone: &E164) -> Vec<Tz> {
    if phone.is_test() {
        return Vec::new();
    }
    match phone.place() {
        Some((code, false)) if code != NORTH_AMERICA => longest_prefix(&code.to_string()),
        Some(_) | None => longest_prefix(phone.digits()),
    }
    .to_vec()
}

fn longest_prefix(digits: &str) -> &'static [Tz] {
    (1..=digits.len().min(LONGEST))
        .rev()
        .find_map(|n| {
            let at = ZONES.binary_search_by(|(p, _)| (*p).cmp(&digits[..n]));
            at.ok().map(|at| ZONES[at].1.as_slice())
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(text: &str) -> String {
        let phone: E164 = serde_json::from_value(text.into()).expect(text);
        let names: Vec<_> = zones_of(&phone).iter().map(|z| z.name()).collect();
        names.join(" ")
    }

    #[test]
    fn numbers_and_their_zones() {
        for (number, want) in [
            ("+12125550123", "America/New_York"),
            ("+13105550123", "America/Los_Angeles"),
            ("+16025550123", "America/Phoenix"),
            ("+18085550123", "Pacific/Honolulu"),
            ("+17095550123", "America/Halifax America/St_Johns"),
            ("+12705220123", "America/Chicago"),
            ("+442079460119", "Europe/London"),
            ("+918012345678", "Asia/Kolkata"),
            ("+551123456789", "America/Sao_Paulo"),
            ("+5511961234567", "America/Sao_Paulo"),
            ("+61731234567", "Australia/Brisbane"),
            ("+74951234567", "Europe/Moscow"),
            ("+34612345678", "Atlantic/Canary Europe/Madrid"),
            ("+15550100123", ""),
            ("+80012345678", ""),
        ] {
            assert_eq!(zones(number), want, "{number}");
        }
    }

    #[test]
    fn an_unlisted_exchange_and_an_overlay_may_be_anywhere_in_their_area() {
        for number in ["+12702500123", "+13642500123", "+14482500123"] {
            assert_eq!(
                zones(number),
                "America/Chicago America/New_York",
                "{number}"
            );
        }
        assert_eq!(zones("+14582500123"), "America/Denver America/Los_Angeles");
    }

    #[test]
    fn mobile_and_toll_free_numbers_may_be_anywhere_in_their_country() {
        let sydney = zones("+61412345678");
        assert!(
            sydney.contains("Perth") && sydney.contains("Sydney"),
            "{sydney}"
        );
        let moscow = zones("+79123456789");
        assert!(
            moscow.contains("Kamchatka") && moscow.contains("Moscow"),
            "{moscow}"
        );
        let free = zones("+18002345678");
        assert!(
            free.contains("New_York") && free.contains("Honolulu"),
            "{free}"
        );
        assert!(
            !free.contains("Guam") && !free.contains("Halifax"),
            "{free}"
        );
    }

    #[test]
    fn the_data_is_sorted_and_every_row_can_be_found() {
        assert!(ZONES.is_sorted_by(|a, b| a.0 < b.0));
        for (prefix, zones) in ZONES.iter() {
            assert!((1..=LONGEST).contains(&prefix.len()), "{prefix}");
            assert!(zones.is_sorted_by(|a, b| a.name() < b.name()), "{prefix}");
            assert_eq!(longest_prefix(prefix), zones.as_slice(), "{prefix}");
        }
        assert!(ZONES.len() > 3_000);
    }
}
