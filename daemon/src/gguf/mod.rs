//! GGUF files: what their headers say.
//!
//! [`read`] takes the header of one file and says what follows from it; [`group()`] makes models of the
//! files of one folder. Neither believes anything: what a file says of itself is bounded and compared
//! with its length, and what is only likely is marked as a guess.
//!
//! A header has three parts: a few counts, the metadata as keys and values, and for each tensor its
//! name, sizes, type and place. Most of it is the vocabulary, which is passed over. Tensors themselves
//! are never read.

mod error;
mod facts;
mod file_name;
mod group;
mod header;
mod input;
mod kind;
mod metadata;
mod projector;
mod quantization;
mod role;
mod shape;
mod state;
mod tensors;
#[cfg(test)]
mod tests;
mod thinking;
mod tier;
mod types;

use std::io::{Read, Seek};

pub use error::GgufError;
pub use facts::{Basis, Facts, Guess, Kind, Role, Shape, Split, Tier};
pub use group::{Group, GroupError, Grouped, Problem, group};
use header::Header;
use input::Input;
pub use tier::TierRule;

use crate::text::one_line;

/// Reads the header of a file that is `length` bytes long, from a source that stands at its beginning.
/// Where the header is silent, `file_name` may speak.
///
/// # Errors
///
/// If the file is none that llama.cpp would load, or cannot be read.
pub fn read(source: impl Read + Seek, length: u64, file_name: &str) -> Result<Facts, GgufError> {
    let header = Header::read(&mut Input::new(source, length))?;
    Ok(facts(&header, file_name))
}

fn facts(header: &Header, file_name: &str) -> Facts {
    let Header { metadata, tensors } = header;
    let text = |key| metadata.text(key).map(one_line);
    let words: Vec<_> = ["general.name", "general.basename", "general.finetune"]
        .into_iter()
        .filter_map(|key| metadata.text(key))
        .chain([file_name])
        .collect();
    let split = role::split(metadata);
    let role = role::role(metadata, tensors, split);
    let kind = kind::kind(role, metadata, tensors, &words);
    let context_length = metadata.arch("context_length");
    Facts {
        role,
        architecture: one_line(metadata.architecture()),
        name: text("general.name").filter(|name| !name.is_empty()),
        quantization: quantization::quantization(
            metadata.number("general.file_type"),
            tensors,
            file_name,
        ),
        milli_bits: milli_bits(tensors.bytes, tensors.elements),
        parameters: tensors.elements,
        thinking: thinking::thinking(kind.value, metadata, &words),
        kind,
        context_length: context_length.and_then(|length| u32::try_from(length).ok()),
        tensor_bytes: tensors.bytes,
        shape: shape::shape(role, metadata, tensors),
        split,
    }
}

/// Bits for one parameter, in thousandths.
fn milli_bits(bytes: u64, parameters: u64) -> u32 {
    let bits = u128::from(bytes) * 8 * 1000;
    let each = bits.checked_div(u128::from(parameters)).unwrap_or(0);
    u32::try_from(each).unwrap_or(u32::MAX)
}
