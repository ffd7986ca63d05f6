//! Models, as the registry knows them.

use jiff::Timestamp;
use magi_proto::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::word::words;
use crate::{non_empty, timestamp};

/// One model of the registry.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Readable, unique, the same after every scan.
    pub id: String,
    /// Its file, or the first of its shards.
    pub path: String,
    /// All its shards; only `path` if it has none.
    pub files: Vec<String>,
    /// The projector beside it.
    pub mmproj: Option<String>,
    /// Its tier.
    pub tier: Tier,
    /// The quantization, as `Q4_K_M`.
    pub quantization: String,
    /// Bits for one parameter.
    pub bits_per_weight: f64,
    /// What it is for.
    pub kind: Kind,
    /// Whether it thinks before it answers.
    pub thinking: bool,
    /// Whether a profile may take it by itself.
    pub enabled: bool,
    /// The architecture, as its header has it.
    pub architecture: String,
    /// The longest context that it was trained for, in tokens.
    pub context_length: Option<u32>,
    /// The bytes of its files.
    pub size_bytes: u64,
    /// How many parameters it has.
    pub parameters: u64,
    /// Bytes of main memory that it needs.
    pub memory_bytes: u64,
    /// How that is known: `estimate`, `fit` or `observed`.
    pub memory_source: Option<String>,
    /// What its header calls it.
    pub name: Option<String>,
    /// The facts above that are guesses.
    pub guesses: Vec<String>,
    /// The facts above that the user said.
    pub overridden: Vec<String>,
    /// Whether its files are there.
    pub available: bool,
    /// Why they are not.
    pub unavailable_because: Option<String>,
    /// When it was first found.
    pub first_seen: Option<Timestamp>,
    /// When it was last found.
    pub last_seen: Option<Timestamp>,
    /// Servers of the active profile that are defined with it.
    pub servers: Vec<String>,
}

impl From<v1::Model> for Model {
    fn from(model: v1::Model) -> Self {
        Self {
            id: model.id,
            path: model.path,
            files: model.files,
            mmproj: model.mmproj,
            tier: Tier::from_wire(model.tier),
            quantization: model.quantization,
            bits_per_weight: model.bits_per_weight,
            kind: Kind::from_wire(model.kind),
            thinking: model.thinking,
            enabled: model.enabled,
            architecture: model.architecture,
            context_length: model.context_length,
            size_bytes: model.size_bytes,
            parameters: model.parameters,
            memory_bytes: model.memory_bytes,
            memory_source: non_empty(model.memory_source),
            name: model.name,
            guesses: model.guesses,
            overridden: model.overridden,
            available: model.available,
            unavailable_because: non_empty(model.unavailable_because),
            first_seen: timestamp(model.first_seen),
            last_seen: timestamp(model.last_seen),
            servers: model.servers,
        }
    }
}

words! {
    /// How demanding a model is, and how good.
    #[derive(Deserialize)]
    pub enum Tier of ModelTier {
        /// For quick answers.
        Fast => Fast "fast",
        /// In between.
        Balanced => Balanced "balanced",
        /// For good answers.
        Powerful => Powerful "powerful",
        /// One that a newer magid has.
        #[serde(skip_deserializing)]
        Unspecified => Unknown "unknown",
    }
}

impl Tier {
    /// The tier of this name.
    pub fn named(name: &str) -> Option<Self> {
        let tiers = [Self::Fast, Self::Balanced, Self::Powerful];
        tiers.into_iter().find(|tier| tier.word() == name)
    }

    /// As it is on the wire.
    pub fn to_wire(self) -> v1::ModelTier {
        match self {
            Self::Fast => v1::ModelTier::Fast,
            Self::Balanced => v1::ModelTier::Balanced,
            Self::Powerful => v1::ModelTier::Powerful,
            Self::Unknown => v1::ModelTier::Unspecified,
        }
    }
}

words! {
    /// What a model is for.
    pub enum Kind of ModelKind {
        /// Answers in words.
        Chat => Chat "chat",
        /// Makes vectors of texts.
        Embedding => Embedding "embedding",
        /// Rates how well a text answers a question.
        Rerank => Rerank "rerank",
        /// Answers in words, and takes pictures.
        Vision => Vision "vision",
        /// One that a newer magid has.
        Unspecified => Unknown "unknown",
    }
}

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Scan {
    /// How many models there are.
    pub total: u32,
    /// Those that are new, or there again.
    pub added: Vec<String>,
    /// Those that are not there any more.
    pub removed: Vec<String>,
    /// Those whose files changed.
    pub changed: Vec<String>,
    /// What could not be looked at, and files that are no models.
    pub problems: Vec<String>,
}

impl From<v1::RescanModelsResponse> for Scan {
    fn from(answer: v1::RescanModelsResponse) -> Self {
        Self {
            total: answer.total,
            added: answer.added,
            removed: answer.removed,
            changed: answer.changed,
            problems: answer.problems,
        }
    }
}
