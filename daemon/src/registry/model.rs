//! A model, as the registry knows it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::gguf::{Facts, Tier};

/// The name of a model in the registry: readable, unique, and the same after every scan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ModelId(String);

/// A model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its name.
    pub id: ModelId,
    /// Its file, or the first of its shards.
    pub path: PathBuf,
    /// All its shards in order; only [`Model::path`] if it has none.
    pub files: Vec<PathBuf>,
    /// The projector beside it.
    pub mmproj: Option<PathBuf>,
    /// The bytes of all its files, without the projector.
    pub size_bytes: u64,
    /// What its headers say.
    pub facts: Facts,
    /// The tier that the rule gives it.
    pub guessed_tier: Tier,
    /// What the user says instead.
    pub overrides: Overrides,
    /// When it was first found.
    pub first_seen: Timestamp,
    /// When it was last found.
    pub last_seen: Timestamp,
    /// Whether it can be served now.
    pub availability: Availability,
}

/// What a user says of a model, in the place of what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Overrides {
    /// Its tier.
    pub tier: Option<Tier>,
    /// Whether it thinks.
    pub thinking: Option<bool>,
    /// Whether `[[select]]` and the built-in profile may take it.
    pub enabled: Option<bool>,
}

/// Whether a model can be served now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Availability {
    /// Its files are there.
    Available,
    /// They are not, for this reason.
    Unavailable(String),
}

/// The registry at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with every change.
    pub revision: u64,
    /// When the last scan ended. Absent before the first.
    pub scanned_at: Option<Timestamp>,
    /// The models by name.
    pub models: BTreeMap<ModelId, Arc<Model>>,
    /// What could not be looked at, and files that are no models, each in one line with what to do.
    pub problems: Vec<String>,
}

impl ModelId {
    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ModelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl Model {
    /// Its tier: what the user says, else what the rule says.
    pub fn tier(&self) -> Tier {
        self.overrides.tier.unwrap_or(self.guessed_tier)
    }

    /// Whether it thinks: what the user says, else what was found.
    pub fn thinking(&self) -> bool {
        self.overrides.thinking.unwrap_or(self.facts.thinking.value)
    }

    /// Whether `[[select]]` and the built-in profile may take it.
    pub fn enabled(&self) -> bool {
        self.overrides.enabled.unwrap_or(true)
    }

    /// Whether its files are there.
    pub fn is_available(&self) -> bool {
        self.availability == Availability::Available
    }
}
