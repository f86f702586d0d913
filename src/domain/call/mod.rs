//! A call attempt: what we intended, what the carrier said, and what follows.
//!
//! * [`state`]: the six states and their order.
//! * [`event`]: everything that can happen to an attempt, carrier-neutral.
//! * [`machine`]: the table of state × event, and [`Attempt::apply`], which fills in the fields.
//! * [`outcome`]: the canonical result and what each one means for budgets and retries.
//! * [`cost`]: what it costs, expected and actual.
//! * [`talk`]: what is heard on an answered call, and how it moves the flow.
//! * [`attempt`]: the document. A live attempt *is* the slot and the lock on the phone number.

pub mod attempt;
pub mod cost;
pub mod event;
pub mod machine;
pub mod outcome;
mod record;
pub mod state;
pub mod talk;

pub use attempt::{Attempt, Channel, Leg, LegState, Todo};
pub use event::{CallEvent, Refusal, RefusalClass};
pub use machine::Verdict;
pub use outcome::{Ending, Outcome, Party};
pub use state::CallState;
pub use talk::{Detected, Suspicion};

#[cfg(test)]
mod tests;
