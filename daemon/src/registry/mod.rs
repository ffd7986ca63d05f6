//! The models that there are.
//!
//! One task owns what is known of them ([`RegistryHandle`]). It looks at the scan paths: at the start,
//! when a file may have changed, when somebody asks, and now and then. What it sees goes through pure
//! functions: which files are models (`choose`), what that makes of what was known (`merge`), and what
//! is said of a model that is not there (`absence`). The result is published as a [`Snapshot`], and
//! kept in a file, so that after a restart the models are there at once and no file is opened again
//! that did not change.

mod absence;
mod admission;
mod alone;
mod choose;
mod find;
mod group;
mod handle;
mod header;
mod hub;
mod id;
mod look;
mod merge;
mod model;
mod owner;
mod problems;
mod scan;
pub(crate) mod store;
mod survey;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod watches;
mod writer;

pub use alone::look_alone;
pub use find::{Found, NotFound};
pub use handle::{RegistryConfig, RegistryError, RegistryHandle};
pub use header::facts_of;
pub use model::{
    Availability, Change, Model, ModelId, Overrides, OverridesChange, ScanReport, Snapshot,
};
pub use survey::survey;
