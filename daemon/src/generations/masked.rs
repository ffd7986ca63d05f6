//! Texts of configuration without their secrets.
//!
//! What is shown may be in the middle of an edit, so it need not be TOML: this reads words, strings and
//! marks, and hides rather too much than too little. Lines stay lines, so that one can be shown in the
//! place of the other.

use crate::secrets::{HIDDEN, is_secret};

/// `text` without the values of keys, variables and flags whose names say that they are secret.
pub(super) fn masked(text: &str) -> String {
    let mut mask = Mask::new(text.len());
    let mut rest = text;
    while let Some((token, after)) = next(rest) {
        mask.take(token, &rest[..rest.len() - after.len()]);
        rest = after;
    }
    mask.out
}

/// What is hidden.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hide {
    Nothing,
    /// The next word: the value of a flag.
    Next,
    /// A value, until its end. Within so many brackets; `begun` if anything of it was hidden.
    Value {
        depth: usize,
        begun: bool,
    },
}

enum Token<'a> {
    Space(&'a str),
    Comment,
    /// A string: what it begins and ends with, and what is in between.
    Quoted {
        quote: &'a str,
        inner: &'a str,
    },
    /// A string without an end, with all that it may contain.
    Endless,
    Word(&'a str),
    Mark(char),
}

struct Mask<'a> {
    out: String,
    hide: Hide,
    /// The last word or string: the name, if a `=` follows.
    name: &'a str,
    /// Whether something was hidden on this line.
    line_has_secret: bool,
}

impl<'a> Mask<'a> {
    fn new(capacity: usize) -> Self {
        Self {
            out: String::with_capacity(capacity),
            hide: Hide::Nothing,
            name: "",
            line_has_secret: false,
        }
    }

    fn take(&mut self, token: Token<'a>, raw: &str) {
        if let Hide::Value { depth, begun } = self.hide
            && self.is_hidden(&token, raw, depth, begun)
        {
            return;
        }
        match token {
            Token::Space(_) => self.show(raw),
            Token::Comment if self.line_has_secret => self.conceal(raw),
            Token::Comment => {
                let (shown, hidden) = raw.split_at(harmless(raw));
                self.show(shown);
                self.conceal(hidden);
            }
            Token::Quoted { quote, inner } => self.string(raw, quote, inner),
            Token::Endless => self.conceal(raw),
            Token::Word(word) => self.word(raw, word),
            Token::Mark(mark) => self.mark(raw, mark),
        }
    }

    /// Hides what belongs to a value. Says no at its end.
    fn is_hidden(&mut self, token: &Token<'_>, raw: &str, depth: usize, begun: bool) -> bool {
        let goes_on = |depth| Some(Hide::Value { depth, begun: true });
        let hide = match token {
            Token::Space(space) if depth == 0 && begun && space.contains('\n') => None,
            Token::Space(_) => {
                self.show(raw);
                return true;
            }
            // Of a table each value has a name of its own.
            Token::Mark('{') if depth == 0 && !begun => None,
            Token::Mark('[') => goes_on(depth + 1),
            Token::Mark(']') if depth > 1 => goes_on(depth - 1),
            Token::Mark(']') => Some(Hide::Nothing),
            Token::Mark(',' | '}') if depth == 0 => None,
            Token::Mark(_)
            | Token::Comment
            | Token::Quoted { .. }
            | Token::Endless
            | Token::Word(_) => goes_on(depth),
        };
        self.hide = hide.unwrap_or(Hide::Nothing);
        if hide.is_some() {
            self.conceal(raw);
        }
        hide.is_some()
    }

    fn string(&mut self, raw: &str, quote: &str, inner: &'a str) {
        self.name = inner;
        if self.hide_next(inner) {
            return self.conceal(raw);
        }
        let is_flag = inner.starts_with('-');
        let end = match is_flag {
            true => inner.find(|c: char| c == '=' || c.is_whitespace()),
            false => inner.find('='),
        };
        match end {
            Some(end) if names_secret(&inner[..end]) => {
                // What separates the name from the value may have any length.
                let value = inner[end..]
                    .chars()
                    .next()
                    .map_or(end, |c| end + c.len_utf8());
                self.show(quote);
                self.show(&inner[..value]);
                self.conceal(&inner[value..]);
                self.show(quote);
            }
            Some(_) => self.show(raw),
            None => {
                if is_flag && names_secret(inner) {
                    self.hide = Hide::Next;
                }
                self.show(raw);
            }
        }
    }

    fn word(&mut self, raw: &str, word: &'a str) {
        self.name = word;
        match self.hide_next(word) {
            true => self.conceal(raw),
            false => self.show(raw),
        }
    }

    /// Whether this is the value of the flag before it.
    fn hide_next(&mut self, word: &str) -> bool {
        let hidden = self.hide == Hide::Next && !word.starts_with('-');
        if self.hide == Hide::Next {
            self.hide = Hide::Nothing;
        }
        hidden
    }

    fn mark(&mut self, raw: &str, mark: char) {
        self.show(raw);
        if mark == '=' && names_secret(self.name) {
            self.hide = Hide::Value {
                depth: 0,
                begun: false,
            };
        }
        self.name = "";
    }

    fn show(&mut self, raw: &str) {
        self.out.push_str(raw);
        if raw.contains('\n') {
            self.line_has_secret = false;
        }
    }

    /// Hides all but the ends of lines.
    fn conceal(&mut self, raw: &str) {
        for (number, line) in raw.split('\n').enumerate() {
            if number > 0 {
                self.show("\n");
            }
            if !line.is_empty() {
                if !self.out.ends_with(HIDDEN) {
                    self.out.push_str(HIDDEN);
                }
                self.line_has_secret = true;
            }
        }
    }
}

/// Whether a name, of which an escape may hide what it is, is that of a secret. Of a dotted one the last
/// part counts.
fn names_secret(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    is_secret(last) || name.contains('\\')
}

/// How much of a comment may be shown, in bytes. It may be prose, so only what has a value, or looks like a
/// flag, is taken for the name of a secret.
fn harmless(comment: &str) -> usize {
    let ends_word = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let mut at = 0;
    while at < comment.len() {
        let rest = &comment[at..];
        let (word, after) = rest.split_at(rest.find(ends_word).unwrap_or(rest.len()));
        at += word.len();
        let has_value = || {
            let after = after.trim_start_matches(['"', '\'', ' ', '\t']);
            word.starts_with('-') || after.starts_with(['=', ':'])
        };
        if names_secret(word) && has_value() {
            return at;
        }
        at += after.chars().next().map_or(0, char::len_utf8);
    }
    at
}

/// The first token and what follows it.
fn next(text: &str) -> Option<(Token<'_>, &str)> {
    let first = text.chars().next()?;
    let (token, length) = match first {
        c if c.is_whitespace() => {
            let end = text.find(|c: char| !c.is_whitespace());
            let length = end.unwrap_or(text.len());
            (Token::Space(&text[..length]), length)
        }
        '#' => (Token::Comment, line_length(text)),
        '"' | '\'' => quoted(text, first),
        '=' | ',' | '[' | ']' | '{' | '}' => (Token::Mark(first), 1),
        _ => {
            let ends = |c: char| c.is_whitespace() || "=,[]{}\"'#".contains(c);
            let length = text.find(ends).unwrap_or(text.len());
            (Token::Word(&text[..length]), length)
        }
    };
    Some((token, &text[length..]))
}

/// The string that a text begins with, and its length.
fn quoted(text: &str, mark: char) -> (Token<'_>, usize) {
    let triple = match mark {
        '"' => "\"\"\"",
        _ => "'''",
    };
    let (quote, body) = match text.strip_prefix(triple) {
        Some(body) => (triple, body),
        None => (&triple[..1], &text[1..]),
    };
    let mut at = 0;
    let mut escaped = false;
    // Only as far as needed: to look for the end of each line would take for ever on a long one.
    while let Some(c) = body[at..].chars().next() {
        if !escaped && body[at..].starts_with(quote) {
            let inner = &body[..at];
            return (Token::Quoted { quote, inner }, at + 2 * quote.len());
        }
        if c == '\n' && quote.len() == 1 {
            break;
        }
        escaped = !escaped && c == '\\' && mark == '"';
        at += c.len_utf8();
    }
    (Token::Endless, quote.len() + at)
}

fn line_length(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::{Duration, Instant};

    use super::*;
    use crate::config::MAX_FILE_SIZE;

    #[test]
    fn values_whose_names_say_so_are_hidden_and_nothing_else() {
        #[rustfmt::skip]
        let table = [
            ("api_key = \"s\"\nport = 1\n", "api_key = ***\nport = 1\n"),
            ("api_key = \"s\" # was s2\n", "api_key = *** ***\n"),
            ("api_key = s\"2\nport = 1", "api_key = ***\nport = 1"),
            ("api_key=\n\"s\"\nport = 1", "api_key=\n***\nport = 1"),
            ("env = { HF_TOKEN = \"s\", A = \"b\" }", "env = { HF_TOKEN = ***, A = \"b\" }"),
            ("env.HF_TOKEN = 's'", "env.HF_TOKEN = ***"),
            ("env.\"HF_TOKEN\" = 's'", "env.\"HF_TOKEN\" = ***"),
            ("\"HF_TO\\u004bEN\" = 's'", "\"HF_TO\\u004bEN\" = ***"),
            ("password = \"\"\"\ns\nt\"\"\"\na = 1", "password = ***\n***\n***\na = 1"),
            ("keys = [ # s\n 's', ['t'],\n]\na = 1", "keys = *** ***\n *** ***\n***\na = 1"),
            ("a = [\n  \"--api-key\",\n  \"s\",\n  \"-c\"]", "a = [\n  \"--api-key\",\n  ***,\n  \"-c\"]"),
            ("a = [\"--api-key\", \"-c\", \"1\"]", "a = [\"--api-key\", \"-c\", \"1\"]"),
            ("a = [\"--api-key=s\", \"t\"]", "a = [\"--api-key=***\", \"t\"]"),
            ("a = [\"--api-key s\"]", "a = [\"--api-key ***\"]"),
            ("a = [\"HF_TOKEN=s\"]", "a = [\"HF_TOKEN=***\"]"),
            ("# HF_TOKEN = \"s\"\na = 1", "# HF_TOKEN***\na = 1"),
            ("# it's \"HF_TOKEN\": 's'\na = 1", "# it's \"HF_TOKEN***\na = 1"),
            ("#args = ['--hf-token', 's']\na = 1", "#args = ['--hf-token***\na = 1"),
            // Nobody's secrets.
            ("# it's the key to it all\n", "# it's the key to it all\n"),
            ("a = [\"--tokens\", \"5\"]", "a = [\"--tokens\", \"5\"]"),
            ("[servers.monkey]\nport = 1", "[servers.monkey]\nport = 1"),
            ("monkey = { port = 1 }", "monkey = { port = 1 }"),
        ];
        for (text, shown) in table {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn what_a_string_without_an_end_may_contain_is_not_shown() {
        assert_eq!(masked("a = \"\"\"\nb = \"s\"\n"), "a = ***\n***\n");
        assert_eq!(masked("a = \"s\nb = 1"), "a = ***\nb = 1");
    }

    #[test]
    fn the_longest_text_takes_no_time_whatever_it_is_made_of() {
        for part in [
            "\"\"\"\\",
            "\"\\",
            "#",
            "\"-key\",",
            "key\"",
            "[",
            "key=[",
            "'''\"",
            "key:\"\"",
        ] {
            let text = part.repeat(MAX_FILE_SIZE / 4 / part.len());
            for text in [format!("# {text}"), text] {
                let began = Instant::now();
                assert!(!masked(&text).is_empty());
                assert!(began.elapsed() < Duration::from_secs(2), "{part}");
            }
        }
    }

    const SECRET: &str = "hunter2";

    /// Lines of a configuration, some of which have the secret.
    fn lines() -> impl Strategy<Value = Vec<String>> {
        let line = prop::sample::select(vec![
            "[servers.a]".to_owned(),
            "port = 1 # it's one".to_owned(),
            "text = \"\"\"\nlong\n\"\"\"".to_owned(),
            "args = [ \"-c\",\n \"1\" ]".to_owned(),
            "broken = [".to_owned(),
            "broken = \"".to_owned(),
            format!("api_key = \"{SECRET}\""),
            format!("env = {{ A = '1', HF_TOKEN = '{SECRET}' }}"),
            format!("env.MY_SECRET = '''\n{SECRET}'''"),
            format!("args = [ \"--api-key\",\n \"{SECRET}\" ]"),
            format!("args = [ \"--api-key={SECRET}\" ]"),
            format!("# password = {SECRET}"),
        ]);
        prop::collection::vec(line, 0..20)
    }

    proptest! {
        #[test]
        fn no_secret_is_shown_whatever_is_around_it(lines in lines()) {
            let text = lines.join("\n");
            prop_assert!(!masked(&text).contains(SECRET), "{}", masked(&text));
        }

        #[test]
        fn whatever_is_read_has_as_many_lines(
            text in "([a-z=\\[\\]{},#\"'\\\\ \n\u{e9}-]|api_key|\"\"\"|--hf-token|\u{3000}){0,60}"
        ) {
            let lines = masked(&text).matches('\n').count();
            prop_assert_eq!(lines, text.matches('\n').count());
        }
    }
}
