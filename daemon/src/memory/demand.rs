//! What a server needs of memory.

use std::collections::BTreeMap;

/// The memory that a server needs, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Main memory. Mapped weights count in full.
    pub ram: u64,
    /// Memory of each device, by the name that llama-server gives it.
    pub devices: BTreeMap<String, u64>,
    /// How it is known.
    pub source: Source,
}

/// How a demand is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Computed from the header of the model.
    Estimate,
    /// llama-fit-params of the same build says so.
    Fit,
    /// An earlier incarnation with the same settings used it.
    Observed,
}
