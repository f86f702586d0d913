//! The commands that follow a state change. They are stored with it, executed at once by whoever
//! wrote it, and rerun by the sweeper when that process died. Each may run twice without harm.

use std::time::Duration;

use dialfleet_domain::call::{Attempt, CallState, Todo, Verdict};
use dialfleet_domain::id::{AttemptId, LeadId};
use dialfleet_domain::lead::LeadState;
use dialfleet_domain::time::Timestamp;
use futures_util::future::BoxFuture;

use crate::fleet::Fleet;
use crate::message::FillSlot;
use crate::port::carrier::CarrierError;
use crate::port::store::{Answer, Cas, SaveAttempt};
use crate::record;
use crate::routes::channels::{self, Taken};
use crate::talk;

/// Tries to take a slot back before the command is put off.
const SLOT_TRIES: usize = 5;
/// When a command that failed is tried again.
const AGAIN: Duration = Duration::from_secs(3);

/// Executes an attempt's commands and removes those that are done, and those that come of it too. What
/// fails stays for the sweeper. `freed_at`: when the event that freed the slot was received.
pub async fn execute(fleet: &Fleet, mut attempt: Attempt, freed_at: Option<Timestamp>) {
    let mut tried: Vec<Todo> = Vec::new();
    loop {
        let new = attempt.todo.iter().filter(|todo| !tried.contains(todo));
        let new: Vec<Todo> = new.cloned().collect();
        if new.is_empty() {
            return;
        }
        let mut done = Vec::with_capacity(new.len());
        for todo in &new {
            match run(fleet, &attempt, todo, freed_at).await {
                Ok(true) => done.push(todo.clone()),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, attempt = %attempt.id, ?todo, "a command will be tried again");
                    // One document that cannot be read is no reason for the others to wait.
                    if !error.is_corrupt() {
                        break;
                    }
                }
            }
        }
        tried.extend(new);
        // What failed is put off, or commands that cannot be executed now would keep the sweeper from
        // those that can.
        let again = fleet.clock.now() + AGAIN;
        match fleet.amend(attempt, |a| a.finish(&done, again)).await {
            Ok(Some((after, _))) => attempt = after,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "executed commands could not be removed; they will run again");
                return;
            }
        }
    }
}

/// Executes one command. `false`: not now, keep it.
async fn run(
    fleet: &Fleet,
    attempt: &Attempt,
    todo: &Todo,
    freed_at: Option<Timestamp>,
) -> Answer<bool> {
    match todo {
        Todo::ProjectLead => {
            project(fleet, attempt).await?;
            fleet.routes.ended(fleet, attempt);
            Ok(true)
        }
        Todo::HandOff { slot } => {
            if let Some((_, leg)) = attempt.current_leg() {
                channels::free(fleet, leg);
            }
            let fill = FillSlot {
                campaign: attempt.campaign.clone(),
                slot: *slot,
                generation: attempt.campaign_gen,
                freed_at,
            };
            fleet.hand_off(fill).await;
            Ok(true)
        }
        Todo::TakeBack => take_back(fleet, attempt).await,
        Todo::Perform {
            carrier,
            call_id,
            step,
        } => talk::perform(fleet, attempt, (carrier, call_id), *step).await,
        Todo::Hear {
            call_id,
            turn,
            input,
        } => talk::hear(fleet, attempt, call_id, (*turn, *input)).await,
        Todo::Judge => talk::judge(fleet, attempt).await,
        Todo::OptOut => talk::opt_out(fleet, attempt).await,
        Todo::Record {
            carrier,
            call_id,
            act,
        } => record::command(fleet, attempt, (carrier, call_id), *act).await,
        Todo::HangUp { carrier, call_id } => {
            let Some(port) = fleet.carriers.get(carrier) else {
                tracing::error!(%carrier, call = %call_id, "cannot hang up: this process does not know the carrier");
                return Ok(false);
            };
            match port.hang_up(call_id).await {
                Ok(())
                | Err(
                    CarrierError::AlreadyEnded | CarrierError::NotFound | CarrierError::Unsupported,
                ) => Ok(true),
                Err(error @ (CarrierError::Unauthorized(_) | CarrierError::Unavailable(_))) => {
                    tracing::error!(%error, %carrier, call = %call_id, "a call could not be hung up; trying again");
                    Ok(false)
                }
            }
        }
    }
}

/// A call that was proven absent is there: takes a slot that is free, or else ends it, unless somebody
/// has answered. A person on the line is worth more than the limit.
async fn take_back(fleet: &Fleet, attempt: &Attempt) -> Answer<bool> {
    fleet.metrics.violation("absence_disproved");
    tracing::error!(attempt = %attempt.id, state = attempt.state.name(), "a call that was proven absent lives");
    for _ in 0..SLOT_TRIES {
        let Some(fresh) = fleet.attempt(&attempt.id).await? else {
            return Ok(true);
        };
        if !fresh.is_live() || fresh.slot.is_some() {
            return Ok(true);
        }
        let taken = fleet.store.taken_slots(&fresh.campaign).await?;
        let limit = fleet
            .campaign(&fresh.campaign)
            .await?
            .map_or(0, |c| c.slots());
        let now = fleet.clock.now();
        let channel = match fresh.current_leg() {
            Some((_, leg)) => {
                let draw = fleet.entropy.draw();
                fleet.routes.channels.try_take(&leg.carrier, draw)
            }
            None => Taken::Uncounted,
        };
        let free = (0..limit).find(|slot| !taken.contains(slot));
        let Some(slot) = free.filter(|_| channel != Taken::Full) else {
            give_back(fleet, &channel);
            fleet.metrics.violation("over_limit");
            if fresh.state == CallState::Answered {
                tracing::error!(attempt = %fresh.id, "it is answered and goes on above its campaign's limit");
            } else {
                tracing::error!(attempt = %fresh.id, "its campaign's limit is reached: hanging up");
                fleet.amend(fresh, |a| a.ask_hang_up(now)).await?;
            }
            return Ok(true);
        };
        let (mut with_slot, expected) = (fresh.clone(), fresh.version);
        let number = match &channel {
            Taken::Got(channel) => Some(channel.number),
            Taken::Uncounted | Taken::Full => None,
        };
        with_slot.take_slot(slot, number, now);
        let save = SaveAttempt {
            attempt: with_slot,
            expected,
        };
        let saved = fleet.store.save_attempts(&[save]).await;
        // What is remembered of channels is read again by itself.
        give_back(fleet, &channel);
        if saved?.first() == Some(&Cas::Won) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn give_back(fleet: &Fleet, channel: &Taken) {
    match channel {
        Taken::Got(channel) => fleet.routes.channels.give_back(channel),
        Taken::Uncounted | Taken::Full => {}
    }
}

/// Carries an ended attempt's outcome over to its lead, and those of earlier attempts that nobody
/// carried over.
async fn project(fleet: &Fleet, attempt: &Attempt) -> Answer<()> {
    for _ in 0..100 {
        let Some(lead) = fleet
            .store
            .leads(std::slice::from_ref(&attempt.lead))
            .await?
            .pop()
            .flatten()
        else {
            tracing::error!(attempt = %attempt.id, "an attempt without its lead");
            return Ok(());
        };
        if lead.n >= attempt.n || lead.state.is_final() {
            return Ok(());
        }
        let earlier;
        let next = if lead.n + 1 == attempt.n {
            attempt
        } else {
            match fleet.attempt(&AttemptId::new(&lead.id, lead.n + 1)).await? {
                Some(found) => {
                    earlier = found;
                    &earlier
                }
                None => {
                    tracing::error!(attempt = %attempt.id, lead.n, "the attempts before this one are missing");
                    fleet.metrics.violation("attempt_gap");
                    return Ok(());
                }
            }
        };
        let Some(campaign) = fleet.campaign(&attempt.campaign).await? else {
            return Ok(());
        };
        let now = fleet.clock.now();
        let Some(projection) = lead.project(next, &campaign.retry, now, fleet.settings.speed)
        else {
            return Ok(());
        };
        if fleet
            .store
            .project_leads(std::slice::from_ref(&projection))
            .await?
            .first()
            == Some(&Cas::Won)
        {
            fleet.metrics.call_ended(projection.outcome.name());
            let next = fleet.store.next_due(&campaign.id).await?;
            let due = match projection.state {
                // Whoever takes the lead before it looks again after that one; a campaign with plenty of
                // leads would be planned for each of its retries otherwise.
                LeadState::Ready if next.is_some_and(|next| next < projection.due_at) => None,
                LeadState::Ready => Some(projection.due_at),
                // The last one to finish lets the campaign finish.
                _ if next.is_none() => Some(now),
                LeadState::Claimed | LeadState::Done | LeadState::Suppressed => None,
            };
            if let Some(due) = due {
                fleet.store.wake(&[(campaign.id, due)]).await?;
            }
        }
    }
    Ok(())
}

/// Brings a lead up to date with its newest attempt (U1 said that there is one we did not know).
pub(crate) async fn catch_up(fleet: &Fleet, lead: &LeadId) -> Answer<()> {
    match fleet.store.newest_attempt(lead).await? {
        Some(attempt) if attempt.outcome.is_some() => project(fleet, &attempt).await,
        // A live one: its own end will carry it over; the claim is released by the sweeper.
        Some(_) | None => Ok(()),
    }
}

/// Asks for an attempt's call to be ended, durably, and tries at once.
pub(crate) fn hang_up(fleet: &Fleet, attempt: Attempt) -> BoxFuture<'_, Answer<()>> {
    // Boxed: an opt-out is a command itself, and ends other calls.
    Box::pin(async move {
        let now = fleet.clock.now();
        let asked = fleet.amend(attempt, |a| a.ask_hang_up(now)).await?;
        if let Some((attempt, Verdict::Note)) = asked {
            execute(fleet, attempt, None).await;
        }
        Ok(())
    })
}
