//! The commands of a page of documentation, so that what it says is what is tested.

use std::fs;
use std::io;
use std::path::Path;

/// The commands in the blocks of a page of docs/ that are marked `sh`, block by block. What is marked
/// otherwise, as `sh norun`, is to be read only, or is for [`commands_marked`].
///
/// # Errors
///
/// The page cannot be read.
pub fn commands(page: &str) -> io::Result<Vec<String>> {
    commands_marked("sh", page)
}

/// The commands in the blocks with this mark, as `sh user`.
///
/// # Errors
///
/// The page cannot be read.
pub fn commands_marked(mark: &str, page: &str) -> io::Result<Vec<String>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(tests.with_file_name("docs").join(page))?;
    Ok(blocks(mark, &text))
}

fn blocks(mark: &str, text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match (&mut block, line.trim_end()) {
            (None, line) if line.strip_prefix("```") == Some(mark) => block = Some(String::new()),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{blocks, commands};

    /// The pages that a test runs: those of the container in `cargo xtask test docker`, monitoring.md beside
    /// the other tests, the rest in an installed magi.
    const RUN: [&str; 10] = [
        "api.md",
        "check.md",
        "docker.md",
        "generations.md",
        "install.md",
        "keys.md",
        "monitoring.md",
        "profiles.md",
        "rest.md",
        "troubleshooting.md",
    ];

    #[test]
    fn every_page_that_shows_commands_is_run() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs");
        let mut shown = Vec::new();
        for entry in fs::read_dir(docs).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.ends_with(".md") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let unmarked = ["    magictl ", "    systemctl ", "    apt "];
            let is_unmarked = |line: &&str| unmarked.iter().any(|begin| line.starts_with(begin));
            let drawn = |line: &&str| line.contains("──");
            let line = text.lines().find(|line| is_unmarked(line) && !drawn(line));
            assert_eq!(line, None, "{name}: commands are marked `sh`");
            if !commands(&name).unwrap().is_empty() {
                shown.push(name);
            }
        }
        shown.sort();
        assert_eq!(shown, RUN);
    }

    #[test]
    fn only_blocks_with_the_mark_are_commands() {
        let text =
            "a\n```sh\none\ntwo\n```\n```toml\n[x]\n```\n```sh norun\nno\n```\n```sh\nthree\n```\n";
        assert_eq!(blocks("sh", text), ["one\ntwo\n", "three\n"]);
        assert_eq!(blocks("sh norun", text), ["no\n"]);
    }
}
