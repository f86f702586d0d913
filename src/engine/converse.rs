//! A carrier asks what to do next on a call. Answered from the attempt's session by compare-and-set:
//! the same question gets the same answer, however often and by whichever process.
//!
//! Whatever fails after the question proved genuine is answered too: with an apology in the flow's
//! language, and the end of the call. Nobody shall hear silence, or a carrier's error message.

use std::time::Duration;

use dialfleet_domain::call::{Attempt, Verdict};
use dialfleet_domain::flow::sentence::Sentence;
use dialfleet_domain::flow::{Action, Input, Then, Turn, action::Saying};
use dialfleet_domain::id::{AttemptId, CarrierId};
use dialfleet_domain::phone::E164;

use crate::apply_events::apply_status;
use crate::fleet::Fleet;
use crate::port::Carrier;
use crate::port::carrier::{Document, Page, Question, RawCallback};
use crate::port::store::{Answer, Cas, DoNotCall, SaveAttempt};
use crate::receive::{Address, ReceiveError, carrier_at, refused};
use crate::{do_not_call, opt_out, talk, todo};

/// The carrier plays its own error message after 15 s.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long an answer waits for commands that came with it.
const ASIDE: Duration = Duration::from_millis(500);
/// Turns of a compare-and-set against other events of the call.
const TRIES: usize = 20;

/// What the address of a question says besides whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The number of the input that the question brings.
    pub turn: u32,
    /// The language of the flow.
    pub language: Option<String>,
    /// The keys that mean an opt-out.
    pub opt_out: String,
}

/// Answers a question.
///
/// # Errors
/// It is not genuine, or not one of ours.
pub async fn converse(
    fleet: &Fleet,
    address: Address<'_>,
    place: &Place,
    raw: &RawCallback,
) -> Result<Document, ReceiveError> {
    let (carrier_id, carrier) = carrier_at(fleet, address)?;
    let question = carrier
        .read_question(raw)
        .map_err(|why| refused(fleet, &carrier_id, why))?;
    let (id, leg) = fleet
        .keys
        .verify(&carrier_id, address.attempt, address.leg, address.token)
        .map_err(|_| ReceiveError::NoSuchAddress)?;
    if question.over && !question.input.has_keys() {
        return written(carrier, &hung_up(), place);
    }
    let page = tokio::select! {
        page = answer(fleet, &id, leg, place.turn, &question) => page,
        () = fleet.clock.sleep(PATIENCE) => {
            tracing::error!(attempt = %id, "a question about a call was not answered in time");
            Ok(None)
        }
    };
    let page = page.unwrap_or_else(|error| {
        tracing::error!(%error, attempt = %id, "a question about a call cannot be answered from the store");
        None
    });
    let page = match page {
        Some(page) => page,
        None => failed(fleet, &carrier_id, (&id, leg), place, &question).await,
    };
    written(carrier, &page, place)
}

fn written(carrier: &dyn Carrier, page: &Page, place: &Place) -> Result<Document, ReceiveError> {
    let sorry = || Page {
        actions: Turn::apology(place.language.as_deref(), String::new()).actions,
        then: Then::End,
        next_url: String::new(),
    };
    carrier
        .write_page(page)
        .or_else(|| carrier.write_page(&sorry()))
        .ok_or_else(|| ReceiveError::Unreadable("this carrier asks no questions".to_owned()))
}

/// What is said when nothing can be known: an apology; and if the keys meant an opt-out, that it is
/// kept, and will be tried until it is written.
async fn failed(
    fleet: &Fleet,
    carrier: &CarrierId,
    (id, leg): (&AttemptId, u8),
    place: &Place,
    question: &Question,
) -> Page {
    fleet.metrics.flow("failed");
    let pressed = question.input.keys().map_or("", |keys| keys.as_str());
    let opts_out = !pressed.is_empty() && pressed.chars().all(|key| place.opt_out.contains(key));
    let sentence = match (&question.to, opts_out) {
        (Some(phone), true) => {
            keep(fleet, phone);
            opt_out::publish(fleet, (id, leg), carrier, &question.call_id).await;
            Sentence::NotYetOptedOut
        }
        (Some(_) | None, _) => Sentence::Apology,
    };
    say_and_end(sentence, place.language.as_deref())
}

/// Keeps an opt-out that the store did not take.
fn keep(fleet: &Fleet, phone: &E164) {
    fleet.opt_outs.keep(DoNotCall {
        tenant: fleet.settings.tenant.clone(),
        phone: phone.clone(),
        source: do_not_call::BY_KEY.to_owned(),
        at: fleet.clock.now(),
    });
}

fn say_and_end(sentence: Sentence, language: Option<&str>) -> Page {
    let (text, tag) = sentence.said(language);
    let saying = Saying {
        text: text.to_owned(),
        language: Some(tag),
        voice: None,
        ssml: false,
    };
    Page {
        actions: vec![Action::Say(saying), Action::Hangup],
        then: Then::End,
        next_url: String::new(),
    }
}

/// The page that answers the question. `None`: there is no such call, or it is being changed by
/// others without end.
async fn answer(
    fleet: &Fleet,
    id: &AttemptId,
    leg: u8,
    turn: u32,
    question: &Question,
) -> Answer<Option<Page>> {
    let Some(attempt) = fleet.attempt(id).await? else {
        return Ok(None);
    };
    let Some(talk) = talk::prepare(fleet, &attempt).await? else {
        return Ok(None);
    };
    let flow = &talk.campaign.flow;
    let Some((attempt, next)) = heard(fleet, attempt, leg, turn, question, &talk).await? else {
        return Ok(None);
    };
    let Some(next) = next else {
        // The call is over, or being ended, or is not the one that we know. A wish counts all the same.
        if question.input.has_keys()
            && let Some(attempt) = fleet.attempt(id).await?
            && let Some(heard) = talk::hear_late(fleet, &attempt, (turn, question.input)).await?
        {
            todo::execute(fleet, heard, None).await;
        }
        return Ok(Some(hung_up()));
    };
    if next.then != Then::OptOut {
        let page = talk::page(fleet, &attempt, leg, next, flow);
        // What came with the answer (a recording to begin) is stored with the attempt: somebody is on
        // the line, so what takes long is left to the sweeper.
        tokio::select! {
            () = todo::execute(fleet, attempt, None) => {}
            () = fleet.clock.sleep(ASIDE) => {}
        }
        return Ok(Some(page));
    }
    // Durable first. Only then is it confirmed.
    let (before, phone) = (next.actions, attempt.phone.clone());
    todo::execute(fleet, attempt, None).await;
    let fresh = fleet.attempt(id).await?;
    let session = fresh.as_ref().and_then(|a| a.session.as_deref());
    let done = session.filter(|session| !session.awaits_opt_out());
    let (Some(fresh), Some(mut then)) = (&fresh, done.and_then(|s| s.again(&talk.script))) else {
        // The command is stored with the attempt; only this process need not dial before it is done.
        keep(fleet, &phone);
        let mut page = say_and_end(Sentence::NotYetOptedOut, flow.language.as_deref());
        page.actions.splice(0..0, before);
        return Ok(Some(page));
    };
    then.actions.splice(0..0, before);
    Ok(Some(talk::page(fleet, fresh, leg, then, flow)))
}

/// Gives the question's news and its input to the attempt, in one write.
async fn heard(
    fleet: &Fleet,
    mut attempt: Attempt,
    leg: u8,
    turn: u32,
    question: &Question,
    talk: &talk::Talk,
) -> Answer<Option<(Attempt, Option<Turn>)>> {
    for _ in 0..TRIES {
        let (id, expected, now) = (attempt.id.clone(), attempt.version, fleet.clock.now());
        let mut changed = false;
        for status in &question.statuses {
            changed |= apply_status(fleet, &mut attempt, leg, &question.call_id, *status, now)
                != Verdict::Ignore;
        }
        let current = attempt.current_leg().is_some_and(|(k, _)| k == leg);
        if !current || !attempt.is_talking_on(&question.call_id) {
            if changed {
                save(fleet, &attempt, expected).await?;
            }
            return Ok(Some((attempt, None)));
        }
        // A question that was answered before is answered alike.
        let again = turn < attempt.turn();
        let Some(input) =
            talk::input_of(&attempt, talk, question.input).or(again.then_some(Input::Done))
        else {
            if changed {
                save(fleet, &attempt, expected).await?;
            }
            return Ok(Some((attempt, None)));
        };
        let (verdict, next) = attempt.hear(&talk.script, turn, input, false, now);
        changed |= verdict != Verdict::Ignore;
        if next.is_none() {
            tracing::error!(attempt = %id, turn, "a carrier asks for what its call has not come to");
            return Ok(None);
        }
        if !changed || save(fleet, &attempt, expected).await? == Cas::Won {
            return Ok(Some((attempt, next)));
        }
        match fleet.attempt(&id).await? {
            Some(fresh) => attempt = fresh,
            None => return Ok(None),
        }
    }
    tracing::error!(attempt = %attempt.id, "a call's question lost {TRIES} times against other events");
    Ok(None)
}

async fn save(fleet: &Fleet, attempt: &Attempt, expected: u64) -> Answer<Cas> {
    let save = SaveAttempt {
        attempt: attempt.clone(),
        expected,
    };
    let answers = fleet.store.save_attempts(&[save]).await?;
    Ok(answers.first().copied().unwrap_or(Cas::Lost))
}

fn hung_up() -> Page {
    Page {
        actions: vec![Action::Hangup],
        then: Then::End,
        next_url: String::new(),
    }
}
