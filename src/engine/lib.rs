//! The engine: ports to the world and the use cases between them, one verb a file.
//!
//! Read [`fill_slot`] first: it is the dial protocol. Then [`apply_events`] (what the carriers say),
//! [`plan`] (when to look at a campaign) and [`sweep`] (repair).
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

pub mod apply_events;
pub mod audit;
pub(crate) mod budget;
pub mod compare;
pub mod converse;
pub mod create;
pub mod dialer;
pub mod do_not_call;
pub mod fill_slot;
pub mod fleet;
pub mod import;
pub mod ingest;
pub mod intake;
pub mod media;
pub mod message;
pub mod mutant;
pub mod opt_out;
pub mod order;
pub mod pace;
pub mod plan;
pub mod port;
mod preflight;
pub mod receive;
pub mod record;
pub mod ring;
pub mod role;
pub mod routes;
pub mod sweep;
mod talk;
pub mod time;
pub mod todo;
pub mod token;

pub use fleet::{Fleet, Settings};
pub use role::Role;
