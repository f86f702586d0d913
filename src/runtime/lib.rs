//! What a process needs besides its work: telemetry, metrics, an orderly stop, supervised tasks,
//! retries at the edges, the real clock.
//!
//! Knows nothing of calls, stores or brokers, and depends on none of our crates. Nothing here is
//! global except what the operating system or `tracing` makes so.
#![warn(missing_docs)]

pub mod clock;
pub mod metrics;
pub mod retry;
pub mod service;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
