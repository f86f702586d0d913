//! Tests against real services: the broker and the store, beyond the conformance suites.
#![allow(
    clippy::unwrap_used,
    reason = "the whole file is tests: a panic is a failed check"
)]

mod amqp;
mod flow;
mod http;
mod mongo;
mod repair;
mod rivals;
mod telnyx;
