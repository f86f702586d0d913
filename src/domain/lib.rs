//! The rules of Dialfleet, pure: no async, no I/O, no clock, no randomness, no logging. `now` and
//! random draws are arguments. Everything here can be read, tested and simulated by itself.
//!
//! The types are also the stored documents, in both stores: one shape, one place. What travels on
//! queues and over HTTP has types of its own.
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

pub mod amd;
pub mod breaker;
pub mod budget;
pub mod call;
pub mod caller_id;
pub mod campaign;
pub mod flow;
pub mod gate;
pub mod id;
pub mod import;
pub mod lead;
pub mod money;
pub mod phone;
pub mod quality;
pub mod rates;
pub mod retry;
pub mod routing;
pub mod schedule;
pub mod tariff;
pub mod time;
