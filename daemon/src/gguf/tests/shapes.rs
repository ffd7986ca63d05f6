//! What each token takes of memory.

use super::*;

/// A model of four layers with eight heads of 64.
fn model(architecture: &str) -> Gguf {
    let key = |rest: &str| format!("{architecture}.{rest}");
    Gguf::of(architecture)
        .number(&key("block_count"), 4)
        .number(&key("embedding_length"), 512)
        .number(&key("attention.head_count"), 8)
        .tensor("token_embd.weight", &[512, 32], F16)
}

fn kept(file: &Gguf) -> (u64, u64) {
    let shape = facts(file).shape;
    (shape.keys_per_token, shape.values_per_token)
}

#[test]
fn every_head_keeps_its_share_of_the_embedding() {
    let shape = facts(&model("llama")).shape;
    assert_eq!((shape.blocks, shape.embedding, shape.heads), (4, 512, 8));
    assert_eq!(
        (shape.keys_per_token, shape.values_per_token),
        (4 * 512, 4 * 512)
    );
    assert_eq!((shape.vocabulary, shape.sliding_window), (32, None));
}

#[test]
fn grouped_queries_keep_less() {
    assert_eq!(kept(&llama()), (4 * 2 * 64, 4 * 2 * 64));
}

#[test]
fn heads_may_have_lengths_of_their_own() {
    let file = model("llama")
        .number("llama.attention.key_length", 192)
        .number("llama.attention.value_length", 128);
    assert_eq!(kept(&file), (4 * 8 * 192, 4 * 8 * 128));
}

#[test]
fn layers_may_have_heads_of_their_own_or_none() {
    let file = model("lfm2").numbers("lfm2.attention.head_count_kv", &[0, 2, 0, 4]);
    assert_eq!(kept(&file), (6 * 64, 6 * 64));
}

#[test]
fn latent_attention_keeps_one_vector() {
    let file = model("deepseek2")
        .number("deepseek2.attention.head_count_kv", 1)
        .number("deepseek2.attention.kv_lora_rank", 512)
        .number("deepseek2.attention.key_length", 576)
        .number("deepseek2.attention.value_length", 512)
        .number("deepseek2.attention.key_length_mla", 192);
    assert_eq!(kept(&file), (4 * 576, 0));
}

#[test]
fn recurrent_layers_keep_no_tokens() {
    assert_eq!(kept(&model("mamba")), (0, 0));
    assert_eq!(kept(&model("qwen3next")), (512, 512));
    let every_second = model("qwen35").number("qwen35.full_attention_interval", 2);
    assert_eq!(kept(&every_second), (2 * 512, 2 * 512));
    let said = model("x").truths("x.attention.recurrent_layers", &[true, true, true, false]);
    assert_eq!(kept(&said), (512, 512));
}

#[test]
fn recurrent_layers_keep_a_state_for_each_slot() {
    let state = |file: &Gguf| facts(file).shape.state_per_slot;
    assert_eq!(state(&model("llama")), 0);
    let mamba = model("mamba2")
        .number("mamba2.ssm.conv_kernel", 4)
        .number("mamba2.ssm.inner_size", 1024)
        .number("mamba2.ssm.state_size", 128)
        .number("mamba2.ssm.group_count", 1);
    assert_eq!(state(&mamba), 4 * 4 * (3 * (1024 + 256) + 128 * 1024));
    let three_of_four = model("qwen3next")
        .number("qwen3next.ssm.inner_size", 1024)
        .number("qwen3next.ssm.state_size", 128);
    assert_eq!(state(&three_of_four), 3 * 4 * 128 * 1024);
    let lfm2 = model("lfm2")
        .number("lfm2.shortconv.l_cache", 3)
        .numbers("lfm2.attention.head_count_kv", &[0, 2, 0, 4]);
    assert_eq!(state(&lfm2), 2 * 4 * 512 * 2);
    let rwkv = model("rwkv7").number("rwkv7.wkv.head_size", 64);
    assert_eq!(state(&rwkv), 4 * 4 * 512 * 66);
    let kimi = model("kimi-linear")
        .number("kimi-linear.kda.head_dim", 128)
        .number("kimi-linear.ssm.conv_kernel", 4)
        .numbers("kimi-linear.attention.head_count_kv", &[0, 0, 0, 1]);
    assert_eq!(state(&kimi), 3 * 4 * 8 * 128 * (9 + 128));
}

#[test]
fn encoders_keep_nothing() {
    assert_eq!(kept(&model("bert")), (0, 0));
}

#[test]
fn layers_that_share_or_guess_ahead_keep_nothing() {
    let shared = model("gemma4").number("gemma4.attention.shared_kv_layers", 1);
    assert_eq!(kept(&shared), (3 * 512, 3 * 512));
    let ahead = model("glm4moe").number("glm4moe.nextn_predict_layers", 1);
    assert_eq!(kept(&ahead), (3 * 512, 3 * 512));
}

#[test]
fn a_window_holds_for_the_layers_of_its_pattern() {
    let window = |file: &Gguf| facts(file).shape.sliding_window;
    let gemma2 = model("gemma2").number("gemma2.attention.sliding_window", 4096);
    assert_eq!(window(&gemma2), Some((4096, 500)));
    let gpt_oss = model("gpt-oss")
        .number("gpt-oss.attention.sliding_window", 128)
        .number("gpt-oss.attention.sliding_window_pattern", 4);
    assert_eq!(window(&gpt_oss), Some((128, 750)));
    let said = model("x")
        .number("x.attention.sliding_window", 1024)
        .truths(
            "x.attention.sliding_window_pattern",
            &[true, false, false, false],
        )
        .number("x.attention.key_length_swa", 128);
    assert_eq!(window(&said), Some((1024, 333)));
    assert_eq!(window(&model("llama4")), Some((8192, 750)));
    let unused = model("qwen2").number("qwen2.attention.sliding_window", 4096);
    assert_eq!(window(&unused), None);
}

#[test]
fn absurd_numbers_only_saturate() {
    let file = Gguf::of("x")
        .raw("x.block_count", 10, &u64::MAX.to_le_bytes())
        .raw("x.embedding_length", 10, &u64::MAX.to_le_bytes())
        .raw("x.attention.head_count", 10, &u64::MAX.to_le_bytes())
        .raw("x.attention.key_length", 10, &u64::MAX.to_le_bytes())
        .raw("x.context_length", 11, &(-1_i64).to_le_bytes())
        .number("x.attention.sliding_window", 1)
        .number("x.attention.sliding_window_pattern", 0)
        .tensor("a", &[2], F32);
    let facts = facts(&file);
    assert_eq!(facts.shape.keys_per_token, u64::MAX);
    assert_eq!(facts.shape.blocks, u32::MAX);
    assert_eq!(facts.shape.sliding_window, Some((1, 1000)));
    assert_eq!(facts.context_length, None);
}
