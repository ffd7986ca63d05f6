//! The quantization, and what a parameter takes.

use super::*;
use crate::gguf::types::{Known, lookup};

fn quantization(name: &str, file: &Gguf) -> (String, Basis) {
    let quantization = called(name, file).quantization;
    (quantization.value, quantization.basis)
}

fn typed(file_type: u32, kind: u32) -> Gguf {
    Gguf::of("llama")
        .number("general.file_type", file_type)
        .tensor("a.weight", &[256, 4], kind)
        .tensor("norm.weight", &[4096], F32)
}

/// llama.cpp's file types, and the type of tensors that each has most of.
const FILE_TYPES: [(u32, u32, &str); 36] = [
    (0, 0, "F32"),
    (1, 1, "F16"),
    (2, 2, "Q4_0"),
    (3, 3, "Q4_1"),
    (7, 8, "Q8_0"),
    (8, 6, "Q5_0"),
    (9, 7, "Q5_1"),
    (10, 10, "Q2_K"),
    (11, 11, "Q3_K_S"),
    (12, 11, "Q3_K_M"),
    (13, 11, "Q3_K_L"),
    (14, 12, "Q4_K_S"),
    (15, 12, "Q4_K_M"),
    (16, 13, "Q5_K_S"),
    (17, 13, "Q5_K_M"),
    (18, 14, "Q6_K"),
    (19, 16, "IQ2_XXS"),
    (20, 17, "IQ2_XS"),
    (21, 10, "Q2_K_S"),
    (22, 21, "IQ3_XS"),
    (23, 18, "IQ3_XXS"),
    (24, 19, "IQ1_S"),
    (25, 20, "IQ4_NL"),
    (26, 21, "IQ3_S"),
    (27, 21, "IQ3_M"),
    (28, 17, "IQ2_S"),
    (29, 22, "IQ2_M"),
    (30, 23, "IQ4_XS"),
    (31, 29, "IQ1_M"),
    (32, 30, "BF16"),
    (36, 34, "TQ1_0"),
    (37, 35, "TQ2_0"),
    (38, 39, "MXFP4"),
    (39, 40, "NVFP4"),
    (40, 41, "Q1_0"),
    (41, 42, "Q2_0"),
];

#[test]
fn every_file_type_has_its_name() {
    for (file_type, kind, name) in FILE_TYPES {
        let file = typed(file_type, kind);
        assert_eq!(
            quantization("x.gguf", &file),
            (name.to_owned(), Basis::Metadata)
        );
        // What llama.cpp has guessed itself is no worse.
        let file = typed(file_type | 1024, kind);
        assert_eq!(quantization("x.gguf", &file).0, name);
    }
}

#[test]
fn the_types_have_the_sizes_of_ggml() {
    let bits = |id: u32| match lookup(id) {
        Known::Type(kind) => kind.bytes * 8_000 / kind.block,
        Known::Removed | Known::Unknown => 0,
    };
    let expected = [
        32_000, 16_000, 4_500, 5_000, 0, 0, 5_500, 6_000, 8_500, 9_000, 2_625, 3_437, 4_500, 5_500,
        6_562, 9_125, 2_062, 2_312, 3_062, 1_562, 4_500, 3_437, 2_562, 4_250, 8_000, 16_000,
        32_000, 64_000, 64_000, 1_750, 16_000, 0, 0, 0, 1_687, 2_062, 0, 0, 0, 4_250, 4_500, 1_125,
        2_250, 0,
    ];
    let found: Vec<_> = (0..expected.len() as u32).map(bits).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_file_type_that_the_tensors_deny_is_not_believed() {
    let tensors = |name: &str| (name.to_owned(), Basis::Tensors);
    assert_eq!(quantization("x.gguf", &typed(1, Q4_K)), tensors("Q4_K"));
    assert_eq!(quantization("x.gguf", &typed(0, Q8_0)), tensors("Q8_0"));
    assert_eq!(
        quantization("gpt-oss-20b-F16.gguf", &typed(1, MXFP4)),
        tensors("MXFP4")
    );
    assert_eq!(quantization("x.gguf", &typed(15, F16)), tensors("F16"));
    assert_eq!(quantization("x.gguf", &typed(999, Q6_K)), tensors("Q6_K"));
}

#[test]
fn a_name_says_which_mix_it_is_if_the_tensors_agree() {
    let name = |name: &str| (name.to_owned(), Basis::Name);
    assert_eq!(
        quantization("a-Q4_K_M.gguf", &typed(1, Q4_K)),
        name("Q4_K_M")
    );
    assert_eq!(
        quantization("a.q4_k_s.gguf", &typed(1, Q4_K)),
        name("Q4_K_S")
    );
    let denied = quantization("a-Q4_K_M.gguf", &typed(1, Q6_K));
    assert_eq!(denied, ("Q6_K".to_owned(), Basis::Tensors));
}

#[test]
fn rows_too_short_for_blocks_may_be_in_another_type() {
    let file = typed(15, Q5_0);
    assert_eq!(
        quantization("x.gguf", &file),
        ("Q4_K_M".to_owned(), Basis::Metadata)
    );
}

#[test]
fn without_a_file_type_and_without_matrices_nothing_is_known() {
    let file = Gguf::of("llama").tensor("norm.weight", &[4], F32);
    assert_eq!(
        quantization("x.gguf", &file),
        ("unknown".to_owned(), Basis::Nothing)
    );
}

#[test]
fn parameters_and_bits_are_those_of_the_tensors() {
    let facts = facts(&typed(15, Q4_K));
    assert_eq!(facts.parameters, 1024 + 4096);
    assert_eq!(facts.tensor_bytes, 576 + 16_384);
    assert_eq!(facts.milli_bits, 16_960 * 8 * 1000 / 5120);
}
