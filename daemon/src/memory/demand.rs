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

impl Demand {
    /// The demand of a llama-server that places itself: it puts on a device only what fits there, and
    /// leaves the rest in main memory. Devices that `budget` does not have stay as they are.
    pub fn placed_within(mut self, budget: &BTreeMap<String, u64>) -> Self {
        for (device, needs) in &mut self.devices {
            let room = budget.get(device).copied().unwrap_or(u64::MAX);
            let excess = needs.saturating_sub(room);
            *needs -= excess;
            self.ram = self.ram.saturating_add(excess);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_on_a_device_is_left_in_main_memory() {
        let demand = Demand {
            ram: 10,
            devices: [("CUDA0".to_owned(), 50), ("CUDA1".to_owned(), 50)].into(),
            source: Source::Fit,
        };
        let placed = demand.placed_within(&[("CUDA0".to_owned(), 30)].into());
        assert_eq!(placed.ram, 30);
        assert_eq!(placed.devices["CUDA0"], 30);
        assert_eq!(placed.devices["CUDA1"], 50);
    }
}
