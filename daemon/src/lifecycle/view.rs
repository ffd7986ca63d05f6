//! What people and scripts are told of a state.

use std::fmt;

use super::state::{Desired, Ending, FailedCause, Phase, Rung, State, StopCause, StopReason, Wait};
use crate::moment::Moment;

/// The public state of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicState {
    /// Nothing of it runs.
    Stopped,
    /// It waits for its turn, or its process loads the model.
    Starting,
    /// It serves.
    Ready,
    /// It finishes what is in flight.
    Draining,
    /// It, or a part of its process tree, is being ended.
    Stopping,
    /// It waits for its next try.
    Backoff,
    /// It failed.
    Failed,
}

impl PublicState {
    /// The word for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for PublicState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// A state, as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The public state.
    pub state: PublicState,
    /// Why, as a stable code.
    pub reason: &'static str,
    /// Why, for people. Empty if the code says it all.
    pub detail: String,
    /// When the next automatic try is due.
    pub next_try: Option<Moment>,
}

impl StopReason {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Held => "held",
            Self::NotAutostarted => "not-autostarted",
            Self::Removed => "removed",
            Self::Shutdown => "shutdown",
            Self::Exited => "exited",
            Self::Replaced => "replaced",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Swapped => "swapped",
        }
    }
}

impl StopCause {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Stop(reason) => reason.code(),
            Self::Restart => "restart",
            Self::Replace => "replace",
            Self::Survived => "survived",
        }
    }
}

impl State {
    /// What to publish of it.
    pub fn view(&self) -> View {
        let (state, reason, detail, next_try) = match &self.phase {
            Phase::Stopped(reason) => (PublicState::Stopped, reason.code(), String::new(), None),
            Phase::Queued {
                wait: Wait::Memory(shortage),
            } => (
                PublicState::Stopped,
                "waiting-for-memory",
                shortage.to_string(),
                None,
            ),
            Phase::Queued {
                wait: Wait::Room(victims),
            } => (
                PublicState::Starting,
                "making-room",
                victims.to_string(),
                None,
            ),
            Phase::Queued { wait: Wait::Turn } => (
                PublicState::Starting,
                "waiting-for-turn",
                String::new(),
                None,
            ),
            Phase::Spawning { .. } => (PublicState::Starting, "spawning", String::new(), None),
            Phase::Loading { obstacle: None, .. } => {
                (PublicState::Starting, "loading", String::new(), None)
            }
            Phase::Loading {
                obstacle: Some(obstacle),
                ..
            } => (
                PublicState::Starting,
                "unverified",
                obstacle.to_string(),
                None,
            ),
            Phase::Ready { .. } => (PublicState::Ready, "healthy", String::new(), None),
            Phase::Draining { cause, .. } => (
                PublicState::Draining,
                asked_view(self.desired, *cause),
                String::new(),
                None,
            ),
            Phase::Stopping {
                ending,
                rung,
                obstacle,
                ..
            } => {
                let (reason, mut detail) = ending_view(self.desired, ending);
                if let Some(obstacle) = obstacle {
                    detail = obstacle.to_string();
                }
                let reason = match (rung, obstacle) {
                    (Rung::Kill, Some(_)) => "unkillable",
                    (Rung::Kill | Rung::Terminate { .. }, _) => reason,
                };
                (PublicState::Stopping, reason, detail, None)
            }
            Phase::Backoff { until, exit } => (
                PublicState::Backoff,
                exit.class.code(),
                exit.detail.clone(),
                Some(*until),
            ),
            Phase::Failed {
                exit,
                cause,
                retry_at,
            } => (
                PublicState::Failed,
                exit.class.code(),
                failed_detail(*cause, &exit.detail),
                *retry_at,
            ),
        };
        View {
            state,
            reason,
            detail,
            next_try,
        }
    }

    /// When the running incarnation got ready.
    pub fn ready_since(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Ready { since, .. } => Some(*since),
            Phase::Draining { ready_since, .. } => Some(*ready_since),
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Loading { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => None,
        }
    }
}

fn ending_view(desired: Desired, ending: &Ending) -> (&'static str, String) {
    match (desired, ending) {
        (desired, Ending::Asked(cause)) => (asked_view(desired, *cause), String::new()),
        (Desired::Running | Desired::Stopped(_), Ending::Failing(exit) | Ending::Ended(exit)) => {
            (exit.class.code(), exit.detail.clone())
        }
    }
}

/// Why something is being ended, as it looks from here: what is desired now comes first.
fn asked_view(desired: Desired, cause: StopCause) -> &'static str {
    match desired {
        Desired::Stopped(reason) => reason.code(),
        Desired::Running => cause.code(),
    }
}

fn failed_detail(cause: FailedCause, exit: &str) -> String {
    match cause {
        FailedCause::Prospect => exit.to_owned(),
        FailedCause::TooMany(count) => format!("{count} failures; the last: {exit}"),
        FailedCause::Policy => format!("the restart policy is \"never\": {exit}"),
    }
}
