//! Models, as the registry knows them.

use jiff::Timestamp;
use magi_proto::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{non_empty, timestamp};

/// One model of the registry.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Model {
    /// Readable, unique, the same after every scan.
    pub(crate) id: String,
    /// The same as `id`.
    pub(crate) model_id: String,
    /// Its file, or the first of its shards.
    pub(crate) path: String,
    /// All its shards; only `path` if it has none.
    pub(crate) files: Vec<String>,
    /// The projector beside it.
    pub(crate) mmproj: Option<String>,
    /// Its tier.
    pub(crate) tier: Tier,
    /// The quantization, as `Q4_K_M`.
    pub(crate) quantization: String,
    /// Bits for one parameter.
    pub(crate) bits_per_weight: f64,
    /// What it is for.
    pub(crate) kind: Kind,
    /// Whether it thinks before it answers.
    pub(crate) thinking: bool,
    /// Whether a profile may take it by itself.
    pub(crate) enabled: bool,
    /// The architecture, as its header has it.
    pub(crate) architecture: String,
    /// The longest context that it was trained for, in tokens.
    pub(crate) context_length: Option<u32>,
    /// The bytes of its files.
    pub(crate) size_bytes: u64,
    /// How many parameters it has.
    pub(crate) parameters: u64,
    /// Bytes of main memory that it needs.
    pub(crate) memory_bytes: u64,
    /// How that is known: `estimate`, `fit` or `observed`.
    pub(crate) memory_source: Option<String>,
    /// What its header calls it.
    pub(crate) name: Option<String>,
    /// The facts above that are guesses.
    pub(crate) guesses: Vec<String>,
    /// The facts above that the user said.
    pub(crate) overridden: Vec<String>,
    /// Whether its files are there.
    pub(crate) available: bool,
    /// Why they are not.
    pub(crate) unavailable_because: Option<String>,
    /// When it was first found.
    pub(crate) first_seen: Option<Timestamp>,
    /// When it was last found.
    pub(crate) last_seen: Option<Timestamp>,
    /// Servers of the active profile that are defined with it.
    pub(crate) servers: Vec<String>,
}

impl From<v1::Model> for Model {
    fn from(model: v1::Model) -> Self {
        Self {
            tier: v1::ModelTier::try_from(model.tier).map_or(Tier::Unknown, Tier::from),
            kind: v1::ModelKind::try_from(model.kind).map_or(Kind::Unknown, Kind::from),
            model_id: model.id.clone(),
            id: model.id,
            path: model.path,
            files: model.files,
            mmproj: model.mmproj,
            quantization: model.quantization,
            bits_per_weight: model.bits_per_weight,
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

/// How demanding a model is, and how good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tier {
    /// For quick answers.
    Fast,
    /// In between.
    Balanced,
    /// For good answers.
    Powerful,
    /// One that a newer magid has.
    #[serde(skip_deserializing)]
    Unknown,
}

impl Tier {
    /// The tier of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "fast" => Some(Self::Fast),
            "balanced" => Some(Self::Balanced),
            "powerful" => Some(Self::Powerful),
            _ => None,
        }
    }

    /// As it is on the wire.
    pub(crate) fn to_wire(self) -> v1::ModelTier {
        match self {
            Self::Fast => v1::ModelTier::Fast,
            Self::Balanced => v1::ModelTier::Balanced,
            Self::Powerful => v1::ModelTier::Powerful,
            Self::Unknown => v1::ModelTier::Unspecified,
        }
    }
}

impl From<v1::ModelTier> for Tier {
    fn from(tier: v1::ModelTier) -> Self {
        match tier {
            v1::ModelTier::Unspecified => Self::Unknown,
            v1::ModelTier::Fast => Self::Fast,
            v1::ModelTier::Balanced => Self::Balanced,
            v1::ModelTier::Powerful => Self::Powerful,
        }
    }
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Answers in words.
    Chat,
    /// Makes vectors of texts.
    Embedding,
    /// Rates how well a text answers a question.
    Rerank,
    /// Answers in words, and takes pictures.
    Vision,
    /// One that a newer magid has.
    Unknown,
}

impl From<v1::ModelKind> for Kind {
    fn from(kind: v1::ModelKind) -> Self {
        match kind {
            v1::ModelKind::Unspecified => Self::Unknown,
            v1::ModelKind::Chat => Self::Chat,
            v1::ModelKind::Embedding => Self::Embedding,
            v1::ModelKind::Rerank => Self::Rerank,
            v1::ModelKind::Vision => Self::Vision,
        }
    }
}
