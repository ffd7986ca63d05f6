//! The header of a file: its metadata, and what its tensors come to.

use std::io::{Read, Seek};

use super::error::GgufError;
use super::input::Input;
use super::metadata::{Metadata, bounded, broken};
use super::tensors::{Layout, Tensors};

/// How tensors are aligned if the file does not say, in bytes.
const ALIGNMENT: u64 = 32;

/// The most tensors that are read.
const MOST_TENSORS: u64 = 262_144;

pub(super) struct Header {
    pub(super) metadata: Metadata,
    pub(super) tensors: Tensors,
}

impl Header {
    pub(super) fn read<S: Read + Seek>(input: &mut Input<S>) -> Result<Self, GgufError> {
        magic(input)?;
        version(input.u32()?)?;
        let tensors = input.u64()?;
        bounded(input, "tensors", tensors, MOST_TENSORS)?;
        let keys = input.u64()?;
        let metadata = Metadata::read(input, keys)?;
        let alignment = alignment(input, &metadata)?;
        let (tensors, layout) = Tensors::read(input, tensors, alignment)?;
        let tensors = match layout {
            Some(layout) => end(input, tensors, layout, alignment)?,
            None => tensors,
        };
        Ok(Self { metadata, tensors })
    }
}

fn magic<S: Read + Seek>(input: &mut Input<S>) -> Result<(), GgufError> {
    for expected in b"GGUF" {
        if input.array()? != [*expected] {
            return Err(GgufError::Foreign);
        }
    }
    Ok(())
}

fn version(version: u32) -> Result<(), GgufError> {
    match version {
        2 | 3 => Ok(()),
        _ if version & 0xffff == 0 && version != 0 => Err(GgufError::BigEndian),
        _ => Err(GgufError::Version { version }),
    }
}

fn alignment<S: Read + Seek>(input: &Input<S>, metadata: &Metadata) -> Result<u64, GgufError> {
    let alignment = metadata.number("general.alignment").unwrap_or(ALIGNMENT);
    if alignment.is_power_of_two() && u32::try_from(alignment).is_ok() {
        Ok(alignment)
    } else {
        Err(broken(input, "its alignment is no power of two"))
    }
}

/// Whether the file reaches to the end of its last tensor.
fn end<S: Read + Seek>(
    input: &Input<S>,
    mut tensors: Tensors,
    layout: Layout,
    alignment: u64,
) -> Result<Tensors, GgufError> {
    let too_large = || broken(input, "its tensors are larger than any file");
    let data = input
        .position()
        .checked_next_multiple_of(alignment)
        .ok_or_else(too_large)?;
    let needed = data.checked_add(layout.end).ok_or_else(too_large)?;
    let length = input.length();
    if length < needed {
        return Err(GgufError::TensorsCut { length, needed });
    }
    if layout.is_open {
        // What the last tensor takes is not known, but that nothing comes behind it.
        tensors.bytes += length - needed;
    }
    Ok(tensors)
}
