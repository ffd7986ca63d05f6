//! The table of models, and all that is known of one.

use jiff::tz::TimeZone;

use super::colour::Colour;
use super::facts::Facts;
use super::table::{Cell, Fit, Table};
use super::{times, words};
use crate::view::Model;

/// What the marks in the table mean.
pub(crate) const LEGEND: &str = "? a guess or an estimate, * set by hand";

/// The table of `models list`: a row per model, and below it why it cannot be served.
pub(crate) fn table(models: &[Model]) -> Table<10> {
    let mut table = Table::new([
        ("ID", Fit::Cut(12)),
        ("TIER", Fit::Whole),
        ("QUANT", Fit::Whole),
        ("KIND", Fit::Whole),
        ("THINKING", Fit::Spare),
        ("CONTEXT", Fit::Spare),
        ("SIZE", Fit::Number),
        ("PARAMS", Fit::Spare),
        ("MEMORY", Fit::Number),
        ("STATE", Fit::Whole),
    ]);
    for model in models {
        let cells = [
            model.id.as_str().into(),
            marked(model, "tier", model.tier.word()),
            marked(model, "quantization", &model.quantization),
            marked(model, "kind", model.kind.word()),
            marked(model, "thinking", yes_or_no(model.thinking)),
            model.context_length.into(),
            words::short_bytes(model.size_bytes).as_str().into(),
            words::short_count(model.parameters).as_str().into(),
            memory(model).as_str().into(),
            state(model),
        ];
        let why = model.unavailable_because.as_deref();
        let below = why.map(|why| Cell::coloured(why, Some(Colour::Red)));
        table.row(cells, below.into_iter().collect());
    }
    table
}

/// Whether the table of these has a mark that needs its legend.
pub(crate) fn has_marks(models: &[Model]) -> bool {
    models.iter().any(|model| {
        !model.guesses.is_empty() || !model.overridden.is_empty() || is_estimated(model)
    })
}

/// Everything that is known of the model, a fact a line.
pub(crate) fn facts(model: &Model, colours: bool, zone: &TimeZone) -> Vec<String> {
    let mut facts = Facts::default();
    let with_source = |fact, text: &str| [format!("{text}{}", source(model, fact))];
    let clock = |at| times::clock(at, zone);
    facts.add("model", [model.id.clone()]);
    facts.add("name", model.name.clone());
    facts.add("path", [model.path.clone()]);
    facts.add("shards", model.files.iter().skip(1).cloned());
    facts.add("projector", model.mmproj.clone());
    facts.add("architecture", [model.architecture.clone()]);
    facts.add("kind", with_source("kind", model.kind.word()));
    facts.add("tier", with_source("tier", model.tier.word()));
    let quantization = format!(
        "{}{}, {:.2} bits per weight",
        model.quantization,
        source(model, "quantization"),
        model.bits_per_weight
    );
    facts.add("quantization", [quantization]);
    facts.add("parameters", [words::short_count(model.parameters)]);
    facts.add(
        "thinking",
        with_source("thinking", yes_or_no(model.thinking)),
    );
    let context = model.context_length;
    facts.add("context", context.map(|tokens| format!("{tokens} tokens")));
    facts.add("size", [words::bytes(model.size_bytes)]);
    facts.add("memory", needed(model));
    let state_and_source = format!("{}{}", state_word(model), source(model, "enabled"));
    let colour = state_colour(model).filter(|_| colours);
    facts.add_painted("state", state_and_source, colour);
    facts.add("", model.unavailable_because.clone());
    facts.add("servers", model.servers.clone());
    facts.add("first seen", model.first_seen.map(clock));
    facts.add("last seen", model.last_seen.map(clock));
    facts.into_lines()
}

/// A fact with the mark of where it comes from.
fn marked(model: &Model, fact: &str, text: &str) -> Cell {
    Cell::from(format!("{text}{}", mark(model, fact)).as_str())
}

fn mark(model: &Model, fact: &str) -> &'static str {
    let is_in = |facts: &[String]| facts.iter().any(|known| known == fact);
    if is_in(&model.overridden) {
        "*"
    } else if is_in(&model.guesses) {
        "?"
    } else {
        ""
    }
}

/// The same in words.
fn source(model: &Model, fact: &str) -> &'static str {
    match mark(model, fact) {
        "*" => " (set by hand)",
        "?" => " (a guess)",
        _ => "",
    }
}

fn memory(model: &Model) -> String {
    match model.memory_bytes {
        0 => "-".to_owned(),
        bytes if is_estimated(model) => format!("{}?", words::short_bytes(bytes)),
        bytes => words::short_bytes(bytes),
    }
}

fn needed(model: &Model) -> Option<String> {
    let bytes = Some(model.memory_bytes).filter(|&bytes| bytes > 0)?;
    Some(match &model.memory_source {
        Some(source) => format!("{} ({source})", words::bytes(bytes)),
        None => words::bytes(bytes),
    })
}

fn is_estimated(model: &Model) -> bool {
    model.memory_source.as_deref() == Some("estimate")
}

fn state(model: &Model) -> Cell {
    let word = format!("{}{}", state_word(model), mark(model, "enabled"));
    Cell::coloured(&word, state_colour(model))
}

fn state_word(model: &Model) -> &'static str {
    match (model.available, model.enabled) {
        (false, _) => "unavailable",
        (true, true) => "enabled",
        (true, false) => "disabled",
    }
}

fn state_colour(model: &Model) -> Option<Colour> {
    match (model.available, model.enabled) {
        (false, _) => Some(Colour::Red),
        (true, true) => None,
        (true, false) => Some(Colour::Dim),
    }
}

fn yes_or_no(fact: bool) -> &'static str {
    if fact { "yes" } else { "no" }
}
