//! Models, as the registry knows them.

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;

use super::{all, non_empty, timestamp};

/// What `models list` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Models {
    pub(crate) models: Vec<Model>,
    /// When the last scan ended.
    pub(crate) scanned_at: Option<Timestamp>,
    /// What could not be looked at, and files that are no models.
    pub(crate) problems: Vec<String>,
}

impl From<v1::ListModelsResponse> for Models {
    fn from(answer: v1::ListModelsResponse) -> Self {
        Self {
            models: all(answer.models),
            scanned_at: timestamp(answer.scanned_at),
            problems: answer.problems,
        }
    }
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Model {
    pub(crate) id: String,
    pub(crate) path: String,
    /// All its shards; only `path` if it has none.
    pub(crate) files: Vec<String>,
    pub(crate) mmproj: Option<String>,
    pub(crate) tier: Tier,
    pub(crate) quantization: String,
    pub(crate) bits_per_weight: f64,
    pub(crate) kind: Kind,
    pub(crate) thinking: bool,
    pub(crate) enabled: bool,
    pub(crate) architecture: String,
    /// Tokens.
    pub(crate) context_length: Option<u32>,
    pub(crate) size_bytes: u64,
    pub(crate) parameters: u64,
    /// What it needs of main memory.
    pub(crate) memory_bytes: u64,
    /// How that is known: `estimate`, `fit` or `observed`.
    pub(crate) memory_source: Option<String>,
    /// What its header calls it.
    pub(crate) name: Option<String>,
    /// The facts above that are guesses.
    pub(crate) guesses: Vec<String>,
    /// The facts above that the user said.
    pub(crate) overridden: Vec<String>,
    pub(crate) available: bool,
    pub(crate) unavailable_because: Option<String>,
    pub(crate) first_seen: Option<Timestamp>,
    pub(crate) last_seen: Option<Timestamp>,
    /// Servers of the active profile that are defined with it.
    pub(crate) servers: Vec<String>,
}

impl From<v1::Model> for Model {
    fn from(model: v1::Model) -> Self {
        Self {
            tier: v1::ModelTier::try_from(model.tier).map_or(Tier::Unknown, Tier::from),
            kind: v1::ModelKind::try_from(model.kind).map_or(Kind::Unknown, Kind::from),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tier {
    Fast,
    Balanced,
    Powerful,
    /// One that a newer magid has and this magictl does not know.
    Unknown,
}

impl Tier {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Powerful => "powerful",
            Self::Unknown => "unknown",
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Chat,
    Embedding,
    Rerank,
    Vision,
    /// One that a newer magid has and this magictl does not know.
    Unknown,
}

impl Kind {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embedding => "embedding",
            Self::Rerank => "rerank",
            Self::Vision => "vision",
            Self::Unknown => "unknown",
        }
    }
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

/// What `models rescan` found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Scan {
    /// How many models there are.
    pub(crate) total: u32,
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) changed: Vec<String>,
    pub(crate) problems: Vec<String>,
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
