//! What a plan does to the servers, and to the memory.

use super::colour::Colour;
use super::table::{Cell, Fit, Table};
use super::words;
use crate::view::{Action, Reload, Step};

/// The steps as a table; what stays is only counted, unless `verbose`. The sum of the memory last.
pub(crate) fn render(reload: &Reload, verbose: bool, width: usize, colours: bool) -> Vec<String> {
    let is_shown = |action| verbose || action != Action::Keep;
    let (shown, kept): (Vec<_>, Vec<_>) =
        reload.steps.iter().partition(|step| is_shown(step.action));
    let mut lines = Vec::new();
    if !shown.is_empty() {
        lines = table(&shown).render(width, colours);
    }
    if !kept.is_empty() {
        lines.push(format!("{} unchanged", kept.len()));
    }
    // A refused plan has no sum, and neither has a magid that keeps no account.
    if reload.memory_budget > 0 && !reload.steps.is_empty() {
        lines.push(sum(reload));
    }
    lines
}

fn table(steps: &[&Step]) -> Table<4> {
    let mut table = Table::new([
        ("ACTION", Fit::Whole),
        ("SERVER", Fit::Cut(12)),
        ("MEMORY", Fit::Whole),
        ("WHY", Fit::Prose),
    ]);
    for step in steps {
        let cells = [
            Cell::coloured(step.action.word(), Colour::of_action(step.action)),
            step.server.as_str().into(),
            memory(step).as_str().into(),
            why(step).as_str().into(),
        ];
        table.row(cells, Vec::new());
    }
    table
}

fn memory(step: &Step) -> String {
    match (step.memory_before, step.memory_after) {
        (None, None) => "-".to_owned(),
        (before, after) => from_to(before.unwrap_or(0), after.unwrap_or(0)),
    }
}

fn why(step: &Step) -> String {
    let reasons = step.reasons.join("; ");
    match &step.method {
        Some(method) => format!("{reasons} ({method})"),
        None => reasons,
    }
}

fn sum(reload: &Reload) -> String {
    format!(
        "memory: {} of {}",
        from_to(reload.memory_before, reload.memory_after),
        words::bytes(reload.memory_budget)
    )
}

fn from_to(before: u64, after: u64) -> String {
    match before == after {
        true => words::bytes(after),
        false => format!("{} -> {}", words::bytes(before), words::bytes(after)),
    }
}
