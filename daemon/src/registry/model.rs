//! A model, as the registry knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::find::Names;
use crate::gguf::{Facts, Tier};
use crate::name::{NameError, ServerName};

/// The name of a model in the registry: readable, unique, and the same after every scan. It is also a
/// valid name of a server, since `[[select]]` names servers after models.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ModelId(Arc<str>);

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
    /// When the newest of its files was last written, the projector included.
    pub modified: Timestamp,
    /// What its headers say.
    pub facts: Arc<Facts>,
    /// The tier that the rule gives it.
    pub guessed_tier: Tier,
    /// What the user says instead.
    pub overrides: Overrides,
    /// When it was first found.
    pub first_seen: Timestamp,
    /// When it was last found. None of one that is there: the last scan found it.
    pub last_seen: Option<Timestamp>,
    /// Whether it can be served now.
    pub availability: Availability,
}

/// What a user says of a model, in the place of what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Overrides {
    /// Its tier.
    pub tier: Option<Tier>,
    /// Whether it thinks.
    pub thinking: Option<bool>,
    /// Whether `[[select]]` and the built-in profile may take it.
    pub enabled: Option<bool>,
}

/// A change of [`Overrides`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverridesChange {
    /// Of its tier.
    pub tier: Change<Tier>,
    /// Of whether it thinks.
    pub thinking: Change<bool>,
    /// Of whether `[[select]]` and the built-in profile may take it.
    pub enabled: Change<bool>,
}

/// What becomes of one thing that a user says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays.
    #[default]
    Keep,
    /// It is this from now on.
    Set(T),
    /// It is as it was found again.
    Reset,
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
    /// Grows with every change. A scan that found everything as it was is none.
    pub revision: u64,
    /// When the last scan ended. Absent before the first.
    pub scanned_at: Option<Timestamp>,
    /// The models by name.
    pub models: BTreeMap<ModelId, Arc<Model>>,
    /// What could not be looked at, and files that are no models, each in one line with what to do.
    pub problems: Vec<String>,
    /// Where models are looked for.
    pub scan_paths: Vec<PathBuf>,
    /// Files that may still be written, and so are no models yet. Whoever names one means it all the
    /// same.
    pub unsettled: BTreeSet<PathBuf>,
    /// Made when a model is first looked for by the name of its file.
    pub(super) names: OnceLock<Names>,
}

/// What a scan brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// How many models there are.
    pub total: usize,
    /// Those that are new, or there again.
    pub added: Vec<ModelId>,
    /// Those that are not there any more.
    pub removed: Vec<ModelId>,
    /// Those that are still there, and whose files changed.
    pub changed: Vec<ModelId>,
    /// What could not be looked at, and files that are no models, each in one line.
    pub problems: Vec<String>,
}

impl ModelId {
    /// Checks and takes an id.
    ///
    /// # Errors
    ///
    /// It is no valid name of a server.
    pub fn new(text: &str) -> Result<Self, NameError> {
        ServerName::new(text).map(|_| Self(text.into()))
    }

    /// The text of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ModelId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<ModelId> for String {
    fn from(id: ModelId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl std::borrow::Borrow<str> for ModelId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

impl Snapshot {
    /// When a model was last found. None before the first scan.
    pub fn last_seen(&self, model: &Model) -> Option<Timestamp> {
        model.last_seen.or(self.scanned_at)
    }
}

impl Overrides {
    /// Whether the user says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These with a change.
    #[must_use]
    pub fn with(&self, change: &OverridesChange) -> Self {
        Self {
            tier: change.tier.of(self.tier),
            thinking: change.thinking.of(self.thinking),
            enabled: change.enabled.of(self.enabled),
        }
    }
}

impl<T: Copy> Change<T> {
    fn of(self, former: Option<T>) -> Option<T> {
        match self {
            Self::Keep => former,
            Self::Set(value) => Some(value),
            Self::Reset => None,
        }
    }
}
