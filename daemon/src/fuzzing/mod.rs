//! What must hold whatever is read: one function for each kind of input that magid does not make
//! itself.
//!
//! Each takes any bytes and panics if a promise is broken. `fuzz/` has libFuzzer make them up
//! (`cargo xtask fuzz`); the tests make up a bounded number of them from the same seeds and words. An
//! input that breaks a promise becomes a seed in `fuzz/corpus/`, and so a test.

mod configuration;
mod models;
mod output;
mod state;
mod system;
#[cfg(test)]
mod tests;

pub use configuration::{magid_toml, profile};
pub use models::gguf;
pub use output::log_lines;
pub use state::state_files;
pub use system::{answers, proc};
