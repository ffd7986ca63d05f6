//! Numbers, lists and paths as people and shells read them.

/// `word` as a shell reads it back.
pub(super) fn shell_quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A size in the largest unit that leaves a number above one.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenth = bytes % unit * 10 / unit;
            format!("{}.{tenth} {name}", bytes / unit)
        }
        None => format!("{bytes} bytes"),
    }
}

/// `1 server`, `2 servers`.
pub(super) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Names in a sentence, a few of them.
pub(super) fn names<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 5;
    let all: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    match all.len().checked_sub(SHOWN) {
        None | Some(0) => all.join(", "),
        Some(more) => format!("{} and {more} more", all[..SHOWN].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_down_to_a_tenth() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        assert_eq!(names(["a", "b"]), "a, b");
        assert_eq!(names(1..=7), "1, 2, 3, 4, 5 and 2 more");
    }

    #[test]
    fn a_path_with_a_space_is_quoted() {
        assert_eq!(shell_quoted("/a/b.gguf"), "/a/b.gguf");
        assert_eq!(shell_quoted("/it's b"), r"'/it'\''s b'");
    }
}
