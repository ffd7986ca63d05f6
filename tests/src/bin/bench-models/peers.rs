//! What one would use otherwise, on the same folder. What is not there is left out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use magi_tests::harness::llama_server;
use serde_json::Value;
use tokio::time::Instant;

use crate::engine;
use crate::folder::MODELS;
use crate::table::{median, milliseconds};

/// How often each is done.
const TIMES: usize = 5;

/// So many files the reader of the `gguf` package reads; it takes as long for each.
const SAMPLE: usize = 200;

/// The port of the router, which no fleet has.
const PORT: u16 = 19_999;

/// Reads the first files of a folder with the `gguf` package, and prints how many seconds that took.
const READER: &str = "
import pathlib, sys, time
from gguf import GGUFReader
files = sorted(pathlib.Path(sys.argv[1]).rglob('*.gguf'))[:int(sys.argv[2])]
begin = time.monotonic()
for file in files:
    GGUFReader(file)
print(time.monotonic() - begin)
";

/// What another one takes.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) milliseconds: f64,
    pub(crate) likeness: Likeness,
}

/// What magid does that is like it.
pub(crate) enum Likeness {
    FirstScan,
    NothingChanged,
}

/// Measures those that are there.
pub(crate) async fn measure(folder: &Path) -> Vec<Peer> {
    eprintln!("measuring others");
    let mut peers = vec![
        Peer {
            name: "`find -name '*.gguf' -printf` of size and time".to_owned(),
            milliseconds: shell(folder, "find \"$1\" -name '*.gguf' -printf '%s %T@ %p\\n'"),
            likeness: Likeness::NothingChanged,
        },
        Peer {
            name: "`find` and `xargs head -c 16384`: the bytes, and nothing made of them"
                .to_owned(),
            milliseconds: shell(
                folder,
                "find \"$1\" -name '*.gguf' -print0 | xargs -0 head -qc 16384",
            ),
            likeness: Likeness::FirstScan,
        },
    ];
    peers.extend(reader(folder));
    peers.extend(router(&flat(folder)).await);
    peers
}

/// The median of runs of a shell command.
fn shell(folder: &Path, script: &str) -> f64 {
    let run = || {
        let begin = Instant::now();
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(folder);
        let status = command.stdout(Stdio::null()).status();
        assert!(status.expect("there is a shell").success());
        milliseconds(begin)
    };
    let values: Vec<_> = (0..TIMES).map(|_| run()).collect();
    median(&values)
}

/// The reader of the `gguf` package for Python, in one process: its start is not counted.
fn reader(folder: &Path) -> Option<Peer> {
    let run = || {
        let mut command = Command::new("python3");
        command
            .args(["-c", READER])
            .arg(folder)
            .arg(SAMPLE.to_string());
        let output = command.stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.trim().parse::<f64>().ok()
    };
    let values: Option<Vec<_>> = (0..TIMES).map(|_| run()).collect();
    let Some(values) = values else {
        eprintln!("python3 has no package gguf: it is left out");
        return None;
    };
    Some(Peer {
        name: format!(
            "`GGUFReader` of llama.cpp's Python package: {SAMPLE} files, times {}",
            MODELS / SAMPLE
        ),
        milliseconds: median(&values) * 1000.0 * (MODELS / SAMPLE) as f64,
        likeness: Likeness::FirstScan,
    })
}

/// The same files in one folder: llama-server's router does not look into folders in folders.
fn flat(folder: &Path) -> PathBuf {
    let flat = folder.with_file_name("flat");
    let script = "mkdir \"$2\" && find \"$1\" -name 'model-*.gguf' -exec ln -t \"$2\" {} +";
    let mut link = Command::new("sh");
    link.args(["-c", script, "sh"]).arg(folder).arg(&flat);
    assert!(link.status().expect("there is a shell").success());
    flat
}

/// llama-server's own router, until it lists its models. It does not read their headers.
async fn router(folder: &Path) -> Option<Peer> {
    let program = llama_server()?;
    let mut values = Vec::new();
    let mut listed = 0;
    for _ in 0..TIMES {
        let mut command = tokio::process::Command::new(&program);
        command.arg("--models-dir").arg(folder);
        let (time, answer) = engine::answered(command, PORT, "/v1/models").await;
        let answer: Value = serde_json::from_str(&answer.text).ok()?;
        listed = answer["data"].as_array().map_or(0, Vec::len);
        values.push(time);
    }
    Some(Peer {
        name: format!(
            "`llama-server --models-dir` of all in one folder, which reads no header, until it lists {listed}"
        ),
        milliseconds: median(&values),
        likeness: Likeness::FirstScan,
    })
}
