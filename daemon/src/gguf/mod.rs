//! GGUF files: what their headers say.

mod facts;
mod tier;

pub use facts::{Basis, Facts, Guess, Kind, Role, Shape, Split, Tier};
pub use tier::TierRule;
