//! The state of a server: what is desired of it, and what it is.

use std::sync::Arc;

use super::exit::Exit;
use super::history::History;
use super::policy::Policy;
use crate::moment::Moment;

/// Everything the lifecycle knows of one server.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What it should be.
    pub desired: Desired,
    /// What it is.
    pub phase: Phase,
    /// The rules in force. A changed definition replaces them.
    pub policy: Policy,
    /// Its failures since it was last asked to run.
    pub history: History,
    /// How its last incarnation ended.
    pub last_exit: Option<LastExit>,
    /// A start was asked for while the old incarnation was on its way down: the next start follows
    /// its end at once, whatever that end was.
    pub start_asked: bool,
    /// It should run because a request wanted it, and for no other reason: once the breaker is open,
    /// only a request has it tried again.
    pub on_demand: bool,
    /// The number of the newest incarnation; 0 before the first.
    pub incarnation: u64,
}

/// What a server should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desired {
    /// Running.
    Running,
    /// Stopped, for this reason.
    Stopped(StopReason),
}

/// Why a server is, or should be, stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// An operator asked for it; this is remembered.
    Requested,
    /// An operator asked for it, and for requests to be refused until a start; this is remembered.
    Held,
    /// The profile says `autostart = false`, and nobody asked for it yet.
    NotAutostarted,
    /// It is no longer defined.
    Removed,
    /// magid is on its way down.
    Shutdown,
    /// It exited with status 0, and the restart policy leaves it at that.
    Exited,
    /// Another incarnation with a newer definition took its place.
    Replaced,
    /// It was without a request for as long as its definition allows.
    Idle,
    /// It had nothing to do, and made room for another server.
    Evicted,
    /// It was in use, and made room for another server that had waited for long enough.
    Swapped,
}

impl StopReason {
    /// Whether it is a reason only as long as nobody works with the server.
    pub fn is_only_if_idle(self) -> bool {
        match self {
            Self::Idle | Self::Evicted => true,
            Self::Swapped
            | Self::Requested
            | Self::Held
            | Self::NotAutostarted
            | Self::Removed
            | Self::Shutdown
            | Self::Exited
            | Self::Replaced => false,
        }
    }

    /// Whether it is a reason for what serves only: what does not has something else to do, or nothing to
    /// give.
    pub fn is_only_if_ready(self) -> bool {
        self.is_only_if_idle() || self == Self::Swapped
    }
}

/// Why an incarnation that works is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// The server should be stopped.
    Stop(StopReason),
    /// An operator asked for a new incarnation.
    Restart,
    /// Its definition changed.
    Replace,
    /// It outlived the magid that started it.
    Survived,
}

impl StopCause {
    /// Whether it is a cause only as long as nobody works with the server. Then that is what is desired
    /// too: whatever else is asked for changes the cause.
    pub fn is_only_if_idle(self) -> bool {
        match self {
            Self::Stop(reason) => reason.is_only_if_idle(),
            Self::Restart | Self::Replace | Self::Survived => false,
        }
    }
}

/// The process of an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Number of the incarnation.
    pub incarnation: u64,
    /// Process id of the llama-server itself.
    pub pid: u32,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Nothing of it runs.
    Stopped(StopReason),
    /// It waits for memory, and then until fewer servers are starting.
    Queued {
        /// Which of the two, as far as it was told.
        wait: Wait,
    },
    /// Its process is being made. There is none yet that could be signalled.
    Spawning {
        /// Number of the incarnation.
        incarnation: u64,
        /// It will be ended as soon as it exists: it was made for a definition that has changed.
        given_up: bool,
    },
    /// Its process runs and is not ready.
    Loading {
        /// The process.
        process: Process,
        /// When it was last seen to get on.
        progress_at: Moment,
        /// Why it is not ready although it answers.
        obstacle: Option<Arc<str>>,
    },
    /// It serves.
    Ready {
        /// The process.
        process: Process,
        /// Since when.
        since: Moment,
    },
    /// It finishes what is in flight.
    Draining {
        /// The process.
        process: Process,
        /// When it got ready.
        ready_since: Moment,
        /// When the drain is over, finished or not.
        until: Moment,
        /// Why.
        cause: StopCause,
    },
    /// It is being ended, or it ended and the rest of its tree is being killed.
    Stopping {
        /// The process.
        process: Process,
        /// How hard it is being ended.
        rung: Rung,
        /// What this end is.
        ending: Ending,
        /// How long it had been ready. Absent if it never was.
        ready_for: Option<std::time::Duration>,
        /// What keeps it from being gone.
        obstacle: Option<Arc<str>>,
    },
    /// It failed and waits for its next try.
    Backoff {
        /// When that is.
        until: Moment,
        /// The failure.
        exit: Arc<Exit>,
    },
    /// It failed, and there will be no ordinary next try.
    Failed {
        /// The failure.
        exit: Arc<Exit>,
        /// Why there is none.
        cause: FailedCause,
        /// When the half-open try is due. Absent if there is none.
        retry_at: Option<Moment>,
    },
}

/// What a server waits for before it starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// Its turn: there is memory for it, or it was not told otherwise.
    Turn,
    /// Others that are being stopped to make room for it: which, and why.
    Room(Arc<str>),
    /// Memory that nobody may ever give back: what it lacks.
    Memory(Arc<str>),
}

/// A rung of the stop ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// SIGTERM was sent; SIGKILL follows at `until`.
    Terminate {
        /// The end of its grace.
        until: Moment,
    },
    /// The whole tree is being killed.
    Kill,
}

/// What the end of an incarnation is.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// It was asked to end.
    Asked(StopCause),
    /// It is ended because it failed: hung, or out of time.
    Failing(Arc<Exit>),
    /// It ended by itself.
    Ended(Arc<Exit>),
}

/// Why a failed server is not simply tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedCause {
    /// A second try cannot work before something changes.
    Prospect,
    /// The breaker is open after so many failures.
    TooMany(u32),
    /// The restart policy says `never`.
    Policy,
}

/// How an incarnation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LastExit {
    /// Its number.
    pub incarnation: u64,
    /// The end.
    pub exit: Arc<Exit>,
}

impl State {
    /// A server that has no process, before anything is asked of it. `last_incarnation` is 0 if it
    /// never ran; `seed` is the randomness of its backoff.
    pub fn new(policy: Policy, last_incarnation: u64, seed: u64) -> Self {
        let reason = StopReason::NotAutostarted;
        Self {
            desired: Desired::Stopped(reason),
            phase: Phase::Stopped(reason),
            policy,
            history: History::new(seed),
            last_exit: None,
            start_asked: false,
            on_demand: false,
            incarnation: last_incarnation,
        }
    }

    /// The incarnation that has, or is about to have, a process.
    pub fn live_incarnation(&self) -> Option<u64> {
        match &self.phase {
            Phase::Spawning { incarnation, .. } => Some(*incarnation),
            Phase::Loading { process, .. }
            | Phase::Ready { process, .. }
            | Phase::Draining { process, .. }
            | Phase::Stopping { process, .. } => Some(process.incarnation),
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => None,
        }
    }

    /// The process id, in the phases that have a process.
    pub fn pid(&self) -> Option<u32> {
        match &self.phase {
            Phase::Loading { process, .. }
            | Phase::Ready { process, .. }
            | Phase::Draining { process, .. }
            | Phase::Stopping { process, .. } => Some(process.pid),
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => None,
        }
    }

    /// Whether it takes up one of the places for servers that are starting.
    pub fn is_starting(&self) -> bool {
        matches!(
            self.phase,
            Phase::Queued { wait: Wait::Turn } | Phase::Spawning { .. } | Phase::Loading { .. }
        )
    }

    /// Whether nothing is under way: what was asked of it has been done, has failed, or waits for
    /// memory that nobody may ever give back.
    pub fn is_settled(&self) -> bool {
        matches!(
            self.phase,
            Phase::Stopped(_)
                | Phase::Queued {
                    wait: Wait::Memory(_)
                }
                | Phase::Ready { .. }
                | Phase::Failed { .. }
        )
    }

    /// Whether nothing of it runs, and nothing is about to.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.phase, Phase::Stopped(_) | Phase::Failed { .. })
    }

    /// Whether its process is on its way out, with nothing in its way and nothing to follow it.
    pub fn is_leaving(&self) -> bool {
        let is_ending = match &self.phase {
            Phase::Draining { .. } => true,
            Phase::Stopping { obstacle, .. } => obstacle.is_none(),
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Loading { .. }
            | Phase::Ready { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => false,
        };
        is_ending && matches!(self.desired, Desired::Stopped(_))
    }

    /// Whether it is on its way up or down: neither settled, nor waiting for its next try.
    pub fn is_in_transition(&self) -> bool {
        !self.is_settled() && !matches!(self.phase, Phase::Backoff { .. })
    }

    /// When [`super::Event::Timer`] is due, if nothing else happens before.
    pub fn deadline(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Loading { progress_at, .. } => Some(*progress_at + self.policy.max_startup_time),
            Phase::Draining { until, .. }
            | Phase::Stopping {
                rung: Rung::Terminate { until },
                ..
            }
            | Phase::Backoff { until, .. } => Some(*until),
            Phase::Failed { .. } if self.on_demand => None,
            Phase::Failed { retry_at, .. } => *retry_at,
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Ready { .. }
            | Phase::Stopping {
                rung: Rung::Kill, ..
            } => None,
        }
    }
}
