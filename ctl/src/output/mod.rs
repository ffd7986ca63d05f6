//! How results and narration are printed.
//!
//! Results go to stdout in the format that was asked for; if nobody reads them any more, that ends
//! the command quietly. Narration goes to stderr, whether anybody reads it or not.

pub(crate) mod colour;
pub(crate) mod facts;
pub(crate) mod models;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod requests;
pub(crate) mod screen;
pub(crate) mod servers;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod times;
pub(crate) mod words;

use std::fmt;
use std::io::{self, IsTerminal, Write};

use rustix::event::PollFlags;
use serde::Serialize;

use crate::cli::Format;
use crate::failure::Failure;
use crate::poll;

/// The width of a table that does not go to a terminal.
const DEFAULT_WIDTH: usize = 80;

/// Says something that is no result on stderr.
pub(crate) fn narrate(message: fmt::Arguments<'_>) {
    // With stderr closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{message}");
}

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// What was asked for.
    pub(crate) format: Format,
    /// Whether stdout is a terminal.
    pub(crate) is_terminal: bool,
    /// Whether stdout shows colours.
    pub(crate) colours: bool,
}

impl Output {
    /// Stdout, as it is.
    pub(crate) fn new(format: Format) -> Self {
        let stdout = io::stdout();
        Self {
            format,
            is_terminal: stdout.is_terminal(),
            colours: colour::wanted(&stdout),
        }
    }

    /// Columns and rows of the terminal now; `None` for the rows of anything else.
    pub(crate) fn size(self) -> (usize, Option<usize>) {
        match rustix::termios::tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (usize::from(size.ws_col), Some(usize::from(size.ws_row)))
            }
            Ok(_) | Err(_) => (DEFAULT_WIDTH, None),
        }
    }

    /// Prints lines for people.
    pub(crate) fn lines(self, lines: &[String]) -> Result<(), Failure> {
        let mut text = String::new();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// Prints one JSON document.
    pub(crate) fn document(self, value: &impl Serialize) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        text.push('\n');
        self.bytes(text.as_bytes())
    }

    /// Prints JSON objects, one a line.
    pub(crate) fn objects<T: Serialize>(
        self,
        values: impl IntoIterator<Item = T>,
    ) -> Result<(), Failure> {
        let mut text = String::new();
        for value in values {
            text.push_str(&serde_json::to_string(&value).map_err(io::Error::from)?);
            text.push('\n');
        }
        self.bytes(text.as_bytes())
    }

    /// Ends when nobody reads stdout any more, so that `logs -f | head -1` ends with its reader and
    /// not with the next line. Never, if stdout is nothing that can be waited for.
    pub(crate) async fn closed(self) {
        // Nothing is waited for but what is always told: errors and hang-ups.
        poll::wait(io::stdout(), PollFlags::empty()).await;
    }
}
