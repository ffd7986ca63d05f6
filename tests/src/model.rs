//! Models for tests: half a megabyte, loaded in 20 ms, and each says one word for ever; and a larger
//! one that is slow at it.
//!
//! A real llama-server loads them like any other GGUF. Every token has the same constant embedding,
//! attention and feed-forward are zero, so the last layer always sees that constant; the output row
//! of the chosen word points along it and every other row against it. So whatever is asked, a model
//! made with the word `alpha` answers ` alpha alpha alpha …`, and a test can see which one answered.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

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

/// Where tensor data begins and what each tensor is padded to, in bytes.
const ALIGNMENT: u64 = 32;

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
    write(&mut File::create(path)?, word, &TINY)
}

/// Writes a model to `path` that answers everything with `word`, and that needs minutes for a prompt
/// of tens of thousands of tokens. A byte of the prompt is a token. The file has 270 MB, most of them
/// a hole.
///
/// # Errors
///
/// Whatever writing the file answers.
pub fn slow_model(path: &Path, word: &str) -> io::Result<()> {
    write(&mut File::create(path)?, word, &SLOW)
}

fn write(file: &mut File, word: &str, size: &Size) -> io::Result<()> {
    let vocabulary = Vocabulary::with(word);
    let tensors = tensors(&vocabulary, size);
    let mut out = BufWriter::new(file);
    out.write_all(&header(word, &vocabulary, size, &tensors))?;
    for tensor in &tensors {
        tensor.write(&mut out)?;
    }
    // Zeros are left out, so the end may be a hole too.
    let length = out.stream_position()?;
    out.into_inner().map_err(io::Error::from)?.set_len(length)
}

fn header(word: &str, vocabulary: &Vocabulary, size: &Size, tensors: &[Tensor]) -> Vec<u8> {
    let metadata = metadata(word, vocabulary, size);
    let mut out = Vec::new();
    out.extend_from_slice(gguf::MAGIC);
    put_u32(&mut out, gguf::VERSION);
    put_u64(&mut out, tensors.len() as u64);
    put_u64(&mut out, metadata.len() as u64);
    for (key, value) in &metadata {
        put_string(&mut out, key);
        value.put(&mut out);
    }
    let mut offset = 0;
    for tensor in tensors {
        put_string(&mut out, &tensor.name);
        put_u32(&mut out, tensor.shape.len() as u32);
        tensor
            .shape
            .iter()
            .for_each(|&size| put_u64(&mut out, size));
        put_u32(&mut out, gguf::TENSOR_F32);
        put_u64(&mut out, offset);
        offset += tensor.length().next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
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

fn metadata(word: &str, vocabulary: &Vocabulary, size: &Size) -> Vec<(&'static str, Value)> {
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

/// A tensor of 32-bit floats, all of them the same but for one row.
struct Tensor {
    name: String,
    /// The fastest dimension first.
    shape: Vec<u64>,
    value: f32,
    /// The place of the row that has 1 instead.
    row_of_ones: Option<u64>,
}

impl Tensor {
    fn filled(name: impl Into<String>, shape: &[u64], value: f32) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            value,
            row_of_ones: None,
        }
    }

    /// In bytes.
    fn length(&self) -> u64 {
        4 * self.shape.iter().product::<u64>()
    }

    fn write(&self, out: &mut BufWriter<&mut File>) -> io::Result<()> {
        let length = self.length();
        let padding = length.next_multiple_of(ALIGNMENT) - length;
        if self.value == 0.0 {
            out.seek(SeekFrom::Current((length + padding) as i64))?;
            return Ok(());
        }
        let width = self.shape[0];
        for row in 0..length / (4 * width) {
            let value = match self.row_of_ones {
                Some(ones) if ones == row => 1.0,
                Some(_) | None => self.value,
            };
            for _ in 0..width {
                out.write_all(&value.to_le_bytes())?;
            }
        }
        out.write_all(&vec![0; padding as usize])
    }
}

fn tensors(vocabulary: &Vocabulary, size: &Size) -> Vec<Tensor> {
    let words = vocabulary.len() as u64;
    let (embedding, feed_forward) = (size.embedding, size.feed_forward);
    let mut tensors = vec![
        Tensor::filled("token_embd.weight", &[embedding, words], 1.0),
        Tensor::filled("output_norm.weight", &[embedding], 1.0),
        Tensor {
            row_of_ones: Some(vocabulary.word() as u64),
            ..Tensor::filled("output.weight", &[embedding, words], -1.0)
        },
    ];
    for block in 0..size.blocks {
        let zero = |name: &str, shape: &[u64]| {
            Tensor::filled(format!("blk.{block}.{name}.weight"), shape, 0.0)
        };
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

#[cfg(test)]
mod tests {
    use super::*;

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
