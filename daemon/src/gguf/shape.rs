//! What the memory of a model depends on: which of its layers keep how much of each token.
//!
//! The rules are llama.cpp's. Where an architecture has one of its own that the metadata does not
//! tell, the larger answer is taken: an estimate that is too high only starts a server later.

use super::facts::{Role, Shape};
use super::kind::{DIFFUSION, ENCODERS};
use super::metadata::Metadata;
use super::state;
use super::tensors::Tensors;

/// The most layers that are looked at. The deepest models have some two hundred.
const MOST_LAYERS: u64 = 4096;

/// Architectures whose layers are all recurrent: they keep a state, not tokens.
const RECURRENT: [&str; 6] = ["arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"];

/// Architectures in which one layer of so many keeps tokens if the file does not say.
const HYBRID: [(&str, u64); 3] = [("qwen3next", 4), ("qwen35", 4), ("qwen35moe", 4)];

/// Architectures in which all layers of so many but the last have the window, if the file does not say.
const WINDOWED: [(&str, u64); 14] = [
    ("afmoe", 4),
    ("cohere2", 4),
    ("cohere2moe", 4),
    ("exaone-moe", 4),
    ("exaone4", 4),
    ("gemma2", 2),
    ("gemma3", 6),
    ("gemma3n", 5),
    ("gpt-oss", 2),
    ("laguna", 4),
    ("llama4", 4),
    ("olmo2", 4),
    ("plamo3", 8),
    ("smallthinker", 4),
];

/// The window of llama4, which its files do not name, in tokens.
const LLAMA4_WINDOW: u64 = 8192;

/// The layers of gemma3n that keep tokens; the others share what these keep.
const GEMMA3N_LAYERS: u64 = 20;

/// What the memory of a file's model depends on.
pub(super) fn shape(role: Role, metadata: &Metadata, tensors: &Tensors) -> Shape {
    if role == Role::Projector {
        let made = metadata.number("clip.vision.projection_dim");
        return Shape {
            embedding: saturated(made),
            ..Shape::default()
        };
    }
    let layers = Layers::of(metadata);
    let vocabulary = metadata.length("tokenizer.ggml.tokens");
    let mut shape = Shape {
        blocks: saturated(metadata.arch("block_count")),
        embedding: saturated(metadata.arch("embedding_length")),
        heads: saturated(Some(
            layers.of_layer("attention.head_count", 0).unwrap_or(0),
        )),
        vocabulary: vocabulary
            .or_else(|| metadata.arch("vocab_size"))
            .or(tensors.vocabulary)
            .unwrap_or(0),
        ..Shape::default()
    };
    layers.add_to(&mut shape);
    shape
}

fn saturated(number: Option<u64>) -> u32 {
    let number = number.unwrap_or(0);
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The layers of a model, and what each keeps.
struct Layers<'a> {
    metadata: &'a Metadata,
    /// How many there are; further ones only guess ahead.
    count: u64,
    /// How many of them keep tokens of their own, from the first.
    with_own: u64,
    /// Tokens that a layer with a window looks back.
    window: Option<u64>,
}

/// Elements that a layer keeps of a token.
struct Kept {
    keys: u64,
    values: u64,
}

impl<'a> Layers<'a> {
    fn of(metadata: &'a Metadata) -> Self {
        let architecture = metadata.architecture();
        let ahead = metadata.arch("nextn_predict_layers").unwrap_or(0);
        let count = metadata.arch("block_count").unwrap_or(0).min(MOST_LAYERS);
        let count = count.saturating_sub(ahead);
        let shared = metadata.arch("attention.shared_kv_layers").unwrap_or(0);
        let with_own = match architecture {
            "gemma3n" => count.min(GEMMA3N_LAYERS),
            _ => count.saturating_sub(shared),
        };
        let window = match architecture {
            "llama4" => metadata
                .arch("attention.sliding_window")
                .or(Some(LLAMA4_WINDOW)),
            _ => metadata.arch("attention.sliding_window"),
        };
        Self {
            metadata,
            count,
            with_own,
            window: window.filter(|&window| window > 0),
        }
    }

    fn add_to(&self, shape: &mut Shape) {
        let mut in_windows = 0_u128;
        for layer in 0..self.count {
            if self.keeps_state(layer) {
                shape.state_per_slot = shape
                    .state_per_slot
                    .saturating_add(state::of_layer(self.metadata));
            }
            if !self.keeps_tokens(layer) {
                continue;
            }
            let has_window = self.has_window(layer);
            let kept = self.kept(layer, has_window);
            shape.keys_per_token = shape.keys_per_token.saturating_add(kept.keys);
            shape.values_per_token = shape.values_per_token.saturating_add(kept.values);
            if has_window {
                in_windows += u128::from(kept.keys) + u128::from(kept.values);
            }
        }
        let all = u128::from(shape.keys_per_token) + u128::from(shape.values_per_token);
        let share = (in_windows * 1000).checked_div(all);
        shape.sliding_window = self
            .window
            .zip(share)
            .filter(|(_, share)| *share > 0)
            .map(|(window, share)| (saturated(Some(window)), share.min(1000) as u32));
    }

    fn keeps_tokens(&self, layer: u64) -> bool {
        let architecture = self.metadata.architecture();
        let keeps_none = RECURRENT.contains(&architecture)
            || ENCODERS.contains(&architecture)
            || DIFFUSION.contains(&architecture);
        !keeps_none && layer < self.with_own && !self.is_recurrent(layer)
    }

    fn keeps_state(&self, layer: u64) -> bool {
        let architecture = self.metadata.architecture();
        RECURRENT.contains(&architecture)
            || architecture == "falcon-h1"
            || self.of_layer("attention.head_count_kv", layer) == Some(0)
            || self.is_recurrent(layer)
    }

    fn is_recurrent(&self, layer: u64) -> bool {
        let said = self.metadata.arch_layers("attention.recurrent_layers");
        if let Some(said) = said.and_then(|layers| layers.get(layer as usize)) {
            return *said != 0;
        }
        let interval = self
            .metadata
            .arch("full_attention_interval")
            .or_else(|| of_architecture(&HYBRID, self.metadata.architecture()));
        interval.is_some_and(|interval| interval > 0 && !(layer + 1).is_multiple_of(interval))
    }

    fn has_window(&self, layer: u64) -> bool {
        if self.window.is_none() {
            return false;
        }
        let key = "attention.sliding_window_pattern";
        if let Some(pattern) = self.metadata.arch_layers(key) {
            // A pattern that is shorter than the model begins again.
            let at = layer.checked_rem(pattern.len() as u64);
            return at.is_some_and(|at| pattern[at as usize] != 0);
        }
        let period = self
            .metadata
            .arch(key)
            .or_else(|| of_architecture(&WINDOWED, self.metadata.architecture()));
        match period {
            Some(0) => true,
            Some(period) => layer % period < period - 1,
            None => false,
        }
    }

    /// With multi-head latent attention one vector is kept, from which keys and values are made.
    fn kept(&self, layer: u64, has_window: bool) -> Kept {
        let all_heads = self.of_layer("attention.head_count", layer).unwrap_or(0);
        let heads = self
            .of_layer("attention.head_count_kv", layer)
            .unwrap_or(all_heads);
        let embedding = self.metadata.arch("embedding_length").unwrap_or(0);
        let of_head = embedding.checked_div(all_heads).unwrap_or(0);
        let length = |windowed: &str, plain: &str| {
            let windowed = self.of_layer(windowed, layer).filter(|_| has_window);
            windowed
                .or_else(|| self.of_layer(plain, layer))
                .unwrap_or(of_head)
        };
        let keys = length("attention.key_length_swa", "attention.key_length");
        let values = length("attention.value_length_swa", "attention.value_length");
        let is_latent = self.metadata.arch("attention.key_length_mla").is_some();
        Kept {
            keys: heads.saturating_mul(keys),
            values: if is_latent {
                0
            } else {
                heads.saturating_mul(values)
            },
        }
    }

    /// A number that all layers share, or that each has for itself.
    fn of_layer(&self, key: &str, layer: u64) -> Option<u64> {
        let each = self.metadata.arch_layers(key);
        match each {
            Some(each) => each.get(layer as usize).copied(),
            None => self.metadata.arch(key),
        }
    }
}

fn of_architecture(table: &[(&str, u64)], architecture: &str) -> Option<u64> {
    let found = table.iter().find(|(name, _)| *name == architecture);
    found.map(|(_, number)| *number)
}
