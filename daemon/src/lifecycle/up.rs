//! The way up: from waiting for its turn until it is ready.

use std::sync::Arc;

use super::exit::Exit;
use super::state::{Desired, Ending, Phase, Process, StopCause, Wait};
use super::step::{Action, Step};

impl Step {
    pub(super) fn waits(&mut self, told: Wait) {
        if let Phase::Queued { wait } = &mut self.state.phase {
            *wait = told;
        }
    }

    pub(super) fn does_not_fit(&mut self, exit: Arc<Exit>) {
        if matches!(self.state.phase, Phase::Queued { .. }) {
            self.after_failure(exit, None);
        }
    }

    pub(super) fn turn(&mut self, number: u64) {
        if !matches!(self.state.phase, Phase::Queued { .. }) {
            return;
        }
        let incarnation = number.max(self.state.incarnation + 1);
        self.state.incarnation = incarnation;
        self.state.phase = Phase::Spawning {
            incarnation,
            given_up: false,
        };
        self.actions.push(Action::Spawn(incarnation));
    }

    pub(super) fn spawned(&mut self, process: Process) {
        let Phase::Spawning {
            incarnation,
            given_up,
        } = self.state.phase
        else {
            return;
        };
        if incarnation != process.incarnation {
            return;
        }
        match self.state.desired {
            Desired::Stopped(reason) => {
                self.terminate(process, Ending::Asked(StopCause::Stop(reason)), None);
            }
            Desired::Running if given_up => {
                self.terminate(process, Ending::Asked(StopCause::Replace), None);
            }
            Desired::Running => {
                self.state.phase = Phase::Loading {
                    process,
                    progress_at: self.now,
                    obstacle: None,
                };
                self.actions.push(Action::AwaitReady(process));
            }
        }
    }

    pub(super) fn spawn_failed(&mut self, incarnation: u64, exit: Arc<Exit>) {
        match self.state.phase {
            Phase::Spawning { incarnation: n, .. } if n == incarnation => {
                self.note_exit(incarnation, exit.clone());
                self.after_failure(exit, None);
            }
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Loading { .. }
            | Phase::Ready { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => {}
        }
    }

    /// The load moved, or (with an obstacle) is as good as done and cannot be called ready.
    pub(super) fn progress(&mut self, incarnation: u64, seen: Option<Arc<str>>) {
        let Phase::Loading {
            process,
            progress_at,
            obstacle,
        } = &mut self.state.phase
        else {
            return;
        };
        if process.incarnation != incarnation {
            return;
        }
        if seen.is_none() {
            *progress_at = self.now;
        }
        *obstacle = seen;
    }

    pub(super) fn healthy(&mut self, incarnation: u64) {
        match self.state.phase {
            Phase::Loading { process, .. } if process.incarnation == incarnation => {
                self.state.history.note_ready();
                self.ready(process, self.now);
            }
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Loading { .. }
            | Phase::Ready { .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => {}
        }
    }
}
