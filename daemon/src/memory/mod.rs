//! Memory: what a server needs, and what there is.

mod demand;

pub use demand::{Demand, Source};
