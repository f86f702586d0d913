//! What an answered call does: its flow is given inputs, and whoever carries the call is told, or
//! asked back, what follows. One way for both dialects:
//!
//! * a carrier that asks for documents: [`crate::converse`] gives the flow its input, and answers;
//! * a carrier that is told one thing at a time: [`step_ended`] writes down the input as a command,
//!   [`hear`] gives it to the flow, [`perform`] tells the carrier what follows;
//! * what nobody asked for ([`judge`]: a machine answered) goes by [`perform`] to either.
//!
//! Every change is a compare-and-set of the attempt together with the commands that follow from it,
//! so a dead process's call goes on in another one.

use std::collections::BTreeMap;

use dialfleet_domain::amd::Sentence;
use dialfleet_domain::call::{Attempt, CallState, Party, Verdict};
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::flow::{Action, Flow, Grain, Input, Program, Script, Then, Turn};
use dialfleet_domain::id::{CarrierCallId, CarrierId};
use dialfleet_domain::lead::Lead;
use dialfleet_domain::time::Timestamp;

use crate::do_not_call;
use crate::fleet::Fleet;
use crate::mutant::{Part, lacks};
use crate::port::carrier::{CallStatus, CarrierError, CommandStyle, Page, StepRequest};
use crate::port::store::Answer;

/// A campaign's flow, ready for one person's call.
pub(crate) struct Talk {
    pub(crate) script: Script,
    pub(crate) campaign: Campaign,
}

/// Reads what the call's flow needs. `None`: its campaign or its lead is gone.
pub(crate) async fn prepare(fleet: &Fleet, attempt: &Attempt) -> Answer<Option<Talk>> {
    let (campaign, leads) = futures_util::future::try_join(
        fleet.campaign(&attempt.campaign),
        fleet.store.leads(std::slice::from_ref(&attempt.lead)),
    )
    .await?;
    let (Some(campaign), Some(lead)) = (campaign, leads.into_iter().next().flatten()) else {
        return Ok(None);
    };
    let grain = if is_commanded(fleet, attempt) {
        Grain::Command
    } else {
        Grain::Document
    };
    let script = script(&campaign.flow, &lead, grain);
    Ok(Some(Talk { script, campaign }))
}

/// A flow, ready for this lead.
pub(crate) fn script(flow: &Flow, lead: &Lead, grain: Grain) -> Script {
    Script::new(Program::of(flow), &lead.vars, &lead.phone, grain)
}

/// Whether the carrier of the current leg waits to be told what to do after the answer.
fn is_commanded(fleet: &Fleet, attempt: &Attempt) -> bool {
    let carrier = attempt.current_leg().map(|(_, leg)| &leg.carrier);
    carrier
        .and_then(|id| fleet.carriers.get(id))
        .is_some_and(|c| c.profile().capabilities.commands == CommandStyle::Commands)
}

/// What follows an event of the state machine for what is heard on the call.
pub(crate) fn follow(
    fleet: &Fleet,
    attempt: &mut Attempt,
    (call_id, status): (&CarrierCallId, CallStatus),
    verdict: Verdict,
    now: Timestamp,
) -> Verdict {
    let mut noted = Verdict::Ignore;
    match status {
        CallStatus::Answered if verdict == Verdict::Go(CallState::Answered) => {
            let profile = attempt
                .current_leg()
                .and_then(|(_, leg)| fleet.carriers.get(&leg.carrier))
                .map(|carrier| carrier.profile());
            let rings = profile.is_some_and(|profile| profile.capabilities.ringing_event);
            attempt.suspect(rings, fleet.settings.speed);
            if is_commanded(fleet, attempt) {
                noted = attempt.will_hear(call_id, 0, Input::Done, now);
            }
            // It was detected before anybody said that it was answered.
            if attempt.party.is_some() {
                attempt.detect(attempt.detected, true, now);
            }
        }
        // Told late that it rang.
        CallStatus::Ringing if verdict == Verdict::Note => {
            attempt.suspect(true, fleet.settings.speed);
        }
        CallStatus::Party { detected, .. } if attempt.is_of(call_id) => {
            noted = attempt.detect(detected, verdict == Verdict::Note, now);
        }
        CallStatus::Initiated
        | CallStatus::Cost { .. }
        | CallStatus::Ringing
        | CallStatus::Answered
        | CallStatus::Party { .. }
        | CallStatus::StepEnded { .. }
        | CallStatus::OptedOut
        | CallStatus::Ended { .. } => {}
    }
    match verdict {
        Verdict::Ignore => noted,
        Verdict::Go(_) | Verdict::Note | Verdict::Zombie => verdict,
    }
}

/// What does not move the call, but its flow.
pub(crate) fn step_ended(
    attempt: &mut Attempt,
    call_id: &CarrierCallId,
    status: CallStatus,
    now: Timestamp,
) -> Verdict {
    match status {
        CallStatus::StepEnded { step, input } => {
            attempt.will_hear(call_id, step.saturating_add(1), input, now)
        }
        CallStatus::OptedOut => attempt.wish_no_more(now),
        CallStatus::Cost { money } => attempt.priced(call_id, (money, true), now),
        CallStatus::Initiated
        | CallStatus::Ringing
        | CallStatus::Answered
        | CallStatus::Party { .. }
        | CallStatus::Ended { .. } => Verdict::Ignore,
    }
}

/// Gives the flow of a call that is told what to do its input.
pub(crate) async fn hear(
    fleet: &Fleet,
    attempt: &Attempt,
    call_id: &CarrierCallId,
    (turn, input): (u32, Input),
) -> Answer<bool> {
    let talking = attempt.is_talking_on(call_id);
    if turn < attempt.turn() || !talking && !input.has_keys() {
        return Ok(true);
    }
    if !talking {
        hear_late(fleet, attempt, (turn, input)).await?;
        return Ok(true);
    }
    let Some(talk) = prepare(fleet, attempt).await? else {
        return Ok(true);
    };
    take(fleet, attempt, &talk.script, (turn, input)).await?;
    Ok(true)
}

/// Hears what was pressed on a call that is over, or being ended. Returns the attempt as it is now.
pub(crate) async fn hear_late(
    fleet: &Fleet,
    attempt: &Attempt,
    (turn, input): (u32, Input),
) -> Answer<Option<Attempt>> {
    let Some(talk) = prepare(fleet, attempt).await? else {
        return Ok(None);
    };
    let now = fleet.clock.now();
    let change = |a: &mut Attempt| a.hear_late(&talk.script, turn, input, now);
    let heard = fleet.amend(attempt.clone(), change).await?;
    Ok(heard.map(|(attempt, _)| attempt))
}

/// Gives the flow an input that no question of the carrier brought.
async fn take(
    fleet: &Fleet,
    attempt: &Attempt,
    script: &Script,
    (turn, input): (u32, Input),
) -> Answer<()> {
    let now = fleet.clock.now();
    let change = |a: &mut Attempt| a.hear(script, turn, input, true, now).0;
    fleet.amend(attempt.clone(), change).await?;
    Ok(())
}

/// Tells the carrier what follows input number `step`. What it does not take is tried again while the
/// call lasts.
pub(crate) async fn perform(
    fleet: &Fleet,
    attempt: &Attempt,
    (carrier, call_id): (&CarrierId, &CarrierCallId),
    step: u32,
) -> Answer<bool> {
    let leg = attempt
        .current_leg()
        .filter(|_| attempt.is_talking_on(call_id));
    // Overtaken by another input, it would be told what is no longer so.
    let Some((leg, current)) = leg.filter(|_| attempt.turn() == step.saturating_add(1)) else {
        return Ok(true);
    };
    let Some(port) = fleet.carriers.get(carrier) else {
        tracing::error!(%carrier, call = %call_id, "cannot go on with a call: this process does not know the carrier");
        return Ok(false);
    };
    let Some(talk) = prepare(fleet, attempt).await? else {
        return Ok(true);
    };
    let session = attempt.session.as_deref();
    let Some((session, turn)) = session.and_then(|s| Some((s, s.again(&talk.script)?))) else {
        return Ok(true);
    };
    let request = StepRequest {
        attempt: attempt.id.clone(),
        leg,
        call_id: call_id.clone(),
        to: attempt.phone.clone(),
        from: current.from.clone(),
        step,
        page: page(fleet, attempt, leg, turn, &talk.campaign.flow),
        interrupts: session.interrupts(),
        again_url: flow_url(
            fleet,
            attempt,
            (carrier, leg),
            step,
            (talk.campaign.flow.language.as_deref(), &[]),
        ),
        callback_url: {
            let (base, kind) = (&fleet.settings.public_url, port.profile().kind);
            let keys = &fleet.keys;
            keys.callback_url(base, kind, carrier, &attempt.id, leg)
        },
    };
    match port.perform(&request).await {
        Ok(())
        | Err(CarrierError::AlreadyEnded | CarrierError::NotFound | CarrierError::Unsupported) => {
            Ok(true)
        }
        Err(error @ (CarrierError::Unauthorized(_) | CarrierError::Unavailable(_))) => {
            tracing::error!(%error, %carrier, call = %call_id, step, "a step of a call could not be commanded; trying again");
            Ok(false)
        }
    }
}

/// A turn as a page of its call.
pub(crate) fn page(fleet: &Fleet, attempt: &Attempt, leg: u8, turn: Turn, flow: &Flow) -> Page {
    if let Some(why) = &turn.failed {
        fleet.metrics.flow("failed");
        tracing::error!(attempt = %attempt.id, %why, "a flow failed on the phone: apologising, and hanging up");
    }
    let carrier = attempt.legs.get(usize::from(leg)).map(|leg| &leg.carrier);
    let mut actions = turn.actions;
    for action in &mut actions {
        if let Action::Stream { params, .. } = action {
            sign(fleet, attempt, params);
        }
    }
    let mut opt_out: Vec<char> = Vec::new();
    for action in &actions {
        if let Action::Gather { opt_out: keys, .. } = action {
            opt_out.extend(keys);
        }
    }
    let next_url = carrier.map_or_else(String::new, |carrier| {
        let language = flow.language.as_deref();
        flow_url(
            fleet,
            attempt,
            (carrier, leg),
            attempt.turn(),
            (language, &opt_out),
        )
    });
    Page {
        actions,
        then: turn.then,
        next_url,
    }
}

/// Where a carrier asks for what follows input number `turn` and the ones before it. The language and
/// the keys that mean an opt-out are in it for the case that nothing can be read then.
pub(crate) fn flow_url(
    fleet: &Fleet,
    attempt: &Attempt,
    (carrier, leg): (&CarrierId, u8),
    turn: u32,
    (language, opt_out): (Option<&str>, &[char]),
) -> String {
    let kind = fleet.carriers.get(carrier).map_or("", |c| c.profile().kind);
    let base = &fleet.settings.public_url;
    let mut url = fleet
        .keys
        .callback_url(base, kind, carrier, &attempt.id, leg);
    url.push_str("/flow?t=");
    url.push_str(&turn.to_string());
    if let Some(language) = language {
        url.push_str("&l=");
        url.push_str(language);
    }
    if !opt_out.is_empty() {
        url.push_str("&o=");
        for key in opt_out {
            // The only one of them that ends a query.
            url.push_str(&if *key == '#' {
                "%23".to_owned()
            } else {
                key.to_string()
            });
        }
    }
    url
}

/// Says to an agent's program whose call it is, so that it can believe it.
fn sign(fleet: &Fleet, attempt: &Attempt, params: &mut BTreeMap<String, String>) {
    params.insert("call".to_owned(), attempt.id.as_str().to_owned());
    let until = attempt.hard_end;
    let token = fleet.keys.stream_token(&attempt.id, until);
    params.insert("token".to_owned(), token);
}

/// Somebody or something was detected: does what the campaign says about that.
pub(crate) async fn judge(fleet: &Fleet, attempt: &Attempt) -> Answer<bool> {
    let Some(party) = attempt
        .party
        .filter(|_| attempt.state == CallState::Answered)
    else {
        return Ok(true);
    };
    let Some(talk) = prepare(fleet, attempt).await? else {
        return Ok(true);
    };
    let program = &talk.script.program;
    let session = attempt.session.as_deref();
    match talk.campaign.amd.judge(&talk.campaign.flow, party) {
        Sentence::GoOn => {
            let astray = session.is_some_and(|s| s.leaves_message(program) && !s.message_left);
            if party == Party::Human && astray {
                fleet.metrics.flow("human_after_all");
                let turn = attempt.turn();
                take(fleet, attempt, &talk.script, (turn, Input::Human)).await?;
            }
        }
        Sentence::HangUp => {
            fleet.metrics.flow("machine_hung_up");
            let now = fleet.clock.now();
            fleet.amend(attempt.clone(), |a| a.ask_hang_up(now)).await?;
        }
        Sentence::LeaveMessage => {
            let greeting_over = attempt.detected.is_some_and(|d| d.greeting_is_over());
            if session.is_none_or(|s| s.hears_machine(program, greeting_over)) {
                let input = Input::Machine { greeting_over };
                take(fleet, attempt, &talk.script, (attempt.turn(), input)).await?;
            }
        }
    }
    Ok(true)
}

/// What a question's input is to the flow: who answered may matter more. `None`: the call is to end.
pub(crate) fn input_of(attempt: &Attempt, talk: &Talk, input: Input) -> Option<Input> {
    let Some(party) = attempt.party else {
        return Some(input);
    };
    match talk.campaign.amd.judge(&talk.campaign.flow, party) {
        Sentence::GoOn => Some(input),
        Sentence::HangUp => None,
        Sentence::LeaveMessage => {
            let greeting_over = attempt.detected.is_some_and(|d| d.greeting_is_over());
            let session = attempt.session.as_deref();
            let news = session.is_none_or(|s| s.hears_machine(&talk.script.program, greeting_over));
            Some(if news {
                Input::Machine { greeting_over }
            } else {
                input
            })
        }
    }
}

/// Writes the person's wish down, then ends what else rings for them, then tells the flow.
pub(crate) async fn opt_out(fleet: &Fleet, attempt: &Attempt) -> Answer<bool> {
    if !lacks(Part::OptOut) {
        do_not_call::opt_out(fleet, attempt).await?;
    }
    fleet.metrics.flow("opted_out");
    let waits = attempt.session.as_deref();
    let waits = waits.is_some_and(dialfleet_domain::flow::Session::awaits_opt_out);
    if waits && let Some(talk) = prepare(fleet, attempt).await? {
        let now = fleet.clock.now();
        let by_command = talk.script.grain == Grain::Command;
        let change = |a: &mut Attempt| {
            let awaited = a.session.as_deref().is_some_and(|s| s.awaits_opt_out());
            if !awaited {
                return Verdict::Ignore;
            }
            let written = Input::OptedOut { written: true };
            a.hear(&talk.script, a.turn(), written, by_command, now).0
        };
        fleet.amend(attempt.clone(), change).await?;
    }
    Ok(true)
}

/// What is known of a call before it begins: everything it will do, if nothing must be heard of it.
pub(crate) fn opening(campaign: &Campaign, lead: &Lead) -> Option<Vec<Action>> {
    let script = script(&campaign.flow, lead, Grain::Document);
    // With detection before the flow, who answered decides what is said.
    let asks = campaign.amd.mode == dialfleet_domain::amd::AmdMode::Sync;
    if asks || !script.program.is_straight() {
        return None;
    }
    let turn = dialfleet_domain::flow::Session::default().take(&script, Input::Done, None);
    (turn.failed.is_none() && turn.then == Then::End).then_some(turn.actions)
}
