//! What a change of the configuration does to servers, and what came of it.

use magi_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use crate::word::words;
use crate::{Exit, non_empty};

words! {
    /// What was decided about a configuration.
    pub enum Verdict of ReloadVerdict {
        /// It is in force.
        Applied => Applied "applied",
        /// It was in force already.
        Unchanged => Unchanged "unchanged",
        /// It is wrong: nothing was changed.
        Refused => Refused "refused",
        /// It is right, and was not to be applied.
        Planned => Planned "planned",
        /// A server did not get ready with it: what was in force before is again.
        Vetoed => Vetoed "vetoed",
        /// One that a newer magid has.
        Unspecified => Unknown "unknown",
    }
}

/// What is done to one server, and why.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The server.
    pub server: String,
    /// What is done.
    pub action: Action,
    /// Why.
    pub reasons: Vec<String>,
    /// Bytes of main memory that it has reserved.
    pub memory_before: Option<u64>,
    /// Bytes of main memory that it would have reserved.
    pub memory_after: Option<u64>,
    /// How it is replaced: `blue-green` or `drain-restart`.
    pub method: Option<String>,
}

impl From<v1::PlanStep> for Step {
    fn from(step: v1::PlanStep) -> Self {
        Self {
            server: step.server,
            action: Action::from_wire(step.action),
            reasons: step.reasons,
            memory_before: step.memory_before,
            memory_after: step.memory_after,
            method: step.method,
        }
    }
}

words! {
    /// What is done to a server.
    pub enum Action of PlanAction {
        /// Nothing.
        Keep => Keep "keep",
        /// It is changed as it runs.
        Live => Live "live",
        /// A process with the new definition takes the place of its own.
        Replace => Replace "replace",
        /// It is started.
        Start => Start "start",
        /// It is stopped.
        Stop => Stop "stop",
        /// It is new or changed, and stays stopped.
        Define => Define "define",
        /// One that a newer magid has.
        Unspecified => Unknown "unknown",
    }
}

/// A server that did not get ready with its new definition.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Veto {
    /// The server.
    pub server: String,
    /// A stable code.
    pub reason: String,
    /// The same for people.
    pub detail: Option<String>,
    /// How the incarnation ended that did not get ready.
    pub last_exit: Option<Exit>,
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
