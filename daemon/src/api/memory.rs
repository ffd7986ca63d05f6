//! What servers and models need of memory.

use super::Api;
use crate::memory::{Demand, Source};
use crate::plan::Definition;
use crate::registry::Model;

impl Api {
    /// What a server needs, as far as is known.
    pub(super) fn need(&self, _definition: &Definition) -> Demand {
        nothing()
    }

    /// What a model needs as the built-in profile would serve it.
    pub(super) fn need_of_model(&self, _model: &Model) -> Demand {
        nothing()
    }
}

fn nothing() -> Demand {
    Demand {
        ram: 0,
        devices: std::collections::BTreeMap::new(),
        source: Source::Estimate,
    }
}
