//! Models for tests: half a megabyte, loaded in 20 ms, and each says one word for ever.
//!
//! A real llama-server loads them like any other GGUF. Every token has the same constant embedding,
//! attention and feed-forward are zero, so the last layer always sees that constant; the output row
//! of the chosen word points along it and every other row against it. So whatever is asked, a model
//! made with the word `alpha` answers ` alpha alpha alpha …`, and a test can see which one answered.

use std::fs;
use std::io;
use std::path::Path;

const EMBEDDING: u64 = 64;
const FEED_FORWARD: u64 = 128;
const BLOCKS: u32 = 2;
const HEADS: u32 = 4;

/// The context a tiny model is trained for, in tokens.
pub const CONTEXT_LENGTH: u32 = 4096;

const CHAT_TEMPLATE: &str =
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}";

/// Where tensor data begins and what each tensor is padded to, in bytes.
const ALIGNMENT: usize = 32;

/// GGUF's numbers for the types used here.
mod gguf {
    pub(super) const MAGIC: &[u8] = b"GGUF";
    pub(super) const VERSION: u32 = 3;
    pub(super) const TYPE_U32: u32 = 4;
    pub(super) const TYPE_I32: u32 = 5;
    pub(super) const TYPE_F32: u32 = 6;
    pub(super) const TYPE_STRING: u32 = 8;
    pub(super) const TYPE_ARRAY: u32 = 9;
    pub(super) const TENSOR_F32: u32 = 0;
}

/// Kinds of tokens, as llama.cpp numbers them.
mod token {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const BYTE: i32 = 6;
}

/// Writes a model to `path` that answers everything with `word`.
///
/// # Errors
///
/// Whatever writing the file answers.
pub fn tiny_model(path: &Path, word: &str) -> io::Result<()> {
    fs::write(path, bytes(word))
}

/// The whole file.
fn bytes(word: &str) -> Vec<u8> {
    let vocabulary = Vocabulary::with(word);
    let metadata = metadata(word, &vocabulary);
    let tensors = tensors(&vocabulary);

    let mut out = Vec::with_capacity(512 * 1024);
    out.extend_from_slice(gguf::MAGIC);
    put_u32(&mut out, gguf::VERSION);
    put_u64(&mut out, tensors.len() as u64);
    put_u64(&mut out, metadata.len() as u64);
    for (key, value) in &metadata {
        put_string(&mut out, key);
        value.put(&mut out);
    }
    let mut offset = 0;
    for tensor in &tensors {
        put_string(&mut out, &tensor.name);
        put_u32(&mut out, tensor.shape.len() as u32);
        tensor
            .shape
            .iter()
            .for_each(|&size| put_u64(&mut out, size));
        put_u32(&mut out, gguf::TENSOR_F32);
        put_u64(&mut out, offset as u64);
        offset += (tensor.data.len() * 4).next_multiple_of(ALIGNMENT);
    }
    for tensor in &tensors {
        pad(&mut out);
        for value in &tensor.data {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
    pad(&mut out);
    out
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

/// A value of the metadata.
enum Value {
    U32(u32),
    F32(f32),
    Text(String),
    Texts(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
}

impl Value {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::U32(value) => {
                put_u32(out, gguf::TYPE_U32);
                put_u32(out, *value);
            }
            Self::F32(value) => {
                put_u32(out, gguf::TYPE_F32);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Self::Text(text) => {
                put_u32(out, gguf::TYPE_STRING);
                put_string(out, text);
            }
            Self::Texts(texts) => {
                put_array(out, gguf::TYPE_STRING, texts.len());
                texts.iter().for_each(|text| put_string(out, text));
            }
            Self::F32s(values) => {
                put_array(out, gguf::TYPE_F32, values.len());
                values
                    .iter()
                    .for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
            }
            Self::I32s(values) => {
                put_array(out, gguf::TYPE_I32, values.len());
                values
                    .iter()
                    .for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
            }
        }
    }
}

fn metadata(word: &str, vocabulary: &Vocabulary) -> Vec<(&'static str, Value)> {
    vec![
        ("general.architecture", Value::Text("llama".into())),
        ("general.name", Value::Text(word.into())),
        ("llama.context_length", Value::U32(CONTEXT_LENGTH)),
        ("llama.embedding_length", Value::U32(EMBEDDING as u32)),
        ("llama.feed_forward_length", Value::U32(FEED_FORWARD as u32)),
        ("llama.block_count", Value::U32(BLOCKS)),
        ("llama.attention.head_count", Value::U32(HEADS)),
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

/// A tensor of 32-bit floats; `shape` has the fastest dimension first.
struct Tensor {
    name: String,
    shape: Vec<u64>,
    data: Vec<f32>,
}

impl Tensor {
    fn filled(name: impl Into<String>, shape: &[u64], value: f32) -> Self {
        let size = shape.iter().product::<u64>() as usize;
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            data: vec![value; size],
        }
    }
}

fn tensors(vocabulary: &Vocabulary) -> Vec<Tensor> {
    let words = vocabulary.len() as u64;
    let mut output = Tensor::filled("output.weight", &[EMBEDDING, words], -1.0);
    let row = vocabulary.word() * EMBEDDING as usize;
    output.data[row..row + EMBEDDING as usize].fill(1.0);

    let mut tensors = vec![
        Tensor::filled("token_embd.weight", &[EMBEDDING, words], 1.0),
        Tensor::filled("output_norm.weight", &[EMBEDDING], 1.0),
        output,
    ];
    for block in 0..BLOCKS {
        let zero = |name: &str, shape: &[u64]| {
            Tensor::filled(format!("blk.{block}.{name}.weight"), shape, 0.0)
        };
        tensors.extend([
            zero("attn_norm", &[EMBEDDING]),
            zero("attn_q", &[EMBEDDING, EMBEDDING]),
            zero("attn_k", &[EMBEDDING, EMBEDDING]),
            zero("attn_v", &[EMBEDDING, EMBEDDING]),
            zero("attn_output", &[EMBEDDING, EMBEDDING]),
            zero("ffn_norm", &[EMBEDDING]),
            zero("ffn_gate", &[EMBEDDING, FEED_FORWARD]),
            zero("ffn_up", &[EMBEDDING, FEED_FORWARD]),
            zero("ffn_down", &[FEED_FORWARD, EMBEDDING]),
        ]);
    }
    tensors
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_array(out: &mut Vec<u8>, kind: u32, len: usize) {
    put_u32(out, gguf::TYPE_ARRAY);
    put_u32(out, kind);
    put_u64(out, len as u64);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tiny_model_is_tiny_and_aligned() {
        let file = bytes("alpha");
        assert!(file.starts_with(b"GGUF\x03\0\0\0"));
        assert_eq!(file.len() % ALIGNMENT, 0);
        assert!(file.len() < 512 * 1024, "{} bytes", file.len());
    }

    #[test]
    fn two_words_make_two_models_of_the_same_shape() {
        assert_ne!(bytes("alpha"), bytes("gamma"));
        assert_eq!(bytes("alpha").len(), bytes("gamma").len());
    }
}
