//! What a change of the configuration does, and what came of it.

use magi_proto::v1;
use magi_view::{Diagnostic, Server, Step, Verdict, Veto, all};
use serde::Serialize;

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
            verdict: Verdict::from_wire(answer.verdict),
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
