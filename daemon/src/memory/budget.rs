//! How much memory there is for all servers together.

use std::collections::BTreeMap;

/// How much memory there is for all servers together, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Main memory.
    pub ram: u64,
    /// Memory of each device. One that is not here may be used by one server at a time.
    pub devices: BTreeMap<String, u64>,
    /// Whether all devices are known that servers may use.
    pub devices_known: bool,
    /// How many servers may be loaded at a time. 0: no limit.
    pub max_loaded: u32,
}
