//! The types that tensors are stored in.

/// A type of tensors, which stores so many elements together in so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TensorType {
    pub(super) name: &'static str,
    /// Elements of a block.
    pub(super) block: u64,
    /// Bytes of a block.
    pub(super) bytes: u64,
}

/// What a number of a type stands for.
pub(super) enum Known {
    Type(TensorType),
    /// There was such a type once; llama.cpp refuses it.
    Removed,
    /// A later llama.cpp may know it.
    Unknown,
}

/// How many numbers of types have a meaning.
pub(super) const COUNT: usize = TYPES.len();

/// By their number in ggml. `None`: removed.
const TYPES: [Option<TensorType>; 43] = [
    stored("F32", 1, 4),
    stored("F16", 1, 2),
    stored("Q4_0", 32, 18),
    stored("Q4_1", 32, 20),
    None,
    None,
    stored("Q5_0", 32, 22),
    stored("Q5_1", 32, 24),
    stored("Q8_0", 32, 34),
    stored("Q8_1", 32, 36),
    stored("Q2_K", 256, 84),
    stored("Q3_K", 256, 110),
    stored("Q4_K", 256, 144),
    stored("Q5_K", 256, 176),
    stored("Q6_K", 256, 210),
    stored("Q8_K", 256, 292),
    stored("IQ2_XXS", 256, 66),
    stored("IQ2_XS", 256, 74),
    stored("IQ3_XXS", 256, 98),
    stored("IQ1_S", 256, 50),
    stored("IQ4_NL", 32, 18),
    stored("IQ3_S", 256, 110),
    stored("IQ2_S", 256, 82),
    stored("IQ4_XS", 256, 136),
    stored("I8", 1, 1),
    stored("I16", 1, 2),
    stored("I32", 1, 4),
    stored("I64", 1, 8),
    stored("F64", 1, 8),
    stored("IQ1_M", 256, 56),
    stored("BF16", 1, 2),
    None,
    None,
    None,
    stored("TQ1_0", 256, 54),
    stored("TQ2_0", 256, 66),
    None,
    None,
    None,
    stored("MXFP4", 32, 17),
    stored("NVFP4", 64, 36),
    stored("Q1_0", 128, 18),
    stored("Q2_0", 64, 18),
];

const fn stored(name: &'static str, block: u64, bytes: u64) -> Option<TensorType> {
    Some(TensorType { name, block, bytes })
}

/// What the number `id` stands for.
pub(super) fn lookup(id: u32) -> Known {
    match TYPES.get(id as usize) {
        Some(Some(found)) => Known::Type(*found),
        Some(None) => Known::Removed,
        None => Known::Unknown,
    }
}

/// The names of all types that there are.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TYPES.iter().flatten().map(|found| found.name)
}
