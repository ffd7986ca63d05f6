//! Bytes into lines of clean text, in bounded memory.

/// The longest line that is kept, in bytes. The rest of a longer one is dropped.
pub const LONGEST: usize = 16 * 1024;

/// What stands at the end of a line that was cut.
const CUT: &str = "…";

/// Splits a stream of bytes into lines.
#[derive(Debug, Default)]
pub struct Splitter {
    /// The start of a line whose end has not come yet, at most [`LONGEST`] and one bytes.
    partial: Vec<u8>,
}

impl Splitter {
    /// Takes in bytes and gives `line` each line that they complete.
    pub fn push(&mut self, bytes: &[u8], mut line: impl FnMut(String)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.keep(&rest[..end]);
            line(clean(&self.partial));
            self.partial.clear();
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    /// The line that has no end yet, if there is one; it is forgotten.
    pub fn finish(&mut self) -> Option<String> {
        let partial = std::mem::take(&mut self.partial);
        (!partial.is_empty()).then(|| clean(&partial))
    }

    /// NULs are what a reader sees in place of blocks that were given back, never output.
    fn keep(&mut self, bytes: &[u8]) {
        let room = (LONGEST + 1).saturating_sub(self.partial.len());
        self.partial
            .extend(bytes.iter().copied().filter(|&byte| byte != 0).take(room));
    }
}

/// One line as clean text: valid UTF-8 without escape codes and control characters, cut at
/// [`LONGEST`] bytes.
pub fn clean(line: &[u8]) -> String {
    let kept = &line[..line.len().min(LONGEST)];
    let text = String::from_utf8_lossy(kept);
    let mut out = String::with_capacity(kept.len());
    let mut is_cut = line.len() > LONGEST;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => skip_escape(&mut chars),
            _ if char.is_control() && char != '\t' => {}
            // What stands for a byte that is no text has three.
            _ if out.len() + char.len_utf8() > LONGEST => {
                is_cut = true;
                break;
            }
            _ => out.push(char),
        }
    }
    if is_cut {
        out.push_str(CUT);
    }
    out
}

/// Skips the rest of an escape sequence: `[`, parameters and a final letter, or a single character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if chars.next_if_eq(&'[').is_none() {
        chars.next();
        return;
    }
    while let Some(char) = chars.next_if(|char| matches!(char, ' '..='~')) {
        if matches!(char, '@'..='~') {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.push(piece, |line| lines.push(line));
        }
        lines.extend(splitter.finish());
        lines
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        assert_eq!(split(&[b"a", b"b\nc", b"\n", b"\nd"]), ["ab", "c", "", "d"]);
    }

    #[test]
    fn colours_and_carriage_returns_are_removed() {
        assert_eq!(clean(b"\x1b[1;31mred\x1b[0m\r"), "red");
        assert_eq!(clean(b"a\x1bMb\x1b[12"), "ab");
    }

    #[test]
    fn what_is_no_text_is_marked() {
        assert_eq!(clean(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn a_line_of_ten_megabytes_is_cut() {
        let lines = split(&[&vec![b'x'; 10_000_000], b"\nnext\n"]);
        assert_eq!(lines[0].len(), LONGEST + CUT.len());
        assert_eq!(lines[1], "next");
    }

    #[test]
    fn a_line_that_is_no_text_is_no_longer_than_another() {
        assert_eq!(clean(&[0xff; LONGEST]).len(), LONGEST / 3 * 3 + CUT.len());
    }

    #[test]
    fn holes_leave_nothing_behind() {
        assert_eq!(
            split(&[b"\0\0\0rest of a line\nnext\n"]),
            ["rest of a line", "next"]
        );
    }
}
