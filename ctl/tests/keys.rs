//! `magictl keys`, with a gateway.toml of its own and no magid.
#![allow(missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

struct Keys {
    folder: TempDir,
}

impl Keys {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("gateway.toml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn mode(&self) -> u32 {
        fs::metadata(self.file()).unwrap().permissions().mode() & 0o7777
    }

    fn run(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_magictl"))
            .args(["keys", "--config"])
            .arg(self.file())
            .args(line.split(' '))
            .output()
            .unwrap()
    }

    /// What is printed, if all goes well.
    fn printed(&self, line: &str) -> String {
        let output = self.run(line);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The exit status and what is said.
    fn refused(&self, line: &str) -> (i32, String) {
        let output = self.run(line);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

#[test]
fn a_key_is_shown_once_and_only_its_hash_is_kept() {
    let keys = Keys::new();
    let key = keys.printed("create app");
    let key = key.strip_suffix('\n').unwrap();
    assert!(key.starts_with("magi_") && key.len() == 53, "{key}");
    assert!(!keys.text().contains(key));
    assert!(keys.text().contains("hash = \"sha256:"));
    assert_eq!(keys.mode() & 0o007, 0);
    assert_ne!(keys.printed("create other"), key);
    let table = keys.printed("list");
    assert!(table.contains("app") && table.contains("inference") && !table.contains("sha256"));
}

#[test]
fn scopes_and_models_are_written_as_they_were_asked_for() {
    let keys = Keys::new();
    keys.printed("create app --scope read,inference --scope read --model qwen*,llama");
    let listed: Value = serde_json::from_str(&keys.printed("list -o json")).unwrap();
    assert_eq!(listed["file"], keys.file().to_str().unwrap());
    let expected = serde_json::json!([
        { "name": "app", "scopes": ["inference", "read"], "models": ["qwen*", "llama"] },
    ]);
    assert_eq!(listed["keys"], expected);
    let made: Value = serde_json::from_str(&keys.printed("create b -o json")).unwrap();
    assert!(made["key"].as_str().unwrap().starts_with("magi_"));
    assert_eq!(made["models"], serde_json::json!(["*"]));
}

#[test]
fn the_rest_of_the_file_stays_as_it_was() {
    let keys = Keys::new();
    let mine = "# mine\nmax_body = \"1MiB\" # enough\n";
    fs::write(keys.file(), mine).unwrap();
    fs::set_permissions(keys.file(), fs::Permissions::from_mode(0o664)).unwrap();
    keys.printed("create app");
    assert!(keys.text().starts_with(mine));
    assert_eq!(keys.mode(), 0o660);
    keys.run("delete app");
    assert_eq!(keys.text(), mine);
}

#[test]
fn a_key_of_the_same_name_and_one_that_is_not_there_are_told() {
    let keys = Keys::new();
    keys.printed("create app");
    let before = keys.text();
    let (status, said) = keys.refused("create app");
    assert_eq!(status, 1);
    assert!(said.contains("there is a key app already"), "{said}");
    let (status, said) = keys.refused("delete other");
    assert_eq!(status, 4);
    assert!(said.contains("no such key: other"), "{said}");
    assert_eq!(keys.refused("create a/b").0, 78);
    assert_eq!(keys.refused("create a --model [x]").0, 2);
    assert_eq!(keys.text(), before);
}

#[test]
fn the_last_key_stays_while_others_can_reach_the_gateway() {
    let keys = Keys::new();
    fs::write(keys.file(), "listen = [\"0.0.0.0:8000\"]\n").unwrap();
    keys.printed("create app");
    let (status, said) = keys.refused("delete app");
    assert_eq!(status, 78);
    assert!(said.contains("without keys"), "{said}");
    assert!(keys.text().contains("[[keys]]"));
}

#[test]
fn a_file_that_is_wrong_is_not_touched() {
    let keys = Keys::new();
    fs::write(keys.file(), "prot = 1\n").unwrap();
    for line in ["create app", "delete app", "list"] {
        let (status, said) = keys.refused(line);
        assert_eq!(status, 78, "{line}");
        assert!(
            said.contains("gateway.toml:1:1: error: unknown key `prot`"),
            "{said}"
        );
    }
    assert_eq!(keys.text(), "prot = 1\n");
}

#[test]
fn a_key_that_is_only_printed_changes_nothing() {
    let keys = Keys::new();
    let output = keys.run("create app --print");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("[[keys]]\nname = \"app\""), "{said}");
    assert!(!keys.file().exists());
}

#[test]
fn keys_that_are_made_at_the_same_time_are_all_kept() {
    let keys = Keys::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let keys = &keys;
            scope.spawn(move || keys.printed(&format!("create key-{number}")));
        }
    });
    let listed: Value = serde_json::from_str(&keys.printed("list -o json")).unwrap();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 8, "{listed}");
    // Nothing is left of it.
    assert_eq!(fs::read_dir(keys.folder.path()).unwrap().count(), 1);
}
