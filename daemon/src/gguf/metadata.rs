//! The metadata of a header, as far as anything follows from it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Seek};

use super::error::GgufError;
use super::input::Input;

/// The most keys that are read.
const MOST_KEYS: u64 = 65_536;

/// The most elements of an array that are read, as in llama.cpp.
const MOST_ELEMENTS: u64 = 1 << 30;

/// The most elements of an array that is kept: one for each layer.
const MOST_LAYERS: u64 = 4096;

/// How much of a text is kept, in bytes. The longest chat templates have some 30 KiB.
const LONGEST_TEXT: usize = 1024 * 1024;

/// The most that all kept values may take, in bytes.
const MOST_KEPT: usize = 4 * 1024 * 1024;

const ARCHITECTURE: &str = "general.architecture";
pub(super) const TAGS: &str = "general.tags";

/// The keys that are kept.
const KEYS: [&str; 16] = [
    ARCHITECTURE,
    TAGS,
    "general.alignment",
    "general.basename",
    "general.file_type",
    "general.finetune",
    "general.name",
    "general.type",
    "adapter.type",
    "clip.has_audio_encoder",
    "clip.has_vision_encoder",
    "clip.vision.projection_dim",
    "split.count",
    "split.no",
    "tokenizer.chat_template",
    "tokenizer.ggml.tokens",
];

/// The keys that are kept, behind the name of the architecture and a dot.
const KEYS_OF_ARCHITECTURE: [&str; 27] = [
    "attention.causal",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.key_length_mla",
    "attention.key_length_swa",
    "attention.recurrent_layers",
    "attention.shared_kv_layers",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.value_length",
    "attention.value_length_swa",
    "block_count",
    "context_length",
    "embedding_length",
    "full_attention_interval",
    "kda.head_dim",
    "nextn_predict_layers",
    "pooling_type",
    "shortconv.l_cache",
    "ssm.conv_kernel",
    "ssm.group_count",
    "ssm.inner_size",
    "ssm.state_size",
    "token_shift_count",
    "vocab_size",
    "wkv.head_size",
];

/// The kinds of values, as the format numbers them.
mod kind {
    pub(super) const U8: u32 = 0;
    pub(super) const I8: u32 = 1;
    pub(super) const U16: u32 = 2;
    pub(super) const I16: u32 = 3;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const STRING: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
    pub(super) const U64: u32 = 10;
    pub(super) const I64: u32 = 11;
    pub(super) const F64: u32 = 12;
}

/// A value that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// A whole number, or a truth.
    Number(u64),
    /// One for each layer.
    Numbers(Vec<u64>),
    Text(String),
    /// An array of which only the length matters.
    Length(u64),
}

/// What is kept of the metadata.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    values: Vec<(String, Value)>,
    architecture: String,
}

impl Metadata {
    pub(super) fn read<S: Read + Seek>(
        input: &mut Input<S>,
        count: u64,
    ) -> Result<Self, GgufError> {
        bounded(input, "keys", count, MOST_KEYS)?;
        let mut metadata = Self::default();
        let mut seen = Distinct::default();
        let mut kept = 0;
        for _ in 0..count {
            let key = input.name()?;
            seen.add(key);
            let key = wanted(key).map(str::to_owned);
            let kind = input.u32()?;
            let Some(key) = key else {
                skip(input, kind)?;
                continue;
            };
            if let Some(value) = value(input, kind, key == TAGS)? {
                kept += key.len() + value.size();
                bounded(input, "bytes of values", kept as u64, MOST_KEPT as u64)?;
                metadata.values.push((key, value));
            }
        }
        if !seen.are_distinct() {
            return Err(broken(input, "two keys are the same"));
        }
        metadata.architecture = metadata.text(ARCHITECTURE).unwrap_or_default().to_owned();
        Ok(metadata)
    }

    pub(super) fn architecture(&self) -> &str {
        &self.architecture
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Numbers(_) | Value::Length(_) => None,
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        number(self.get(key)?)
    }

    /// How long an array is.
    pub(super) fn length(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Length(length) => Some(*length),
            Value::Number(_) | Value::Numbers(_) | Value::Text(_) => None,
        }
    }

    /// The number of a key that begins with the architecture.
    pub(super) fn arch(&self, suffix: &str) -> Option<u64> {
        number(self.get_arch(suffix)?)
    }

    /// The numbers of a key that begins with the architecture, one for each layer.
    pub(super) fn arch_layers(&self, suffix: &str) -> Option<&[u64]> {
        match self.get_arch(suffix)? {
            Value::Numbers(numbers) => Some(numbers),
            Value::Number(_) | Value::Text(_) | Value::Length(_) => None,
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        let found = self.values.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    fn get_arch(&self, suffix: &str) -> Option<&Value> {
        let is_it = |name: &str| {
            let rest = name.strip_prefix(&self.architecture);
            rest.and_then(|rest| rest.strip_prefix('.')) == Some(suffix)
        };
        let found = self.values.iter().find(|(name, _)| is_it(name));
        found.map(|(_, value)| value)
    }
}

impl Value {
    /// What it takes of memory, in bytes.
    fn size(&self) -> usize {
        match self {
            Self::Number(_) | Self::Length(_) => 8,
            Self::Numbers(numbers) => 8 * numbers.len(),
            Self::Text(text) => text.len(),
        }
    }
}

/// Names, of which only hashes are kept: enough to tell that two are the same.
#[derive(Default)]
pub(super) struct Distinct(Vec<u64>);

impl Distinct {
    pub(super) fn add(&mut self, name: &[u8]) {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        self.0.push(hasher.finish());
    }

    pub(super) fn are_distinct(mut self) -> bool {
        self.0.sort_unstable();
        self.0.windows(2).all(|pair| pair[0] != pair[1])
    }
}

pub(super) fn bounded<S: Read + Seek>(
    input: &Input<S>,
    what: &'static str,
    count: u64,
    most: u64,
) -> Result<(), GgufError> {
    if count <= most {
        return Ok(());
    }
    Err(GgufError::TooMany {
        at: input.position(),
        what,
        count,
        most,
    })
}

pub(super) fn broken<S: Read + Seek>(input: &Input<S>, what: &'static str) -> GgufError {
    GgufError::Invalid {
        at: input.position(),
        what,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Numbers(_) | Value::Text(_) | Value::Length(_) => None,
    }
}

fn wanted(key: &[u8]) -> Option<&str> {
    let key = std::str::from_utf8(key).ok()?;
    let of_architecture = || {
        let (_, suffix) = key.split_once('.')?;
        KEYS_OF_ARCHITECTURE.contains(&suffix).then_some(key)
    };
    if KEYS.contains(&key) {
        Some(key)
    } else {
        of_architecture()
    }
}

/// Reads a value. Those that nothing can follow from, as a fraction, are none.
fn value<S: Read + Seek>(
    input: &mut Input<S>,
    kind: u32,
    is_tags: bool,
) -> Result<Option<Value>, GgufError> {
    match kind {
        kind::STRING => Ok(Some(Value::Text(text(input)?))),
        kind::ARRAY => array(input, is_tags).map(Some),
        _ => {
            let number = scalar(input, kind)?;
            Ok(number
                .and_then(|n| u64::try_from(n).ok())
                .map(Value::Number))
        }
    }
}

fn text<S: Read + Seek>(input: &mut Input<S>) -> Result<String, GgufError> {
    let bytes = input.string(LONGEST_TEXT)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn array<S: Read + Seek>(input: &mut Input<S>, is_tags: bool) -> Result<Value, GgufError> {
    let (kind, count) = array_head(input)?;
    if is_tags && kind == kind::STRING && count <= MOST_LAYERS {
        let mut words = String::new();
        for _ in 0..count {
            words.push_str(&text(input)?);
            words.push(' ');
            bounded(
                input,
                "bytes of tags",
                words.len() as u64,
                LONGEST_TEXT as u64,
            )?;
        }
        return Ok(Value::Text(words));
    }
    if kind == kind::STRING || count > MOST_LAYERS {
        skip_elements(input, kind, count)?;
        return Ok(Value::Length(count));
    }
    let mut numbers = Vec::new();
    for _ in 0..count {
        let number = scalar(input, kind)?;
        numbers.push(number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0));
    }
    Ok(Value::Numbers(numbers))
}

fn array_head<S: Read + Seek>(input: &mut Input<S>) -> Result<(u32, u64), GgufError> {
    let kind = input.u32()?;
    let count = input.u64()?;
    bounded(input, "elements of an array", count, MOST_ELEMENTS)?;
    Ok((kind, count))
}

fn scalar<S: Read + Seek>(input: &mut Input<S>, kind: u32) -> Result<Option<i128>, GgufError> {
    Ok(Some(match kind {
        kind::U8 | kind::BOOL => input.array().map(u8::from_le_bytes)?.into(),
        kind::I8 => input.array().map(i8::from_le_bytes)?.into(),
        kind::U16 => input.array().map(u16::from_le_bytes)?.into(),
        kind::I16 => input.array().map(i16::from_le_bytes)?.into(),
        kind::U32 => input.u32()?.into(),
        kind::I32 => input.array().map(i32::from_le_bytes)?.into(),
        kind::U64 => input.u64()?.into(),
        kind::I64 => input.array().map(i64::from_le_bytes)?.into(),
        _ => {
            skip(input, kind)?;
            return Ok(None);
        }
    }))
}

/// Passes over a value.
fn skip<S: Read + Seek>(input: &mut Input<S>, kind: u32) -> Result<(), GgufError> {
    match kind {
        kind::STRING => input.skip_string(),
        kind::ARRAY => {
            let (kind, count) = array_head(input)?;
            skip_elements(input, kind, count)
        }
        _ => skip_elements(input, kind, 1),
    }
}

fn skip_elements<S: Read + Seek>(
    input: &mut Input<S>,
    kind: u32,
    count: u64,
) -> Result<(), GgufError> {
    let size = match kind {
        kind::U8 | kind::I8 | kind::BOOL => 1,
        kind::U16 | kind::I16 => 2,
        kind::U32 | kind::I32 | kind::F32 => 4,
        kind::U64 | kind::I64 | kind::F64 => 8,
        kind::STRING => {
            // Each has at least its length: a lie about their number costs nothing.
            input.require(8 * count)?;
            for _ in 0..count {
                input.skip_string()?;
            }
            return Ok(());
        }
        kind::ARRAY => return Err(broken(input, "an array in an array")),
        _ => return Err(broken(input, "a value of an unknown kind")),
    };
    // Neither is larger than 2^30.
    input.skip(size * count)
}
