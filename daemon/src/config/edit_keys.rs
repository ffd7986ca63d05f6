//! Texts of gateway.toml with one key more or less: they stay their owner's, with every comment.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::gateway::Key;

/// The text with one more key at its end.
pub fn with_key(text: &str, key: &Key) -> String {
    let gap = match text {
        "" => "",
        text if text.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    format!("{text}{gap}{}", key_block(key))
}

/// What is written for a key.
pub fn key_block(key: &Key) -> String {
    let list = |words: Vec<String>| {
        let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let scopes = key.scopes.iter().map(|scope| scope.code().to_owned());
    let models = key.models.iter().map(ToString::to_string);
    // None of these can have a character that has to be escaped.
    format!(
        "[[keys]]\nname = \"{}\"\nhash = \"{}\"\nscopes = {}\nmodels = {}\n",
        key.name,
        key.hash,
        list(scopes.collect()),
        list(models.collect()),
    )
}

/// The text without the key of this name. None: there is no such key in it, or the text is no TOML.
pub fn without_key(text: &str, name: &str) -> Option<String> {
    let tree = DeTable::parse(text).ok()?;
    let keys = tree.get_ref().get("keys")?.get_ref().as_array()?;
    let is_meant = |item: &&Spanned<DeValue<'_>>| name_of(item) == Some(name);
    let item = keys.iter().find(is_meant)?;
    let lines = whole_lines(text, extent(item));
    let (before, after) = (&text[..lines.start], &text[lines.end..]);
    // The gap before it goes with it.
    let before = match before.strip_suffix("\n\n") {
        Some(kept) => format!("{kept}\n"),
        None => before.to_owned(),
    };
    Some(before + after)
}

/// Whether the text has a key of this name.
pub fn has_key(text: &str, name: &str) -> bool {
    without_key(text, name).is_some()
}

fn name_of<'t>(item: &'t Spanned<DeValue<'_>>) -> Option<&'t str> {
    item.get_ref().as_table()?.get("name")?.get_ref().as_str()
}

/// From the header of a table to the end of its last value.
fn extent(item: &Spanned<DeValue<'_>>) -> Range<usize> {
    let mut extent = item.span();
    let values = item.get_ref().as_table().into_iter().flatten();
    for (_, value) in values {
        extent.end = extent.end.max(value.span().end);
    }
    extent
}

/// The lines that a piece is on.
fn whole_lines(text: &str, piece: Range<usize>) -> Range<usize> {
    let start = text[..piece.start].rfind('\n').map_or(0, |at| at + 1);
    let rest = &text[piece.end..];
    let end = rest.find('\n').map_or(rest.len(), |at| at + 1);
    start..piece.end + end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Glob, KeyHash, Scope};

    fn key(name: &str) -> Key {
        Key {
            name: name.to_owned(),
            hash: KeyHash::of(name),
            scopes: vec![Scope::Inference, Scope::Read],
            models: Vec::from_iter(Glob::new("qwen*")),
        }
    }

    #[test]
    fn what_was_added_and_removed_again_leaves_the_text_as_it_was() {
        for text in [
            "",
            "# mine\n",
            "# mine\ndefault = \"a\"  # why\n\n# [[keys]]\n",
        ] {
            let one = with_key(text, &key("a"));
            assert_eq!(without_key(&one, "a").as_deref(), Some(text), "{text}");
            let two = with_key(&one, &key("b"));
            assert_eq!(without_key(&two, "b").as_deref(), Some(&*one));
            let first_gone = without_key(&two, "a").unwrap();
            assert!(first_gone.starts_with(text) && has_key(&first_gone, "b"));
            assert!(!has_key(&first_gone, "a"));
        }
    }

    #[test]
    fn comments_of_others_stay() {
        let text = format!("{}# of b\n{}", key_block(&key("a")), key_block(&key("b")));
        let left = without_key(&text, "a").unwrap();
        assert_eq!(left, format!("# of b\n{}", key_block(&key("b"))));
    }

    #[test]
    fn a_key_that_is_not_there_is_not_removed() {
        assert_eq!(without_key(&key_block(&key("a")), "b"), None);
        assert_eq!(without_key("", "a"), None);
        assert_eq!(without_key("[", "a"), None);
        assert_eq!(without_key("keys = 1", "a"), None);
    }
}
