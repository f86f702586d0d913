//! Carriers: one folder for each vendor, behind the engine's `Carrier` port.
//!
//! What they share is here: how an HTTP client may be built ([`client`]), how the request that rings
//! a telephone leaves at most once ([`once`]), how a recording is fetched ([`media`]), how much of an answer is read, what may be repeated of
//! what a carrier said ([`scrub`]), and from where a callback came that nobody signed ([`source`]).

mod client;
mod media;
mod once;
#[cfg(test)]
pub(crate) mod published;
pub mod sanspbx;
mod scrub;
mod secret;
mod source;
pub mod telnyx;
#[cfg(test)]
pub(crate) mod test_server;
pub mod twilio;

pub use secret::Secret;
