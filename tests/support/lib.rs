//! What the tests share: sample documents, clocks, schemas, the simulated world, and real fleets with real faults.

pub mod chaos;
pub mod clock;
pub mod cloud;
pub mod fleet;
pub mod mongo;
pub mod proxy;
pub mod sample;
pub mod schemas;
pub mod sim;
pub mod wait;
