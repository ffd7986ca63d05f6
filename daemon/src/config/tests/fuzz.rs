//! Whatever is in a file, the answer is a value or diagnostics with places inside the file.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const GOOD: &str = r#"description = "all of it" # é世
[defaults]
ctx_size = 4096
env = { A = "1" }
restart = { policy = "on-failure", initial_delay = "1s" }
[servers.alpha]
model = "alpha.gguf"
aliases = ["a/b", "gpt-4o"]
port = 8081
flash_attn = "auto"
tensor_split = [3, 1.5]
args = ["--top-k", "40"]
[servers."be.ta"]
model = """
beta"""
jinja = false
"#;

const PIECES: &[&str] = &[
    "[servers.x]\n",
    "[servers.x.y]\n",
    "[[servers]]\n",
    "[defaults]\n",
    "model = \"m\"\n",
    "model",
    "port = 8081\n",
    " = ",
    "\"",
    "'''",
    "{",
    "}",
    "[",
    "]",
    ",",
    ".",
    "\n",
    "\r\n",
    "\0",
    "\u{feff}",
    "-m",
    "args = [\"-c\"]\n",
    "ctx_size = 1\n",
    "1979-05-27",
    "0x",
    "1e999",
    "é",
    "\\u0000",
    "#",
];

/// A diagnostic that somebody can follow: its place exists and it can be shown.
fn check(found: Result<Profile, Vec<Diagnostic>>, text: &str) {
    let Err(errors) = found else {
        return;
    };
    assert!(!errors.is_empty() && errors.len() <= 100);
    let source = file("/etc/magi/profiles/x.toml", text);
    let lines: Vec<_> = text.split('\n').collect();
    for error in errors {
        let origin = error.origin.as_ref().unwrap();
        let line = lines
            .get(origin.line - 1)
            .unwrap_or_else(|| panic!("{error}"));
        assert!(
            (1..=line.chars().count() + 1).contains(&origin.column),
            "{error}"
        );
        assert!(!error.message.contains(char::is_control), "{error:?}");
        assert!(!error.help.is_empty());
        assert!(error.render(Some(&source)).starts_with("error: "));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        check(profile(&text), &text);
    }

    #[test]
    fn any_pieces_of_toml_are_answered(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..30)) {
        let text = pieces.concat();
        check(profile(&text), &text);
    }

    #[test]
    fn any_change_of_a_good_file_is_answered(
        changes in prop::collection::vec((any::<Index>(), 0..8usize, prop::sample::select(PIECES)), 1..6)
    ) {
        let mut characters: Vec<char> = GOOD.chars().collect();
        for (at, removed, inserted) in changes {
            let at = at.index(characters.len() + 1);
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, inserted.chars());
        }
        let text: String = characters.into_iter().collect();
        check(profile(&text), &text);
        if let Err(errors) = daemon(&text, &[]) {
            assert!(errors.iter().all(|error| error.origin.is_some()));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        match SourceFile::from_bytes("/x".into(), bytes.clone()) {
            Ok(file) => prop_assert_eq!(file.text.as_bytes(), bytes),
            Err(error) => prop_assert!(error.origin.is_some()),
        }
    }
}

#[test]
fn the_file_that_is_changed_is_good() {
    assert_eq!(profile(GOOD).unwrap().servers.len(), 2);
}

#[test]
fn bytes_that_are_no_text_are_placed() {
    let error = SourceFile::from_bytes("/x".into(), b"a = 1\nb = \"\xff\"".to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/x:2:6: error: cannot read what is not UTF-8 (save the file as UTF-8)"
    );
}

#[test]
fn a_diagnostic_shows_its_line_but_never_a_secret() {
    let text = "[servers.a]\nmodel = 3\nargs = [\"--api-key\", \"hunter2\", 7]\n";
    let source = file("/etc/magi/profiles/x.toml", text);
    let shown: Vec<_> = profile(text)
        .unwrap_err()
        .iter()
        .map(|error| error.render(Some(&source)))
        .collect();
    assert!(shown[0].contains("2 | model = 3\n"), "{}", shown[0]);
    assert!(
        shown[0].contains("--> /etc/magi/profiles/x.toml:2:9\n"),
        "{}",
        shown[0]
    );
    assert_eq!(shown.len(), 3);
    assert!(!shown.concat().contains("hunter2"));
}
