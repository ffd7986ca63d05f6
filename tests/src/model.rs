//! Models for tests: half a megabyte, loaded in 20 ms, and each says one word for ever; and a larger
//! one that is slow at it.
//!
//! A real llama-server loads them like any other GGUF. Every token has the same constant embedding,
//! attention and feed-forward are zero, so the last layer always sees that constant; the output row
//! of the chosen word points along it and every other row against it. So whatever is asked, a model
//! made with the word `alpha` answers ` alpha alpha alpha …`, and a test can see which one answered.
//!
//! The same can be had in two shards, and for embeddings or ratings; and there is a projector that
//! sees nothing, with which any of them takes pictures.

use std::io;
use std::path::Path;

use crate::gguf::{Metadata, Tensor, Value, write};

/// The size of a model.
struct Size {
    embedding: u64,
    feed_forward: u64,
    blocks: u32,
    heads: u32,
    /// The context it is trained for, in tokens.
    context: u32,
}

const TINY: Size = Size {
    embedding: 64,
    feed_forward: 128,
    blocks: 2,
    heads: 4,
    context: 4096,
};

/// One thread reads some 250 tokens of a prompt in a second, fewer as the prompt gets longer.
const SLOW: Size = Size {
    embedding: 1024,
    feed_forward: 4096,
    blocks: 4,
    heads: 16,
    context: 65_536,
};

const CHAT_TEMPLATE: &str =
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}";

/// Kinds of tokens, as llama.cpp numbers them.
mod token {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const BYTE: i32 = 6;
}

/// How the vectors of tokens become one, as llama.cpp numbers it.
mod pooling {
    pub(super) const MEAN: u32 = 1;
    pub(super) const RANK: u32 = 4;
}

/// Writes a model to `path` that answers everything with `word`.
///
/// # Errors
///
/// Whatever writing the file answers.
pub fn tiny_model(path: &Path, word: &str) -> io::Result<()> {
    write_model(path, word, &TINY, [])
}

/// Writes a model to `path` that needs minutes for a prompt of tens of thousands of tokens, and
/// answers everything with `word`. A byte of the prompt is a token. The file has 270 MB, most of them
/// a hole.
///
/// # Errors
///
/// Whatever writing the file answers.
pub fn slow_model(path: &Path, word: &str) -> io::Result<()> {
    write_model(path, word, &SLOW, [])
}

/// Writes a model to `path` that can be read but not loaded: a header with `words` tokens, and a hole in
/// the place of all numbers.
///
/// # Errors
///
/// Whatever writing the file answers.
pub fn hollow_model(path: &Path, words: usize) -> io::Result<()> {
    let mut vocabulary = Vocabulary::with("hollow");
    for word in vocabulary.len()..words {
        vocabulary.tokens.push(format!("\u{2581}word{word}"));
        vocabulary.kinds.push(token::NORMAL);
    }
    let tensors: Vec<_> = tensors(&vocabulary, &TINY)
        .into_iter()
        .map(Tensor::hollow)
        .collect();
    write(path, &metadata("hollow", &vocabulary, &TINY), &tensors)
}

/// Writes a model to `path` that makes the same vector of 64 numbers of every text.
///
/// # Errors
///
/// Whatever writing the file answers.
pub fn embedding_model(path: &Path) -> io::Result<()> {
    let pooling = ("llama.pooling_type", Value::U32(pooling::MEAN));
    write_model(path, "vector", &TINY, [pooling])
}

/// Writes a model to `path` that rates every text alike.
///
/// # Errors
///
/// Whatever writing the file answers.
pub fn rerank_model(path: &Path) -> io::Result<()> {
    let pooling = ("llama.pooling_type", Value::U32(pooling::RANK));
    write_model(path, "rank", &TINY, [pooling])
}

/// Writes a model to two files in `folder`, `NAME-00001-of-00002.gguf` and its sibling, that answers
/// everything with `word`.
///
/// # Errors
///
/// Whatever writing the files answers.
pub fn model_in_two_shards(folder: &Path, name: &str, word: &str) -> io::Result<()> {
    let vocabulary = Vocabulary::with(word);
    let tensors = tensors(&vocabulary, &TINY);
    let split = |number: u16| {
        [
            ("split.no", Value::U16(number)),
            ("split.count", Value::U16(2)),
            ("split.tensors.count", Value::I32(tensors.len() as i32)),
        ]
    };
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut whole = metadata(word, &vocabulary, &TINY);
    whole.extend(split(0));
    let path = |number: u16| folder.join(format!("{name}-{number:05}-of-00002.gguf"));
    write(&path(1), &whole, first)?;
    write(&path(2), &split(1).into(), second)
}

/// Writes a projector to `path` that fits every tiny model, and makes the same of all pictures.
///
/// # Errors
///
/// Whatever writing the file answers.
pub fn projector(path: &Path) -> io::Result<()> {
    const WIDTH: u64 = 8;
    const PATCH: u64 = 14;
    let number = |value: u64| Value::U32(value as u32);
    let metadata = vec![
        ("general.architecture", Value::Text("clip".into())),
        ("general.type", Value::Text("mmproj".into())),
        ("clip.has_vision_encoder", Value::Bool(true)),
        ("clip.projector_type", Value::Text("mlp".into())),
        ("clip.use_gelu", Value::Bool(true)),
        ("clip.vision.image_size", number(2 * PATCH)),
        ("clip.vision.patch_size", number(PATCH)),
        ("clip.vision.embedding_length", number(WIDTH)),
        ("clip.vision.feed_forward_length", number(WIDTH)),
        ("clip.vision.projection_dim", number(TINY.embedding)),
        ("clip.vision.block_count", Value::U32(1)),
        ("clip.vision.attention.head_count", Value::U32(1)),
        ("clip.vision.attention.layer_norm_epsilon", Value::F32(1e-5)),
        ("clip.vision.image_mean", Value::F32s(vec![0.5; 3])),
        ("clip.vision.image_std", Value::F32s(vec![0.5; 3])),
    ];
    let mut tensors = vec![
        Tensor::zero("v.patch_embd.weight", &[PATCH, PATCH, 3, WIDTH]),
        Tensor::zero("v.position_embd.weight", &[WIDTH, 4]),
    ];
    let vectors = ["ln1", "ln2"].map(|name| (name, vec![WIDTH]));
    let matrices = [
        "attn_q", "attn_k", "attn_v", "attn_out", "ffn_up", "ffn_down",
    ];
    let matrices = matrices.map(|name| (name, vec![WIDTH, WIDTH]));
    for (name, shape) in vectors.into_iter().chain(matrices) {
        tensors.push(Tensor::zero(format!("v.blk.0.{name}.weight"), &shape));
        tensors.push(Tensor::zero(format!("v.blk.0.{name}.bias"), &[WIDTH]));
    }
    for (name, input) in [("mm.0", WIDTH), ("mm.2", TINY.embedding)] {
        let shape = [input, TINY.embedding];
        tensors.push(Tensor::zero(format!("{name}.weight"), &shape));
        tensors.push(Tensor::zero(format!("{name}.bias"), &[TINY.embedding]));
    }
    write(path, &metadata, &tensors)
}

fn write_model<const N: usize>(
    path: &Path,
    word: &str,
    size: &Size,
    more: [(&'static str, Value); N],
) -> io::Result<()> {
    let vocabulary = Vocabulary::with(word);
    let mut metadata = metadata(word, &vocabulary, size);
    metadata.extend(more);
    write(path, &metadata, &tensors(&vocabulary, size))
}

/// The tokens: the three every model has, the 256 bytes, and the word.
struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<i32>,
}

impl Vocabulary {
    const UNKNOWN: u32 = 0;
    const BEGIN: u32 = 1;
    const END: u32 = 2;

    fn with(word: &str) -> Self {
        let mut tokens = vec!["<unk>".into(), "<s>".into(), "</s>".into()];
        let mut kinds = vec![token::UNKNOWN, token::CONTROL, token::CONTROL];
        for byte in 0..=u8::MAX {
            tokens.push(format!("<0x{byte:02X}>"));
            kinds.push(token::BYTE);
        }
        // U+2581 is how this tokenizer writes a space.
        tokens.push(format!("\u{2581}{word}"));
        kinds.push(token::NORMAL);
        Self { tokens, kinds }
    }

    fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The place of the word: the last token.
    fn word(&self) -> usize {
        self.len() - 1
    }
}

fn metadata(word: &str, vocabulary: &Vocabulary, size: &Size) -> Metadata {
    vec![
        ("general.architecture", Value::Text("llama".into())),
        ("general.name", Value::Text(word.into())),
        ("llama.context_length", Value::U32(size.context)),
        ("llama.embedding_length", Value::U32(size.embedding as u32)),
        (
            "llama.feed_forward_length",
            Value::U32(size.feed_forward as u32),
        ),
        ("llama.block_count", Value::U32(size.blocks)),
        ("llama.attention.head_count", Value::U32(size.heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("tokenizer.ggml.model", Value::Text("llama".into())),
        (
            "tokenizer.ggml.tokens",
            Value::Texts(vocabulary.tokens.clone()),
        ),
        (
            "tokenizer.ggml.scores",
            Value::F32s(vec![0.0; vocabulary.len()]),
        ),
        (
            "tokenizer.ggml.token_type",
            Value::I32s(vocabulary.kinds.clone()),
        ),
        (
            "tokenizer.ggml.unknown_token_id",
            Value::U32(Vocabulary::UNKNOWN),
        ),
        ("tokenizer.ggml.bos_token_id", Value::U32(Vocabulary::BEGIN)),
        ("tokenizer.ggml.eos_token_id", Value::U32(Vocabulary::END)),
        ("tokenizer.chat_template", Value::Text(CHAT_TEMPLATE.into())),
    ]
}

fn tensors(vocabulary: &Vocabulary, size: &Size) -> Vec<Tensor> {
    let words = vocabulary.len() as u64;
    let (embedding, feed_forward) = (size.embedding, size.feed_forward);
    let output = Tensor::filled("output.weight", &[embedding, words], -1.0);
    let mut tensors = vec![
        Tensor::filled("token_embd.weight", &[embedding, words], 1.0),
        Tensor::filled("output_norm.weight", &[embedding], 1.0),
        output.with_row_of_ones(vocabulary.word() as u64),
    ];
    for block in 0..size.blocks {
        let zero =
            |name: &str, shape: &[u64]| Tensor::zero(format!("blk.{block}.{name}.weight"), shape);
        tensors.extend([
            zero("attn_norm", &[embedding]),
            zero("attn_q", &[embedding, embedding]),
            zero("attn_k", &[embedding, embedding]),
            zero("attn_v", &[embedding, embedding]),
            zero("attn_output", &[embedding, embedding]),
            zero("ffn_norm", &[embedding]),
            zero("ffn_gate", &[embedding, feed_forward]),
            zero("ffn_up", &[embedding, feed_forward]),
            zero("ffn_down", &[feed_forward, embedding]),
        ]);
    }
    tensors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::ALIGNMENT;

    fn bytes(word: &str) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        tiny_model(file.path(), word).unwrap();
        std::fs::read(file.path()).unwrap()
    }

    #[test]
    fn a_tiny_model_is_tiny_and_aligned() {
        let file = bytes("alpha");
        assert!(file.starts_with(b"GGUF\x03\0\0\0"));
        assert_eq!(file.len() as u64 % ALIGNMENT, 0);
        assert!(file.len() < 512 * 1024, "{} bytes", file.len());
    }

    #[test]
    fn two_words_make_two_models_of_the_same_size() {
        assert_ne!(bytes("alpha"), bytes("gamma"));
        assert_eq!(bytes("alpha").len(), bytes("gamma").len());
    }
}
