//! What an answer cost, as its server tells at its end.
//!
//! llama-server puts `usage` and `timings` last, into the last event of a stream as well as behind a
//! whole answer. So only the end of an answer is kept while it passes, and nothing of it is parsed but
//! the numbers behind a few names.

use memchr::{memrchr, memrchr_iter};

/// Both objects have less than this, in bytes.
const KEPT: usize = 1024;

/// More than the longest name has, with what is before it.
const LONGEST_NAME: usize = 32;

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
        let mut told = Told::default();
        // A tail has few colons. The last number of each name counts.
        for colon in memrchr_iter(b':', &self.0) {
            if let Some(name) = name_before(&self.0[..colon]) {
                told.take(name, &self.0[colon + 1..]);
            }
        }
        let fresh = told.prompt_n;
        let timed_prompt = fresh.map(|fresh| fresh.saturating_add(told.cache_n.unwrap_or(0)));
        Tokens {
            prompt: told.prompt_tokens.or(told.input_tokens).or(timed_prompt),
            answer: told
                .completion_tokens
                .or(told.output_tokens)
                .or(told.predicted_n)
                .or(told.tokens_predicted),
            per_second: told.per_second.filter(|speed| speed.is_finite()),
        }
    }
}

/// The numbers of an answer, by their names.
#[derive(Default)]
struct Told {
    prompt_tokens: Option<u64>,
    input_tokens: Option<u64>,
    prompt_n: Option<u64>,
    cache_n: Option<u64>,
    completion_tokens: Option<u64>,
    output_tokens: Option<u64>,
    predicted_n: Option<u64>,
    tokens_predicted: Option<u64>,
    per_second: Option<f64>,
}

impl Told {
    /// Takes the number at the beginning of `rest`, unless a later one of this name was taken.
    fn take(&mut self, name: &[u8], rest: &[u8]) {
        let number = match name {
            b"prompt_tokens" => &mut self.prompt_tokens,
            b"input_tokens" => &mut self.input_tokens,
            b"prompt_n" => &mut self.prompt_n,
            b"cache_n" => &mut self.cache_n,
            b"completion_tokens" => &mut self.completion_tokens,
            b"output_tokens" => &mut self.output_tokens,
            b"predicted_n" => &mut self.predicted_n,
            b"tokens_predicted" => &mut self.tokens_predicted,
            b"predicted_per_second" => {
                let speed = number_of(rest).and_then(|text| text.parse().ok());
                self.per_second = self.per_second.or(speed);
                return;
            }
            _ => return,
        };
        *number = number.or_else(|| number_of(rest)?.parse().ok());
    }
}

/// The name that ends here. In the text of an answer the quotes are escaped.
fn name_before(text: &[u8]) -> Option<&[u8]> {
    let inside = text.strip_suffix(b"\"")?;
    let inside = &inside[inside.len().saturating_sub(LONGEST_NAME)..];
    let start = memrchr(b'"', inside)?;
    (!inside[..start].ends_with(b"\\")).then_some(&inside[start + 1..])
}

/// The number at the beginning, if something is behind it.
fn number_of(text: &[u8]) -> Option<&str> {
    let text = text.trim_ascii_start();
    let is_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let end = text.iter().position(|byte| !is_number(byte))?;
    std::str::from_utf8(&text[..end]).ok()
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
