//! What is wrong with a configuration, where, and what to write instead.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin as Place, Renderer, Snippet};

/// The largest file that is read, in bytes.
pub const MAX_FILE_SIZE: usize = 1024 * 1024;

/// So many diagnostics of one file are kept; more would help nobody.
const MAX_DIAGNOSTICS: usize = 100;

/// The longest piece of a file that a message repeats, in characters.
const MAX_QUOTE: usize = 60;

/// The most of a file that is shown with a diagnostic, in bytes. A line of a megabyte tells nobody
/// anything, and would take long to draw for each of its errors.
const LONGEST_EXCERPT: usize = 4 * 1024;

/// A configuration file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but is probably not what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is, unless it is in no file.
    pub origin: Option<Origin>,
    /// What is wrong: one line.
    pub message: String,
    /// What to write instead: one line.
    pub help: String,
    /// The bytes of the file that are meant.
    span: Option<Range<usize>>,
}

impl SourceFile {
    /// Takes the bytes of a file.
    ///
    /// # Errors
    ///
    /// They are not UTF-8.
    pub fn from_bytes(path: PathBuf, bytes: Vec<u8>) -> Result<Self, Diagnostic> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { path, text }),
            Err(error) => {
                let end = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..end]).into_owned();
                let file = Self { path, text };
                let mut report = Report::new(&file);
                report.error(
                    end..end,
                    "cannot read what is not UTF-8",
                    "save the file as UTF-8",
                );
                Err(report.found.swap_remove(0))
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One line: `file:line:column: error: message (help)`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        write!(f, "{}: {}", self.severity, self.message)?;
        if !self.help.is_empty() {
            write!(f, " ({})", self.help)?;
        }
        Ok(())
    }
}

impl Diagnostic {
    /// An error that is in no file.
    pub fn error(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::elsewhere(Severity::Error, message.into(), help.into())
    }

    /// A warning about no file.
    pub fn warning(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::elsewhere(Severity::Warning, message.into(), help.into())
    }

    fn elsewhere(severity: Severity, message: String, help: String) -> Self {
        Self {
            severity,
            origin: None,
            message,
            help,
            span: None,
        }
    }

    /// The same, at a place in a file.
    pub fn at(mut self, origin: Origin) -> Self {
        self.origin = Some(origin);
        self
    }

    /// The diagnostic for a terminal, without colour: with the line it is about if `source` is the
    /// file that it is in.
    pub fn render(&self, source: Option<&SourceFile>) -> String {
        let Some(origin) = &self.origin else {
            return format!(
                "{}: {}\n  = help: {}",
                self.severity, self.message, self.help
            );
        };
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let path = origin.file.to_string_lossy();
        let group = Group::with_title(level.primary_title(&*self.message));
        let shown = match (source, &self.span) {
            (Some(source), Some(span)) if *source.path == *origin.file => {
                excerpt(&source.text, span)
            }
            _ => None,
        };
        let mut group = match shown {
            Some((lines, span)) => group.element(
                Snippet::source(lines)
                    .line_start(origin.line)
                    .path(path)
                    .annotation(AnnotationKind::Primary.span(span)),
            ),
            None => group.element(
                Place::path(path)
                    .line(origin.line)
                    .char_column(origin.column),
            ),
        };
        if !self.help.is_empty() {
            group = group.element(Level::HELP.message(&*self.help));
        }
        Renderer::plain().render(&[group])
    }
}

/// Gathers what is wrong with one file.
#[derive(Debug)]
pub(super) struct Report<'f> {
    text: &'f str,
    path: Arc<Path>,
    line_starts: Vec<usize>,
    /// The place that was last asked for and its column: the next one on a long line is counted from
    /// there.
    last: Cell<(usize, usize)>,
    found: Vec<Diagnostic>,
    settled: BTreeSet<usize>,
    hidden: BTreeSet<usize>,
}

impl<'f> Report<'f> {
    pub(super) fn new(file: &'f SourceFile) -> Self {
        let newlines = file
            .text
            .bytes()
            .enumerate()
            .filter(|&(_, byte)| byte == b'\n');
        Self {
            text: &file.text,
            path: Arc::from(&*file.path),
            line_starts: std::iter::once(0)
                .chain(newlines.map(|(at, _)| at + 1))
                .collect(),
            last: Cell::new((0, 1)),
            found: Vec::new(),
            settled: BTreeSet::new(),
            hidden: BTreeSet::new(),
        }
    }

    pub(super) fn error(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.is_full() || self.settled.contains(&self.line(&span)) {
            return;
        }
        let span = within(self.text, &span);
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            origin: Some(self.origin(span.clone())),
            message: message.into(),
            help: help.into(),
            span: Some(span),
        };
        // What `[defaults]` says is looked at once for each server.
        if !self.found.contains(&diagnostic) {
            self.found.push(diagnostic);
        }
    }

    /// Is there no room for more?
    pub(super) fn is_full(&self) -> bool {
        self.found.len() == MAX_DIAGNOSTICS
    }

    /// The line that `span` begins on, from 1.
    fn line(&self, span: &Range<usize>) -> usize {
        let at = within(self.text, span).start;
        self.line_starts.partition_point(|&start| start <= at)
    }

    /// Where `span` begins.
    pub(super) fn origin(&self, span: Range<usize>) -> Origin {
        let at = within(self.text, &span).start;
        let line = self.line(&span);
        let start = self.line_starts[line - 1];
        let (from, column) = match self.last.get() {
            last if (start..=at).contains(&last.0) => last,
            _ => (start, 1),
        };
        let column = column + self.text[from..at].chars().count();
        self.last.set((at, column));
        Origin {
            file: self.path.clone(),
            line,
            column,
        }
    }

    /// The text at `span`, fit for a message.
    pub(super) fn quote(&self, span: Range<usize>) -> String {
        quote(&self.text[within(self.text, &span)])
    }

    /// From here on, findings on the line of `span` are consequences: they are not added.
    pub(super) fn settle(&mut self, span: Range<usize>) {
        let line = self.line(&span);
        self.settled.insert(line);
    }

    /// No diagnostic shows the line of `span`: it has a secret.
    pub(super) fn hide(&mut self, span: Range<usize>) {
        let line = self.line(&span);
        self.hidden.insert(line);
    }

    /// `value`, or everything that is wrong, in the order of the file.
    pub(super) fn finish<T>(mut self, value: T) -> Result<T, Vec<Diagnostic>> {
        self.found.sort_by(|a, b| a.origin.cmp(&b.origin));
        for found in &mut self.found {
            found.span.take_if(|_| {
                found
                    .origin
                    .as_ref()
                    .is_some_and(|at| self.hidden.contains(&at.line))
            });
        }
        if self.found.is_empty() {
            Ok(value)
        } else {
            Err(self.found)
        }
    }
}

/// Text of a file, fit for one line of a message: without control characters, and cut if it is long.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for character in text.chars().take(MAX_QUOTE) {
        match character {
            '"' | '\'' | '\\' => quoted.push(character),
            other => quoted.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(MAX_QUOTE).is_some() {
        quoted.push('\u{2026}');
    }
    quoted
}

/// The lines that `span` is on, and where it is in them, unless they are too long to be shown.
fn excerpt<'t>(text: &'t str, span: &Range<usize>) -> Option<(&'t str, Range<usize>)> {
    let span = within(text, span);
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let rest = &text[span.end..];
    let end = span.end + rest.find('\n').unwrap_or(rest.len());
    (end - start <= LONGEST_EXCERPT)
        .then(|| (&text[start..end], span.start - start..span.end - start))
}

/// `span`, moved onto text that exists: the parser reports a missing end behind the last newline.
fn within(text: &str, span: &Range<usize>) -> Range<usize> {
    let content = text.trim_end_matches(['\n', '\r']).len();
    let mut start = span.start.min(text.len());
    if start == text.len() {
        start = content;
    }
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}
