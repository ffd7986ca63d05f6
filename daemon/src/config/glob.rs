//! Patterns of names: `*` stands for any characters, `?` for one.

use std::fmt;

/// A pattern. Large and small letters are the same to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// The pattern, if it is one: what no name has is no part of it either.
    pub fn new(pattern: &str) -> Option<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:/*?".contains(c);
        (!pattern.is_empty() && pattern.chars().all(allowed))
            .then(|| Self(pattern.to_ascii_lowercase()))
    }

    /// Whether all of `text` is what the pattern says.
    ///
    /// Takes steps in the order of both lengths multiplied, at most.
    pub fn matches(&self, text: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let text: Vec<char> = text.to_ascii_lowercase().chars().collect();
        let (mut at, mut seen) = (0, 0);
        // The last star, and what of the text is behind it: where to go back to, one further each time.
        let mut star = None;
        while seen < text.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, seen));
                    at += 1;
                }
                Some(&c) if c == '?' || c == text[seen] => {
                    at += 1;
                    seen += 1;
                }
                Some(_) | None => {
                    let Some((behind, from)) = star else {
                        return false;
                    };
                    star = Some((behind, from + 1));
                    at = behind + 1;
                    seen = from + 1;
                }
            }
        }
        pattern[at..].iter().all(|&c| c == '*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern).unwrap().matches(text)
    }

    #[test]
    fn a_star_is_any_characters_and_a_question_mark_is_one() {
        assert!(matches("Q4_*", "q4_k_m") && matches("*", "") && matches("q?_0", "Q8_0"));
        assert!(matches("*instruct*q4*", "qwen2.5-7b-instruct-q4_k_m"));
        assert!(!matches("q4", "q4_0") && !matches("q4_?", "q4_") && !matches("a*b", "abc"));
    }

    #[test]
    fn what_other_patterns_have_is_refused() {
        for pattern in ["", "qwen[0-9]", "{a,b}", "!x", "a b", "\u{e9}"] {
            assert_eq!(Glob::new(pattern), None, "{pattern}");
        }
    }

    /// The same by definition.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], text) => {
                (0..=text.len()).any(|from| by_definition(rest, &text[from..]))
            }
            ([b'?', rest @ ..], [_, text @ ..]) => by_definition(rest, text),
            ([c, rest @ ..], [first, text @ ..]) => c == first && by_definition(rest, text),
            ([_, ..], []) => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_says(pattern in "[ab*?]{1,7}", text in "[abc]{0,8}") {
            let expected = by_definition(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(&pattern, &text), expected);
        }
    }
}
