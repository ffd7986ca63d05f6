//! How an answer is shown while it comes.

use std::io::{self, IsTerminal, Write};

use super::Told;
use crate::cli::Format;
use crate::failure::Failure;
use crate::output::colour::{self, Colour};
use crate::output::text::printable_lines;
use crate::output::{Output, narrate, times, words};

/// An answer that is being shown.
pub(super) struct Shown {
    output: Output,
    /// Whether stderr ends in the middle of a line.
    is_thinking: bool,
}

impl Shown {
    /// Nothing yet.
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            is_thinking: false,
        }
    }

    /// More of what is said. What could control a terminal never reaches one.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        if self.output.format != Format::Table {
            return Ok(());
        }
        self.end_thought();
        match self.output.is_terminal {
            true => self.output.bytes(printable_lines(text).as_bytes()),
            false => self.output.bytes(text.as_bytes()),
        }
    }

    /// More of what is thought: for people who watch, never part of a result.
    pub(super) fn thought(&mut self, text: &str) {
        let mut stderr = io::stderr();
        if self.output.format != Format::Table || !stderr.is_terminal() {
            return;
        }
        self.is_thinking = true;
        let text = printable_lines(text);
        let text = match colour::wanted(&stderr) {
            true => Colour::Dim.paint(&text),
            false => text,
        };
        // With stderr closed there is nobody left to tell.
        let _ = stderr.write_all(text.as_bytes());
    }

    fn end_thought(&mut self) {
        if std::mem::take(&mut self.is_thinking) {
            narrate(format_args!("\n"));
        }
    }

    /// The end of the answer, and what it took.
    pub(super) fn end(&mut self, told: &Told) -> Result<(), Failure> {
        self.end_thought();
        match self.output.format {
            Format::Json => self.output.document(told),
            Format::Jsonl => self.output.objects([told]),
            Format::Table => {
                if !told.content.ends_with('\n') {
                    self.output.bytes(b"\n")?;
                }
                narrate(format_args!("{}", summary(told)));
                Ok(())
            }
        }
    }
}

/// What an answer took, as `64 tokens at 41.7 tokens/s, the first after 120ms`.
fn summary(told: &Told) -> String {
    let count = told.tokens.map(|count| match count {
        1 => "1 token".to_owned(),
        count => format!("{count} tokens"),
    });
    let mut text = count.unwrap_or_else(|| "done".to_owned());
    if let Some(speed) = told.tokens_per_second {
        text.push_str(&format!(" at {} tokens/s", words::speed(speed)));
    }
    if let Some(seconds) = told.first_token_seconds {
        text.push_str(&format!(", the first after {}", times::precise(seconds)));
    }
    if told.finish_reason.as_deref() == Some("length") {
        text.push_str("; cut short, as it got too long");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_took_is_one_line() {
        let mut told = Told {
            tokens: Some(64),
            tokens_per_second: Some(41.66),
            first_token_seconds: Some(0.12),
            ..Told::default()
        };
        assert_eq!(
            summary(&told),
            "64 tokens at 42 tokens/s, the first after 120ms"
        );
        told.tokens_per_second = None;
        told.finish_reason = Some("length".to_owned());
        assert!(summary(&told).ends_with("; cut short, as it got too long"));
    }
}
