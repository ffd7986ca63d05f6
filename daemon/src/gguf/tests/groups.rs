//! Files of a folder become models.

use super::*;

fn shard(number: u32, count: u32) -> Gguf {
    let file = if number == 1 { llama() } else { Gguf::empty() };
    file.number("split.no", number - 1)
        .number("split.count", count)
        .tensor(&format!("blk.{number}.weight"), &[256, 2], Q4_K)
}

fn projector(embedding: u32, kind: u32) -> Gguf {
    Gguf::of("clip")
        .truth("clip.has_vision_encoder", true)
        .number("clip.vision.projection_dim", embedding)
        .tensor("v.weight", &[256, 2], kind)
}

fn grouped(files: &[(&str, Gguf)]) -> Grouped {
    let facts: Vec<_> = files
        .iter()
        .map(|(name, file)| (*name, std::sync::Arc::new(called(name, file))))
        .collect();
    let given: Vec<_> = facts.iter().map(|(name, facts)| (*name, facts)).collect();
    group(&given)
}

fn problems(grouped: &Grouped) -> Vec<(usize, String)> {
    let problems = grouped.problems.iter();
    problems
        .map(|problem| (problem.file, problem.reason.to_string()))
        .collect()
}

/// Which projector each model got.
fn joined(files: &[(&str, Gguf)]) -> Vec<Option<usize>> {
    let models = grouped(files).models;
    models.iter().map(|model| model.projector).collect()
}

#[test]
fn a_file_is_a_model_and_what_is_none_is_left_out() {
    let files = [
        ("b.gguf", llama()),
        ("lora.gguf", llama().text("general.type", "adapter")),
        ("vocab.gguf", Gguf::of("llama")),
        ("a.gguf", llama()),
    ];
    let grouped = grouped(&files);
    let found: Vec<_> = grouped
        .models
        .iter()
        .map(|model| &model.files[..])
        .collect();
    assert_eq!(found, [[0], [3]]);
    assert_eq!(*grouped.models[0].facts, facts(&llama()));
    assert_eq!(grouped.problems, []);
}

#[test]
fn shards_make_one_model_in_their_order() {
    let files = [
        ("x-00003-of-00003.gguf", shard(3, 3)),
        ("x-00001-of-00003.gguf", shard(1, 3)),
        ("x-00002-of-00003.gguf", shard(2, 3)),
    ];
    let grouped = grouped(&files);
    assert_eq!(grouped.problems, []);
    let model = &grouped.models[0];
    assert_eq!(model.files, [1, 2, 0]);
    let first = facts(&shard(1, 3));
    assert_eq!(model.facts.parameters, first.parameters + 2 * 512);
    assert_eq!(model.facts.tensor_bytes, first.tensor_bytes + 2 * 288);
    assert!(model.facts.milli_bits < first.milli_bits);
}

#[test]
fn a_first_shard_without_tensors_takes_the_quantization_of_the_others() {
    let first = Gguf::of("llama")
        .number("split.no", 0)
        .number("split.count", 2);
    let files = [
        ("x-00001-of-00002.gguf", first),
        ("x-00002-of-00002.gguf", shard(2, 2)),
    ];
    let model = &grouped(&files).models[0];
    assert_eq!(model.facts.quantization.value, "Q4_K");
}

#[test]
fn missing_shards_are_named() {
    let first = [
        ("x-00001-of-00003.gguf", shard(1, 3)),
        ("x-00002-of-00003.gguf", shard(2, 3)),
    ];
    assert_eq!(
        problems(&grouped(&first)),
        [(
            0,
            "of its shards, x-00003-of-00003.gguf cannot be used or is not there".to_owned()
        )]
    );
    let alone = [("x-00001-of-00009.gguf", shard(1, 9))];
    let told = "of its shards, x-00002-of-00009.gguf, x-00003-of-00009.gguf, x-00004-of-00009.gguf and others \
        cannot be used or are not there";
    assert_eq!(problems(&grouped(&alone)), [(0, told.to_owned())]);
    let without_first = [
        ("x-00002-of-00003.gguf", shard(2, 3)),
        ("x-00003-of-00003.gguf", shard(3, 3)),
    ];
    assert_eq!(
        problems(&grouped(&without_first)),
        [(
            0,
            "it is a shard, and the first one, x-00001-of-00003.gguf, cannot be used or is not there".to_owned()
        )]
    );
}

#[test]
fn shards_that_do_not_agree_with_their_names_are_no_model() {
    let renamed = [("x.gguf", shard(1, 2)), ("y.gguf", shard(2, 2))];
    assert_eq!(
        problems(&grouped(&renamed)),
        [
            (
                0,
                "it is shard 1 of 2, so it must be called NAME-00001-of-00002.gguf".to_owned()
            ),
            (
                1,
                "it is shard 2 of 2, so it must be called NAME-00002-of-00002.gguf".to_owned()
            ),
        ]
    );
    let foreign = [
        ("x-00001-of-00002.gguf", shard(1, 2)),
        ("x-00002-of-00002.gguf", llama()),
    ];
    let grouped = grouped(&foreign);
    assert_eq!(
        problems(&grouped),
        [(
            0,
            "x-00002-of-00002.gguf has the name of one of its shards, and is none".to_owned()
        )]
    );
    assert_eq!(grouped.models.len(), 1);
}

#[test]
fn the_only_projector_of_a_folder_belongs_to_its_only_model() {
    let chat = |name: &str| Gguf::clone(&llama()).text("general.name", name);
    let files = [
        ("gemma-3-4b-it-Q4_K_M.gguf", chat("gemma")),
        ("gemma-3-4b-it-Q8_0.gguf", chat("gemma")),
        ("mmproj-F16.gguf", projector(512, F16)),
    ];
    let grouped = grouped(&files);
    assert_eq!(grouped.problems, []);
    for model in &grouped.models {
        assert_eq!(model.projector, Some(2));
        assert_eq!(model.facts.kind.value, Kind::Vision);
        assert_eq!(model.facts.kind.basis, Basis::Metadata);
    }
    // The length of its embeddings need not be the model's.
    let clip = [
        ("llava.Q4_K.gguf", llama()),
        ("mmproj-model-f16.gguf", projector(768, F16)),
    ];
    assert_eq!(joined(&clip), [Some(1)]);
}

#[test]
fn projectors_go_by_name_among_several_models() {
    let files = [
        ("Qwen2.5-VL-7B-Instruct-Q4_K_M.gguf", llama()),
        ("Qwen2.5-VL-3B-Instruct-Q4_K_M.gguf", llama()),
        ("Llama-3.1-8B-Instruct-Q4_K_M.gguf", llama()),
        ("mmproj-Qwen2.5-VL-7B-Instruct-f16.gguf", projector(0, F16)),
        ("Qwen2.5-VL-3B.mmproj-Q8_0.gguf", projector(0, Q8_0)),
    ];
    assert_eq!(joined(&files), [Some(3), Some(4), None]);
}

#[test]
fn of_several_projectors_the_one_that_agrees_and_then_f16_is_taken() {
    let files = [
        ("a-Q4_K_M.gguf", llama()),
        ("mmproj-a-BF16.gguf", projector(512, 30)),
        ("mmproj-a-F16.gguf", projector(512, F16)),
        ("mmproj-a-F32.gguf", projector(512, F32)),
        ("mmproj-a-old-F16.gguf", projector(768, F16)),
    ];
    assert_eq!(joined(&files), [Some(2)]);
    assert_eq!(grouped(&files).problems, []);
}

#[test]
fn a_projector_goes_to_the_models_it_agrees_with() {
    let large = llama().number("llama.x", 0);
    let small = Gguf::of("llama")
        .number("llama.embedding_length", 256)
        .tensor("a.weight", &[256, 2], Q4_K);
    let files = [
        ("gemma-4b.gguf", large),
        ("gemma-1b.gguf", small),
        ("mmproj-gemma.gguf", projector(256, F16)),
        ("mmproj-F16.gguf", projector(512, F16)),
    ];
    assert_eq!(joined(&files), [Some(3), Some(2)]);
}

#[test]
fn a_name_goes_before_a_length_that_another_model_happens_to_have() {
    let other = llama().number("llama.pooling_type", 3);
    let files = [
        ("nomic-embed.gguf", other),
        (
            "llava-7b.gguf",
            Gguf::of("llama").tensor("a.weight", &[256, 2], Q4_K),
        ),
        ("mmproj-llava-7b.gguf", projector(512, F16)),
    ];
    assert_eq!(joined(&files), [None, Some(2)]);
}

#[test]
fn a_projector_that_could_be_of_any_model_is_told() {
    let files = [
        ("a.gguf", llama()),
        ("b.gguf", llama()),
        ("mmproj-F16.gguf", projector(512, F16)),
    ];
    assert_eq!(joined(&files), [None, None]);
    assert_eq!(
        problems(&grouped(&files)),
        [(
            2,
            "it is a projector, and it cannot be told of which model: call it mmproj-MODEL.gguf"
                .to_owned()
        )]
    );
    for embedding in [512, 768] {
        let strange = [
            ("llama-8b.gguf", llama()),
            ("mmproj-gemma-4b.gguf", projector(embedding, F16)),
        ];
        assert_eq!(joined(&strange), [None]);
    }
}

#[test]
fn ears_make_no_vision_and_vectors_stay_vectors() {
    let ears = Gguf::of("clip")
        .truth("clip.has_audio_encoder", true)
        .tensor("a.weight", &[256, 2], F16);
    let files = [("a.gguf", llama()), ("mmproj-a.gguf", ears)];
    let hears = grouped(&files).models.remove(0);
    assert_eq!(
        (hears.projector, hears.facts.kind.value),
        (Some(1), Kind::Chat)
    );
    let files = [
        ("a.gguf", llama().number("llama.pooling_type", 3)),
        ("mmproj-a.gguf", projector(512, F16)),
    ];
    let reads = grouped(&files).models.remove(0);
    assert_eq!(
        (reads.projector, reads.facts.kind.value),
        (Some(1), Kind::Embedding)
    );
}
