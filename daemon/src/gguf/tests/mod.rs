//! Tests of what is read from files and made of it, on files written by [`writer`].

mod groups;
mod headers;
mod kinds;
mod quantizations;
mod shapes;
mod writer;

use std::io::Cursor;

use super::*;
use writer::Gguf;

/// What is read of a file that is called so.
fn called(name: &str, file: &Gguf) -> Facts {
    let bytes = file.bytes();
    read(Cursor::new(&bytes), bytes.len() as u64, name).unwrap()
}

fn facts(file: &Gguf) -> Facts {
    called("file.gguf", file)
}

fn refusal(bytes: &[u8]) -> GgufError {
    read(Cursor::new(bytes), bytes.len() as u64, "file.gguf").unwrap_err()
}

/// A small model of llama's architecture: four layers of eight heads, of which two are kept.
fn llama() -> Gguf {
    Gguf::of("llama")
        .number("llama.block_count", 4)
        .number("llama.context_length", 4096)
        .number("llama.embedding_length", 512)
        .number("llama.attention.head_count", 8)
        .number("llama.attention.head_count_kv", 2)
        .tensor("token_embd.weight", &[512, 32], F16)
        .tensor("output_norm.weight", &[512], F32)
}

const F32: u32 = 0;
const F16: u32 = 1;
const Q5_0: u32 = 6;
const Q8_0: u32 = 8;
const Q4_K: u32 = 12;
const Q6_K: u32 = 14;
const MXFP4: u32 = 39;
