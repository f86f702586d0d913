//! What the tests share: sample documents, clocks, schemas, the simulated world.

pub mod clock;
pub mod fleet;
pub mod mongo;
pub mod sample;
pub mod schemas;
pub mod sim;
pub mod wait;
