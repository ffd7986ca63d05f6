//! Words of others, fit for a message of ours.

/// The longest text of others that a message repeats, in characters.
const LONGEST: usize = 300;

/// `text` on one line: without control characters, and cut if it is long.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .filter(|character| !character.is_control())
        .take(LONGEST + 1)
        .collect();
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push('…');
    }
    line
}
