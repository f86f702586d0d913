//! Carriers: one folder for each vendor, behind the engine's `Carrier` port.
//!
//! What they share is here: how an HTTP client may be built ([`client`]), how much of an answer is
//! read, and what may be repeated of what a carrier said ([`scrub`]).

mod client;
mod scrub;
mod secret;
pub mod twilio;

pub use secret::Secret;
