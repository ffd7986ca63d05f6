//! What the memory of a server is made of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::demand::{Demand, Source};

const MIB: u64 = 1 << 20;

/// Main memory of a llama-server beside what its model and its context take: its own text and libraries,
/// the buffers of its HTTP server, what it keeps of requests. Build b11434 was measured to have 16 to
/// 19 MiB.
const PROCESS: u64 = 24 * MIB;

/// Main memory for each token of the vocabulary: texts, scores, merges and the tables to find them.
/// Build b11434 was measured to have 300 to 490 bytes, with vocabularies of 128,000 to 262,000 tokens.
const TOKEN: u64 = 512;

/// The vocabulary of a model of which nothing is known.
const USUAL_VOCABULARY: u64 = 160_000;

/// Memory that a process takes of each device it uses, before it puts anything there. It was not
/// measured: drivers are reported to take 200 to 500 MiB.
const DEVICE: u64 = 384 * MIB;

/// The share of an estimate that is added to it: a tenth.
const MARGIN: u64 = 10;

/// Where the memory goes. All figures are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breakdown {
    /// Main memory.
    pub host: Parts,
    /// Devices, by the name that llama-server gives them.
    pub devices: BTreeMap<String, Parts>,
}

/// What a model takes of one kind of memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The weights.
    pub model: u64,
    /// The keys and values of the context.
    pub context: u64,
    /// The buffers for computing.
    pub compute: u64,
}

/// What a process takes that no breakdown counts, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// Tokens in the vocabulary, if that is known.
    pub(super) vocabulary: Option<u64>,
    /// Files that are loaded beside the model: a projector, adapters, a draft model.
    pub(super) files: u64,
    /// The bytes of the model's tensors, if they are known.
    pub(super) tensors: u64,
}

impl Parts {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.fixed().saturating_add(self.compute)
    }

    /// What is filled as soon as the server is ready.
    fn fixed(&self) -> u64 {
        self.model.saturating_add(self.context)
    }
}

impl Beside {
    fn process(&self) -> u64 {
        let vocabulary = self.vocabulary.unwrap_or(USUAL_VOCABULARY);
        PROCESS
            .saturating_add(vocabulary.saturating_mul(TOKEN))
            .saturating_add(self.files)
    }
}

impl Breakdown {
    /// The weights, wherever they are.
    fn weights(&self) -> u64 {
        let parts = self.devices.values().chain([&self.host]);
        parts.fold(0, |sum, parts| sum.saturating_add(parts.model))
    }

    /// The demand of a server. `observed` is the most main memory that incarnations of it had, if any is
    /// known: it replaces what is thought of main memory, but for what is certainly filled.
    pub(super) fn demand(&self, source: Source, beside: &Beside, observed: Option<u64>) -> Demand {
        let margin = |bytes: u64| match source {
            Source::Estimate => bytes.saturating_add(bytes / MARGIN),
            Source::Fit | Source::Observed => bytes,
        };
        // Tensors that no breakdown shows are in a form of main memory that it does not know.
        let unseen = beside.tensors.saturating_sub(self.weights());
        let thought = self.host.total().saturating_add(unseen);
        let ram = margin(thought.saturating_add(beside.process()));
        let least = self.host.fixed().saturating_add(unseen);
        Demand {
            ram: observed.map_or(ram, |observed| observed.max(least)),
            devices: self.on_devices(margin),
            source: observed.map_or(source, |_| Source::Observed),
        }
    }

    fn on_devices(&self, margin: impl Fn(u64) -> u64) -> BTreeMap<String, u64> {
        let used = self.devices.iter().filter(|(_, parts)| parts.total() > 0);
        used.map(|(name, parts)| {
            let needs = margin(parts.total().saturating_add(DEVICE));
            (name.clone(), needs)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Breakdown = Breakdown {
        host: Parts {
            model: 300,
            context: 50,
            compute: 10_000 * MIB,
        },
        devices: BTreeMap::new(),
    };

    fn beside(tensors: u64) -> Beside {
        Beside {
            vocabulary: Some(0),
            files: 7,
            tensors,
        }
    }

    #[test]
    fn weights_that_a_breakdown_does_not_show_are_in_main_memory() {
        let shown = HOST.demand(Source::Fit, &beside(300), None);
        let unseen = HOST.demand(Source::Fit, &beside(1000), None);
        assert_eq!(unseen.ram - shown.ram, 700);
    }

    #[test]
    fn what_was_observed_replaces_what_was_thought() {
        let observed = HOST.demand(Source::Fit, &beside(300), Some(90_000));
        assert_eq!((observed.ram, observed.source), (90_000, Source::Observed));
    }

    /// A server that was looked at too early, or whose pages the kernel took back, needs no less.
    #[test]
    fn an_observation_is_not_below_the_weights_and_the_context() {
        let observed = HOST.demand(Source::Fit, &beside(300), Some(1));
        assert_eq!(observed.ram, 350);
    }

    #[test]
    fn only_an_estimate_has_a_margin() {
        let fit = HOST.demand(Source::Fit, &beside(300), None).ram;
        let estimate = HOST.demand(Source::Estimate, &beside(300), None).ram;
        assert_eq!(estimate, fit + fit / 10);
    }

    #[test]
    fn a_device_on_which_nothing_is_put_is_not_used() {
        let parts = Parts {
            model: 1,
            ..Parts::default()
        };
        let both = Breakdown {
            devices: [("A".to_owned(), parts), ("B".to_owned(), Parts::default())].into(),
            ..Breakdown::default()
        };
        let demand = both.demand(Source::Fit, &beside(1), None);
        assert_eq!(demand.devices, [("A".to_owned(), 1 + DEVICE)].into());
    }
}
