//! How a model is quantized: by the file type, if the tensors bear it out.

use super::facts::{Basis, Guess};
use super::file_name;
use super::tensors::Tensors;
use super::types;

/// llama.cpp's file types by number: the name that people write, and the type most matrices have.
const FILE_TYPES: [(u64, &str, &str); 36] = [
    (0, "F32", "F32"),
    (1, "F16", "F16"),
    (2, "Q4_0", "Q4_0"),
    (3, "Q4_1", "Q4_1"),
    (7, "Q8_0", "Q8_0"),
    (8, "Q5_0", "Q5_0"),
    (9, "Q5_1", "Q5_1"),
    (10, "Q2_K", "Q2_K"),
    (11, "Q3_K_S", "Q3_K"),
    (12, "Q3_K_M", "Q3_K"),
    (13, "Q3_K_L", "Q3_K"),
    (14, "Q4_K_S", "Q4_K"),
    (15, "Q4_K_M", "Q4_K"),
    (16, "Q5_K_S", "Q5_K"),
    (17, "Q5_K_M", "Q5_K"),
    (18, "Q6_K", "Q6_K"),
    (19, "IQ2_XXS", "IQ2_XXS"),
    (20, "IQ2_XS", "IQ2_XS"),
    (21, "Q2_K_S", "Q2_K"),
    (22, "IQ3_XS", "IQ3_S"),
    (23, "IQ3_XXS", "IQ3_XXS"),
    (24, "IQ1_S", "IQ1_S"),
    (25, "IQ4_NL", "IQ4_NL"),
    (26, "IQ3_S", "IQ3_S"),
    (27, "IQ3_M", "IQ3_S"),
    (28, "IQ2_S", "IQ2_XS"),
    (29, "IQ2_M", "IQ2_S"),
    (30, "IQ4_XS", "IQ4_XS"),
    (31, "IQ1_M", "IQ1_M"),
    (32, "BF16", "BF16"),
    (36, "TQ1_0", "TQ1_0"),
    (37, "TQ2_0", "TQ2_0"),
    (38, "MXFP4", "MXFP4"),
    (39, "NVFP4", "NVFP4"),
    (40, "Q1_0", "Q1_0"),
    (41, "Q2_0", "Q2_0"),
];

/// What llama.cpp adds to a file type that it has guessed.
const GUESSED: u64 = 1024;

/// What cannot be told.
const UNKNOWN: &str = "unknown";

/// The quantization of a file.
pub(super) fn quantization(
    file_type: Option<u64>,
    tensors: &Tensors,
    file_name: &str,
) -> Guess<String> {
    let guess = |value: &str, basis| Guess {
        value: value.to_owned(),
        basis,
    };
    let said = file_type.and_then(|number| {
        let mut types = FILE_TYPES.iter();
        types.find(|(known, _, _)| *known == number & !GUESSED)
    });
    if let Some((_, name, base)) = said
        && bears_out(tensors, base)
    {
        return guess(name, Basis::Metadata);
    }
    let Some(dominant) = tensors.dominant() else {
        return guess(UNKNOWN, Basis::Nothing);
    };
    match named(file_name) {
        Some((_, name, base)) if *base == dominant.name => guess(name, Basis::Name),
        Some(_) | None => guess(dominant.name, Basis::Tensors),
    }
}

/// Whether a part of a name is a quantization, as `Q4_K_M` or `IQ4_XS` or `Q4_K_XL`.
pub(super) fn is_name(part: &str) -> bool {
    let part = part.to_ascii_uppercase();
    let begins = |name: &str| {
        let rest = part.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    types::names().any(begins) || FILE_TYPES.iter().any(|(_, name, _)| begins(name))
}

/// Whether the tensors are as a file type has them. A file that was quantized without saying so still
/// has the file type of what it was made from, which is one of floats; those must prevail. Of the
/// others, the rest may be in any type, and all may be in the one that small rows fall back to.
fn bears_out(tensors: &Tensors, base: &str) -> bool {
    if tensors.count == 0 {
        return true;
    }
    match base {
        "F32" | "F16" | "BF16" => tensors.dominant().is_none_or(|found| found.name == base),
        _ => tensors.has_unknown || tensors.have(base) || tensors.have(fallback(base)),
    }
}

/// What llama-quantize takes for rows that are no multiple of the type's blocks.
fn fallback(base: &str) -> &str {
    match base {
        "TQ1_0" | "TQ2_0" => "Q4_0",
        "Q4_K" => "Q5_0",
        "Q5_K" => "Q5_1",
        "Q6_K" => "Q8_0",
        "Q2_K" | "Q3_K" | "IQ1_S" | "IQ1_M" | "IQ2_XXS" | "IQ2_XS" | "IQ2_S" | "IQ3_XXS"
        | "IQ3_S" | "IQ4_XS" => "IQ4_NL",
        _ => base,
    }
}

/// The longest file type in a name.
fn named(file_name: &str) -> Option<&'static (u64, &'static str, &'static str)> {
    let name = file_name::stem(file_name).to_ascii_uppercase();
    let is_there = |wanted: &str| {
        name.match_indices(wanted).any(|(at, _)| {
            let before = name[..at].chars().next_back();
            let after = name[at + wanted.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric)
                && !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    };
    let found = FILE_TYPES.iter().filter(|(_, name, _)| is_there(name));
    found.max_by_key(|(_, name, _)| name.len())
}
