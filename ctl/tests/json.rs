//! `docs/json.md` is what magictl prints: each example there is run against a daemon with the same
//! fleet and compared, so that neither a name nor a `null` can go missing.
#![allow(missing_docs)]

#[allow(dead_code)]
mod fake;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use fake::{Fake, Script, Stores};
use magi_proto::v1::{self, ServerState};
use prost_types::{Duration, Timestamp};
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/json.md");

/// Seconds after noon, 2026-01-31.
fn noon(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: 1_769_860_800 + seconds,
        nanos: 250_000_000,
    })
}

fn alpha() -> v1::Server {
    v1::Server {
        name: "alpha".to_owned(),
        aliases: vec!["gpt-4o-mini".to_owned()],
        model: "qwen2.5-0.5b.gguf".to_owned(),
        state: ServerState::Ready.into(),
        reason: "healthy".to_owned(),
        detail: String::new(),
        pid: Some(4711),
        incarnation: Some(2),
        endpoint: Some("http://127.0.0.1:8080".to_owned()),
        port: Some(8080),
        restarts: 1,
        ready_since: noon(2),
        memory: Some(512 << 20),
        last_exit: Some(v1::Exit {
            class: "signal".to_owned(),
            code: None,
            signal: Some(9),
            at: noon(0),
            incarnation: 1,
            detail: "SIGKILL, which magid did not send".to_owned(),
            exec_stage: None,
            last_lines: vec!["srv  update_slots: all slots are idle".to_owned()],
        }),
        state_since: noon(2),
        next_try: None,
        load_percent: None,
        model_path: Some("/models/qwen2.5-0.5b.gguf".to_owned()),
        notes: vec!["newer engine on disk".to_owned()],
        memory_needed: Some(600 << 20),
        memory_source: "observed".to_owned(),
        model_id: Some("qwen2.5-0.5b".to_owned()),
        in_flight: Some(1),
        waiting: Some(0),
        tokens_per_second: Some(42.5),
        last_used: noon(30),
        held: false,
    }
}

fn beta() -> v1::Server {
    v1::Server {
        name: "beta".to_owned(),
        model: "missing.gguf".to_owned(),
        state: ServerState::Failed.into(),
        reason: "model-missing".to_owned(),
        detail: "there is no missing.gguf under /models".to_owned(),
        state_since: noon(0),
        ..Default::default()
    }
}

fn diagnostic() -> v1::Diagnostic {
    v1::Diagnostic {
        file: "/etc/magi/profiles/demo.toml".to_owned(),
        line: 3,
        column: 1,
        message: "unknown key `ctx-size`".to_owned(),
        help: "did you mean `ctx_size`?".to_owned(),
        rendered: "for people".to_owned(),
    }
}

fn script() -> Script {
    Script {
        status: v1::GetStatusResponse {
            node: "workstation".to_owned(),
            profile: Some("demo".to_owned()),
            generation: Some(7),
            config: Some(v1::ConfigStatus {
                state: v1::ConfigState::Invalid.into(),
                since: noon(60),
                errors: vec![diagnostic()],
                warnings: Vec::new(),
                overridden: vec!["active_profile (MAGI_PROFILE)".to_owned()],
                needs_restart: vec!["llama_server.host".to_owned()],
                config_path: "/etc/magi/magid.toml".to_owned(),
                profiles_dir: "/etc/magi/profiles".to_owned(),
                vetoes: Vec::new(),
            }),
            servers: vec![alpha(), beta()],
            gateways: vec![v1::Gateway {
                id: "9c6d".to_owned(),
                version: "0.1.0".to_owned(),
                pid: 815,
                addresses: vec!["http://127.0.0.1:8000".to_owned()],
                attached_at: noon(0),
            }],
        },
        changed: Some(vec![alpha()]),
        removed: vec!["beta".to_owned()],
        reload: v1::ReloadResponse {
            verdict: v1::ReloadVerdict::Planned.into(),
            profile: Some("demo".to_owned()),
            steps: vec![v1::PlanStep {
                server: "alpha".to_owned(),
                action: v1::PlanAction::Replace.into(),
                reasons: vec!["ctx_size changed: 4096 -> 8192".to_owned()],
                memory_before: Some(600 << 20),
                memory_after: Some(700 << 20),
                method: Some("blue-green".to_owned()),
            }],
            generation: Some(7),
            memory_before: 600 << 20,
            memory_after: 700 << 20,
            memory_budget: 16 << 30,
            ..Default::default()
        },
        log: vec![v1::TailLogsResponse {
            incarnation: 2,
            lines: vec!["main: model loaded".to_owned()],
            skipped_bytes: 4096,
        }],
        events: vec![v1::Event {
            sequence: 12,
            at: noon(0),
            kind: "server-exited".to_owned(),
            server: Some("alpha".to_owned()),
            incarnation: Some(1),
            from: ServerState::Ready.into(),
            to: ServerState::Backoff.into(),
            reason: "signal".to_owned(),
            message: "ended by SIGKILL; next try in 500ms".to_owned(),
        }],
        explanation: v1::ExplainServerResponse {
            server: Some(beta()),
            defined_at: "/etc/magi/profiles/demo.toml:8".to_owned(),
            argv: ["llama-server", "-m", "missing.gguf"]
                .map(str::to_owned)
                .to_vec(),
            env: [("GGML_CUDA_FORCE_MMQ".to_owned(), "1".to_owned())].into(),
            should_run: true,
            should_run_because: "profile".to_owned(),
            restart_policy: "always".to_owned(),
            failures: 1,
            max_failures: 5,
            next_delay: Some(Duration {
                seconds: 0,
                nanos: 500_000_000,
            }),
            log_path: String::new(),
            tree: Vec::new(),
            device_memory: [("CUDA0".to_owned(), 4 << 30)].into(),
            memory_budget: 16 << 30,
            memory_reserved: 600 << 20,
            priority: 10,
            idle_timeout: Some(Duration {
                seconds: 900,
                nanos: 0,
            }),
            idle_stop_at: None,
            pin: false,
            making_room: vec!["alpha made room for it: 600.0 MiB".to_owned()],
        },
        version: v1::GetVersionResponse {
            version: "0.1.0".to_owned(),
            pid: 812,
            started_at: noon(-10),
            environment: None,
            state_dir: "/var/lib/magi".to_owned(),
            log_dir: "/var/log/magi".to_owned(),
        },
        stores: stores(),
        finished: vec![finished()],
        ..Default::default()
    }
}

fn finished() -> v1::FinishedRequest {
    let millis = |count: i32| {
        Some(Duration {
            seconds: 0,
            nanos: count * 1_000_000,
        })
    };
    v1::FinishedRequest {
        id: "01j9".to_owned(),
        at: noon(30),
        model: "gpt-4o-mini".to_owned(),
        server: "alpha".to_owned(),
        incarnation: Some(2),
        path: "/v1/chat/completions".to_owned(),
        status: 200,
        key: "app".to_owned(),
        outcome: "done".to_owned(),
        reason: String::new(),
        waited: millis(2),
        first_byte: millis(125),
        took: millis(750),
        prompt_tokens: Some(12),
        tokens: Some(64),
        tokens_per_second: Some(42.5),
        stream: true,
    }
}

fn model() -> v1::Model {
    v1::Model {
        id: "qwen2.5-0.5b".to_owned(),
        path: "/models/qwen2.5-0.5b.gguf".to_owned(),
        files: vec!["/models/qwen2.5-0.5b.gguf".to_owned()],
        mmproj: None,
        size_bytes: 415_182_688,
        tier: v1::ModelTier::Balanced.into(),
        quantization: "Q2_K".to_owned(),
        bits_per_weight: 5.25,
        parameters: 494_032_768,
        kind: v1::ModelKind::Chat.into(),
        thinking: false,
        enabled: true,
        architecture: "qwen2".to_owned(),
        context_length: Some(32768),
        name: Some("Qwen2.5 0.5B Instruct".to_owned()),
        memory_bytes: 600 << 20,
        memory_source: "observed".to_owned(),
        guesses: vec!["thinking".to_owned()],
        overridden: vec!["tier".to_owned()],
        first_seen: noon(-86_400),
        last_seen: noon(0),
        available: true,
        unavailable_because: String::new(),
        servers: vec!["alpha".to_owned()],
    }
}

fn profile() -> v1::Profile {
    v1::Profile {
        name: "demo".to_owned(),
        description: "Balanced testing".to_owned(),
        path: "/etc/magi/profiles/demo.toml".to_owned(),
        active: true,
        built_in: false,
        servers: vec!["alpha".to_owned(), "beta".to_owned()],
        memory_bytes: 600 << 20,
        errors: Vec::new(),
        modified_at: noon(-3600),
    }
}

fn stores() -> Stores {
    Stores {
        models: v1::ListModelsResponse {
            models: vec![model()],
            scanned_at: noon(0),
            problems: vec!["/models/x.gguf: the header is cut short".to_owned()],
        },
        scan: v1::RescanModelsResponse {
            total: 1,
            added: vec!["qwen2.5-0.5b".to_owned()],
            ..Default::default()
        },
        profiles: vec![profile()],
        text: "description = \"Balanced testing\"\n".to_owned(),
        generations: vec![v1::Generation {
            number: 7,
            digest: "9f".repeat(32),
            profile: Some("demo".to_owned()),
            applied_at: noon(0),
            cause: "edit".to_owned(),
            summary: "1 replaced".to_owned(),
            current: true,
            files: vec![v1::GenerationFile {
                path: "/etc/magi/profiles/demo.toml".to_owned(),
                size_bytes: 512,
                text: None,
            }],
        }],
        diff: "--- 6/demo.toml\n+++ 7/demo.toml\n@@ -1 +1 @@\n-a = 1\n+a = 2\n".to_owned(),
        broken: vec![v1::BrokenGeneration {
            number: 7,
            reason: "demo.toml is another than the digest says".to_owned(),
        }],
        pruned: v1::PruneGenerationsResponse {
            removed: vec![2, 1],
            kept: vec![7, 6],
        },
        restored: v1::RestoreFilesResponse {
            written: vec!["/etc/magi/profiles/demo.toml".to_owned()],
            unchanged: vec!["/etc/magi/magid.toml".to_owned()],
            kept: Vec::new(),
        },
        daemon_keys_that_differ: vec!["llama_server.port_range".to_owned()],
    }
}

/// A command of the page and what the page says it prints.
struct Example<'a> {
    command: &'a str,
    expected: Vec<Value>,
}

/// Each block of JSON, with the command in the heading before it.
fn examples(page: &str) -> Vec<Example<'_>> {
    let sections = page.split("\n## `magictl ").skip(1);
    let examples = sections.filter_map(|section| {
        let (command, rest) = section.split_once('`')?;
        let (_, rest) = rest.split_once("```json\n")?;
        let (block, _) = rest.split_once("```")?;
        let expected = values(block);
        Some(Example { command, expected })
    });
    examples.collect()
}

/// As many values as `text` holds, whether they are one document or a line each.
fn values(text: &str) -> Vec<Value> {
    let values = serde_json::Deserializer::from_str(text).into_iter();
    values.map(Result::unwrap).collect()
}

/// What the command prints first: one document, or `count` lines.
fn printed(fake: &Fake, command: &str, count: usize) -> Vec<Value> {
    let args: Vec<&str> = command.split_whitespace().collect();
    if !args.contains(&"jsonl") {
        return values(&fake.magictl(&args).stdout);
    }
    let mut child = fake.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let reader = BufReader::new(child.stdout.take().unwrap());
    let lines: Vec<_> = reader.lines().take(count).map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success());
    values(&lines.concat())
}

#[test]
fn every_example_of_the_page_is_what_magictl_prints() {
    let fake = Fake::new(script());
    let examples = examples(PAGE);
    assert_eq!(examples.len(), 20);
    for Example { command, expected } in examples {
        let found = printed(&fake, command, expected.len());
        assert_eq!(found, expected, "`magictl {command}` prints:\n{found:#?}");
    }
}

#[test]
fn names_are_camel_case_everywhere() {
    fn check(value: &Value, path: &str) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                // The names in `env` are the user's own, those of devices llama-server's.
                let is_ours = !path.ends_with("env") && path != "deviceMemory";
                assert!(
                    !is_ours || name.chars().all(|c| c.is_ascii_alphabetic()),
                    "{path}.{name}"
                );
                check(value, name);
            }),
            Value::Array(items) => items.iter().for_each(|item| check(item, path)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let fake = Fake::new(script());
    for example in examples(PAGE) {
        printed(&fake, example.command, 1)
            .iter()
            .for_each(|value| check(value, ""));
    }
}
