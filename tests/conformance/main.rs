//! One behaviour for every store and every queue, embedded or not: a double is legal only if it
//! passes what the real one passes.
#![allow(
    clippy::unwrap_used,
    reason = "the whole file is tests: a panic is a failed check"
)]

mod amqp;
mod carrier;
mod durability;
mod local;
mod mongo;
mod queue;
mod sqlite;
mod store;
