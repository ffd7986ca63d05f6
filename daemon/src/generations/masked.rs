//! Texts of configuration without their secrets.
//!
//! What is shown may be in the middle of an edit, so it need not be TOML: this reads words, strings and
//! marks, and hides rather too much than too little. Lines stay lines, so that one can be shown in the
//! place of the other.

use crate::secrets::{HIDDEN, is_secret};

/// `text` without the values of keys, variables and flags whose names say that they are secret.
pub(super) fn masked(text: &str) -> String {
    let mut mask = Mask::new(text.len());
    mask.read(text, Within::Text);
    mask.out
}

/// Where a `#` begins a comment: not within another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Text,
    Comment,
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
    Comment(&'a str),
    /// A string: what it begins and ends with, and what is in between.
    Quoted {
        quote: &'a str,
        inner: &'a str,
    },
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

    fn read(&mut self, text: &'a str, within: Within) {
        let mut rest = text;
        while let Some((token, after)) = next(rest, within) {
            let raw = &rest[..rest.len() - after.len()];
            self.take(token, raw);
            rest = after;
        }
    }

    fn take(&mut self, token: Token<'a>, raw: &'a str) {
        if let Hide::Value { depth, begun } = self.hide
            && self.is_hidden(&token, raw, depth, begun)
        {
            return;
        }
        match token {
            Token::Space(_) => self.show(raw),
            Token::Comment(_) if self.line_has_secret => self.conceal(raw),
            Token::Comment(body) => self.comment(raw, body),
            Token::Quoted { quote, inner } => self.string(raw, quote, inner),
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
            Token::Mark('{') if depth == 0 && !begun => None,
            Token::Mark('[') => goes_on(depth + 1),
            Token::Mark(']') if depth > 1 => goes_on(depth - 1),
            Token::Mark(']') => Some(Hide::Nothing),
            Token::Mark(',' | '}') if depth == 0 => None,
            Token::Mark(_) | Token::Comment(_) | Token::Quoted { .. } | Token::Word(_) => {
                goes_on(depth)
            }
        };
        self.hide = hide.unwrap_or(Hide::Nothing);
        if hide.is_some() {
            self.conceal(raw);
        }
        hide.is_some()
    }

    fn comment(&mut self, raw: &str, body: &'a str) {
        let marks = raw.len() - body.len();
        self.show(&raw[..marks]);
        let hide = std::mem::replace(&mut self.hide, Hide::Nothing);
        self.read(body, Within::Comment);
        // What is commented out does not reach into the next line.
        self.hide = hide;
        self.name = "";
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
                self.show(quote);
                self.show(&inner[..=end]);
                self.conceal(&inner[end + 1..]);
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
            if !line.is_empty() && !self.out.ends_with(HIDDEN) {
                self.out.push_str(HIDDEN);
            }
            self.line_has_secret = true;
        }
    }
}

/// Whether a name, of which an escape may hide what it is, is that of a secret. Of a dotted one the last
/// part counts.
fn names_secret(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    is_secret(last) || name.contains('\\')
}

/// The first token and what follows it.
fn next(text: &str, within: Within) -> Option<(Token<'_>, &str)> {
    let first = text.chars().next()?;
    let cut = |end: usize| text.split_at(end);
    Some(match first {
        c if c.is_whitespace() => {
            let end = text.find(|c: char| !c.is_whitespace());
            let (space, rest) = cut(end.unwrap_or(text.len()));
            (Token::Space(space), rest)
        }
        '#' if within == Within::Text => {
            let (comment, rest) = cut(text.find('\n').unwrap_or(text.len()));
            (Token::Comment(comment.trim_start_matches('#')), rest)
        }
        '"' | '\'' => match quoted(text, first) {
            Some((token, length)) => (token, &text[length..]),
            None => (Token::Mark(first), &text[1..]),
        },
        '=' | ',' | '[' | ']' | '{' | '}' => (Token::Mark(first), &text[1..]),
        _ => {
            let ends = |c: char| {
                c.is_whitespace() || "=,[]{}\"'".contains(c) || c == '#' && within == Within::Text
            };
            let (word, rest) = cut(text.find(ends).unwrap_or(text.len()));
            (Token::Word(word), rest)
        }
    })
}

/// The string that a text begins with, and its length. None: it has no end, at least not on its line.
fn quoted(text: &str, mark: char) -> Option<(Token<'_>, usize)> {
    let triple = match mark {
        '"' => "\"\"\"",
        _ => "'''",
    };
    let (quote, multi_line) = match text.starts_with(triple) {
        true => (triple, true),
        false => (&triple[..1], false),
    };
    let body = &text[quote.len()..];
    let mut at = 0;
    while let Some(c) = body[at..].chars().next() {
        if body[at..].starts_with(quote) {
            let inner = &body[..at];
            let quote = &text[..quote.len()];
            return Some((Token::Quoted { quote, inner }, at + 2 * quote.len()));
        }
        if c == '\n' && !multi_line {
            return None;
        }
        at += c.len_utf8();
        if c == '\\' && mark == '"' {
            at += body[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_whose_names_say_so_are_hidden_and_nothing_else() {
        for (text, shown) in [
            ("api_key = \"s\"\nport = 1\n", "api_key = ***\nport = 1\n"),
            ("api_key = \"s\" # was s2\n", "api_key = *** ***\n"),
            ("api_key = s\"2\nport = 1", "api_key = ***\nport = 1"),
            ("api_key=\n\"s\"\nport = 1", "api_key=\n***\nport = 1"),
            (
                "env = { HF_TOKEN = \"s\", A = \"b\" }",
                "env = { HF_TOKEN = ***, A = \"b\" }",
            ),
            ("env.HF_TOKEN = 's'", "env.HF_TOKEN = ***"),
            ("env.\"HF_TOKEN\" = 's'", "env.\"HF_TOKEN\" = ***"),
            ("\"HF_TO\\u004bEN\" = 's'", "\"HF_TO\\u004bEN\" = ***"),
            (
                "password = \"\"\"\ns\nt\"\"\"\na = 1",
                "password = ***\n***\n***\na = 1",
            ),
            (
                "keys = [ # s\n 's', ['t'],\n]\na = 1",
                "keys = *** ***\n *** ***\n***\na = 1",
            ),
            (
                "args = [\n  \"--api-key\",\n  \"s\",\n  \"-c\", \"1\"]",
                "args = [\n  \"--api-key\",\n  ***,\n  \"-c\", \"1\"]",
            ),
            (
                "args = [\"--api-key\", \"-c\", \"1\"]",
                "args = [\"--api-key\", \"-c\", \"1\"]",
            ),
            (
                "args = [\"--api-key=s\", \"t\"]",
                "args = [\"--api-key=***\", \"t\"]",
            ),
            ("args = [\"--api-key s\"]", "args = [\"--api-key ***\"]"),
            ("args = [\"HF_TOKEN=s\"]", "args = [\"HF_TOKEN=***\"]"),
            ("# HF_TOKEN = \"s\"\na = 1", "# HF_TOKEN = ***\na = 1"),
            (
                "#args = ['--hf-token', 's']\na = 1",
                "#args = ['--hf-token', ***]\na = 1",
            ),
            // Nobody's secrets.
            ("# the key to it all\n", "# the key to it all\n"),
            (
                "args = [\"--tokens\", \"5\"]",
                "args = [\"--tokens\", \"5\"]",
            ),
            ("[servers.monkey]\nport = 1", "[servers.monkey]\nport = 1"),
            ("monkey = { port = 1 }", "monkey = { port = 1 }"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn a_string_without_an_end_hides_no_names() {
        let text = "a = \"\"\"\nHF_TOKEN = \"s\"\n";
        assert_eq!(masked(text), "a = \"\"\"\nHF_TOKEN = ***\n");
    }

    const SECRET: &str = "hunter2";

    /// Lines of a configuration, some of which have the secret.
    fn lines() -> impl Strategy<Value = Vec<String>> {
        let line = prop::sample::select(vec![
            "[servers.a]".to_owned(),
            "port = 1 # one".to_owned(),
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
        fn whatever_is_read_has_as_many_lines(text in "([a-z=\\[\\]{},#\"'\\\\ \n\u{e9}-]|api_key|\"\"\"|--hf-token){0,60}") {
            let lines = masked(&text).matches('\n').count();
            prop_assert_eq!(lines, text.matches('\n').count());
        }
    }
}
