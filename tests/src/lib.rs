//! What the tests of magi stand on: models that llama-server loads in milliseconds, a llama-server
//! that fails on command, and a harness that runs the real magid.
//!
//! * [`model`] writes a tiny GGUF that says its own name for ever.
//! * [`faulty`] is the llama-server that fails on command, built as `faulty-llama-server`.

pub mod faulty;
pub mod model;

pub use model::tiny_model;
