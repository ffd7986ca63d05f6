//! What is known of a model from the headers of its files.

use serde::{Deserialize, Serialize};

/// What the header of a GGUF file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    /// What the file is to others.
    pub role: Role,
    /// `general.architecture`.
    pub architecture: String,
    /// `general.name`.
    pub name: Option<String>,
    /// What the model is for.
    pub kind: Guess<Kind>,
    /// The quantization, as `Q4_K_M`.
    pub quantization: Guess<String>,
    /// Bits for one parameter, in thousandths.
    pub milli_bits: u32,
    /// How many parameters its tensors have.
    pub parameters: u64,
    /// Whether it thinks before it answers.
    pub thinking: Guess<bool>,
    /// The longest context it was trained for, in tokens.
    pub context_length: Option<u32>,
    /// The bytes of its tensors.
    pub tensor_bytes: u64,
    /// What its memory depends on.
    pub shape: Shape,
    /// Which shard of how many it is.
    pub split: Option<Split>,
}

/// What a file is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A model that can be served, or the first shard of one.
    Model,
    /// A further shard.
    Shard,
    /// What makes a model see or hear: `mmproj`.
    Projector,
    /// A LoRA or a control vector: nothing without its model.
    Adapter,
    /// Only a vocabulary.
    Vocabulary,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Answers in words.
    Chat,
    /// Makes vectors of texts.
    Embedding,
    /// Rates how well a text answers a question.
    Rerank,
    /// Answers in words, and takes pictures.
    Vision,
}

/// How demanding a model is, and how good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// For quick answers.
    Fast,
    /// In between.
    Balanced,
    /// For good answers.
    Powerful,
}

/// A fact, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guess<T> {
    /// The fact.
    pub value: T,
    /// What it rests on.
    pub basis: Basis,
}

/// What a fact rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The file says so: no guess.
    Metadata,
    /// It follows from the tensors: no guess.
    Tensors,
    /// The chat template looks like it.
    Template,
    /// The name of the model or of its file looks like it.
    Name,
    /// Nothing speaks of it: it is what most models are.
    Nothing,
}

/// Which shard of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// From 1.
    pub number: u16,
    /// How many there are.
    pub count: u16,
}

/// What the memory of a model depends on beside its weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Shape {
    /// Layers.
    pub blocks: u32,
    /// Length of an embedding.
    pub embedding: u32,
    /// Attention heads of a layer.
    pub heads: u32,
    /// Elements of the keys of one token in all layers: the sum over layers of heads × key length.
    pub keys_per_token: u64,
    /// Elements of the values of one token in all layers.
    pub values_per_token: u64,
    /// Bytes that recurrent layers keep for each slot, however long its context is.
    pub state_per_slot: u64,
    /// Tokens in the vocabulary.
    pub vocabulary: u64,
    /// Tokens that a layer with a sliding window looks back, and the share of `keys_per_token` and
    /// `values_per_token` that is in such layers, in thousandths.
    pub sliding_window: Option<(u32, u32)>,
}

impl Basis {
    /// Whether a fact that rests on it may be wrong.
    pub fn is_guess(self) -> bool {
        match self {
            Self::Metadata | Self::Tensors => false,
            Self::Template | Self::Name | Self::Nothing => true,
        }
    }
}
