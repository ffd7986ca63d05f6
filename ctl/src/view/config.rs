//! The configuration: its state, and what is wrong with it.

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;

use super::{Veto, all, non_empty, timestamp};

/// Whether the files on disk are what is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ConfigState {
    Applied,
    Invalid,
    NoProfile,
    /// The files are right, but a server did not get ready with them.
    Vetoed,
    /// One that a newer magid has and this magictl does not know.
    Unknown,
}

impl From<v1::ConfigState> for ConfigState {
    fn from(state: v1::ConfigState) -> Self {
        match state {
            v1::ConfigState::Unspecified => Self::Unknown,
            v1::ConfigState::Applied => Self::Applied,
            v1::ConfigState::Invalid => Self::Invalid,
            v1::ConfigState::NoProfile => Self::NoProfile,
            v1::ConfigState::Vetoed => Self::Vetoed,
        }
    }
}

/// The files on disk against what is applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    pub(crate) state: ConfigState,
    pub(crate) since: Option<Timestamp>,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) overridden: Vec<String>,
    pub(crate) needs_restart: Vec<String>,
    pub(crate) config_path: Option<String>,
    pub(crate) profiles_dir: Option<String>,
    pub(crate) vetoes: Vec<Veto>,
}

impl From<v1::ConfigStatus> for Config {
    fn from(config: v1::ConfigStatus) -> Self {
        Self {
            state: v1::ConfigState::try_from(config.state)
                .map_or(ConfigState::Unknown, ConfigState::from),
            since: timestamp(config.since),
            errors: all(config.errors),
            warnings: all(config.warnings),
            overridden: config.overridden,
            needs_restart: config.needs_restart,
            config_path: non_empty(config.config_path),
            profiles_dir: non_empty(config.profiles_dir),
            vetoes: all(config.vetoes),
        }
    }
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diagnostic {
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    pub(crate) column: Option<u32>,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The same with the source line, for people.
    #[serde(skip)]
    pub(crate) rendered: String,
}

impl From<v1::Diagnostic> for Diagnostic {
    fn from(diagnostic: v1::Diagnostic) -> Self {
        let place = |number: u32| (number > 0).then_some(number);
        Self {
            file: non_empty(diagnostic.file),
            line: place(diagnostic.line),
            column: place(diagnostic.column),
            message: diagnostic.message,
            help: non_empty(diagnostic.help),
            rendered: diagnostic.rendered,
        }
    }
}
