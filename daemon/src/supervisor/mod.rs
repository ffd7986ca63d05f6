//! The shell around the lifecycle: tasks that own the fleet.
//!
//! * [`fleet`]: one task. Owns which servers there are, what they are defined as, and which of them an
//!   operator stopped. Takes commands and configurations; passes each on to the server's task without
//!   ever waiting for one. Feeds the watchdog.
//! * [`server`]: one task for each server. Owns the state of its lifecycle and its incarnation. Its
//!   effects (spawning, probing, draining, killing) run beside it and report back, so it always
//!   answers.
//! * [`ports`]: one task. Owns which server has which port.
//! * [`room`]: one task. Has idle servers stopped to make room for those that are asked for.
//! * [`stopped`]: one task. Owns the file that remembers which servers an operator stopped.
//! * [`former`]: one task. Owns the file that remembers which gateways are attached.
//!
//! [`board`] and [`events`] are where these publish; readers never hold them up. [`gateways`] is where
//! they ask gateways to let go of what they end.

pub mod board;
pub mod clock;
pub mod context;
pub mod events;
pub mod fleet;
pub mod former;
pub mod gateways;
pub mod key;
pub mod ports;
pub mod record;
pub mod room;
pub mod seat;
pub mod server;
pub mod stopped;
