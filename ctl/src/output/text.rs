//! Text that others wrote, made fit for a terminal.

/// `text` in one line, without what would control a terminal.
pub(crate) fn printable(text: &str) -> String {
    without_controls(text, |c| c == '\t')
}

/// `text` with its line breaks, without what else would control a terminal.
pub(crate) fn printable_lines(text: &str) -> String {
    without_controls(text, |c| matches!(c, '\n' | '\t'))
}

/// Escape sequences such as colours are dropped whole, other control characters become spaces.
fn without_controls(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' if chars.next_if_eq(&'[').is_some() => {
                // A control sequence ends at its first character from '@' to '~'.
                let _end = chars.find(|c| ('@'..='~').contains(c));
            }
            c if is_kept(c) || !c.is_control() => kept.push(c),
            _ => kept.push(' '),
        }
    }
    kept
}

/// The first `width` characters of `text`; `…` is the last of them if some are missing.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// `text` in lines of at most `width` characters, broken between words where there are any.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if length > 0 && length + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
            length = 0;
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        if length > 0 {
            line.push(' ');
            length += 1;
        }
        length += word.len();
        line.extend(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// `word` as a shell reads it back.
pub(crate) fn shell_quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    if word.chars().any(char::is_control) {
        return ansi_c_quoted(word);
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// `$'…'`, which shows control characters instead of sending them to the terminal.
fn ansi_c_quoted(word: &str) -> String {
    let mut quoted = String::from("$'");
    for c in word.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str(r"\n"),
            '\t' => quoted.push_str(r"\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!(r"\x{:02x}", u32::from(c))),
            c if c.is_control() => quoted.push_str(&format!(r"\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mred\u{1b}[0m\nb\u{7}"), "ared b ");
        assert_eq!(printable_lines("a\u{1b}]0;x\u{7}\nb"), "a ]0;x \nb");
        assert_eq!(printable("cut short \u{1b}["), "cut short ");
    }

    #[test]
    fn long_text_is_cut_with_an_ellipsis() {
        assert_eq!(cut("qwen2.5-7b", 10), "qwen2.5-7b");
        assert_eq!(cut("qwen2.5-7b", 6), "qwen2…");
        assert_eq!(cut("qwen", 0), "");
    }

    #[test]
    fn text_is_wrapped_between_words() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(
            wrap("/a/very/long/path x", 6),
            ["/a/ver", "y/long", "/path", "x"]
        );
        assert_eq!(wrap("", 6), [""; 0]);
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(shell_quoted("--ctx-size=4096"), "--ctx-size=4096");
        assert_eq!(shell_quoted(""), "''");
        assert_eq!(shell_quoted("a b"), "'a b'");
        assert_eq!(shell_quoted("it's"), r"'it'\''s'");
        assert_eq!(shell_quoted("a\nb'\u{1b}"), r"$'a\nb\'\x1b'");
    }

    proptest! {
        #[test]
        fn wrapped_lines_fit_and_lose_nothing(text in "\\PC{0,200}", width in 1usize..100) {
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= width));
            let bare = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(bare(&lines.concat()), bare(&text));
        }

        #[test]
        fn printable_text_has_no_control_characters(text in ".{0,100}") {
            prop_assert!(!printable(&text).chars().any(|c| c.is_control() && c != '\t'));
        }
    }
}
