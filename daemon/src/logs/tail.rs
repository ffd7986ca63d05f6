//! The last lines of a file.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::lines::Splitter;

/// How much is read at a time. A file that is smaller costs no more than it has.
const CHUNK: u64 = 64 * 1024;

/// How far back lines are looked for.
const FURTHEST: u64 = 64 * 1024 * 1024;

/// The most that is kept of the lines, in bytes. Beyond it the oldest are left out.
const MOST: usize = 4 * 1024 * 1024;

/// The last `n` lines of the file at `path`, the oldest first, with the last one even if it has no
/// end yet. A line of megabytes counts as one. It looks back at most 64 MiB, and not beyond blocks that
/// were given back to the disk; it gives at most 4 MiB.
///
/// # Errors
///
/// If the file cannot be read.
pub fn tail(path: &Path, n: usize) -> io::Result<Vec<String>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let beginning = find_beginning(&file, length, n)?;
    let mut kept = Kept::new(n);
    let mut splitter = Splitter::default();
    let mut chunk = buffer(length - beginning.position);
    let mut position = beginning.position;
    while position < length {
        let read = file.read_at(&mut chunk, position)?;
        if read == 0 {
            break;
        }
        position += read as u64;
        splitter.push(&chunk[..read], |line| kept.push(line));
    }
    if let Some(line) = splitter.finish() {
        kept.push(line);
    }
    Ok(kept.lines(beginning.is_inside_a_line))
}

/// Where to begin to read.
struct Beginning {
    position: u64,
    is_inside_a_line: bool,
}

/// Goes back from the end over `n` lines, as far as there are any.
fn find_beginning(file: &File, length: u64, n: usize) -> io::Result<Beginning> {
    let furthest = length.saturating_sub(FURTHEST);
    let mut chunk = buffer(length);
    let mut end = length;
    let mut ends_of_lines = 0;
    while end > furthest {
        let start = end.saturating_sub(chunk.len() as u64).max(furthest);
        let part = &mut chunk[..(end - start) as usize];
        let read = file.read_at(part, start)?;
        let part = &part[..read];
        // Blocks that were given back read as zeros, and nothing is before them.
        if part.iter().all(|&byte| byte == 0) {
            break;
        }
        for (index, _) in part
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
        {
            let position = start + index as u64 + 1;
            // The end of the last line begins no other one.
            if position < length {
                ends_of_lines += 1;
            }
            if ends_of_lines == n {
                return Ok(Beginning {
                    position,
                    is_inside_a_line: false,
                });
            }
        }
        end = start;
    }
    Ok(Beginning {
        position: end,
        is_inside_a_line: end > 0,
    })
}

fn buffer(length: u64) -> Vec<u8> {
    vec![0; length.min(CHUNK) as usize]
}

/// The last lines so far.
struct Kept {
    most: usize,
    lines: VecDeque<String>,
    bytes: usize,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self {
            most,
            lines: VecDeque::new(),
            bytes: 0,
        }
    }

    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > MOST || self.lines.len() > self.most {
            let oldest = self.lines.pop_front();
            self.bytes -= oldest.map_or(0, |line| line.len());
        }
    }

    /// All of them, but for one of which the beginning is missing: its end is worth showing only if
    /// there is nothing else.
    fn lines(mut self, first_is_cut: bool) -> Vec<String> {
        if first_is_cut && self.lines.len() > 1 && self.lines.len() < self.most {
            self.lines.pop_front();
        }
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn tail_of(content: &[u8], n: usize) -> Vec<String> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, content).unwrap();
        tail(&path, n).unwrap()
    }

    #[test]
    fn the_last_line_counts_before_it_has_an_end() {
        assert_eq!(tail_of(b"one\ntwo\nthr", 2), ["two", "thr"]);
        assert_eq!(tail_of(b"one\ntwo\nthree\n", 2), ["two", "three"]);
        assert_eq!(tail_of(b"one\n", 5), ["one"]);
        assert!(tail_of(b"", 5).is_empty());
        assert!(tail_of(b"one\n", 0).is_empty());
    }

    #[test]
    fn enough_is_read_for_long_lines() {
        let mut content = Vec::new();
        for number in 0..300 {
            content.extend(format!("{number} {}\n", "x".repeat(8000)).bytes());
        }
        let lines = tail_of(&content, 200);
        assert_eq!(lines.len(), 200);
        assert!(lines[0].starts_with("100 "));
    }

    #[test]
    fn a_line_of_ten_megabytes_is_one_line() {
        let mut content = b"before\n".to_vec();
        content.extend(vec![b'x'; 10_000_000]);
        content.extend(b"\nafter");
        let lines = tail_of(&content, 20);
        assert_eq!(lines.len(), 3);
        assert_eq!((lines[0].as_str(), lines[2].as_str()), ("before", "after"));
        assert!(lines[1].starts_with("xxx") && lines[1].len() < 20_000);
    }

    #[test]
    fn nothing_is_looked_for_beyond_a_hole() {
        let mut content = vec![0; 200_000];
        content.extend(b"rest of a line\none\ntwo\n");
        assert_eq!(tail_of(&content, 9), ["one", "two"]);
        assert_eq!(tail_of(&content, 1), ["two"]);
    }

    #[test]
    fn what_is_given_is_bounded() {
        let line = "x".repeat(16_000) + "\n";
        let lines = tail_of(line.repeat(500).as_bytes(), 10_000);
        assert!(lines.iter().map(String::len).sum::<usize>() <= MOST);
        assert!(lines.len() > 200);
    }

    proptest! {
        #[test]
        fn it_is_the_end_of_all_lines(
            content in proptest::collection::vec(prop_oneof![Just(b'\n'), 32..127_u8], 0..300),
            n in 0_usize..20,
            padding in 0..3_usize,
        ) {
            // Across the borders of what is read at a time.
            let mut whole = b"y\n".repeat(padding * CHUNK as usize / 2);
            whole.extend(&content);
            let text = String::from_utf8(whole.clone()).unwrap();
            let lines: Vec<_> = text.lines().collect();
            let expected = &lines[lines.len().saturating_sub(n)..];
            prop_assert_eq!(tail_of(&whole, n), expected);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_no_obstacle() {
        assert_eq!(tail_of(b"a\xff\n\x1b[31mb\x1b[0m\n", 9), ["a\u{fffd}", "b"]);
    }
}
