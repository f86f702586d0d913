//! The outside world behind the engine's ports: stores, queues, carriers, clocks. The only crate
//! that names vendors; it translates and decides nothing.
#![warn(missing_docs)]

pub mod amqp;
pub mod carrier;
pub mod local;
pub mod media;
pub mod mongo;
mod page;
pub mod speech;
pub mod sqlite;
pub mod system;
mod unreadable;
