//! The program as its users run it: several processes, real services, a simulated telephone network
//! that judges.

mod carriers;
mod chaos;
mod demonstration;
mod embedded;
mod fleet;
mod on_the_call;
mod recordings;
mod sanspbx;
mod shutdown;
