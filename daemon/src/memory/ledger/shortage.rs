//! What there is too little of, with the numbers.

use std::fmt;

use crate::memory::bytes::Bytes;

/// What a demand does not fit into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Shortage {
    /// What there is too little of.
    pub resource: Resource,
    /// What is needed: bytes, or places.
    pub needs: u64,
    /// What others have of it.
    pub reserved: u64,
    /// What there is of it for all; 0 if that is unknown.
    pub budget: u64,
}

/// What there can be too little of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Main memory.
    Ram,
    /// The memory of this device.
    Device(String),
    /// The memory of this device, which is unknown: one server at a time uses such devices.
    UnknownDevice(String),
    /// Places for servers, which `max_loaded` counts.
    Places,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [needs, reserved, budget] = [self.needs, self.reserved, self.budget].map(Bytes);
        let (what, key) = match &self.resource {
            Resource::Ram => ("RAM", "ram"),
            Resource::Device(device) => (device.as_str(), "vram"),
            Resource::UnknownDevice(device) => {
                return write!(
                    f,
                    "needs {needs} of {device}, whose memory is not known, while another server \
                     uses a device; tell it in [memory] vram"
                );
            }
            Resource::Places => {
                return write!(
                    f,
                    "needs a place; {} of {} that [memory] max_loaded allows are taken",
                    self.reserved, self.budget
                );
            }
        };
        write!(f, "needs {needs} of {what}; ")?;
        match self.reserved {
            0 => write!(f, "[memory] {key} allows {budget} for all servers"),
            _ => write!(f, "{reserved} of {budget} are reserved"),
        }
    }
}

/// A demand that does not fit even if nobody else has anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot ever fit: it {0}")]
pub struct Never(pub Shortage);
