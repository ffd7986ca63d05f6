//! What is said to the person who waits.

/// Says a line on stderr.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}
