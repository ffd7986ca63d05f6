//! What the names of files say.

use super::quantization;

/// A name of the form `PREFIX-00001-of-00003.gguf`, by which llama.cpp finds the shards of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShardName<'a> {
    pub(super) prefix: &'a str,
    /// From 1.
    pub(super) number: u16,
    pub(super) count: u16,
}

impl<'a> ShardName<'a> {
    pub(super) fn parse(file_name: &'a str) -> Option<Self> {
        let (rest, count) = stem(file_name).rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let (number, count) = (five_digits(number)?, five_digits(count)?);
        ((1..=count).contains(&number) && !prefix.is_empty()).then_some(Self {
            prefix,
            number,
            count,
        })
    }

    /// The name of another shard of the same model.
    pub(super) fn sibling(&self, number: u16) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.prefix, self.count)
    }
}

fn five_digits(text: &str) -> Option<u16> {
    let are_digits = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| text.parse().ok())?
}

/// The name without `.gguf`.
pub(super) fn stem(file_name: &str) -> &str {
    file_name.strip_suffix(".gguf").unwrap_or(file_name)
}

/// The words of a name, in lower case.
pub(super) fn words(name: &str) -> impl Iterator<Item = String> {
    let words = name.split(|character: char| !character.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// The words by which a model is told from another: not its quantization, and not what files of all
/// models are called.
pub(super) fn own_words(file_name: &str) -> Vec<String> {
    let name = ShardName::parse(file_name).map_or(stem(file_name), |shard| shard.prefix);
    let parts = name.split(['-', '.', ' ']);
    parts
        .filter(|part| !quantization::is_name(part))
        .flat_map(words)
        .filter(|word| !COMMON.contains(&word.as_str()))
        .collect()
}

/// What says nothing about which model it is.
const COMMON: [&str; 12] = [
    "clip",
    "fp16",
    "fp32",
    "ggml",
    "gguf",
    "i1",
    "imat",
    "mmproj",
    "model",
    "projector",
    "ud",
    "vision",
];
