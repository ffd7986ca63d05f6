//! The models that there are.

mod model;

pub use model::{Availability, Model, ModelId, Overrides, Snapshot};
