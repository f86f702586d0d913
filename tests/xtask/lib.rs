//! The services of a test machine: found or installed, started, and ended with the run. `cargo xtask` starts them for
//! the suites; the chaos harness of the tests starts, kills and restarts its own.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a developer's tool: it reads the environment, waits in real time and talks to a terminal"
)]

mod debian;
pub mod keeper;
mod mongo_wire;
pub mod mongod;
pub mod process;
pub mod programs;
pub mod rabbitmq;
