//! Who writes recordings down.

pub mod google;
