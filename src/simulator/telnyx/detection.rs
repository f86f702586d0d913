//! Answering machine detection: the events of each mode, and when they come.

use std::time::Duration;

use super::request::Detection;
use crate::person::{After, Who};

/// Network time from the answer to the word who answered.
const HUMAN: Duration = Duration::from_millis(1_500);
const MACHINE: Duration = Duration::from_millis(3_500);
const FAX: Duration = Duration::from_millis(2_000);
/// From the beep to the word of it.
const NOTICE: Duration = Duration::from_millis(200);
/// Silence after a greeting that means its end, by `greeting_end` and by `premium`.
const SILENT_END: Duration = Duration::from_millis(1_500);
const NO_BEEP: Duration = Duration::from_millis(3_000);

/// An event, its result, and when it comes after the answer.
pub(super) type Told = (Duration, &'static str, &'static str);

/// All events of a call, in order, if it lasts.
pub(super) fn events(mode: Detection, who: Who) -> Vec<Told> {
    match mode {
        Detection::Disabled => vec![],
        Detection::Premium => premium(who),
        Detection::Detect
        | Detection::DetectBeep
        | Detection::DetectWords
        | Detection::GreetingEnd => standard(mode, who),
    }
}

fn standard(mode: Detection, who: Who) -> Vec<Told> {
    let event = "call.machine.detection.ended";
    let (greeting_ms, then) = match who {
        Who::Human => return vec![(HUMAN, event, "human")],
        // It knows no fax, and takes a tone for a machine.
        Who::Fax => return vec![(MACHINE, event, "machine")],
        Who::Silence => return vec![(MACHINE, event, "not_sure")],
        Who::Machine { greeting_ms, then } => (greeting_ms, then),
    };
    let mut told = vec![(MACHINE, event, "machine")];
    let greeting = Duration::from_millis(greeting_ms.into());
    let ended = "call.machine.greeting.ended";
    match (mode, then, who.beeps_at()) {
        (Detection::Detect | Detection::Disabled | Detection::Premium, ..) => {}
        (_, After::Beep, Some(beep)) => told.push((beep + NOTICE, ended, "beep_detected")),
        (Detection::GreetingEnd, After::Silence, _) => {
            told.push((greeting + SILENT_END, ended, "ended"));
        }
        (Detection::GreetingEnd, _, _) => told.push((greeting + NO_BEEP, ended, "not_sure")),
        // Nothing is told without a beep.
        (Detection::DetectBeep | Detection::DetectWords, _, _) => {}
    }
    if let [verdict, greeting] = told.as_mut_slice() {
        greeting.0 = greeting.0.max(verdict.0);
    }
    told
}

fn premium(who: Who) -> Vec<Told> {
    let event = "call.machine.premium.detection.ended";
    let greeting_ms = match who {
        Who::Human => return vec![(HUMAN, event, "human_residence")],
        Who::Fax => return vec![(FAX, event, "fax_detected")],
        Who::Silence => return vec![(MACHINE, event, "silence")],
        Who::Machine { greeting_ms, .. } => greeting_ms,
    };
    let ended = "call.machine.premium.greeting.ended";
    let greeting = Duration::from_millis(greeting_ms.into());
    match who.beeps_at() {
        // Published: a beep before the verdict takes its place.
        Some(beep) if beep <= MACHINE => vec![(beep + NOTICE, ended, "beep_detected")],
        Some(beep) => vec![
            (MACHINE, event, "machine"),
            (beep + NOTICE, ended, "beep_detected"),
        ],
        None => vec![
            (MACHINE, event, "machine"),
            (greeting.max(MACHINE) + NO_BEEP, ended, "no_beep_detected"),
        ],
    }
}
