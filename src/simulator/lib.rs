//! A simulated telephone network, for development and tests.
//!
//! [`Network`] is the core: every callee has a [`Script`], every call a timetable, and a [`Ledger`]
//! counts rings per person and live calls per campaign. It knows nothing of Dialfleet's types and
//! reads nothing of its database, so that tests can believe it rather than the program under test.
//! It has no clock, no transport and no tasks: it can be driven by [`Simulator`] over HTTP, or
//! called inline in virtual time.
//!
//! In front of it stands [`twilio`], the REST interface and signed callbacks of Twilio
//! Programmable Voice as far as a dialer uses them, with [`Faults`] that can be switched on while
//! it runs. Deliberately absent: media, and fetching the call's `Url` (nothing of a call flow is
//! executed; a call lasts as long as its script says, or until it is hung up).
#![warn(missing_docs)]

mod clock;
mod control;
mod dice;
mod fuse;
mod serve;
#[cfg(test)]
mod tests;

pub mod faults;
pub mod ledger;
pub mod network;
pub mod script;
pub mod timetable;
pub mod twilio;

pub use faults::Faults;
pub use ledger::{Ledger, Violation};
pub use network::{CallView, Dial, HangUp, Network, Placed, Refused, Step};
pub use script::{Population, Script, Weights};
pub use serve::{Simulator, SimulatorConfig, StartError};
pub use timetable::{Amd, CallStatus, NetEvent, Party};
