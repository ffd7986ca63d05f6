//! What operators, plans and requests ask of a server: they change what is desired, and what can be changed at
//! once.

use super::policy::{Policy, RestartMode};
use super::state::{Desired, Ending, FailedCause, Phase, Rung, StopCause, StopReason};
use super::step::Step;

impl Step {
    pub(super) fn start(&mut self) {
        self.state.on_demand = false;
        self.run(|cause| matches!(cause, StopCause::Stop(_)));
    }

    /// Joins what is under way already; what should be stopped is started.
    pub(super) fn demand(&mut self) {
        match (self.state.desired, &self.state.phase) {
            // It is left exited by its policy, for as long as nobody wants it.
            (Desired::Stopped(_), _) | (Desired::Running, Phase::Stopped(_)) => {
                self.state.on_demand = true;
                self.run(StopCause::is_only_if_idle);
            }
            (
                Desired::Running,
                Phase::Failed {
                    cause,
                    retry_at: Some(due),
                    ..
                },
            ) if *due <= self.now => self.half_open(*cause),
            (
                Desired::Running,
                Phase::Queued { .. }
                | Phase::Spawning { .. }
                | Phase::Loading { .. }
                | Phase::Ready { .. }
                | Phase::Draining { .. }
                | Phase::Stopping { .. }
                | Phase::Backoff { .. }
                | Phase::Failed { .. },
            ) => {}
        }
    }

    /// Has it run. A drain for one of the causes that `may_call_off` names is called off.
    fn run(&mut self, may_call_off: fn(StopCause) -> bool) {
        self.state.desired = Desired::Running;
        match self.state.phase.clone() {
            Phase::Stopped(_) | Phase::Backoff { .. } | Phase::Failed { .. } => {
                self.state.history.begin_anew();
                self.queue();
            }
            Phase::Draining {
                process,
                ready_since,
                cause,
                ..
            } if may_call_off(cause) => self.ready(process, ready_since),
            // What is there is on its way out: the next one is asked for.
            Phase::Spawning { given_up: true, .. }
            | Phase::Draining { .. }
            | Phase::Stopping { .. } => {
                self.state.history.begin_anew();
                self.state.start_asked = true;
            }
            // What is asked for is under way.
            Phase::Queued { .. }
            | Phase::Spawning {
                given_up: false, ..
            }
            | Phase::Loading { .. }
            | Phase::Ready { .. } => {}
        }
    }

    pub(super) fn stop(&mut self, reason: StopReason) {
        if reason.is_only_if_ready() {
            return self.stop_if_ready(reason);
        }
        self.state.on_demand = false;
        self.state.desired = Desired::Stopped(reason);
        self.state.start_asked = false;
        match self.state.phase.clone() {
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => self.state.phase = Phase::Stopped(reason),
            Phase::Loading { process, .. } => {
                self.terminate(process, Ending::Asked(StopCause::Stop(reason)), None)
            }
            Phase::Ready { process, since } => self.drain(process, since, StopCause::Stop(reason)),
            // It is to end even if it is not idle.
            Phase::Draining {
                process,
                ready_since,
                cause,
                ..
            } if cause.is_only_if_idle() => {
                self.drain(process, ready_since, StopCause::Stop(reason));
            }
            // Its end looks at `desired`. A drain goes on for its first cause: one that was to be replaced
            // is not called off by a later start.
            Phase::Spawning { .. } | Phase::Draining { .. } | Phase::Stopping { .. } => {}
        }
    }

    /// Anything but what serves has something to do, or nothing to give.
    fn stop_if_ready(&mut self, reason: StopReason) {
        if let (Desired::Running, Phase::Ready { process, since }) =
            (self.state.desired, self.state.phase.clone())
        {
            self.state.desired = Desired::Stopped(reason);
            self.drain(process, since, StopCause::Stop(reason));
        }
    }

    /// Ends what runs and starts it again.
    pub(super) fn renew(&mut self, cause: StopCause) {
        self.state.history.begin_anew();
        match self.state.phase.clone() {
            Phase::Stopped(_) | Phase::Backoff { .. } | Phase::Failed { .. } => self.queue(),
            // It has not begun: it begins with what is new.
            Phase::Queued { .. } => {}
            Phase::Spawning { incarnation, .. } => {
                self.state.start_asked = true;
                self.state.phase = Phase::Spawning {
                    incarnation,
                    given_up: true,
                };
            }
            Phase::Loading { process, .. } => {
                self.state.start_asked = true;
                self.terminate(process, Ending::Asked(cause), None);
            }
            Phase::Ready { process, since } => {
                self.state.start_asked = true;
                self.drain(process, since, cause);
            }
            Phase::Draining {
                process,
                ready_since,
                cause: before,
                ..
            } if before.is_only_if_idle() => {
                self.state.start_asked = true;
                self.drain(process, ready_since, cause);
            }
            Phase::Draining {
                process,
                ready_since,
                until,
                ..
            } => {
                self.state.start_asked = true;
                self.state.phase = Phase::Draining {
                    process,
                    ready_since,
                    until,
                    cause,
                };
            }
            Phase::Stopping { .. } => self.state.start_asked = true,
        }
    }

    /// Sees to it that what is left of the old definition is not taken up again by a start.
    pub(super) fn outdate(&mut self) {
        self.state.history.begin_anew();
        match &mut self.state.phase {
            Phase::Spawning { given_up, .. } => *given_up = true,
            Phase::Draining {
                process,
                ready_since,
                cause,
                ..
            } if cause.is_only_if_idle() => {
                let (process, ready_since) = (*process, *ready_since);
                self.drain(process, ready_since, StopCause::Replace);
            }
            Phase::Draining { cause, .. } => *cause = StopCause::Replace,
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Loading { .. }
            | Phase::Ready { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => {}
        }
    }

    /// Takes new rules. What waits for its next try, or would if it were let, is judged by them at
    /// once; what is under way looks at them when it gets to its end.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        self.state.policy = policy;
        let never = match self.state.policy.restart.mode {
            RestartMode::Never => true,
            RestartMode::Always | RestartMode::OnFailure => false,
        };
        match self.state.phase.clone() {
            Phase::Failed {
                cause: FailedCause::Policy,
                ..
            } if !never => {
                self.state.history.begin_anew();
                self.queue();
            }
            Phase::Backoff { exit, .. } | Phase::Failed { exit, .. } if never => {
                self.fail(exit, FailedCause::Policy, None);
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

    pub(super) fn hurry(&mut self) {
        match self.state.phase.clone() {
            Phase::Draining {
                process,
                ready_since,
                cause,
                ..
            } => {
                let ready_for = self.now.since(ready_since);
                self.kill(process, Ending::Asked(cause), Some(ready_for), None);
            }
            Phase::Stopping {
                process,
                rung: Rung::Terminate { .. },
                ending,
                ready_for,
                obstacle,
            } => self.kill(process, ending, ready_for, obstacle),
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Loading { .. }
            | Phase::Ready { .. }
            | Phase::Stopping {
                rung: Rung::Kill, ..
            }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => {}
        }
    }

    pub(super) fn healed(&mut self) {
        match self.state.phase {
            Phase::Failed {
                cause: FailedCause::Prospect,
                ..
            } => {
                self.state.history.begin_anew();
                self.queue();
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
