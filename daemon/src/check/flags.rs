//! Whether llama-server knows the flags that it is given.
//!
//! Its own `--help` is the only list that is right for the build that is there. It also says what was
//! renamed, so the table here holds only what went without a word.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Flags that are gone, and what takes their place.
#[rustfmt::skip]
const GONE: &[(&str, &str)] = &[
    ("--mlock", "write `load_mode = \"mlock\"`"),
    ("--mmap", "write `load_mode = \"mmap\"`"),
    ("--no-mmap", "write `load_mode = \"none\"`"),
    ("--direct-io", "write `load_mode = \"dio\"`"),
    ("-dio", "write `load_mode = \"dio\"`"),
    ("--memory-f32", "write `cache_type_k = \"f32\"` and `cache_type_v = \"f32\"`"),
    ("--log-format", "remove it: the output is always plain text"),
    ("--system-prompt-file", "remove it: requests carry their system prompt"),
    ("-spf", "remove it: requests carry their system prompt"),
];

/// How much alike two flags are if one was meant for the other.
const ALIKE: f64 = 0.85;

/// What a removed flag is described with.
const REMOVED: &str = "the argument has been removed";

/// The flags that one build of llama-server knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flags(BTreeMap<String, Flag>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Flag {
    takes_value: bool,
    /// What to use instead, if llama-server only remembers it.
    removed: Option<String>,
}

/// A flag that llama-server does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) flag: String,
    pub(super) why: &'static str,
    pub(super) help: String,
}

impl Flags {
    /// Reads what `--help` prints: a line for each flag with its spellings and maybe a value, then, two
    /// spaces on or on the next lines, what it is for.
    pub(super) fn parse(help: &str) -> Self {
        let mut flags = BTreeMap::new();
        let mut lines = help.lines().peekable();
        while let Some(line) = lines.next() {
            if !line.starts_with('-') || line.starts_with("-----") {
                continue;
            }
            let (spellings, takes_value, rest) = split(line);
            let mut text = rest.to_owned();
            while let Some(more) = lines.next_if(|next| next.starts_with(' ')) {
                text.push(' ');
                text.push_str(more.trim());
            }
            let flag = Flag {
                takes_value,
                removed: removed(&text),
            };
            flags.extend(spellings.into_iter().map(|name| (name, flag.clone())));
        }
        Self(flags)
    }

    /// Whether there are enough of them for a llama-server: any other program prints something else.
    pub(super) fn are_of_llama_server(&self) -> bool {
        ["--model", "--port", "--ctx-size"]
            .iter()
            .all(|flag| self.0.contains_key(*flag))
    }

    /// What of a command line it does not take.
    pub(super) fn misfits(&self, arguments: &[String]) -> Vec<Misfit> {
        let mut misfits = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            if !is_flag(word) {
                continue;
            }
            // As llama-server reads it.
            let name = if word.starts_with("--") {
                word.replace('_', "-")
            } else {
                word.clone()
            };
            match self.0.get(&name) {
                Some(flag) => {
                    if let Some(advice) = &flag.removed {
                        misfits.push(Misfit::removed(&name, advice));
                    }
                    if flag.takes_value {
                        words.next();
                    }
                }
                None => misfits.push(self.unknown(&name)),
            }
        }
        misfits
    }

    fn unknown(&self, name: &str) -> Misfit {
        let (flag, value) = name
            .split_once('=')
            .map_or((name, None), |(flag, value)| (flag, Some(value)));
        let help = if value.is_some() && self.0.contains_key(flag) {
            format!("write {flag} and its value as two arguments: [\"{flag}\", \"VALUE\"]")
        } else if let Some((_, instead)) = GONE.iter().find(|(gone, _)| *gone == flag) {
            (*instead).to_owned()
        } else {
            self.closest(flag)
        };
        Misfit {
            flag: flag.to_owned(),
            why: "it does not know this flag",
            help,
        }
    }

    fn closest(&self, flag: &str) -> String {
        let known = self.0.iter();
        let likeness = known.map(|(name, known)| (strsim::jaro_winkler(name, flag), name, known));
        match likeness.max_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((likeness, name, known)) if likeness >= ALIKE => match &known.removed {
                Some(advice) => format!("{name} is gone too: {advice}"),
                None => format!("did you mean {name}?"),
            },
            Some(_) | None => "remove it; `llama-server --help` lists what there is".to_owned(),
        }
    }
}

impl Misfit {
    fn removed(flag: &str, advice: &str) -> Self {
        let instead = GONE.iter().find(|(gone, _)| *gone == flag);
        Self {
            flag: flag.to_owned(),
            why: "it no longer takes this flag",
            help: instead.map_or_else(|| advice.to_owned(), |(_, help)| (*help).to_owned()),
        }
    }
}

/// A number may be negative, and is no flag.
fn is_flag(word: &str) -> bool {
    let name = word.trim_start_matches('-');
    name.len() < word.len() && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// The spellings on a line of help, whether a value follows, and the rest of the line.
fn split(line: &str) -> (Vec<String>, bool, &str) {
    let mut spellings = Vec::new();
    let mut rest = line;
    loop {
        let word = rest.split_whitespace().next().unwrap_or_default();
        let Some(at) = rest.find(word).filter(|_| is_flag(word)) else {
            return (spellings, false, rest);
        };
        rest = &rest[at + word.len()..];
        spellings.push(word.trim_end_matches(',').to_owned());
        if !word.ends_with(',') {
            let takes_value = rest.starts_with(' ') && !rest.starts_with("  ") && rest.len() > 1;
            return (spellings, takes_value, rest);
        }
    }
}

fn removed(text: &str) -> Option<String> {
    let (_, after) = text.split_once(REMOVED)?;
    let advice = after.split("(env:").next().unwrap_or(after);
    let advice = advice.trim_matches(|c: char| c == '.' || c.is_whitespace());
    Some(if advice.is_empty() {
        "remove it".to_owned()
    } else {
        advice.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HELP: &str = "\
----- common params -----

-h,    --help, --usage                  print usage and exit
-c,    --ctx-size N                     size of the prompt context (default: 0, 0 = loaded from model)
                                        (env: LLAMA_ARG_CTX_SIZE)
-m,    --model FNAME                    model path
--port PORT                             port to listen on
--jinja, --no-jinja                     whether to use the jinja template engine
--samplers SAMPLERS                     samplers that will be used
--temp N                                temperature
--draft, --draft-n, --draft-max N       the argument has been removed. use --spec-draft-n-max or
                                        --spec-ngram-mod-n-max
                                        (env: LLAMA_ARG_DRAFT_MAX)
";

    fn misfits(line: &str) -> Vec<Misfit> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Flags::parse(HELP).misfits(&words)
    }

    #[test]
    fn every_spelling_is_known_and_whether_a_value_follows() {
        let flags = Flags::parse(HELP);
        assert!(flags.are_of_llama_server());
        let takes_value = |name: &str| flags.0[name].takes_value;
        for flag in ["-c", "--ctx-size", "--port", "--draft-n"] {
            assert!(takes_value(flag), "{flag}");
        }
        for flag in ["-h", "--usage", "--no-jinja"] {
            assert!(!takes_value(flag), "{flag}");
        }
    }

    #[test]
    fn known_flags_and_their_values_fit() {
        assert_eq!(misfits("--ctx_size 4096 -m --model --jinja --temp -1"), []);
    }

    #[test]
    fn a_renamed_flag_is_told_with_what_to_write() {
        assert_eq!(misfits("--mlock")[0].help, "write `load_mode = \"mlock\"`");
        let draft = &misfits("--draft 4")[0];
        assert_eq!(draft.why, "it no longer takes this flag");
        assert_eq!(
            draft.help,
            "use --spec-draft-n-max or --spec-ngram-mod-n-max"
        );
    }

    #[test]
    fn a_slip_of_the_pen_is_answered_with_the_flag_that_was_meant() {
        assert_eq!(misfits("--ctx-sizes 1")[0].help, "did you mean --ctx-size?");
        assert!(misfits("--drafft 4")[0].help.contains("--spec-draft-n-max"));
        assert!(misfits("--quux")[0].help.starts_with("remove it"));
        assert!(misfits("--ctx-size=1")[0].help.contains("two arguments"));
    }

    proptest! {
        #[test]
        fn whatever_a_program_prints_is_read(help in "(?s)[-, a-z\n\\PC]{0,400}", word in ".{0,20}") {
            Flags::parse(&help).misfits(&[word]);
        }
    }
}
