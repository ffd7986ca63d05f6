//! What differs between two contents, for people.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use similar::udiff::UnifiedHunkHeader;
use similar::{DiffOp, DiffTag, TextDiff};

use super::generation::{Content, StoredFile};
use super::masked::masked;

/// So many lines around a change are shown.
const CONTEXT: usize = 3;

/// After so long a difference need not be the smallest one any more: texts of a million lines that
/// have nothing in common would be compared for ever.
const PATIENCE: Duration = Duration::from_millis(500);

/// One of the two.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What it is called: `generation 6`.
    pub label: &'a str,
    /// Its texts.
    pub content: &'a Content,
}

/// A unified diff that leads from `older` to `newer`; empty if nothing differs. Values that look like
/// secrets are hidden, and so are characters that a terminal would obey.
pub fn diff(older: Side<'_>, newer: Side<'_>) -> String {
    let mut out = String::new();
    let [from, to] = [older, newer].map(|side| side.content.profile.as_ref());
    let [from_name, to_name] =
        [from, to].map(|profile| profile.map_or("(none)", |profile| profile.name.as_str()));
    if from_name != to_name {
        let (from_name, to_name) = (visible(from_name), visible(to_name));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "active profile: {from_name} -> {to_name}");
    }
    let [from_file, to_file] = [from, to].map(|profile| profile.and_then(|p| p.file.as_ref()));
    let labels = [older.label, newer.label];
    let [from_daemon, to_daemon] = [older, newer].map(|side| side.content.daemon.as_ref());
    compare([from_daemon, to_daemon], labels, &mut out);
    compare([from_file, to_file], labels, &mut out);
    out
}

fn compare(files: [Option<&StoredFile>; 2], labels: [&str; 2], out: &mut String) {
    let texts = files.map(|file| file.map_or("", |file| file.text.as_str()));
    if texts[0] == texts[1] && files[0].is_some() == files[1].is_some() {
        return;
    }
    for (mark, file, label) in [("---", files[0], labels[0]), ("+++", files[1], labels[1])] {
        let path = file.map_or(Path::new("/dev/null"), |file| &file.path);
        let path = path.display().to_string();
        let _ = writeln!(out, "{mark} {}\t{}", visible(&path), visible(label));
    }
    let [old, new] = texts.map(lines);
    let difference = TextDiff::configure()
        .timeout(PATIENCE)
        .diff_slices(&old, &new);
    // Secrets are hidden after the comparison: another secret is a difference too.
    let shown = texts.map(masked);
    let shown = [lines(&shown[0]), lines(&shown[1])];
    for hunk in difference.grouped_ops(CONTEXT) {
        let _ = writeln!(out, "{}", UnifiedHunkHeader::new(&hunk));
        for operation in &hunk {
            show(operation, &shown, out);
        }
    }
}

fn show(operation: &DiffOp, [old, new]: &[Vec<&str>; 2], out: &mut String) {
    let (tag, before, after) = operation.as_tag_tuple();
    let (removed, added) = match tag {
        DiffTag::Equal => {
            old[before].iter().for_each(|line| push(' ', line, out));
            return;
        }
        DiffTag::Delete => (&old[before], &[][..]),
        DiffTag::Insert => (&[][..], &new[after]),
        DiffTag::Replace => (&old[before], &new[after]),
    };
    removed.iter().for_each(|line| push('-', line, out));
    added.iter().for_each(|line| push('+', line, out));
}

fn push(mark: char, line: &str, out: &mut String) {
    let (line, end) = match line.strip_suffix('\n') {
        Some(line) => (line, "\n"),
        None => (line, "\n\\ No newline at end of file\n"),
    };
    out.push(mark);
    out.push_str(&visible(line));
    out.push_str(end);
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// A line as it can be shown.
fn visible(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        match c.is_control() && c != '\t' {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generations::tests::content;

    fn shown(older: &Content, newer: &Content) -> String {
        let side = |label, content| Side { label, content };
        diff(side("generation 6", older), side("generation 7", newer))
    }

    #[test]
    fn a_difference_is_shown_with_the_lines_around_it() {
        let older = content("", "1\n2\n3\n4\n5\n6\n");
        let newer = content("", "1\n2\n3\n4\nfive\n6");
        let expected = "\
--- /etc/magi/profiles/development.toml\tgeneration 6
+++ /etc/magi/profiles/development.toml\tgeneration 7
@@ -2,5 +2,5 @@
 2
 3
 4
-5
-6
+five
+6
\\ No newline at end of file
";
        assert_eq!(shown(&older, &newer), expected);
        assert_eq!(shown(&older, &older), "");
    }

    #[test]
    fn another_profile_is_told_and_a_file_that_was_not_there_too() {
        let mut older = content("", "a\n");
        older.daemon = None;
        let mut newer = content("", "a\n");
        newer.profile.as_mut().unwrap().name = "production".to_owned();
        newer.daemon.as_mut().unwrap().text = "log = 1\n".to_owned();
        let expected = "\
active profile: development -> production
--- /dev/null\tgeneration 6
+++ /etc/magi/magid.toml\tgeneration 7
@@ -0,0 +1 @@
+log = 1
";
        assert_eq!(shown(&older, &newer), expected);
    }

    #[test]
    fn another_secret_is_a_difference_and_not_shown() {
        let older = content("", "api_key = \"first\"\n");
        let newer = content("", "api_key = \"second\"\n");
        let shown = shown(&older, &newer);
        assert!(
            shown.ends_with("-api_key = ***\n+api_key = ***\n"),
            "{shown}"
        );
    }

    #[test]
    fn a_terminal_has_nothing_to_obey() {
        let older = content("", "a\r\n");
        let newer = content("", "a\n# \u{1b}[31m\n");
        let shown = shown(&older, &newer);
        assert!(shown.contains("-a\\r\n+a\n+# \\u{1b}[31m\n"), "{shown}");
    }

    #[test]
    fn long_texts_that_have_nothing_in_common_are_compared_in_time() {
        let text = |from: u32| {
            (from..from + 200_000)
                .map(|n| format!("{n}\n"))
                .collect::<String>()
        };
        let shown = shown(&content("", &text(0)), &content("", &text(1_000_000)));
        assert_eq!(shown.matches("\n-").count(), 200_000);
    }
}
