//! Memory: what a server needs, what there is, and who may have it.
//!
//! Pure: [`estimate()`] tells from the header of a model what a server needs, [`Breakdown`] makes a
//! [`Demand`] of that or of what llama-fit-params says, and [`Ledger`] decides who may have how much.
//!
//! The shell around them is [`MemoryHandle`]: it asks the programs beside llama-server, reads what the
//! machine has, remembers what servers really used, and lets those wait for whom there is no room.

mod breakdown;
mod budget;
mod bytes;
mod demand;
mod devices;
mod estimate;
pub(crate) mod estimates;
mod fit;
mod inputs;
mod ledger;
mod model_use;
mod owner;
mod run;

pub use crate::config::{MemoryConfig, RamBudget, VramBudget};
pub use breakdown::{Breakdown, Parts};
pub use budget::Budget;
pub use bytes::Bytes;
pub use demand::{Demand, Source};
pub use devices::Device;
pub use estimate::estimate;
pub use inputs::Inputs;
pub use ledger::{Account, Decision, Ledger, Never, Resource, Shortage};
pub use model_use::{CacheType, Devices, GpuLayers, ModelUse, SplitMode};
pub use owner::{MemoryHandle, Request, Reservation, Row, Snapshot, survey};
