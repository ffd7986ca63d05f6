//! The last lines of a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::lines::Splitter;

/// How much is read first, and then doubled until there are lines enough.
const FIRST_WINDOW: u64 = 64 * 1024;
/// The most that is read.
const LARGEST_WINDOW: u64 = 4 * 1024 * 1024;

/// The last `n` lines of the file at `path`, the oldest first, with the last one even if it has no
/// end yet. It reads from the end, and at most 4 MiB.
///
/// # Errors
///
/// If the file cannot be read.
pub fn tail(path: &Path, n: usize) -> io::Result<Vec<String>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut window = FIRST_WINDOW;
    loop {
        let start = length.saturating_sub(window);
        let bytes = read_from(&file, start, length - start)?;
        let newlines = bytes.iter().filter(|&&byte| byte == b'\n').count();
        // One more than asked for, since the first line of a window that begins inside the file is
        // the end of one.
        if newlines > n || start == 0 || window >= LARGEST_WINDOW {
            return Ok(last_lines(&bytes, start, n));
        }
        window = (window * 2).min(LARGEST_WINDOW);
    }
}

fn last_lines(bytes: &[u8], start: u64, n: usize) -> Vec<String> {
    let mut splitter = Splitter::default();
    let mut lines = Vec::new();
    splitter.push(bytes, |line| lines.push(line));
    lines.extend(splitter.finish());
    // The end of a line is worth showing if there is nothing else.
    let is_cut = start > 0 && lines.len() > 1;
    let superfluous = lines.len().saturating_sub(n).max(usize::from(is_cut));
    lines.drain(..superfluous);
    lines
}

fn read_from(file: &File, start: u64, window: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(window).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let read = file.read_at(&mut bytes[filled..], start + filled as u64)?;
        if read == 0 {
            break;
        }
        filled += read;
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

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
    fn a_line_longer_than_what_is_read_is_shown_in_part() {
        let mut content = b"before\n".to_vec();
        content.extend(vec![b'x'; 10_000_000]);
        let lines = tail_of(&content, 20);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("xxx") && lines[0].len() < 20_000);
    }

    #[test]
    fn bytes_that_are_no_text_are_no_obstacle() {
        assert_eq!(tail_of(b"a\xff\n\x1b[31mb\x1b[0m\n", 9), ["a\u{fffd}", "b"]);
    }
}
