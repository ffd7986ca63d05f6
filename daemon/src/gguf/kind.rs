//! What a model is for.

use super::facts::{Basis, Guess, Kind, Role};
use super::file_name::words;
use super::metadata::Metadata;
use super::tensors::Tensors;

/// Architectures that only read: they make vectors, and have no cache.
pub(super) const ENCODERS: [&str; 9] = [
    "bert",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
];

/// Others that make vectors.
const EMBEDDERS: [&str; 2] = ["llama-embed", "t5encoder"];

/// Architectures that write all words at once: they look both ways, and yet they answer.
pub(super) const DIFFUSION: [&str; 4] = ["dream", "llada", "llada-moe", "rnd1"];

/// llama.cpp's numbers of how the vectors of tokens become one.
mod pooling {
    pub(super) const MEAN: u64 = 1;
    pub(super) const CLS: u64 = 2;
    pub(super) const LAST: u64 = 3;
    pub(super) const RANK: u64 = 4;
}

/// What a model is for.
pub(super) fn kind(
    role: Role,
    metadata: &Metadata,
    tensors: &Tensors,
    names: &[&str],
) -> Guess<Kind> {
    let (value, basis) = match role {
        Role::Projector => (projector(metadata), Basis::Metadata),
        Role::Model | Role::Shard | Role::Adapter | Role::Vocabulary => {
            model(metadata, tensors, names)
        }
    };
    Guess { value, basis }
}

/// What a projector makes of its model. Files from before these keys see.
fn projector(metadata: &Metadata) -> Kind {
    let sees = metadata.number("clip.has_vision_encoder") == Some(1);
    let hears = metadata.number("clip.has_audio_encoder") == Some(1);
    if hears && !sees {
        Kind::Chat
    } else {
        Kind::Vision
    }
}

/// A head that rates texts goes before pooling: files from before the pooling type `rank` have another.
fn model(metadata: &Metadata, tensors: &Tensors, names: &[&str]) -> (Kind, Basis) {
    let architecture = metadata.architecture();
    let pooling = metadata.arch("pooling_type");
    let looks_both_ways = metadata.arch("attention.causal") == Some(0);
    if pooling == Some(pooling::RANK) {
        (Kind::Rerank, Basis::Metadata)
    } else if tensors.has_classifier {
        (Kind::Rerank, Basis::Tensors)
    } else if DIFFUSION.contains(&architecture) {
        (Kind::Chat, Basis::Metadata)
    } else if matches!(pooling, Some(pooling::MEAN | pooling::CLS | pooling::LAST))
        || looks_both_ways
        || ENCODERS.contains(&architecture)
        || EMBEDDERS.contains(&architecture)
    {
        (Kind::Embedding, Basis::Metadata)
    } else {
        by_name(metadata, names)
    }
}

fn by_name(metadata: &Metadata, names: &[&str]) -> (Kind, Basis) {
    let is_called = |known: &[&str]| {
        let mut words = names.iter().flat_map(|name| words(name));
        words.any(|word| known.contains(&word.as_str()))
    };
    if is_called(&["rerank", "reranker"]) {
        (Kind::Rerank, Basis::Name)
    } else if is_called(&["embed", "embedding", "embeddings"]) {
        (Kind::Embedding, Basis::Name)
    } else if metadata.text("tokenizer.chat_template").is_some() {
        (Kind::Chat, Basis::Metadata)
    } else {
        (Kind::Chat, Basis::Nothing)
    }
}
