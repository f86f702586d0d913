//! What the engine needs from the world, as traits. Every method that writes is batch-shaped: a
//! caller hands over whatever is ready, and an adapter pays one round trip for all of it.

pub mod board;
pub mod carrier;
pub mod clock;
pub mod queue;
pub mod spool;
pub mod store;

pub use carrier::Carrier;
pub use clock::{Clock, Entropy};
pub use queue::Queue;
pub use store::Store;
