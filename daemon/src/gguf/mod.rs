//! GGUF files: what their headers say.

mod facts;

pub use facts::{Basis, Facts, Guess, Kind, Role, Shape, Split, Tier};
