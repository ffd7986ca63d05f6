//! What is known of one thing, a fact a line.

use super::colour::Colour;
use super::text::printable;

/// Lines of `label    value`.
#[derive(Default)]
pub(crate) struct Facts {
    lines: Vec<String>,
}

impl Facts {
    /// Adds a line for each value; nothing, if there is none.
    pub(crate) fn add(&mut self, label: &str, values: impl IntoIterator<Item = String>) {
        let mut label = label;
        for value in values {
            self.push(label, &printable(&value));
            label = "";
        }
    }

    /// Adds one line in this colour.
    pub(crate) fn add_painted(&mut self, label: &str, value: String, colour: Option<Colour>) {
        let value = printable(&value);
        match colour {
            Some(colour) => self.push(label, &colour.paint(&value)),
            None => self.push(label, &value),
        }
    }

    fn push(&mut self, label: &str, value: &str) {
        self.lines.push(format!("{label:<13}{value}"));
    }

    /// The lines.
    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}
