//! The pure core stays pure: it names no clock, no file, no process, and nothing of the shell.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the pure core.
const CORE: [&str; 12] = [
    "config",
    "eviction",
    "gguf",
    "lifecycle",
    "plan",
    "moment.rs",
    "name.rs",
    "registry/absence.rs",
    "registry/find.rs",
    "registry/group.rs",
    "registry/hub.rs",
    "registry/id.rs",
];

/// What none of them may name.
const FORBIDDEN: [&str; 20] = [
    "tokio",
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
    "Instant",
    "SystemTime",
    "jiff",
    "crate::api",
    "crate::daemon",
    "crate::files",
    "crate::logs",
    "crate::notify",
    "crate::process",
    "crate::reload",
    "crate::supervisor",
];

#[test]
fn the_core_names_nothing_of_the_shell() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for module in CORE {
        collect(&sources.join(module), &mut files);
    }
    assert!(files.len() > 15, "the core was not found: {files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let found = FORBIDDEN.iter().find(|word| names(code, word));
            assert!(
                found.is_none(),
                "{}:{}: the pure core names {}",
                file.display(),
                number + 1,
                found.unwrap_or(&"")
            );
        }
    }
}

/// Tests of the core may read files; they are in files of their own.
fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    let is_test = path
        .file_stem()
        .is_some_and(|stem| stem == "tests" || stem == "diagram");
    if is_test {
        return;
    }
    if path.is_file() {
        files.push(path.to_path_buf());
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        collect(&entry.unwrap().path(), files);
    }
}

/// Whether code names a word, and not only as a part of a longer one.
fn names(code: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !is_part(before) && !is_part(after)
    })
}
