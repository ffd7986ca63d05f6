//! Whether a model thinks before it answers.

use super::facts::{Basis, Guess, Kind};
use super::file_name::words;
use super::metadata::{Metadata, TAGS};

/// What a chat template has only if its model thinks.
const MARKS: [&str; 15] = [
    "<think>",
    "</think>",
    "<|think|>",
    "<thinking>",
    "<thought>",
    "<seed:think>",
    "<|channel|>analysis",
    "<|begin_of_thought|>",
    "<|START_THINKING|>",
    "[THINK]",
    "enable_thinking",
    "thinking_budget",
    "reasoning_content",
    "reasoning_effort",
    "reasoning_mode",
];

/// The words for it, in tags and in names.
const WORDS: [&str; 5] = ["think", "thinking", "reasoning", "reasoner", "thinker"];

/// Models that think and do not say so in a word.
const NAMES: [&str; 4] = ["qwq", "r1", "magistral", "deepthink"];

/// Before one of the words, these mean the contrary.
const NOT: [&str; 3] = ["no", "non", "not"];

/// Whether a model thinks before it answers.
pub(super) fn thinking(kind: Kind, metadata: &Metadata, names: &[&str]) -> Guess<bool> {
    let (value, basis) = match kind {
        Kind::Embedding | Kind::Rerank => (false, Basis::Metadata),
        Kind::Chat | Kind::Vision => chat(metadata, names),
    };
    Guess { value, basis }
}

fn chat(metadata: &Metadata, names: &[&str]) -> (bool, Basis) {
    let template = metadata.text("tokenizer.chat_template");
    let tags = metadata.text(TAGS).unwrap_or_default();
    if template.is_some_and(|template| MARKS.iter().any(|mark| template.contains(mark))) {
        (true, Basis::Template)
    } else if says_so(tags, &[]) {
        (true, Basis::Metadata)
    } else if names.iter().any(|name| says_so(name, &NAMES)) {
        (true, Basis::Name)
    } else if template.is_some() {
        (false, Basis::Template)
    } else {
        (false, Basis::Nothing)
    }
}

/// Whether a text has one of the words, or of `others`, and not denied.
fn says_so(text: &str, others: &[&str]) -> bool {
    let mut is_denied = false;
    words(text).any(|word| {
        let word = word.as_str();
        let found = WORDS.contains(&word) || others.contains(&word);
        let says = found && !is_denied;
        is_denied = NOT.contains(&word);
        says
    })
}
