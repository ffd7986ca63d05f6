//! The configuration: its state, what is wrong with it, and what a reload does.

use jiff::Timestamp;
use magi_proto::v1;
use serde::Serialize;

use super::{Server, all, non_empty, timestamp};

/// Whether the files on disk are what is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ConfigState {
    Applied,
    Invalid,
    NoProfile,
    /// One that a newer magid has and this magictl does not know.
    Unknown,
}

impl From<v1::ConfigState> for ConfigState {
    fn from(state: v1::ConfigState) -> Self {
        match state {
            v1::ConfigState::Unspecified | v1::ConfigState::Vetoed => Self::Unknown,
            v1::ConfigState::Applied => Self::Applied,
            v1::ConfigState::Invalid => Self::Invalid,
            v1::ConfigState::NoProfile => Self::NoProfile,
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

/// What a reload decided, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reload {
    pub(crate) verdict: Verdict,
    pub(crate) profile: Option<String>,
    pub(crate) steps: Vec<Step>,
    pub(crate) errors: Vec<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) overridden: Vec<String>,
    pub(crate) needs_restart: Vec<String>,
    pub(crate) servers: Vec<Server>,
}

impl From<v1::ReloadResponse> for Reload {
    fn from(answer: v1::ReloadResponse) -> Self {
        Self {
            verdict: v1::ReloadVerdict::try_from(answer.verdict)
                .map_or(Verdict::Unknown, Verdict::from),
            profile: answer.profile,
            steps: all(answer.steps),
            errors: all(answer.errors),
            warnings: all(answer.warnings),
            overridden: answer.overridden,
            needs_restart: answer.needs_restart,
            servers: all(answer.servers),
        }
    }
}

/// The decision about the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Applied,
    Unchanged,
    Refused,
    Planned,
    /// One that a newer magid has and this magictl does not know.
    Unknown,
}

impl From<v1::ReloadVerdict> for Verdict {
    fn from(verdict: v1::ReloadVerdict) -> Self {
        match verdict {
            v1::ReloadVerdict::Unspecified | v1::ReloadVerdict::Vetoed => Self::Unknown,
            v1::ReloadVerdict::Applied => Self::Applied,
            v1::ReloadVerdict::Unchanged => Self::Unchanged,
            v1::ReloadVerdict::Refused => Self::Refused,
            v1::ReloadVerdict::Planned => Self::Planned,
        }
    }
}

/// What is done to one server, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) server: String,
    pub(crate) action: Action,
    pub(crate) reasons: Vec<String>,
}

impl From<v1::PlanStep> for Step {
    fn from(step: v1::PlanStep) -> Self {
        Self {
            server: step.server,
            action: v1::PlanAction::try_from(step.action).map_or(Action::Unknown, Action::from),
            reasons: step.reasons,
        }
    }
}

/// What a plan can do to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Keep,
    Live,
    Replace,
    Start,
    Stop,
    Define,
    /// One that a newer magid has and this magictl does not know.
    Unknown,
}

impl Action {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Live => "live",
            Self::Replace => "replace",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Define => "define",
            Self::Unknown => "unknown",
        }
    }
}

impl From<v1::PlanAction> for Action {
    fn from(action: v1::PlanAction) -> Self {
        match action {
            v1::PlanAction::Unspecified => Self::Unknown,
            v1::PlanAction::Keep => Self::Keep,
            v1::PlanAction::Live => Self::Live,
            v1::PlanAction::Replace => Self::Replace,
            v1::PlanAction::Start => Self::Start,
            v1::PlanAction::Stop => Self::Stop,
            v1::PlanAction::Define => Self::Define,
        }
    }
}
