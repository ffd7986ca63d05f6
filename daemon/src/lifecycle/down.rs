//! The way down: from what ends an incarnation until nothing of it is left.

use std::sync::Arc;

use super::exit::{Exit, ExitClass};
use super::state::{Desired, Ending, Phase, Rung};
use super::step::Step;

impl Step {
    pub(super) fn hung(&mut self, incarnation: u64, exit: Arc<Exit>) {
        match self.state.phase {
            Phase::Ready { process, since } if process.incarnation == incarnation => {
                let ready_for = self.now.since(since);
                self.terminate(process, Ending::Failing(exit), Some(ready_for));
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

    /// Whatever it would answer from now on is nonsense, so nothing in flight is waited for.
    pub(super) fn overwritten(&mut self, incarnation: u64, exit: Arc<Exit>) {
        if self.state.live_incarnation() != Some(incarnation) {
            return;
        }
        match self.state.phase {
            Phase::Loading { process, .. } => {
                self.terminate(process, Ending::Failing(exit), None);
            }
            Phase::Ready { process, since }
            | Phase::Draining {
                process,
                ready_since: since,
                ..
            } => {
                let ready_for = self.now.since(since);
                self.terminate(process, Ending::Failing(exit), Some(ready_for));
            }
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => {}
        }
    }

    pub(super) fn drained(&mut self, incarnation: u64) {
        if let Phase::Draining {
            process,
            ready_since,
            cause,
            ..
        } = self.state.phase
            && process.incarnation == incarnation
        {
            let ready_for = self.now.since(ready_since);
            self.terminate(process, Ending::Asked(cause), Some(ready_for));
        }
    }

    pub(super) fn busy(&mut self, incarnation: u64) {
        if let Phase::Draining {
            process,
            ready_since,
            cause,
            ..
        } = self.state.phase
            && process.incarnation == incarnation
            && cause.is_only_if_idle()
        {
            self.call_off(process, ready_since);
        }
    }

    pub(super) fn exited(&mut self, incarnation: u64, exit: Arc<Exit>) {
        if self.state.live_incarnation() != Some(incarnation) {
            return;
        }
        match self.state.phase.clone() {
            Phase::Loading { process, .. } => {
                self.note_exit(incarnation, exit.clone());
                self.kill(process, Ending::Ended(exit), None, None);
            }
            Phase::Ready { process, since }
            | Phase::Draining {
                process,
                ready_since: since,
                ..
            } => {
                self.note_exit(incarnation, exit.clone());
                let ready_for = self.now.since(since);
                self.kill(process, Ending::Ended(exit), Some(ready_for), None);
            }
            Phase::Stopping {
                process,
                rung,
                ending,
                ready_for,
                obstacle,
            } => {
                let ending = self.completed(incarnation, ending, exit);
                match rung {
                    Rung::Terminate { .. } => self.kill(process, ending, ready_for, obstacle),
                    Rung::Kill => {
                        self.state.phase = Phase::Stopping {
                            process,
                            rung,
                            ending,
                            ready_for,
                            obstacle,
                        };
                    }
                }
            }
            // Without a process nothing can have ended.
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => {}
        }
    }

    /// What an end that was under way is, now that the kernel's word on it is known.
    fn completed(&mut self, incarnation: u64, ending: Ending, exit: Arc<Exit>) -> Ending {
        match ending {
            Ending::Asked(cause) => {
                let asked = Exit {
                    class: ExitClass::Requested,
                    status: exit.status,
                    ..Exit::without_process(ExitClass::Requested, "")
                };
                self.note_exit(incarnation, Arc::new(asked));
                Ending::Asked(cause)
            }
            Ending::Failing(failure) => {
                let failure = Arc::new(Exit {
                    status: exit.status,
                    last_lines: exit.last_lines.clone(),
                    ..Exit::clone(&failure)
                });
                self.note_exit(incarnation, failure.clone());
                Ending::Failing(failure)
            }
            // A process ends once.
            Ending::Ended(first) => Ending::Ended(first),
        }
    }

    pub(super) fn stuck(&mut self, incarnation: u64, seen: Arc<str>) {
        if let Phase::Stopping {
            process, obstacle, ..
        } = &mut self.state.phase
            && process.incarnation == incarnation
        {
            *obstacle = Some(seen);
        }
    }

    pub(super) fn gone(&mut self, incarnation: u64) {
        let Phase::Stopping {
            process,
            ending,
            ready_for,
            ..
        } = self.state.phase.clone()
        else {
            return;
        };
        if process.incarnation != incarnation {
            return;
        }
        match (self.state.desired, ending) {
            (Desired::Stopped(reason), _) => self.state.phase = Phase::Stopped(reason),
            (Desired::Running, Ending::Asked(_)) => self.queue(),
            (Desired::Running, Ending::Failing(exit) | Ending::Ended(exit)) => {
                self.after_failure(exit, ready_for);
            }
        }
    }
}
