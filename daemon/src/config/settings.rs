//! The keys of a profile that are flags of llama-server.
//!
//! One table says for each key what it takes and which flags and variables mean the same. Reading,
//! the command line and the search for contradictions in `args` and `env` all follow it. The names
//! are those of llama-server's own long flags, checked against build b11434.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::Report;
use super::document::{Table, wrong};
use super::owned::flag;
use super::value::integer;
use crate::gguf;

/// A key that is a flag.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The flag that magid passes.
    flag: &'static str,
    /// All other spellings, also of the opposite.
    aliases: &'static [&'static str],
    /// What follows `LLAMA_ARG_` in the variable for it.
    variable: &'static str,
    pub(super) kind: Kind,
}

/// What a key takes.
pub(super) enum Kind {
    /// A whole number, at least this.
    Number(i64),
    /// A whole number from 0, or one of these words.
    NumberOr(&'static [&'static str]),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `"on"`, `"off"`, `"auto"`, or true or false for the first two.
    OnOffAuto,
    /// A switch that llama-server knows only how to turn on.
    Flag,
    /// A switch with its opposite.
    Switch { off: &'static str },
    /// Text.
    Text,
    /// A path, relative to the profile.
    Path,
    /// Names, joined by commas.
    Names,
    /// Numbers, joined by commas.
    Proportions,
}

const CACHE_TYPES: &[&str] = &[
    "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1",
];

/// In the order of the command line.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("ctx_size", "--ctx-size", &["-c"], "CTX_SIZE", Kind::Number(0)),
    key("parallel", "--parallel", &["-np"], "N_PARALLEL", Kind::Number(1)),
    key("threads", "--threads", &["-t"], "THREADS", Kind::Number(1)),
    key("threads_batch", "--threads-batch", &["-tb"], "THREADS_BATCH", Kind::Number(1)),
    key("batch_size", "--batch-size", &["-b"], "BATCH", Kind::Number(1)),
    key("ubatch_size", "--ubatch-size", &["-ub"], "UBATCH", Kind::Number(1)),
    key("n_gpu_layers", "--n-gpu-layers", &["-ngl", "--gpu-layers"], "N_GPU_LAYERS", Kind::NumberOr(&["auto", "all"])),
    key("devices", "--device", &["-dev"], "DEVICE", Kind::Names),
    key("split_mode", "--split-mode", &["-sm"], "SPLIT_MODE", Kind::Word(&["none", "layer", "row", "tensor"])),
    key("tensor_split", "--tensor-split", &["-ts"], "TENSOR_SPLIT", Kind::Proportions),
    key("main_gpu", "--main-gpu", &["-mg"], "MAIN_GPU", Kind::Number(0)),
    key("cache_type_k", "--cache-type-k", &["-ctk"], "CACHE_TYPE_K", Kind::Word(CACHE_TYPES)),
    key("cache_type_v", "--cache-type-v", &["-ctv"], "CACHE_TYPE_V", Kind::Word(CACHE_TYPES)),
    key("flash_attn", "--flash-attn", &["-fa"], "FLASH_ATTN", Kind::OnOffAuto),
    key("load_mode", "--load-mode", &["-lm"], "LOAD_MODE", Kind::Word(&["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"])),
    key("mmproj", "--mmproj", &["-mm", "--no-mmproj", "--no-mmproj-auto"], "MMPROJ", Kind::Path),
    key("embeddings", "--embeddings", &["--embedding"], "EMBEDDINGS", Kind::Flag),
    key("reranking", "--reranking", &["--rerank"], "RERANKING", Kind::Flag),
    key("pooling", "--pooling", &[], "POOLING", Kind::Word(&["none", "mean", "cls", "last", "rank"])),
    key("jinja", "--jinja", &["--no-jinja"], "JINJA", Kind::Switch { off: "--no-jinja" }),
    key("chat_template", "--chat-template", &[], "CHAT_TEMPLATE", Kind::Text),
    key("chat_template_file", "--chat-template-file", &[], "CHAT_TEMPLATE_FILE", Kind::Path),
];

const fn key(
    name: &'static str,
    flag: &'static str,
    aliases: &'static [&'static str],
    variable: &'static str,
    kind: Kind,
) -> Key {
    Key {
        name,
        flag,
        aliases,
        variable,
        kind,
    }
}

/// What a profile says about llama-server's flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<&'static str, String>);

/// The same with the places in the file, for one table of it.
pub(super) type SettingKeys = BTreeMap<&'static str, Spanned<String>>;

impl Settings {
    pub(super) fn new(keys: &SettingKeys) -> Self {
        let kept = KEYS.iter().filter_map(|key| {
            let value = keys.get(key.name)?.get_ref();
            Some((key.name, value.clone()))
        });
        Self(kept.collect())
    }

    /// The keys and their values as text, in the order of the command line.
    ///
    /// A switch that is off and that llama-server can only turn on is not among them.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, &str)> {
        KEYS.iter()
            .filter_map(|key| Some((key, self.get(key.name)?)))
            .filter(|(key, value)| !(matches!(key.kind, Kind::Flag) && *value == "false"))
            .map(|(key, value)| (key.name, value))
    }

    /// The value of a key as text.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The arguments for llama-server.
    pub fn argv(&self) -> Vec<String> {
        let arguments = self
            .entries()
            .filter_map(|(name, value)| Some(Key::named(name)?.arguments(value)));
        arguments.flatten().collect()
    }

    /// Sets a key unless it is written, or `args` has its flag.
    fn follow(&mut self, name: &'static str, value: &str, args: &[String]) {
        let in_args = args
            .iter()
            .any(|arg| Key::of_flag(&flag(arg)).is_some_and(|key| key.name == name));
        if !in_args {
            self.0.entry(name).or_insert_with(|| value.to_owned());
        }
    }

    /// These settings, and what follows from the model where neither they nor `args` say otherwise:
    /// what it is for, and the projector beside it.
    pub(super) fn following(
        &self,
        kind: gguf::Kind,
        mmproj: Option<&str>,
        args: &[String],
    ) -> Self {
        let mut settings = self.clone();
        match kind {
            gguf::Kind::Chat | gguf::Kind::Vision => {}
            gguf::Kind::Embedding => settings.follow("embeddings", "true", args),
            gguf::Kind::Rerank => settings.follow("reranking", "true", args),
        }
        if let Some(mmproj) = mmproj {
            settings.follow("mmproj", mmproj, args);
        }
        settings
    }

    /// Makes the context no longer than `trained` tokens for each of the requests at a time.
    pub(super) fn cap_context(&mut self, trained: u32) {
        let number = |key| self.get(key)?.parse::<u64>().ok();
        // Without `parallel` all requests share one context, which each of them may fill.
        let longest = u64::from(trained).saturating_mul(number("parallel").unwrap_or(1));
        if number("ctx_size").is_some_and(|context| context > longest) {
            self.0.insert("ctx_size", longest.to_string());
        }
    }
}

impl Key {
    /// The key that a flag of the command line means.
    pub(super) fn of_flag(flag: &str) -> Option<&'static Self> {
        KEYS.iter()
            .find(|key| key.flag == flag || key.aliases.contains(&flag))
    }

    fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The key that a variable for llama-server means.
    pub(super) fn of_variable(variable: &str) -> Option<&'static Self> {
        let rest = variable.strip_prefix("LLAMA_ARG_")?;
        KEYS.iter().find(|key| key.variable == rest)
    }

    /// The name of the key that was meant by one of the same name as a flag, old or new.
    pub(super) fn meant_by(key: &str) -> Option<&'static str> {
        let word = key.trim_start_matches('-').replace('_', "-");
        match &*word {
            "mlock" | "mmap" | "no-mmap" => Some("load_mode"),
            _ => [format!("-{word}"), format!("--{word}")]
                .iter()
                .find_map(|flag| Some(Self::of_flag(flag)?.name)),
        }
    }

    fn arguments(&self, value: &str) -> Vec<String> {
        match self.kind {
            Kind::Flag => vec![self.flag.to_owned()],
            Kind::Switch { off } => vec![if value == "true" { self.flag } else { off }.to_owned()],
            Kind::Number(_)
            | Kind::NumberOr(_)
            | Kind::Word(_)
            | Kind::OnOffAuto
            | Kind::Text
            | Kind::Path
            | Kind::Names
            | Kind::Proportions => vec![self.flag.to_owned(), value.to_owned()],
        }
    }

    fn read(&self, value: &DeValue<'_>, base: &Path) -> Option<String> {
        match self.kind {
            Kind::Number(least) => number(value, least),
            Kind::NumberOr(words) => word(value, words).or_else(|| number(value, 0)),
            Kind::Word(words) => word(value, words),
            Kind::OnOffAuto => match value.as_bool() {
                Some(on) => Some(if on { "on" } else { "off" }.to_owned()),
                None => word(value, &["on", "off", "auto"]),
            },
            Kind::Flag | Kind::Switch { .. } => value.as_bool().map(|on| on.to_string()),
            Kind::Text => text(value),
            Kind::Path => {
                let path = text(value).filter(|path| !path.starts_with('~'))?;
                base.join(path).into_os_string().into_string().ok()
            }
            Kind::Names => joined(value, |name| text(name).filter(|name| !name.contains(','))),
            Kind::Proportions => joined(value, proportion),
        }
    }

    fn expected(&self) -> String {
        match self.kind {
            Kind::Number(least) => format!("a whole number from {least}"),
            Kind::NumberOr(words) => format!("a whole number from 0, or {}", quoted(words)),
            Kind::Word(words) => quoted(words),
            Kind::OnOffAuto => "true, false, \"on\", \"off\" or \"auto\"".to_owned(),
            Kind::Flag | Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Text => "text in quotes, not empty".to_owned(),
            Kind::Path => "a path in quotes; `~` is not expanded".to_owned(),
            Kind::Names => "a list of names: [\"CUDA0\", \"CUDA1\"]".to_owned(),
            Kind::Proportions => "a list of numbers: [3, 1]".to_owned(),
        }
    }
}

/// Reads every key of [`KEYS`] from `table`.
pub(super) fn read(table: &mut Table<'_>, base: &Path, report: &mut Report<'_>) -> SettingKeys {
    let mut settings = SettingKeys::new();
    for key in KEYS {
        let Some(value) = table.raw(key.name) else {
            continue;
        };
        let nul = |text: &String| text.contains('\0');
        match key.read(value.get_ref(), base).filter(|text| !nul(text)) {
            Some(text) => {
                settings.insert(key.name, Spanned::new(value.span(), text));
            }
            None => wrong(
                &format!("`{}` cannot be", key.name),
                value,
                &format!("write {}", key.expected()),
                report,
            ),
        }
    }
    settings
}

/// Reports keys of which llama-server would take only one.
pub(super) fn check(settings: &SettingKeys, report: &mut Report<'_>) {
    if settings.contains_key("chat_template")
        && let Some(file) = settings.get("chat_template_file")
    {
        report.error(
            file.span(),
            "`chat_template_file` cannot stand beside `chat_template`",
            "keep one of the two",
        );
    }
}

fn number(value: &DeValue<'_>, least: i64) -> Option<String> {
    let number = integer(value)?;
    // llama-server's numbers have 32 bits.
    (least..=i64::from(i32::MAX))
        .contains(&number)
        .then(|| number.to_string())
}

fn word(value: &DeValue<'_>, words: &[&str]) -> Option<String> {
    let word = value.as_str()?;
    words.contains(&word).then(|| word.to_owned())
}

fn text(value: &DeValue<'_>) -> Option<String> {
    let text = value.as_str()?;
    (!text.trim().is_empty()).then(|| text.to_owned())
}

fn joined(value: &DeValue<'_>, item: impl Fn(&DeValue<'_>) -> Option<String>) -> Option<String> {
    let items = value.as_array().filter(|items| !items.is_empty())?;
    let items: Option<Vec<_>> = items.iter().map(|value| item(value.get_ref())).collect();
    Some(items?.join(","))
}

fn proportion(value: &DeValue<'_>) -> Option<String> {
    let number = match value.as_float() {
        Some(float) => float.as_str().parse::<f64>().ok()?,
        None => f64::from(i32::try_from(integer(value)?).ok()?),
    };
    (number.is_finite() && number >= 0.0).then(|| number.to_string())
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some(_) | None => words.concat(),
    }
}
