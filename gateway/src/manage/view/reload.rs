//! What a change of the configuration does.

use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use super::non_empty;

/// What was decided about a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It is in force.
    Applied,
    /// It was in force already.
    Unchanged,
    /// It is wrong: nothing was changed.
    Refused,
    /// It is right, and was not to be applied.
    Planned,
    /// A server did not get ready with it: what was in force before is again.
    Vetoed,
    /// One that a newer magid has.
    Unknown,
}

impl Verdict {
    /// From the number on the wire.
    pub(crate) fn from_wire(verdict: i32) -> Self {
        match v1::ReloadVerdict::try_from(verdict) {
            Ok(v1::ReloadVerdict::Applied) => Self::Applied,
            Ok(v1::ReloadVerdict::Unchanged) => Self::Unchanged,
            Ok(v1::ReloadVerdict::Refused) => Self::Refused,
            Ok(v1::ReloadVerdict::Planned) => Self::Planned,
            Ok(v1::ReloadVerdict::Vetoed) => Self::Vetoed,
            Ok(v1::ReloadVerdict::Unspecified) | Err(_) => Self::Unknown,
        }
    }
}

/// What is done to one server, and why.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    /// The server.
    pub(crate) server: String,
    /// `keep`, `live`, `replace`, `start`, `stop` or `define`.
    pub(crate) action: &'static str,
    /// Why.
    pub(crate) reasons: Vec<String>,
}

impl From<v1::PlanStep> for Step {
    fn from(step: v1::PlanStep) -> Self {
        let action = match v1::PlanAction::try_from(step.action) {
            Ok(v1::PlanAction::Keep) => "keep",
            Ok(v1::PlanAction::Live) => "live",
            Ok(v1::PlanAction::Replace) => "replace",
            Ok(v1::PlanAction::Start) => "start",
            Ok(v1::PlanAction::Stop) => "stop",
            Ok(v1::PlanAction::Define) => "define",
            Ok(v1::PlanAction::Unspecified) | Err(_) => "unknown",
        };
        Self {
            server: step.server,
            action,
            reasons: step.reasons,
        }
    }
}

/// A server that did not get ready with its new definition.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Veto {
    /// The server.
    pub(crate) server: String,
    /// A stable code.
    pub(crate) reason: String,
    /// The same for people.
    pub(crate) detail: Option<String>,
}

impl From<v1::Veto> for Veto {
    fn from(veto: v1::Veto) -> Self {
        Self {
            server: veto.server,
            reason: veto.reason,
            detail: non_empty(veto.detail),
        }
    }
}
