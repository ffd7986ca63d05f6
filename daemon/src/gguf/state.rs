//! What a recurrent layer keeps: a window of its last inputs, and what it remembers of all before.

use super::metadata::Metadata;

/// llama.cpp keeps both as 32-bit floats.
const BYTES: u64 = 4;

/// How many last inputs RWKV keeps if the file does not say.
const TOKEN_SHIFT: u64 = 2;

/// Bytes that a recurrent layer keeps for each slot.
pub(super) fn of_layer(metadata: &Metadata) -> u64 {
    let elements = rwkv(metadata)
        .or_else(|| short_convolution(metadata))
        .or_else(|| delta_attention(metadata))
        .unwrap_or_else(|| mamba(metadata));
    elements.saturating_mul(BYTES)
}

fn rwkv(metadata: &Metadata) -> Option<u64> {
    let head = metadata.arch("wkv.head_size")?;
    let shift = metadata.arch("token_shift_count").unwrap_or(TOKEN_SHIFT);
    let embedding = metadata.arch("embedding_length")?;
    Some(embedding.saturating_mul(head.saturating_add(shift)))
}

fn short_convolution(metadata: &Metadata) -> Option<u64> {
    let window = metadata.arch("shortconv.l_cache")?.saturating_sub(1);
    Some(metadata.arch("embedding_length")?.saturating_mul(window))
}

/// Kimi's: three windows, and a square for each head.
fn delta_attention(metadata: &Metadata) -> Option<u64> {
    let head = metadata.arch("kda.head_dim")?;
    let all_heads = metadata.arch("attention.head_count")?.saturating_mul(head);
    let window = metadata
        .arch("ssm.conv_kernel")
        .unwrap_or(4)
        .saturating_sub(1);
    Some(all_heads.saturating_mul(window.saturating_mul(3).saturating_add(head)))
}

fn mamba(metadata: &Metadata) -> u64 {
    let number = |key| metadata.arch(key).unwrap_or(0);
    let (inner, state) = (number("ssm.inner_size"), number("ssm.state_size"));
    let groups = number("ssm.group_count")
        .saturating_mul(2)
        .saturating_mul(state);
    let window = number("ssm.conv_kernel").saturating_sub(1);
    window
        .saturating_mul(inner.saturating_add(groups))
        .saturating_add(state.saturating_mul(inner))
}
