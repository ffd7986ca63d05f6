//! The commands of a page of documentation, so that what it says is what is tested.

use std::fs;
use std::io;
use std::path::Path;

/// The commands in the blocks of a page of docs/ that are marked `sh`, block by block. What is marked
/// otherwise, as `sh norun`, is to be read only.
///
/// # Errors
///
/// The page cannot be read.
pub fn commands(page: &str) -> io::Result<Vec<String>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(tests.with_file_name("docs").join(page))?;
    Ok(blocks(&text))
}

fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines() {
        match (&mut block, line.trim_end()) {
            (None, "```sh") => block = Some(String::new()),
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
    use super::blocks;

    #[test]
    fn only_blocks_marked_sh_are_commands() {
        let text =
            "a\n```sh\none\ntwo\n```\n```toml\n[x]\n```\n```sh norun\nno\n```\n```sh\nthree\n```\n";
        assert_eq!(blocks(text), ["one\ntwo\n", "three\n"]);
    }
}
