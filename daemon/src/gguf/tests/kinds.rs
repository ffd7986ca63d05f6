//! What a file is, what its model is for, and whether it thinks.

use super::*;

const TEMPLATE: &str = "tokenizer.chat_template";

fn kind(file: &Gguf) -> (Kind, Basis) {
    let kind = facts(file).kind;
    (kind.value, kind.basis)
}

fn thinking(file: &Gguf) -> (bool, Basis) {
    let thinking = facts(file).thinking;
    (thinking.value, thinking.basis)
}

#[test]
fn a_model_is_told_from_what_is_none() {
    let role = |file: Gguf| facts(&file).role;
    assert_eq!(role(llama()), Role::Model);
    assert_eq!(role(Gguf::of("llama")), Role::Vocabulary);
    assert_eq!(
        role(Gguf::of("clip").tensor("v.a", &[2], F32)),
        Role::Projector
    );
    assert_eq!(
        role(llama().text("general.type", "mmproj")),
        Role::Projector
    );
    assert_eq!(role(llama().text("general.type", "adapter")), Role::Adapter);
    assert_eq!(role(llama().text("general.type", "imatrix")), Role::Adapter);
    assert_eq!(role(llama().text("adapter.type", "lora")), Role::Adapter);
    assert_eq!(
        role(Gguf::of("controlvector").tensor("direction.1", &[2], F32)),
        Role::Adapter
    );
    let lora = Gguf::of("llama")
        .tensor("blk.0.attn_q.weight.lora_a", &[8, 2], F32)
        .tensor("blk.0.attn_q.weight.lora_b", &[2, 8], F32);
    assert_eq!(role(lora), Role::Adapter);
}

#[test]
fn a_shard_says_which_it_is() {
    let shard = |number, count| {
        let file = Gguf::empty()
            .number("split.no", number)
            .number("split.count", count);
        let facts = facts(&file);
        (facts.role, facts.split)
    };
    let split = |number, count| Some(Split { number, count });
    assert_eq!(shard(0, 3), (Role::Model, split(1, 3)));
    assert_eq!(shard(2, 3), (Role::Shard, split(3, 3)));
    assert_eq!(shard(0, 1), (Role::Vocabulary, None));
    assert_eq!(shard(3, 3), (Role::Vocabulary, None));
}

#[test]
fn a_model_to_chat_with_has_a_template() {
    assert_eq!(kind(&llama()), (Kind::Chat, Basis::Nothing));
    assert_eq!(
        kind(&llama().text(TEMPLATE, "{{ x }}")),
        (Kind::Chat, Basis::Metadata)
    );
    assert_eq!(
        kind(
            &Gguf::of("llada")
                .tensor("a", &[2], F32)
                .truth("llada.attention.causal", false)
        ),
        (Kind::Chat, Basis::Metadata)
    );
}

#[test]
fn a_model_that_makes_vectors_is_told() {
    let embedding = (Kind::Embedding, Basis::Metadata);
    for architecture in [
        "bert",
        "nomic-bert",
        "jina-bert-v2",
        "t5encoder",
        "gemma-embedding",
    ] {
        assert_eq!(
            kind(&Gguf::of(architecture).tensor("a", &[2], F32)),
            embedding
        );
    }
    assert_eq!(kind(&llama().number("llama.pooling_type", 3)), embedding);
    assert_eq!(
        kind(&llama().truth("llama.attention.causal", false)),
        embedding
    );
    let named = llama().text("general.name", "Qwen3 Embedding 8B");
    assert_eq!(kind(&named), (Kind::Embedding, Basis::Name));
    assert_eq!(kind(&llama().number("llama.pooling_type", 0)).0, Kind::Chat);
}

#[test]
fn a_model_that_rates_texts_is_told() {
    let rank = Gguf::of("bert")
        .tensor("a", &[2], F32)
        .number("bert.pooling_type", 4);
    assert_eq!(kind(&rank), (Kind::Rerank, Basis::Metadata));
    let head = Gguf::of("bert").tensor("cls.output.weight", &[8, 2], F32);
    assert_eq!(kind(&head), (Kind::Rerank, Basis::Tensors));
    let named = called("bge-reranker-v2-gemma.Q4_K_M.gguf", &llama());
    assert_eq!(
        (named.kind.value, named.kind.basis),
        (Kind::Rerank, Basis::Name)
    );
}

#[test]
fn a_projector_sees_or_only_hears() {
    let projector = || Gguf::of("clip").tensor("a", &[2], F32);
    let with = |key| kind(&projector().truth(key, true)).0;
    assert_eq!(kind(&projector()).0, Kind::Vision);
    assert_eq!(with("clip.has_vision_encoder"), Kind::Vision);
    assert_eq!(with("clip.has_audio_encoder"), Kind::Chat);
}

#[test]
fn thinking_is_seen_in_the_template() {
    for mark in [
        "{{ '<think>\\n' }}",
        "{% if enable_thinking %}",
        "<|channel|>analysis<|message|>",
        "{{ message.reasoning_content }}",
        "Reasoning: {{ reasoning_effort }}",
        "[THINK]",
    ] {
        let file = llama().text(TEMPLATE, mark);
        assert_eq!(thinking(&file), (true, Basis::Template), "{mark}");
    }
    let plain = llama().text(TEMPLATE, "{{ message.content }}");
    assert_eq!(thinking(&plain), (false, Basis::Template));
    assert_eq!(thinking(&llama()), (false, Basis::Nothing));
}

#[test]
fn thinking_is_seen_in_tags_and_at_last_in_names() {
    let tagged = llama().texts("general.tags", &["text-generation", "reasoning"]);
    assert_eq!(thinking(&tagged), (true, Basis::Metadata));
    for (name, thinks) in [
        ("Phi-4-mini-reasoning", true),
        ("Qwen3 4B Thinking 2507", true),
        ("QwQ-32B", true),
        ("DeepSeek R1 Distill Llama 8B", true),
        ("Qwen3-4B-non-thinking", false),
        ("Rethinking-7B", false),
        ("Llama 3.1", false),
    ] {
        let basis = if thinks { Basis::Name } else { Basis::Nothing };
        let file = llama().text("general.name", name);
        assert_eq!(thinking(&file), (thinks, basis), "{name}");
        assert_eq!(called(name, &llama()).thinking.value, thinks, "{name}");
    }
}

#[test]
fn what_makes_no_words_does_not_think() {
    let file = Gguf::of("bert")
        .tensor("a", &[2], F32)
        .text("general.name", "thinking");
    assert_eq!(thinking(&file), (false, Basis::Metadata));
}
