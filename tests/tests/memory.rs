//! What servers are thought to need of memory, against what a real llama-server takes.

use std::path::{Path, PathBuf};

use magi_tests::harness::{Fleet, Resources, Server, llama_server_with_fit, post};
use magi_tests::model::slow_model;
use magi_tests::{figure, tiny_model};
use magid::gguf::{Basis, Facts, Guess, Kind, Role, Shape};
use magid::memory::{Bytes, Demand, Inputs, MemoryConfig, MemoryHandle, Source};
use serde_json::json;

const MIB: u64 = 1 << 20;

/// What the header of a generated model says: how many layers of which embedding and feed-forward.
fn facts(blocks: u32, embedding: u32, feed_forward: u64, heads: u32, context: u32) -> Facts {
    fn guess<T>(value: T) -> Guess<T> {
        let basis = Basis::Metadata;
        Guess { value, basis }
    }
    let width = u64::from(embedding);
    let block = 4 * width * width + 3 * width * feed_forward + 2 * width;
    let parameters = u64::from(blocks) * block + (2 * 260 + 1) * width;
    Facts {
        role: Role::Model,
        architecture: "llama".to_owned(),
        name: None,
        kind: guess(Kind::Chat),
        quantization: guess("F32".to_owned()),
        milli_bits: 32_000,
        parameters,
        thinking: guess(false),
        context_length: Some(context),
        tensor_bytes: 4 * parameters,
        shape: Shape {
            blocks,
            embedding,
            heads,
            keys_per_token: u64::from(blocks) * width,
            values_per_token: u64::from(blocks) * width,
            vocabulary: 260,
            sliding_window: None,
            ..Shape::default()
        },
        split: None,
    }
}

fn tiny() -> Facts {
    facts(2, 64, 128, 4, 4096)
}

fn slow() -> Facts {
    facts(4, 1024, 4096, 16, 65_536)
}

fn inputs(engine: &Path, model: &Path, facts: Facts, arguments: &str) -> Inputs {
    Inputs {
        engine: engine.to_path_buf(),
        model: vec![model.to_path_buf()],
        facts: Some(facts.into()),
        arguments: arguments.split_whitespace().map(str::to_owned).collect(),
        ..Inputs::default()
    }
}

/// A memory that knows nothing yet, a folder for it, and a model in that.
struct Bench {
    memory: MemoryHandle,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let memory = MemoryHandle::spawn(MemoryConfig::default(), folder.path()).await;
        Self { memory, folder }
    }

    fn model(&self) -> PathBuf {
        self.folder.path().join("model.gguf")
    }
}

#[tokio::test]
async fn llama_fit_params_tells_what_is_needed_with_whatever_a_server_is_given() {
    let Some(engine) = llama_server_with_fit() else {
        return;
    };
    let bench = Bench::new().await;
    let model = bench.model();
    slow_model(&model, "alpha").unwrap();
    for arguments in [
        "",
        "-c 2048 -np 1 -t 1 -tb 1",
        "--ctx_size 2048 --parallel 3 --jinja --metrics --slots --no-ui --log-colors off",
        "-c 2048 --kv-unified -np 2 -ctk q8_0 -ctv q4_0 --chat-template chatml --alias -c",
        "-c 512 -ub 64 -b 64 --embeddings --pooling mean --cache-ram 0",
        "-c 512 -ngl 99 --split-mode none --main-gpu 0 --tensor-split 3,1 --device none",
        "-c 512 --load-mode mlock --mmproj none --no-kv-offload --swa-full --cpu-moe",
        "-c 512 -fa off --override-kv a=int:1 -ot a=CPU --kv-unified-per-slot 128",
    ] {
        let needs = inputs(&engine, &model, slow(), arguments);
        let needs = bench.memory.exact_needs(needs).await;
        assert_eq!(needs.source, Source::Fit, "{arguments}");
        assert!(needs.ram > 280 * MIB, "{arguments}: {needs:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_model_leaves_the_estimate() {
    let Some(engine) = llama_server_with_fit() else {
        return;
    };
    let bench = Bench::new().await;
    std::fs::write(bench.model(), "no model").unwrap();
    let needs = inputs(&engine, &bench.model(), tiny(), "-c 512");
    assert_eq!(
        bench.memory.exact_needs(needs).await.source,
        Source::Estimate
    );
}

#[tokio::test]
async fn a_model_that_is_replaced_is_asked_for_again() {
    let Some(engine) = llama_server_with_fit() else {
        return;
    };
    let bench = Bench::new().await;
    let needs = || inputs(&engine, &bench.model(), tiny(), "-c 8192");
    tiny_model(&bench.model(), "alpha").unwrap();
    let before = bench.memory.exact_needs(needs()).await;
    slow_model(&bench.model(), "alpha").unwrap();
    let after = bench.memory.exact_needs(needs()).await;
    assert!(after.ram > before.ram + 256 * MIB, "{before:?} {after:?}");
}

/// Runs a server until it has answered a prompt of some length; what it takes then.
async fn taken(engine: &Path, name: &str, facts: &Facts, arguments: &str) -> (u64, [Demand; 2]) {
    let mut fleet = Fleet::new();
    let words = arguments.split_whitespace();
    let server = words.fold(Server::real(name, engine), Server::arg);
    fleet.save(&[server]);
    let model = fleet.path(&format!("models/{name}.gguf"));
    if facts.shape.embedding > 64 {
        slow_model(&model, name).unwrap();
    }
    let memory = MemoryHandle::spawn(MemoryConfig::default(), &fleet.path("home")).await;
    let needs = inputs(engine, &model, facts.clone(), arguments);
    let estimate = memory.needs(vec![needs.clone()]).await.remove(0);
    let exact = memory.exact_needs(needs).await;
    fleet.start().await;
    let ready = fleet.ready(name).await;
    let body = json!({ "prompt": "x".repeat(700), "n_predict": 4 });
    let (status, text) = post(ready.endpoint(), "/completion", &body).await.unwrap();
    assert_eq!(status, 200, "{text}");
    let pid = ready.pid.expect("a ready server has a process");
    (Resources::of(pid).resident, [estimate, exact])
}

#[tokio::test]
async fn a_server_takes_about_what_was_reserved_for_it() {
    let Some(engine) = llama_server_with_fit() else {
        return;
    };
    for (name, facts, arguments) in [
        ("tiny", tiny(), "-c 4096 -np 1"),
        ("tiny", tiny(), ""),
        ("slow", slow(), "-c 2048 -np 1"),
        ("slow", slow(), "-c 8192"),
    ] {
        let (taken, [estimate, exact]) = taken(&engine, name, &facts, arguments).await;
        figure!(
            "memory: {name} with \"{arguments}\" takes {}, of {} by llama-fit-params and {} by estimate",
            Bytes(taken),
            Bytes(exact.ram),
            Bytes(estimate.ram),
        );
        assert_eq!(
            (estimate.source, exact.source),
            (Source::Estimate, Source::Fit)
        );
        for demand in [estimate, exact] {
            assert!(taken <= demand.ram, "{name} {arguments}: {demand:?}");
            // Buffers that no prompt of this length fills, and a margin.
            assert!(
                demand.ram < taken + taken / 2 + 32 * MIB,
                "{name} {arguments}: {demand:?}"
            );
        }
    }
}
