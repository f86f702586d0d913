//! When a campaign may call: windows of the week in the lead's own time.
//!
//! A moment is open in a zone when that zone's clock shows a time inside a window of its weekday and
//! its date is not excepted. This is decided by what the clock shows, so daylight saving needs no
//! rules: an hour that is skipped is never open and what would open in it opens right after; an hour
//! that comes twice is open both times, the first being the opening.
//!
//! A lead may be in one of several zones; it is called only when all of them are open at once.
//! Legal calling hours are not here: they narrow these.

use std::collections::BTreeSet;

use chrono::{NaiveDate, Offset, TimeZone};
use chrono_tz::Tz;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::time::Timestamp;

#[cfg(test)]
mod tests;
mod time_of_day;
mod zone;

pub use time_of_day::{BadTimeOfDay, TimeOfDay};
pub use zone::{BadZone, Zone};

/// Most windows in a schedule.
pub const MAX_WINDOWS: usize = 64;
/// Most excepted dates in a schedule.
pub const MAX_EXCEPT: usize = 366;
/// How far ahead an opening is looked for: a year has seen every date and every change of clocks.
pub const SEARCH_DAYS: i64 = 366;

/// A day of a clock that is never changed, in milliseconds.
const DAY: i64 = 24 * 60 * 60_000;

/// Hours in which a campaign may call. Cannot be made wrong: see [`BadSchedule`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Draft")]
pub struct Schedule {
    /// The zone whose clock counts for everybody; absent: each lead's own zones.
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<Zone>,
    /// When calls are allowed; windows of one day add up.
    windows: Vec<Window>,
    /// Dates without calls, by the same clock as the windows.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(with = "BTreeSet<String>")]
    except: BTreeSet<NaiveDate>,
    /// From Monday: the day's windows as milliseconds after midnight, in order, merged.
    #[serde(skip)]
    week: [Vec<(i64, i64)>; 7],
    /// `except` as days since 1970, in order.
    #[serde(skip)]
    closed_days: Vec<i64>,
}

/// A schedule as it is written; not yet checked.
#[derive(Deserialize, JsonSchema)]
#[serde(rename = "Schedule", deny_unknown_fields)]
struct Draft {
    /// The zone whose clock counts for everybody; absent: each lead's own zones.
    #[serde(default)]
    timezone: Option<Zone>,
    /// When calls are allowed; windows of one day add up.
    #[schemars(length(min = 1, max = 64))]
    windows: Vec<Window>,
    /// Dates without calls (`2026-12-25`), by the same clock as the windows.
    #[serde(default)]
    #[schemars(
        with = "BTreeSet<String>",
        length(max = 366),
        inner(regex(pattern = r"^\d{4}-\d{2}-\d{2}$"))
    )]
    except: BTreeSet<NaiveDate>,
}

/// The same hours on one or more days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days, at least one.
    #[schemars(length(min = 1))]
    pub days: Vec<Day>,
    /// The first minute in which a call may start.
    pub from: TimeOfDay,
    /// The first minute in which none may start any more; `24:00` is the end of the day.
    pub to: TimeOfDay,
}

/// A day of the week.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Why a schedule is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadSchedule {
    /// It would never be open.
    #[error("a schedule needs at least one window; leave the schedule out to call at any hour")]
    NoWindows,
    /// More than [`MAX_WINDOWS`].
    #[error("a schedule has at most {MAX_WINDOWS} windows")]
    TooManyWindows,
    /// A window for no day.
    #[error("a window needs at least one day")]
    NoDays,
    /// A window that ends before it begins.
    #[error(
        "a window must begin before it ends, and {from} is not before {to}; split one that passes midnight in two"
    )]
    Backwards {
        /// The window's beginning.
        from: TimeOfDay,
        /// The window's end.
        to: TimeOfDay,
    },
    /// More than [`MAX_EXCEPT`].
    #[error("a schedule has at most {MAX_EXCEPT} excepted dates")]
    TooManyDates,
}

/// What a schedule says about a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// A call may start.
    Open,
    /// None may.
    Closed {
        /// The first later moment when one may; `None` if there is none in [`SEARCH_DAYS`] days,
        /// which for a schedule without a year of excepted dates means never.
        opens: Option<Timestamp>,
    },
}

impl Schedule {
    /// A schedule of these windows.
    ///
    /// # Errors
    /// See [`BadSchedule`].
    pub fn new(
        timezone: Option<Zone>,
        windows: Vec<Window>,
        except: BTreeSet<NaiveDate>,
    ) -> Result<Self, BadSchedule> {
        if windows.is_empty() {
            return Err(BadSchedule::NoWindows);
        }
        if windows.len() > MAX_WINDOWS {
            return Err(BadSchedule::TooManyWindows);
        }
        if except.len() > MAX_EXCEPT {
            return Err(BadSchedule::TooManyDates);
        }
        let mut week: [Vec<(i64, i64)>; 7] = Default::default();
        for &Window { ref days, from, to } in &windows {
            if days.is_empty() {
                return Err(BadSchedule::NoDays);
            }
            if from >= to {
                return Err(BadSchedule::Backwards { from, to });
            }
            for &day in days {
                week[day as usize].push((from.millis(), to.millis()));
            }
        }
        for hours in &mut week {
            merge(hours);
        }
        let closed_days = except.iter().map(|&date| days_since_1970(date)).collect();
        Ok(Self {
            timezone,
            windows,
            except,
            week,
            closed_days,
        })
    }

    /// The zone whose clock counts for everybody, if the schedule names one.
    #[must_use]
    pub const fn timezone(&self) -> Option<Zone> {
        self.timezone
    }

    /// The windows as given.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The dates without calls.
    #[must_use]
    pub const fn except(&self) -> &BTreeSet<NaiveDate> {
        &self.except
    }

    /// Whether a call may start at `now` to somebody who may be in any of `zones`, and if not, when.
    ///
    /// The schedule's own zone replaces `zones`. Without either, UTC counts: nothing is known of the
    /// person, and a schedule that is never open would hide the lead for ever.
    pub fn check<Z: Copy + Into<Tz>>(&self, zones: &[Z], now: Timestamp) -> Opening {
        let now = now.to_utc().timestamp_millis();
        let all: Vec<Tz> = match self.timezone {
            Some(zone) => vec![zone.into()],
            None if zones.is_empty() => vec![Tz::UTC],
            None => zones.iter().map(|&zone| zone.into()).collect(),
        };
        match self.open_in_all(&all, now) {
            Some(at) if at == now => Opening::Open,
            opens => Opening::Closed {
                opens: opens.map(Timestamp::from_millis),
            },
        }
    }

    /// The first moment from `now` on when every zone is open: each zone in turn moves it to its own
    /// next opening, until none does.
    fn open_in_all(&self, zones: &[Tz], now: i64) -> Option<i64> {
        let until = now + SEARCH_DAYS * DAY;
        let mut at = now;
        loop {
            let before = at;
            for &zone in zones {
                at = self.next_open(zone, at)?;
            }
            if at > until {
                return None;
            }
            if at == before {
                return Some(at);
            }
        }
    }

    /// The first moment from `at` on when `zone` is open.
    fn next_open(&self, zone: Tz, mut at: i64) -> Option<i64> {
        loop {
            let offset = offset(zone, at);
            let open = self.next_local(at + offset)? - offset;
            match next_change(zone, at, open) {
                Some(change) => at = change,
                None => return Some(open),
            }
        }
    }

    /// The same on a clock that is never changed: milliseconds of local time since 1970.
    fn next_local(&self, local: i64) -> Option<i64> {
        let today = local.div_euclid(DAY);
        (today..=today + SEARCH_DAYS).find_map(|day| {
            self.hours(day).iter().find_map(|&(from, to)| {
                (local < day * DAY + to).then(|| local.max(day * DAY + from))
            })
        })
    }

    /// The windows of a local day, counted since 1970.
    fn hours(&self, day: i64) -> &[(i64, i64)] {
        if self.closed_days.binary_search(&day).is_ok() {
            return &[];
        }
        // 1970 began on a Thursday.
        let weekday = usize::try_from((day + 3).rem_euclid(7)).expect("0 to 6");
        &self.week[weekday]
    }
}

impl TryFrom<Draft> for Schedule {
    type Error = BadSchedule;
    fn try_from(draft: Draft) -> Result<Self, BadSchedule> {
        Self::new(draft.timezone, draft.windows, draft.except)
    }
}

/// Sorts windows and joins those that touch.
fn merge(hours: &mut Vec<(i64, i64)>) {
    hours.sort_unstable();
    hours.dedup_by(|next, kept| {
        let touch = next.0 <= kept.1;
        if touch {
            kept.1 = kept.1.max(next.1);
        }
        touch
    });
}

fn days_since_1970(date: NaiveDate) -> i64 {
    date.signed_duration_since(NaiveDate::default()).num_days()
}

/// What `zone`'s clock is ahead of UTC at the moment `at`, in milliseconds.
fn offset(zone: Tz, at: i64) -> i64 {
    let utc = Timestamp::from_millis(at).to_utc().naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * 1_000
}

/// The first moment after `from`, up to `to`, when `zone`'s clock is changed. Looked for day by
/// day, as no zone changes its clock back within one.
fn next_change(zone: Tz, from: i64, to: i64) -> Option<i64> {
    let before = offset(zone, from);
    let mut same = from;
    while same < to {
        let mut changed = to.min(same + DAY);
        if offset(zone, changed) == before {
            same = changed;
            continue;
        }
        while changed - same > 1 {
            let middle = same + (changed - same) / 2;
            if offset(zone, middle) == before {
                same = middle;
            } else {
                changed = middle;
            }
        }
        return Some(changed);
    }
    None
}
