//! What a change of the configuration does, and what came of it.

use magi_proto::v1;
use serde::Serialize;

use super::{Diagnostic, Exit, Server, all, non_empty};

/// What a reload, an activation or a rollback decided, and what came of it.
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
    /// The generation that is in force now.
    pub(crate) generation: Option<u64>,
    pub(crate) vetoes: Vec<Veto>,
    /// Bytes of main memory that the fleet has reserved before.
    pub(crate) memory_before: u64,
    pub(crate) memory_after: u64,
    /// Bytes of main memory that magid may give to servers.
    pub(crate) memory_budget: u64,
    /// Only after a rollback: keys of magid.toml that were different then, and stay as they are.
    pub(crate) daemon_keys_that_differ: Vec<String>,
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
            generation: answer.generation,
            vetoes: all(answer.vetoes),
            memory_before: answer.memory_before,
            memory_after: answer.memory_after,
            memory_budget: answer.memory_budget,
            daemon_keys_that_differ: Vec::new(),
        }
    }
}

/// A server that did not get ready, and so had the change taken back.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Veto {
    pub(crate) server: String,
    pub(crate) reason: String,
    pub(crate) detail: Option<String>,
    /// How the incarnation ended that did not get ready.
    pub(crate) last_exit: Option<Exit>,
}

impl From<v1::Veto> for Veto {
    fn from(veto: v1::Veto) -> Self {
        Self {
            server: veto.server,
            reason: veto.reason,
            detail: non_empty(veto.detail),
            last_exit: veto.last_exit.map(Exit::from),
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
    /// Applied, and taken back because a server did not get ready.
    Vetoed,
    /// One that a newer magid has and this magictl does not know.
    Unknown,
}

impl From<v1::ReloadVerdict> for Verdict {
    fn from(verdict: v1::ReloadVerdict) -> Self {
        match verdict {
            v1::ReloadVerdict::Unspecified => Self::Unknown,
            v1::ReloadVerdict::Applied => Self::Applied,
            v1::ReloadVerdict::Unchanged => Self::Unchanged,
            v1::ReloadVerdict::Refused => Self::Refused,
            v1::ReloadVerdict::Planned => Self::Planned,
            v1::ReloadVerdict::Vetoed => Self::Vetoed,
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
    /// Bytes of main memory.
    pub(crate) memory_before: Option<u64>,
    pub(crate) memory_after: Option<u64>,
    /// How it is replaced: `blue-green` or `drain-restart`.
    pub(crate) method: Option<String>,
}

impl From<v1::PlanStep> for Step {
    fn from(step: v1::PlanStep) -> Self {
        Self {
            server: step.server,
            action: v1::PlanAction::try_from(step.action).map_or(Action::Unknown, Action::from),
            reasons: step.reasons,
            memory_before: step.memory_before,
            memory_after: step.memory_after,
            method: step.method,
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
