//! Words of others, fit for a message of ours.

/// The longest text of others that a message repeats, in characters.
const LONGEST: usize = 300;

/// What a name is called that holds a secret.
const SECRETS: [&str; 5] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL"];

/// Whether what is called so is a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    // `--tokens`, `--token-embd` and the like are about words, not about secrets.
    let about_words = name.contains("TOKENS") || name.contains("TOKENIZ");
    !about_words && SECRETS.iter().any(|secret| name.contains(secret))
}

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
