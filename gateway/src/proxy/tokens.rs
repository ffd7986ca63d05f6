//! What an answer cost, as its server tells at its end.
//!
//! llama-server puts `usage` and `timings` last, into the last event of a stream as well as behind a
//! whole answer. So only the end of an answer is kept while it passes, and nothing of it is parsed but
//! the numbers behind a few names.

use memchr::memrchr_iter;

/// Both objects have less than this, in bytes.
const KEPT: usize = 1024;

/// The end of an answer.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tokens {
    pub(super) prompt: Option<u64>,
    pub(super) answer: Option<u64>,
    pub(super) per_second: Option<f64>,
}

impl Tail {
    /// Takes in what comes next.
    pub(super) fn push(&mut self, data: &[u8]) {
        if data.len() >= KEPT {
            self.0.clear();
            self.0.extend_from_slice(&data[data.len() - KEPT..]);
            return;
        }
        if self.0.len() + data.len() > 2 * KEPT {
            // In steps, so that each byte is moved once.
            let more = self.0.len() + data.len() - KEPT;
            self.0.drain(..more);
        }
        self.0.extend_from_slice(data);
    }

    /// Whether an event would begin in the middle of another one.
    pub(super) fn is_within_event(&self) -> bool {
        let end = &self.0[..];
        !(end.is_empty() || end.ends_with(b"\n\n") || end.ends_with(b"\r\n\r\n"))
    }

    /// What is told in it.
    pub(super) fn tokens(&self) -> Tokens {
        let integer = |name| self.number(name).and_then(|text| text.parse().ok());
        let per_second = self.number("predicted_per_second");
        let per_second = per_second.and_then(|text| text.parse().ok());
        let timed_prompt = || {
            let cached = integer("cache_n").unwrap_or(0);
            integer("prompt_n").map(|fresh: u64| fresh.saturating_add(cached))
        };
        Tokens {
            prompt: integer("prompt_tokens")
                .or_else(|| integer("input_tokens"))
                .or_else(timed_prompt),
            answer: integer("completion_tokens")
                .or_else(|| integer("output_tokens"))
                .or_else(|| integer("predicted_n"))
                .or_else(|| integer("tokens_predicted")),
            per_second: per_second.filter(|speed: &f64| speed.is_finite()),
        }
    }

    /// The number behind the last `"name":`. In the text of an answer the quotes are escaped.
    fn number(&self, name: &str) -> Option<&str> {
        // A tail has few colons, and most are not behind the name that is looked for.
        let is_it = |colon: &usize| {
            let before = self.0[..*colon].strip_suffix(b"\"");
            let before = before.and_then(|before| before.strip_suffix(name.as_bytes()));
            let before = before.and_then(|before| before.strip_suffix(b"\""));
            before.is_some_and(|before| !before.ends_with(b"\\"))
        };
        let colon = memrchr_iter(b':', &self.0).find(is_it)?;
        let rest = self.0[colon + 1..].trim_ascii_start();
        let is_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let end = rest.iter().position(|byte| !is_number(byte))?;
        std::str::from_utf8(&rest[..end]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Tokens {
        let mut tail = Tail::default();
        for piece in text.as_bytes().chunks(7) {
            tail.push(piece);
        }
        tail.tokens()
    }

    #[test]
    fn the_numbers_are_read_from_the_end() {
        let answer = format!(
            r#"{{"content":"{}","usage":{{"completion_tokens":12,"prompt_tokens": 34,"total_tokens":46}},
               "timings":{{"cache_n":3,"prompt_n":31,"predicted_n":12,"predicted_per_second":123.45}}}}"#,
            "word ".repeat(4000)
        );
        let expected = Tokens {
            prompt: Some(34),
            answer: Some(12),
            per_second: Some(123.45),
        };
        assert_eq!(tokens(&answer), expected);
    }

    #[test]
    fn without_usage_the_timings_count() {
        let answer = r#"data: {"timings":{"cache_n":3,"prompt_n":31,"predicted_n":12}}"#;
        let expected = Tokens {
            prompt: Some(34),
            answer: Some(12),
            per_second: None,
        };
        assert_eq!(tokens(answer), expected);
    }

    #[test]
    fn what_a_model_says_is_not_believed() {
        let answer =
            r#"{"content":"it said \"predicted_n\": 99 and \"predicted_per_second\":1e9 "}"#;
        assert_eq!(tokens(answer), Tokens::default());
    }

    #[test]
    fn a_tail_stays_small() {
        let mut tail = Tail::default();
        for _ in 0..1000 {
            tail.push(&[b'x'; 1000]);
            assert!(tail.0.len() <= 2 * KEPT);
        }
        tail.push(&[b'x'; 100_000]);
        assert_eq!(tail.0.len(), KEPT);
    }
}
