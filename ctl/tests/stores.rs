//! What magictl makes of models and profiles, for prepared answers of a daemon.
#![allow(missing_docs)]

#[allow(dead_code)]
mod fake;

use std::io::Write;
use std::process::Stdio;

use fake::{Fake, Run, Stores};
use magi_proto::v1;
use prost_types::Timestamp;
use tonic::Code;

const NOON: Option<Timestamp> = Some(Timestamp {
    seconds: 1_769_860_800,
    nanos: 0,
});

fn model(id: &str) -> v1::Model {
    v1::Model {
        id: id.to_owned(),
        path: format!("/models/{id}.gguf"),
        files: vec![format!("/models/{id}.gguf")],
        size_bytes: 415_182_688,
        tier: v1::ModelTier::Fast.into(),
        quantization: "Q2_K".to_owned(),
        bits_per_weight: 5.26,
        parameters: 494_032_768,
        kind: v1::ModelKind::Chat.into(),
        thinking: false,
        enabled: true,
        architecture: "qwen2".to_owned(),
        context_length: Some(32768),
        memory_bytes: 700 << 20,
        memory_source: "estimate".to_owned(),
        guesses: vec!["thinking".to_owned()],
        overridden: vec!["tier".to_owned()],
        first_seen: NOON,
        last_seen: NOON,
        available: true,
        servers: vec!["alpha".to_owned()],
        ..Default::default()
    }
}

fn two_models() -> Fake {
    let lost = v1::Model {
        available: false,
        unavailable_because: "/mnt/disk is not mounted\u{1b}[2J".to_owned(),
        kind: v1::ModelKind::Embedding.into(),
        overridden: Vec::new(),
        guesses: Vec::new(),
        memory_source: "fit".to_owned(),
        ..model("bge-small")
    };
    Fake::with(Stores {
        models: v1::ListModelsResponse {
            models: vec![model("qwen2.5-0.5b-instruct-q2_k"), lost],
            scanned_at: NOON,
            problems: vec!["/models/x.gguf: the header is cut short".to_owned()],
        },
        ..Default::default()
    })
}

#[test]
fn models_are_listed_with_marks_on_what_was_guessed_or_set() {
    let run = two_models().magictl(&["models"]);
    assert_eq!(run.exit, Some(0), "{run:?}");
    insta::assert_snapshot!(run.stdout, @"
    ID                          TIER   QUANT  KIND       SIZE  MEMORY  STATE
    qwen2.5-0.5b-instruct-q2_k  fast*  Q2_K   chat       396M   700M?  enabled
    bge-small                   fast   Q2_K   embedding  396M    700M  unavailable
        /mnt/disk is not mounted
    ");
    insta::assert_snapshot!(run.stderr, @"
    ? a guess or an estimate, * set by hand
    no room for THINKING, CONTEXT, PARAMS: see `magictl models show ID`
    /models/x.gguf: the header is cut short
    ");
}

#[test]
fn a_model_is_shown_with_where_each_fact_comes_from() {
    let run = two_models().magictl(&["models", "show", "qwen"]);
    insta::assert_snapshot!(run.stdout, @"
    model        qwen2.5-0.5b-instruct-q2_k
    path         /models/qwen2.5-0.5b-instruct-q2_k.gguf
    architecture qwen2
    kind         chat
    tier         fast (set by hand)
    quantization Q2_K, 5.26 bits per weight
    parameters   494M
    thinking     no (a guess)
    context      32768 tokens
    size         395.9 MiB
    memory       700.0 MiB (estimate)
    state        enabled
    servers      alpha
    first seen   2026-01-31 12:00:00
    last seen    2026-01-31 12:00:00
    ");
}

#[test]
fn a_filter_and_what_is_set_reach_the_daemon() {
    let fake = two_models();
    let listed = fake.asked(&["models", "list", "--tier", "powerful", "--enabled"]);
    assert_eq!(
        listed,
        "ListModelsRequest { tier: Powerful, only_enabled: true }"
    );
    let set = fake.asked(&[
        "models",
        "set",
        "x",
        "--tier",
        "balanced",
        "--thinking=false",
        "--enabled=auto",
    ]);
    assert_eq!(
        set,
        "SetModelRequest { model: \"x\", tier: Some(Balanced), thinking: Some(false), \
         enabled: None, reset: [\"enabled\"] }"
    );
}

#[test]
fn a_relative_path_means_the_same_to_the_daemon() {
    let fake = two_models();
    let here = std::env::current_dir().unwrap();
    let here = here.display();
    let created = fake.asked(&["models", "create", "x.gguf", "--name", "x"]);
    assert_eq!(
        created,
        format!("CreateModelRequest {{ path: \"{here}/x.gguf\", name: Some(\"x\") }}")
    );
    let shown = fake.asked(&["models", "show", "./x.gguf"]);
    assert_eq!(
        shown,
        format!("GetModelRequest {{ model: \"{here}/x.gguf\" }}")
    );
    let id = fake.asked(&["models", "delete", "org/x"]);
    assert_eq!(id, "DeleteModelRequest { model: \"org/x\" }");
}

#[test]
fn a_rescan_says_what_is_news() {
    let fake = Fake::with(Stores {
        scan: v1::RescanModelsResponse {
            total: 3,
            added: vec!["new".to_owned()],
            removed: vec!["old".to_owned()],
            changed: Vec::new(),
            problems: vec!["/models/x.gguf: no model".to_owned()],
        },
        ..Default::default()
    });
    let run = fake.magictl(&["models", "rescan"]);
    assert_eq!(run.stdout, "added    new\nremoved  old\n3 models\n");
    assert_eq!(run.stderr, "looking for models\n/models/x.gguf: no model\n");
}

fn profiles() -> Fake {
    let demo = v1::Profile {
        name: "demo".to_owned(),
        description: "Balanced testing".to_owned(),
        path: "/etc/magi/profiles/demo.toml".to_owned(),
        active: true,
        servers: vec!["alpha".to_owned(), "beta".to_owned()],
        memory_bytes: 3 << 30,
        modified_at: NOON,
        ..Default::default()
    };
    let broken = v1::Profile {
        name: "broken".to_owned(),
        path: "/etc/magi/profiles/broken.toml".to_owned(),
        errors: vec![v1::Diagnostic {
            file: "/etc/magi/profiles/broken.toml".to_owned(),
            line: 3,
            column: 1,
            message: "unknown key `ctx-size`".to_owned(),
            help: "did you mean `ctx_size`?".to_owned(),
            rendered: "in\nseveral lines".to_owned(),
        }],
        ..Default::default()
    };
    let built_in = v1::Profile {
        name: "built-in".to_owned(),
        description: "every enabled model, on demand".to_owned(),
        built_in: true,
        ..Default::default()
    };
    Fake::with(Stores {
        profiles: vec![demo, broken, built_in],
        text: "# mine\n[servers.alpha]\n".to_owned(),
        ..Default::default()
    })
}

#[test]
fn profiles_are_listed_with_what_is_wrong_with_them() {
    let run = profiles().magictl(&["profiles"]);
    assert_eq!(run.exit, Some(0), "{run:?}");
    insta::assert_snapshot!(run.stdout, @"
    NAME      STATE     SERVERS   MEMORY  DESCRIPTION
    demo      active          2  3.0 GiB  Balanced testing
    broken    invalid         -        -
        /etc/magi/profiles/broken.toml:3:1: unknown key `ctx-size`; did you mean
        `ctx_size`?
    built-in  built-in        0      0 B  every enabled model, on demand
    ");
}

#[test]
fn a_profile_is_shown_as_it_is_written() {
    let run = profiles().magictl(&["profiles", "show", "demo"]);
    assert_eq!(run.stdout, "# mine\n[servers.alpha]\n");
    assert_eq!(run.stderr, "");
}

#[test]
fn a_new_profile_is_read_from_stdin_and_its_path_is_the_result() {
    let fake = profiles();
    let mut child = fake
        .command(&["profiles", "create", "demo", "--from", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"# mine\n").unwrap();
    let run = Run::new(child.wait_with_output().unwrap());
    assert_eq!(run.stdout, "/etc/magi/profiles/demo.toml\n", "{run:?}");
    let copy = fake.asked(&[
        "profiles",
        "create",
        "x",
        "--copy-of",
        "demo",
        "--description",
        "y",
    ]);
    assert_eq!(
        copy,
        "CreateProfileRequest { name: \"x\", text: None, copy_of: Some(\"demo\"), \
         description: Some(\"y\") }"
    );
}

#[test]
fn a_file_that_is_no_profile_is_not_sent() {
    let fake = profiles();
    for (file, why) in [
        ("/nonexistent", "No such file"),
        ("/dev/zero", "it is too long for a profile"),
    ] {
        let run = fake.magictl(&["profiles", "create", "x", "--from", file]);
        assert_eq!(run.exit, Some(1), "{run:?}");
        assert!(run.stderr.contains(why), "{run:?}");
    }
}

#[test]
fn a_folder_that_magid_may_not_write_to_is_77_with_the_command_that_helps() {
    let command = "sudo chown magi /etc/magi/profiles";
    let fake = Fake::refusing(
        Code::PermissionDenied,
        "profiles-read-only",
        "cannot write to /etc/magi/profiles: read-only file system",
        &[("command", command)],
    );
    let run = fake.magictl(&["profiles", "delete", "demo"]);
    assert_eq!(run.exit, Some(77));
    insta::assert_snapshot!(run.stderr, @"
    magictl: cannot write to /etc/magi/profiles: read-only file system
    let magid write there: `sudo chown magi /etc/magi/profiles`
    ");
}

#[test]
fn a_text_that_is_no_profile_is_78_with_every_error_on_its_lines() {
    let message = "the text is no profile:\n --> x.toml:3:1\n\u{1b}[2J --> x.toml:5:1";
    let fake = Fake::refusing(Code::InvalidArgument, "invalid-configuration", message, &[]);
    let run = fake.magictl(&["profiles", "create", "x"]);
    assert_eq!(run.exit, Some(78));
    let told = "magictl: the text is no profile:\n --> x.toml:3:1\n --> x.toml:5:1\n";
    assert_eq!(run.stderr, told);
}
