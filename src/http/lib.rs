//! The HTTP side of a process: the REST API under `/v1`, the carriers' webhooks, and what operators
//! probe. Thin on purpose: a request is parsed, one use case of the engine is called, and its answer
//! is shown as a view type of ours, never as a stored document.
//!
//! Conventions of `/v1`:
//! * JSON in snake case; times in RFC 3339, UTC; every field of a view is always present, and `null`
//!   when there is nothing to say.
//! * An unknown field or query parameter in a request is an error, so that a misspelt option is
//!   never silently ignored.
//! * Lists are `{"data": [...], "next_cursor": ...}`; `?limit=` is 1 to 200 (50 by default) and
//!   `?cursor=` the opaque `next_cursor` of the page before.
//! * Errors are RFC 9457 `application/problem+json`: `type`, `title`, `status`, `detail`, a stable
//!   `code`, the `request_id`, and `errors` (`pointer`, `code`, `detail`) when single fields are at
//!   fault.
//! * Every response has a `Request-Id`; a client may send its own.
//!
//! Deliberately absent: any reading of the environment (the caller passes [`ApiState`]), any rule
//! about calls (engine and domain), TLS (whatever stands in front of us ends it).
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

mod api;
mod auth;
mod error;
mod extract;
mod health;
mod range;
mod router;
mod serve;
mod state;
mod status;
mod view;
mod webhook;

pub use auth::ApiKey;
pub use health::Readiness;
pub use router::{ops_router, router};
pub use serve::{serve, serve_router};
pub use state::ApiState;
