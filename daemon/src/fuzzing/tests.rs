//! The bounded run: every seed, and inputs made of seeds and words.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// So many inputs are made up for each target, and so many in a full run.
const CASES: u32 = 1_000;
const FULL_CASES: u32 = 20_000;

#[test]
fn every_answer_is_read_or_refused() {
    hold("answers", super::answers);
}

#[test]
fn every_model_file_is_read_or_refused() {
    hold("gguf", super::gguf);
}

#[test]
fn every_output_is_split_into_clean_lines() {
    hold("log_lines", super::log_lines);
}

#[test]
fn every_magid_toml_is_answered() {
    hold("magid_toml", super::magid_toml);
}

#[test]
fn every_line_of_proc_is_read_or_refused() {
    hold("proc", super::proc);
}

#[test]
fn every_profile_is_answered() {
    hold("profile", super::profile);
}

#[test]
fn every_state_file_is_read_or_refused() {
    hold("state_files", super::state_files);
}

/// Shows `promise` each seed of `target`, and inputs made of them.
fn hold(target: &str, promise: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty());
    for (path, seed) in &seeds {
        // Told only if the promise is broken.
        println!("the seed {}", path.display());
        promise(seed);
    }
    let full = std::env::var_os("MAGI_FULL").is_some();
    let mut runner = TestRunner::new(Config {
        cases: if full { FULL_CASES } else { CASES },
        failure_persistence: None,
        ..Config::default()
    });
    let seeds = seeds.into_iter().map(|(_, seed)| seed).collect();
    let made = runner.run(&inputs(seeds, words(target)), |input| {
        promise(&input.0);
        Ok(())
    });
    if let Err(failure) = made {
        panic!("{failure}\nmake it a seed in fuzz/corpus/{target}, with a dot in its name");
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz")
        .join(name)
}

/// The seeds have a dot in their names; what else is there was found by libFuzzer.
fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder("corpus").join(target)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    paths.into_iter().map(read).collect()
}

/// The words of the target's dictionary: `"word"`, with the escapes that libFuzzer knows.
fn words(target: &str) -> Vec<Vec<u8>> {
    let path = folder("dictionaries").join(format!("{target}.dict"));
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('"'));
    lines
        .map(|line| unescaped(&line[1..line.len() - 1]))
        .collect()
}

fn unescaped(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        let (digits, end) = match after.strip_prefix('x') {
            Some(hex) => (u8::from_str_radix(&hex[..2], 16).unwrap(), &hex[2..]),
            None => (after.as_bytes()[0], &after[1..]),
        };
        bytes.push(digits);
        rest = end;
    }
    bytes.extend(rest.bytes());
    bytes
}

#[derive(Clone)]
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// A seed with some places where bytes were taken out and others put in.
fn inputs(seeds: Vec<Vec<u8>>, words: Vec<Vec<u8>>) -> impl Strategy<Value = Input> {
    let put_in = prop_oneof![
        4 => prop::sample::select(words),
        2 => prop::collection::vec(any::<u8>(), 0..8),
        1 => (any::<u8>(), 0..20_000_usize).prop_map(|(byte, times)| vec![byte; times]),
        1 => prop::sample::select(seeds.clone()),
    ];
    let change = (any::<Index>(), 0..16_usize, put_in);
    let changes = prop::collection::vec(change, 0..8);
    (prop::sample::select(seeds), changes).prop_map(|(mut bytes, changes)| {
        for (at, taken, put_in) in changes {
            let at = at.index(bytes.len() + 1);
            let end = (at + taken).min(bytes.len());
            bytes.splice(at..end, put_in);
        }
        Input(bytes)
    })
}
