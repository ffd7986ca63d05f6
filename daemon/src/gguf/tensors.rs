//! What the tensors of a file come to.

use std::io::{Read, Seek};

use super::error::GgufError;
use super::input::Input;
use super::metadata::{Distinct, broken};
use super::types::{self, Known, TensorType};

/// The most dimensions of a tensor.
const MOST_DIMENSIONS: u32 = 4;

/// What the tensors of a file come to.
#[derive(Debug)]
pub(super) struct Tensors {
    pub(super) count: u64,
    /// Their elements.
    pub(super) elements: u64,
    /// Their bytes, without the gaps between them.
    pub(super) bytes: u64,
    /// The bytes of matrices by the number of their type.
    by_type: [u64; types::COUNT],
    /// Whether some have a type that is not known.
    pub(super) has_unknown: bool,
    /// Whether there is a head that rates texts.
    pub(super) has_classifier: bool,
    /// Whether all are halves of a LoRA.
    pub(super) are_lora: bool,
    /// Rows of the embeddings of tokens.
    pub(super) vocabulary: Option<u64>,
}

/// Where the data of the tensors ends, behind the header.
pub(super) struct Layout {
    /// In bytes from the beginning of the data.
    pub(super) end: u64,
    /// Whether the size of the last one is not known: it begins at `end`.
    pub(super) is_open: bool,
}

/// A tensor, without its name.
struct Tensor {
    elements: u64,
    rows: u64,
    dimensions: u32,
    kind: u32,
    /// Its bytes. Absent if its type is not known.
    bytes: Option<u64>,
    offset: u64,
}

impl Tensors {
    /// Reads what the header says of them. Without tensors there is no layout.
    pub(super) fn read<S: Read + Seek>(
        input: &mut Input<S>,
        count: u64,
        alignment: u64,
    ) -> Result<(Self, Option<Layout>), GgufError> {
        let mut tensors = Self::none(count);
        let mut names = Distinct::default();
        let mut layout: Option<Layout> = None;
        for _ in 0..count {
            let name = input.name()?;
            names.add(name);
            let marks = Marks::of(name);
            let tensor = Tensor::read(input)?;
            let before = layout.take();
            let gap = place(&tensor, before.as_ref(), alignment)
                .ok_or_else(|| broken(input, "a tensor is not where the one before it ends"))?;
            tensors
                .add(&tensor, gap, marks)
                .ok_or_else(|| broken(input, "its tensors are larger than any file"))?;
            let end = tensor.offset.checked_add(tensor.bytes.unwrap_or(0));
            layout = Some(Layout {
                end: end.ok_or_else(|| broken(input, "a tensor is larger than any file"))?,
                is_open: tensor.bytes.is_none(),
            });
        }
        if names.are_distinct() {
            Ok((tensors, layout))
        } else {
            Err(broken(input, "two tensors have the same name"))
        }
    }

    /// The type that most bytes of matrices have.
    pub(super) fn dominant(&self) -> Option<TensorType> {
        let most = (0..types::COUNT).max_by_key(|&id| self.by_type[id])?;
        match types::lookup(most as u32) {
            Known::Type(found) if self.by_type[most] > 0 => Some(found),
            Known::Type(_) | Known::Removed | Known::Unknown => None,
        }
    }

    /// Whether a matrix has the type of this name.
    pub(super) fn have(&self, name: &str) -> bool {
        let is_it = |id: usize| matches!(types::lookup(id as u32), Known::Type(found) if found.name == name);
        (0..types::COUNT).any(|id| self.by_type[id] > 0 && is_it(id))
    }

    fn none(count: u64) -> Self {
        Self {
            count,
            elements: 0,
            bytes: 0,
            by_type: [0; types::COUNT],
            has_unknown: false,
            has_classifier: false,
            are_lora: count > 0,
            vocabulary: None,
        }
    }

    /// Counts a tensor, and the bytes of the one before it if its size was not known.
    fn add(&mut self, tensor: &Tensor, gap: u64, marks: Marks) -> Option<()> {
        let bytes = tensor.bytes.unwrap_or(0);
        self.bytes = self.bytes.checked_add(bytes)?.checked_add(gap)?;
        self.elements = self.elements.checked_add(tensor.elements)?;
        self.has_unknown |= tensor.bytes.is_none();
        self.has_classifier |= marks.is_classifier;
        self.are_lora &= marks.is_lora;
        if marks.is_embedding {
            self.vocabulary = Some(tensor.rows);
        }
        if tensor.dimensions > 1
            && let Some(sum) = self.by_type.get_mut(tensor.kind as usize)
        {
            // It is no more than all bytes, which were just summed up.
            *sum += bytes;
        }
        Some(())
    }
}

/// What the name of a tensor says.
#[derive(Clone, Copy)]
struct Marks {
    is_classifier: bool,
    is_lora: bool,
    is_embedding: bool,
}

impl Marks {
    fn of(name: &[u8]) -> Self {
        Self {
            is_classifier: name.starts_with(b"cls."),
            is_lora: name.ends_with(b".lora_a") || name.ends_with(b".lora_b"),
            is_embedding: name == b"token_embd.weight",
        }
    }
}

impl Tensor {
    fn read<S: Read + Seek>(input: &mut Input<S>) -> Result<Self, GgufError> {
        let dimensions = input.u32()?;
        if dimensions > MOST_DIMENSIONS {
            return Err(broken(input, "a tensor has more than four dimensions"));
        }
        let mut sizes = [1; MOST_DIMENSIONS as usize];
        for size in &mut sizes[..dimensions as usize] {
            *size = input.u64()?;
        }
        let elements = sizes
            .iter()
            .try_fold(1_u64, |product, &size| product.checked_mul(size))
            .ok_or_else(|| broken(input, "a tensor has more elements than can be counted"))?;
        let kind = input.u32()?;
        let bytes = match types::lookup(kind) {
            Known::Type(found) => Some(bytes(input, found, sizes[0], elements)?),
            Known::Removed => {
                return Err(broken(
                    input,
                    "a tensor has a type that llama.cpp has given up",
                ));
            }
            Known::Unknown => None,
        };
        Ok(Self {
            elements,
            rows: sizes[1],
            dimensions,
            kind,
            bytes,
            offset: input.u64()?,
        })
    }
}

fn bytes<S: Read + Seek>(
    input: &Input<S>,
    kind: TensorType,
    row: u64,
    elements: u64,
) -> Result<u64, GgufError> {
    if !row.is_multiple_of(kind.block) {
        return Err(broken(
            input,
            "the row of a tensor is no multiple of its blocks",
        ));
    }
    (elements / kind.block)
        .checked_mul(kind.bytes)
        .ok_or_else(|| broken(input, "a tensor is larger than any file"))
}

/// How many bytes of the tensor before are between its known end and this one; absent if this one is
/// not where it must be. A file has no holes and no overlaps, or llama.cpp refuses it.
fn place(tensor: &Tensor, before: Option<&Layout>, alignment: u64) -> Option<u64> {
    let Some(before) = before else {
        return (tensor.offset == 0).then_some(0);
    };
    if before.is_open {
        let is_aligned = tensor.offset.is_multiple_of(alignment);
        return tensor.offset.checked_sub(before.end).filter(|_| is_aligned);
    }
    let expected = before.end.checked_next_multiple_of(alignment)?;
    (tensor.offset == expected).then_some(0)
}
