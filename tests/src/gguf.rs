//! Writing GGUF files.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// Where tensor data begins and what each tensor is padded to, in bytes.
pub(crate) const ALIGNMENT: u64 = 32;

const MAGIC: &[u8] = b"GGUF";
const VERSION: u32 = 3;

/// GGUF's numbers for the types used here.
mod number {
    pub(super) const U16: u32 = 2;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const TEXT: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
    pub(super) const TENSOR_OF_F32: u32 = 0;
}

/// A value of the metadata.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    U16(u16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
}

/// The metadata of a file, in its order.
pub(crate) type Metadata = Vec<(&'static str, Value)>;

/// Writes a file with these tensors.
pub(crate) fn write(path: &Path, metadata: &Metadata, tensors: &[Tensor]) -> io::Result<()> {
    let mut file = File::create(path)?;
    let mut out = BufWriter::new(&mut file);
    out.write_all(&header(metadata, tensors))?;
    for tensor in tensors {
        tensor.write(&mut out)?;
    }
    // Zeros are left out, so the end may be a hole too.
    let length = out.stream_position()?;
    out.into_inner().map_err(io::Error::from)?.set_len(length)
}

fn header(metadata: &Metadata, tensors: &[Tensor]) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    put_u32(&mut out, VERSION);
    put_u64(&mut out, tensors.len() as u64);
    put_u64(&mut out, metadata.len() as u64);
    for (key, value) in metadata {
        put_text(&mut out, key);
        value.put(&mut out);
    }
    let mut offset = 0;
    for tensor in tensors {
        put_text(&mut out, &tensor.name);
        put_u32(&mut out, tensor.shape.len() as u32);
        tensor
            .shape
            .iter()
            .for_each(|&size| put_u64(&mut out, size));
        put_u32(&mut out, number::TENSOR_OF_F32);
        put_u64(&mut out, offset);
        offset += tensor.length().next_multiple_of(ALIGNMENT);
    }
    out.resize(out.len().next_multiple_of(ALIGNMENT as usize), 0);
    out
}

impl Value {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::U16(value) => {
                put_u32(out, number::U16);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Self::U32(value) => {
                put_u32(out, number::U32);
                put_u32(out, *value);
            }
            Self::I32(value) => {
                put_u32(out, number::I32);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Self::F32(value) => {
                put_u32(out, number::F32);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Self::Bool(value) => {
                put_u32(out, number::BOOL);
                out.push(u8::from(*value));
            }
            Self::Text(text) => {
                put_u32(out, number::TEXT);
                put_text(out, text);
            }
            Self::Texts(texts) => {
                put_array(out, number::TEXT, texts.len());
                texts.iter().for_each(|text| put_text(out, text));
            }
            Self::F32s(values) => {
                put_array(out, number::F32, values.len());
                values
                    .iter()
                    .for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
            }
            Self::I32s(values) => {
                put_array(out, number::I32, values.len());
                values
                    .iter()
                    .for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
            }
        }
    }
}

/// A tensor of 32-bit floats, all of them the same but for one row.
pub(crate) struct Tensor {
    name: String,
    /// The fastest dimension first.
    shape: Vec<u64>,
    value: f32,
    /// The place of the row that has 1 instead.
    row_of_ones: Option<u64>,
}

impl Tensor {
    /// One whose values are all the same.
    pub(crate) fn filled(name: impl Into<String>, shape: &[u64], value: f32) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            value,
            row_of_ones: None,
        }
    }

    /// One whose values are all 0. In the file it is a hole.
    pub(crate) fn zero(name: impl Into<String>, shape: &[u64]) -> Self {
        Self::filled(name, shape, 0.0)
    }

    /// The same with all values 0.
    pub(crate) fn hollow(self) -> Self {
        Self { value: 0.0, ..self }
    }

    /// The same with one row of 1.
    pub(crate) fn with_row_of_ones(mut self, row: u64) -> Self {
        self.row_of_ones = Some(row);
        self
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

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn put_array(out: &mut Vec<u8>, kind: u32, len: usize) {
    put_u32(out, number::ARRAY);
    put_u32(out, kind);
    put_u64(out, len as u64);
}
