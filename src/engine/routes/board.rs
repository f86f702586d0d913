//! Sharing what was learned: each note by compare-and-set, so that nobody's news are lost to another's.

use std::collections::BTreeMap;
use std::time::Duration;

use dialfleet_domain::breaker::{Breaker, Event};
use dialfleet_domain::caller_id::{Caps, Usage};
use dialfleet_domain::quality::{RouteStats, Tally};
use dialfleet_domain::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Known, Probe, channels};
use crate::fleet::Fleet;
use crate::port::board::Note;
use crate::port::store::{Answer, Cas};

/// Where the notes are.
const ALL: &str = "routing/";
pub(super) const STATS: &str = "routing/stats/";
pub(super) const BREAKER: &str = "routing/breaker/";
pub(super) const NUMBER: &str = "routing/number/";
/// Between two turns.
const TURN: Duration = Duration::from_secs(1);
/// Notes read in a turn.
const MOST: usize = 10_000;
/// Words about a breaker that wait for a turn; more say nothing new.
const MOST_SAID: usize = 256;
/// Tries to take or give back a probe.
const TRIES: usize = 5;

/// What a process learned and has not shared yet.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// Calls that ended on a route.
    Ended(Tally),
    /// What happened to a breaker, in order.
    Said(Vec<Said>),
    /// One of our numbers was shown so many times, or must rest.
    Shown {
        calls: u32,
        caps: Caps,
        rest: Option<Timestamp>,
    },
}

/// Something that happened on a call.
#[derive(Debug, Clone)]
pub(super) struct Said {
    event: Event,
    call_at: Timestamp,
    at: Timestamp,
}

impl News {
    pub(super) fn said(event: Event, call_at: Timestamp, at: Timestamp) -> Self {
        Self::Said(vec![Said { event, call_at, at }])
    }

    pub(super) const fn shown(caps: Caps) -> Self {
        let rest = None;
        Self::Shown {
            calls: 1,
            caps,
            rest,
        }
    }

    pub(super) fn blocked(until: Timestamp) -> Self {
        Self::Shown {
            calls: 0,
            caps: Caps::default(),
            rest: Some(until),
        }
    }

    /// Adds later news of the same subject.
    pub(super) fn add(&mut self, later: Self) {
        match (self, later) {
            (Self::Ended(mine), Self::Ended(more)) => mine.merge(&more),
            (Self::Said(mine), Self::Said(more)) => {
                let room = MOST_SAID.saturating_sub(mine.len());
                mine.extend(more.into_iter().take(room));
            }
            (
                Self::Shown { calls, caps, rest },
                Self::Shown {
                    calls: more,
                    caps: new,
                    rest: until,
                },
            ) => {
                *calls = calls.saturating_add(more);
                if more > 0 {
                    *caps = new;
                }
                *rest = (*rest).max(until);
            }
            // Keys of different kinds differ.
            (Self::Ended(_) | Self::Said(_) | Self::Shown { .. }, _) => {}
        }
    }

    /// A note's body with these news in it.
    fn onto(&self, body: Option<&str>, now: Timestamp, draw: u64) -> String {
        match self {
            Self::Ended(tally) => write(&read::<RouteStats>(body).fold(tally, now)),
            Self::Said(said) => write(&said.iter().fold(read::<Breaker>(body), |breaker, said| {
                breaker.step(&said.event, said.call_at, said.at, draw)
            })),
            Self::Shown { calls, caps, rest } => {
                let mut usage = read::<Usage>(body);
                if *calls > 0 {
                    usage = usage.add(*calls, caps, now);
                }
                write(&rest.map_or(usage, |until| usage.rest(until)))
            }
        }
    }
}

/// A note that cannot be read is begun anew: it is knowledge, and grows again.
fn read<T: DeserializeOwned + Default>(body: Option<&str>) -> T {
    body.and_then(|body| serde_json::from_str(body).ok())
        .unwrap_or_default()
}

fn write(fact: &impl Serialize) -> String {
    serde_json::to_string(fact).unwrap_or_default()
}

/// Shares and learns about once a second, until this process is to stop.
pub async fn keep(fleet: &Fleet) {
    loop {
        if let Err(error) = take_turn(fleet).await {
            tracing::warn!(%error, "what is known about routes could not be shared");
        }
        if !fleet.pause(TURN).await {
            return;
        }
    }
}

/// Shares what is left when the last calls of this process have their answers.
pub(crate) async fn leave(fleet: &Fleet) {
    let last_news = async {
        let _turn = fleet.routes.turn.lock().await;
        share(fleet).await
    };
    fleet.part(last_news).await;
}

async fn take_turn(fleet: &Fleet) -> Answer<()> {
    let _turn = fleet.routes.turn.lock().await;
    let shared = share(fleet).await;
    learn(fleet).await?;
    shared
}

/// Writes this process's news down. What somebody else's write was in the way of waits for the next
/// turn, and so does everything when the store fails: some of it may then count twice.
async fn share(fleet: &Fleet) -> Answer<()> {
    let news = std::mem::take(&mut fleet.routes.known().news);
    if news.is_empty() {
        return Ok(());
    }
    let written = write_down(fleet, &news).await;
    let lost: Vec<String> = match &written {
        Ok(lost) => lost.clone(),
        Err(_) => news.keys().cloned().collect(),
    };
    let mut known = fleet.routes.known();
    for (key, mut old) in news.into_iter().filter(|(key, _)| lost.contains(key)) {
        if let Some(newer) = known.news.remove(&key) {
            old.add(newer);
        }
        known.news.insert(key, old);
    }
    written.map(|_| ())
}

/// Returns the keys whose notes somebody else wrote meanwhile.
async fn write_down(fleet: &Fleet, news: &BTreeMap<String, News>) -> Answer<Vec<String>> {
    let keys: Vec<String> = news.keys().cloned().collect();
    let found = fleet.store.notes(&keys).await?;
    let (now, draw) = (fleet.clock.now(), fleet.entropy.draw());
    let notes: Vec<Note> = news
        .iter()
        .zip(found)
        .map(|((key, news), found)| Note {
            key: key.clone(),
            version: found.as_ref().map_or(0, |note| note.version) + 1,
            body: news.onto(found.as_ref().map(|note| note.body.as_str()), now, draw),
        })
        .collect();
    let answers = fleet.store.save_notes(&notes).await?;
    let lost = keys.into_iter().zip(answers);
    Ok(lost
        .filter(|(_, cas)| *cas == Cas::Lost)
        .map(|(key, _)| key)
        .collect())
}

/// Reads what the fleet knows.
///
/// # Errors
/// The store failed; what was known still holds.
pub async fn refresh(fleet: &Fleet) -> Answer<()> {
    let _turn = fleet.routes.turn.lock().await;
    learn(fleet).await
}

async fn learn(fleet: &Fleet) -> Answer<()> {
    channels::learn(fleet).await?;
    let notes = fleet.store.notes_with(ALL, MOST).await?;
    let (mut stats, mut breakers, mut usage) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for note in notes {
        let body = Some(note.body.as_str());
        if note.key.starts_with(STATS) {
            stats.insert(note.key, read::<RouteStats>(body));
        } else if note.key.starts_with(BREAKER) {
            breakers.insert(note.key, read::<Breaker>(body));
        } else if note.key.starts_with(NUMBER) {
            usage.insert(note.key, read::<Usage>(body));
        }
    }
    let numbers = fleet.routes.with_usage(&usage);
    let draw = fleet.entropy.draw();
    let mut known = fleet.routes.known();
    (known.stats, known.breakers, known.numbers) = (stats, breakers, numbers);
    // What was heard since is not among the notes yet.
    let Known { breakers, news, .. } = &mut *known;
    for (key, news) in news {
        if let News::Said(said) = news {
            let breaker = breakers.entry(key.clone()).or_default();
            for Said { event, call_at, at } in said {
                *breaker = breaker.step(event, *call_at, *at, draw);
            }
        }
    }
    Ok(())
}

/// Takes a breaker's probe. Returns whether this process has it now.
pub(super) async fn take_probe(fleet: &Fleet, key: &str, now: Timestamp) -> Answer<bool> {
    change(fleet, key, |breaker| breaker.take_probe(now)).await
}

/// Gives it back.
pub(super) async fn give_back_probe(fleet: &Fleet, probe: &Probe) -> Answer<()> {
    let now = fleet.clock.now();
    change(fleet, &probe.key, |breaker| {
        Some(breaker.give_back_probe(probe.taken, now))
    })
    .await
    .map(|_| ())
}

/// Changes a breaker's note, and what this process knows of it. `false`: there is nothing to change.
async fn change(
    fleet: &Fleet,
    key: &str,
    change: impl Fn(&Breaker) -> Option<Breaker>,
) -> Answer<bool> {
    for _ in 0..TRIES {
        let found = fleet.store.notes(&[key.to_owned()]).await?.pop().flatten();
        let before: Breaker = read(found.as_ref().map(|note| note.body.as_str()));
        let after = change(&before);
        let note = after.as_ref().map(|after| Note {
            key: key.to_owned(),
            version: found.map_or(0, |note| note.version) + 1,
            body: write(after),
        });
        let won = match note {
            Some(note) => fleet.store.save_notes(&[note]).await?.first() == Some(&Cas::Won),
            None => true,
        };
        if won {
            let changed = after.is_some();
            let known = after.unwrap_or(before);
            fleet.routes.known().breakers.insert(key.to_owned(), known);
            return Ok(changed);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use dialfleet_domain::breaker::{Admission, Fault, IN_A_ROW};

    use super::*;

    const T0: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn failed(at: Timestamp) -> News {
        News::said(Event::Failed(Fault::Unclear), at, at)
    }

    #[test]
    fn news_of_several_processes_add_up_in_one_note() {
        let at = |n: u32| T0 + Duration::from_secs(n.into());
        let mut body = None;
        for n in 0..IN_A_ROW {
            body = Some(failed(at(n)).onto(body.as_deref(), at(n), 0));
        }
        let breaker: Breaker = read(body.as_deref());
        let now = at(IN_A_ROW);
        assert!(matches!(breaker.admits(now), Admission::Open { .. }));

        let mut at_once = failed(T0);
        (1..IN_A_ROW).for_each(|n| at_once.add(failed(at(n))));
        assert_eq!(at_once.onto(None, now, 0), body.unwrap_or_default());
    }

    #[test]
    fn calls_of_a_number_are_counted_and_its_rest_is_the_longest() {
        let caps = Caps {
            hourly: Some(3),
            ..Caps::default()
        };
        let mut news = News::shown(caps);
        news.add(News::blocked(T0 + Duration::from_secs(5)));
        news.add(News::shown(caps));
        let body = news.onto(None, T0, 0);
        let usage: Usage = read(Some(&body));
        assert_eq!((usage.hour, usage.day), (2, 2));
        assert_eq!(usage.rest_until, Some(T0 + Duration::from_secs(5)));
        let usage: Usage = read(Some(&News::shown(caps).onto(Some(&body), T0, 0)));
        assert!(usage.rest_until > Some(T0 + Duration::from_secs(5)));
    }

    #[test]
    fn a_note_that_cannot_be_read_begins_anew() {
        let tally = Tally {
            calls: 1,
            delivered: 1,
            ..Tally::default()
        };
        let fresh = News::Ended(tally).onto(None, T0, 0);
        for bad in ["", "{", "[]", r#"{"at":"yesterday"}"#] {
            assert_eq!(News::Ended(tally).onto(Some(bad), T0, 0), fresh, "{bad}");
        }
    }

    #[test]
    fn words_about_a_breaker_are_bounded() {
        let mut news = failed(T0);
        (0..MOST_SAID * 2).for_each(|_| news.add(failed(T0)));
        assert!(matches!(news, News::Said(said) if said.len() == MOST_SAID));
    }
}
