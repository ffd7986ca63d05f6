//! Memory: what a server needs, what there is, and who may have it.

mod breakdown;
mod budget;
mod bytes;
mod config;
mod demand;
mod devices;
mod estimate;
mod ledger;
mod model_use;

pub use breakdown::{Breakdown, Parts};
pub use budget::Budget;
pub use bytes::Bytes;
pub use config::{MemoryConfig, RamBudget, VramBudget};
pub use demand::{Demand, Source};
pub use devices::Device;
pub use estimate::estimate;
pub use ledger::{Account, Decision, Ledger, Never, Resource, Shortage};
pub use model_use::{CacheType, Devices, GpuLayers, ModelUse, SplitMode};
