//! Generations: the history of what was applied.

use jiff::Timestamp;
use magi_proto::v1;
use magi_view::{all, timestamp};
use serde::Serialize;

/// What `history` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Generations {
    /// Newest first.
    pub(crate) generations: Vec<Generation>,
}

impl From<v1::ListGenerationsResponse> for Generations {
    fn from(answer: v1::ListGenerationsResponse) -> Self {
        Self {
            generations: all(answer.generations),
        }
    }
}

/// A configuration that was applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Generation {
    pub(crate) number: u64,
    /// SHA-256 of its texts.
    pub(crate) digest: String,
    pub(crate) profile: Option<String>,
    pub(crate) applied_at: Option<Timestamp>,
    pub(crate) cause: String,
    pub(crate) summary: String,
    /// Whether it is the one in force.
    pub(crate) current: bool,
    pub(crate) files: Vec<GenerationFile>,
}

impl From<v1::Generation> for Generation {
    fn from(generation: v1::Generation) -> Self {
        Self {
            number: generation.number,
            digest: generation.digest,
            profile: generation.profile,
            applied_at: timestamp(generation.applied_at),
            cause: generation.cause,
            summary: generation.summary,
            current: generation.current,
            files: all(generation.files),
        }
    }
}

/// A file of a generation.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GenerationFile {
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
}

impl From<v1::GenerationFile> for GenerationFile {
    fn from(file: v1::GenerationFile) -> Self {
        Self {
            path: file.path,
            size_bytes: file.size_bytes,
        }
    }
}

/// What `diff` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diff {
    /// A unified diff; empty if nothing differs.
    pub(crate) diff: String,
}

impl From<v1::DiffGenerationsResponse> for Diff {
    fn from(answer: v1::DiffGenerationsResponse) -> Self {
        Self { diff: answer.diff }
    }
}

/// What `history --verify` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Verified {
    pub(crate) verified: Vec<u64>,
    pub(crate) broken: Vec<Broken>,
}

impl From<v1::VerifyGenerationsResponse> for Verified {
    fn from(answer: v1::VerifyGenerationsResponse) -> Self {
        Self {
            verified: answer.verified,
            broken: all(answer.broken),
        }
    }
}

/// A generation that cannot be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Broken {
    pub(crate) number: u64,
    /// What is wrong, and what to do.
    pub(crate) reason: String,
}

impl From<v1::BrokenGeneration> for Broken {
    fn from(broken: v1::BrokenGeneration) -> Self {
        Self {
            number: broken.number,
            reason: broken.reason,
        }
    }
}

/// What `history --prune` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pruned {
    pub(crate) removed: Vec<u64>,
    pub(crate) kept: Vec<u64>,
}

impl From<v1::PruneGenerationsResponse> for Pruned {
    fn from(answer: v1::PruneGenerationsResponse) -> Self {
        Self {
            removed: answer.removed,
            kept: answer.kept,
        }
    }
}

/// What `restore` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Restored {
    pub(crate) written: Vec<String>,
    /// Files that were like that already.
    pub(crate) unchanged: Vec<String>,
    /// Where that is kept which was in the files, and is in no generation.
    pub(crate) kept: Vec<String>,
}

impl From<v1::RestoreFilesResponse> for Restored {
    fn from(answer: v1::RestoreFilesResponse) -> Self {
        Self {
            written: answer.written,
            unchanged: answer.unchanged,
            kept: answer.kept,
        }
    }
}
