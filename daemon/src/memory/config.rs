//! `[memory]` of magid.toml.

use std::collections::BTreeMap;

/// How much memory all servers together may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Main memory.
    pub ram: RamBudget,
    /// The memory of devices.
    pub vram: VramBudget,
    /// How many servers may be loaded at a time. 0: no limit.
    pub max_loaded: u32,
}

/// How much main memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RamBudget {
    /// What the machine and the cgroup have, less a tenth.
    #[default]
    Auto,
    /// So many bytes.
    Bytes(u64),
}

/// How much memory of devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VramBudget {
    /// What `llama-server --list-devices` tells, less a twentieth.
    #[default]
    Auto,
    /// So many bytes of each, by the name that llama-server gives it.
    Devices(BTreeMap<String, u64>),
}
