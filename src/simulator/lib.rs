//! A simulated telephone network, for development and tests.
//!
//! [`Network`] is the core: every callee has a [`Script`], every call a timetable, and a [`Ledger`]
//! counts rings per person and live calls per campaign. It knows nothing of Dialfleet's types and
//! reads nothing of its database, so that tests can believe it rather than the program under test.
//! It has no clock, no transport and no tasks: it can be driven by [`Simulator`] over HTTP, or
//! called inline in virtual time.
//!
//! In front of it stand the carriers, [`twilio`], [`telnyx`] and [`sanspbx`]: their interfaces and
//! callbacks as far as a dialer uses them, with [`Faults`] that can be switched on while it runs.
//! Any number of accounts share the one network. Once somebody answers, a [`Person`] is on the line:
//! documents and commands are executed in network time, and the network keeps what was [`Heard`].
//! Deliberately absent: audio (a text takes as long as it has characters), and WebSockets.
#![warn(missing_docs)]

mod clock;
mod control;
mod courier;
mod dice;
mod fuse;
mod media;
mod office;
mod pace;
mod serve;
mod takes;
#[cfg(test)]
mod tests;
mod whose;
mod xml;

pub mod faults;
pub mod heard;
pub mod ledger;
pub mod network;
pub mod person;
pub mod sanspbx;
pub mod script;
pub mod telnyx;
pub mod timetable;
pub mod twilio;

pub use faults::Faults;
pub use heard::{By, Heard, Sound};
pub use ledger::{CarrierCount, Ledger, Violation};
pub use network::{CallView, Dial, HangUp, Network, Placed, Refused, Search, Step};
pub use person::{After, Person, Who};
pub use sanspbx::SansPbxAccount;
pub use script::{Population, Script, Weights};
pub use serve::{Account, Simulator, SimulatorConfig, StartError};
pub use telnyx::TelnyxAccount;
pub use timetable::{Amd, CallStatus, NetEvent, Party};
pub use twilio::TwilioAccount;
