//! The program as its users run it: several processes, real services, a simulated telephone network
//! that judges.

mod demonstration;
mod fleet;
