//! Environment variables, which win over files.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, quote};
use super::value::Word;

/// The environment magid was started with. The shell gathers it; the core only looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

/// How much magid writes into its own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What is probably not as it should be.
    Warn,
    /// What happens to servers.
    #[default]
    Info,
    /// Why it happens.
    Debug,
    /// Everything.
    Trace,
}

impl Environment {
    /// The environment with these variables.
    pub fn new(variables: BTreeMap<String, String>) -> Self {
        Self(variables)
    }

    /// The value of a variable; an empty one counts as not set.
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.0
            .get(variable)
            .map(String::as_str)
            .filter(|value| !value.trim().is_empty())
    }

    /// All variables.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The same with another value of one variable.
    pub fn with(mut self, variable: &str, value: String) -> Self {
        self.0.insert(variable.to_owned(), value);
        self
    }

    /// The value of the first of `variables` that is set.
    pub fn first(&self, variables: &[&'static str]) -> Option<(&'static str, &str)> {
        variables
            .iter()
            .find_map(|variable| Some((*variable, self.get(variable)?)))
    }

    /// `LOG_LEVEL`, in any case.
    ///
    /// # Errors
    ///
    /// It is no level.
    pub fn log_level(&self) -> Result<LogLevel, Diagnostic> {
        let Some(level) = self.get("LOG_LEVEL") else {
            return Ok(LogLevel::default());
        };
        match &*level.trim().to_ascii_lowercase() {
            "error" => Ok(LogLevel::Error),
            "warn" | "warning" => Ok(LogLevel::Warn),
            "info" => Ok(LogLevel::Info),
            "debug" => Ok(LogLevel::Debug),
            "trace" => Ok(LogLevel::Trace),
            _ => Err(bad("LOG_LEVEL", level, "error, warn, info, debug or trace")),
        }
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Reads variables in place of keys and remembers which keys that were.
pub(super) struct Overrides<'e> {
    environment: &'e Environment,
    /// `key (VARIABLE)` of each key that a variable determined.
    pub(super) keys: Vec<String>,
    pub(super) errors: Vec<Diagnostic>,
}

impl<'e> Overrides<'e> {
    pub(super) fn new(environment: &'e Environment) -> Self {
        Self {
            environment,
            keys: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The value for `key` from the first of `variables` that is set.
    pub(super) fn take<T: Word>(&mut self, key: &str, variables: &[&'static str]) -> Option<T> {
        let read = |text: &str| T::parse(text.trim()).ok_or(T::EXPECTED);
        self.take_with(key, variables, read).map(|(value, _)| value)
    }

    /// The value for `key` of a variable that must not be shown.
    pub(super) fn secret(&mut self, key: &str, variable: &str) -> Option<&'e str> {
        let text = self.environment.get(variable)?;
        self.keys.push(format!("{key} ({variable})"));
        Some(text)
    }

    /// As [`Self::take`], and the variable, with a reader that answers what to set instead.
    pub(super) fn take_with<T>(
        &mut self,
        key: &str,
        variables: &[&'static str],
        read: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<(T, &'static str)> {
        let (variable, text) = self.environment.first(variables)?;
        match read(text) {
            Ok(value) => {
                self.keys.push(format!("{key} ({variable})"));
                Some((value, variable))
            }
            Err(expected) => {
                self.errors.push(bad(variable, text, expected));
                None
            }
        }
    }
}

fn bad(variable: &str, text: &str, expected: &str) -> Diagnostic {
    Diagnostic::error(
        format!("the variable {variable} cannot be \"{}\"", quote(text)),
        format!("set it to {expected}, or unset it"),
    )
}
