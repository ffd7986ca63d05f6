//! What the tests of magi stand on: models that llama-server loads in milliseconds, a llama-server
//! that fails on command, and a harness that runs the real magid.
//!
//! * [`model`] writes a tiny GGUF that says its own name for ever.
//! * [`faulty`] is the llama-server that fails on command, built as `faulty-llama-server`.
//! * [`page`] takes the commands out of a page of documentation.
//! * [`harness`] runs magid and waits for what it does.
//! * [`container`] runs the package under a systemd of its own.

pub mod container;
pub mod faulty;
mod gguf;
pub mod harness;
pub mod model;
pub mod page;

pub use model::tiny_model;

/// Tells a figure that a test measured, in the form of `println!`. It begins with the promise that it is
/// about, as in `R1: …`.
#[macro_export]
macro_rules! figure {
    ($($text:tt)*) => { $crate::harness::tell_figure(&format!($($text)*)) };
}
