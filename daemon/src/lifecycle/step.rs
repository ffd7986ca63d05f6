//! The transition function.

use std::sync::Arc;

use super::exit::{Exit, ExitClass};
use super::policy::Policy;
use super::state::{
    Desired, Ending, FailedCause, LastExit, Phase, Process, Rung, State, StopCause, StopReason,
    Wait,
};
use crate::moment::Moment;

/// What can happen to a server.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody wants it to run.
    Start,
    /// A request wants it. Unlike an operator it skips no wait and calls off no stop but an idle one.
    Demand,
    /// Somebody wants it stopped: for some reasons only if nobody works with it.
    Stop(StopReason),
    /// Somebody wants a new incarnation.
    Restart,
    /// Its definition changed in a way that needs a new incarnation, if it runs.
    Replace,
    /// Its rules changed in a way that needs none.
    SetPolicy(Policy),
    /// Whoever waits for it to stop is in a hurry: no more grace.
    Hurry,
    /// What made a failure permanent has changed: the model's file, or the binary.
    Healed,
    /// What it waits for before it starts.
    Waits(Wait),
    /// There will never be memory for it as it is defined.
    DoesNotFit(Arc<Exit>),
    /// It is its turn to start, as the incarnation of this number.
    Turn(u64),
    /// The process was made.
    Spawned(Process),
    /// The process could not be made.
    SpawnFailed {
        /// Number of the incarnation.
        incarnation: u64,
        /// What failed.
        exit: Arc<Exit>,
    },
    /// The load gets on.
    Progress {
        /// Number of the incarnation.
        incarnation: u64,
    },
    /// It answers, but it cannot be called ready, for this reason.
    NotYet {
        /// Number of the incarnation.
        incarnation: u64,
        /// The reason.
        obstacle: Arc<str>,
    },
    /// /health is 200, and the process that answers is the incarnation.
    Healthy {
        /// Number of the incarnation.
        incarnation: u64,
    },
    /// It was ready, and does not move any more.
    Hung {
        /// Number of the incarnation.
        incarnation: u64,
        /// The evidence.
        exit: Arc<Exit>,
    },
    /// Its model's file was overwritten in place: what it has mapped is no model any more.
    Overwritten {
        /// Number of the incarnation.
        incarnation: u64,
        /// The evidence.
        exit: Arc<Exit>,
    },
    /// Nothing is in flight any more.
    Drained {
        /// Number of the incarnation.
        incarnation: u64,
    },
    /// It was to let go only if it is idle, and it is not.
    Busy {
        /// Number of the incarnation.
        incarnation: u64,
    },
    /// The process ended.
    Exited {
        /// Number of the incarnation.
        incarnation: u64,
        /// How, if nobody here asked for it.
        exit: Arc<Exit>,
    },
    /// Something of the tree does not die.
    Stuck {
        /// Number of the incarnation.
        incarnation: u64,
        /// What it is.
        obstacle: Arc<str>,
    },
    /// The whole process tree is no more.
    Gone {
        /// Number of the incarnation.
        incarnation: u64,
    },
    /// The moment of [`State::deadline`] has come.
    Timer,
}

/// What the shell has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reserve memory, and send [`Event::Turn`] when few enough servers are starting. Meanwhile
    /// [`Event::Waits`] may be sent, or [`Event::DoesNotFit`] instead.
    AwaitTurn,
    /// Make the process of this incarnation.
    Spawn(u64),
    /// Watch the load: send progress, obstacles, and health when it is there.
    AwaitReady(Process),
    /// Watch for a hang.
    Watch(Process),
    /// Send [`Event::Drained`] when nothing is in flight. It may follow another one.
    Drain {
        /// The process.
        process: Process,
        /// Send [`Event::Busy`] instead if anything is.
        only_if_idle: bool,
    },
    /// Send SIGTERM and SIGCONT.
    Terminate(Process),
    /// Kill the whole tree, and send [`Event::Gone`] when nothing of it is left.
    KillTree(Process),
}

/// The next state of a server, and what to do about it. Pure and total: see the module's page.
pub fn step(state: &State, event: Event, now: Moment) -> (State, Vec<Action>) {
    let mut next = Step {
        state: state.clone(),
        actions: Vec::new(),
        now,
    };
    next.take(event);
    (next.state, next.actions)
}

/// A step under way. What commands do is in `commands`, the way to ready in `up`, that to the end of an
/// incarnation in `down`, and what follows a failure in `failure`.
pub(super) struct Step {
    pub(super) state: State,
    pub(super) actions: Vec<Action>,
    pub(super) now: Moment,
}

impl Step {
    fn take(&mut self, event: Event) {
        match event {
            Event::Start => self.start(),
            Event::Demand => self.demand(),
            Event::Stop(reason) => self.stop(reason),
            Event::Restart => {
                self.state.desired = Desired::Running;
                self.state.on_demand = false;
                self.renew(StopCause::Restart);
            }
            Event::Replace => match self.state.desired {
                Desired::Running => self.renew(StopCause::Replace),
                Desired::Stopped(_) => self.outdate(),
            },
            Event::SetPolicy(policy) => self.set_policy(policy),
            Event::Hurry => self.hurry(),
            Event::Healed => self.healed(),
            Event::Waits(wait) => self.waits(wait),
            Event::DoesNotFit(exit) => self.does_not_fit(exit),
            Event::Turn(incarnation) => self.turn(incarnation),
            Event::Spawned(process) => self.spawned(process),
            Event::SpawnFailed { incarnation, exit } => self.spawn_failed(incarnation, exit),
            Event::Progress { incarnation } => self.progress(incarnation, None),
            Event::NotYet {
                incarnation,
                obstacle,
            } => self.progress(incarnation, Some(obstacle)),
            Event::Healthy { incarnation } => self.healthy(incarnation),
            Event::Hung { incarnation, exit } => self.hung(incarnation, exit),
            Event::Overwritten { incarnation, exit } => self.overwritten(incarnation, exit),
            Event::Drained { incarnation } => self.drained(incarnation),
            Event::Busy { incarnation } => self.busy(incarnation),
            Event::Exited { incarnation, exit } => self.exited(incarnation, exit),
            Event::Stuck {
                incarnation,
                obstacle,
            } => self.stuck(incarnation, obstacle),
            Event::Gone { incarnation } => self.gone(incarnation),
            Event::Timer => self.timer(),
        }
    }

    fn timer(&mut self) {
        if self.state.deadline().is_none_or(|due| due > self.now) {
            return;
        }
        match self.state.phase.clone() {
            Phase::Loading {
                process, obstacle, ..
            } => {
                let exit = startup_timeout(&self.state.policy, obstacle.as_deref());
                self.terminate(process, Ending::Failing(Arc::new(exit)), None);
            }
            // Nobody has said that it is idle.
            Phase::Draining {
                process,
                ready_since,
                cause,
                ..
            } if cause.is_only_if_idle() => self.call_off(process, ready_since),
            Phase::Draining {
                process,
                ready_since,
                cause,
                ..
            } => {
                let ready_for = self.now.since(ready_since);
                self.terminate(process, Ending::Asked(cause), Some(ready_for));
            }
            Phase::Stopping {
                process,
                ending,
                ready_for,
                obstacle,
                ..
            } => self.kill(process, ending, ready_for, obstacle),
            Phase::Backoff { .. } => {
                self.state.history.note_restart();
                self.queue();
            }
            Phase::Failed { cause, .. } => self.half_open(cause),
            // These have no deadline.
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Ready { .. } => {}
        }
    }

    /// Tries once more what had failed.
    pub(super) fn half_open(&mut self, cause: FailedCause) {
        self.state.history.note_restart();
        match cause {
            FailedCause::TooMany(_) => self.state.history.note_trial(),
            FailedCause::Prospect | FailedCause::Policy => {}
        }
        self.queue();
    }

    // Entering a phase.

    pub(super) fn queue(&mut self) {
        self.state.start_asked = false;
        self.state.phase = Phase::Queued { wait: Wait::Turn };
        self.actions.push(Action::AwaitTurn);
    }

    /// Goes on with what was to be stopped if it is idle.
    pub(super) fn call_off(&mut self, process: Process, ready_since: Moment) {
        self.state.desired = Desired::Running;
        self.ready(process, ready_since);
    }

    pub(super) fn ready(&mut self, process: Process, since: Moment) {
        self.state.start_asked = false;
        self.state.phase = Phase::Ready { process, since };
        self.actions.push(Action::Watch(process));
    }

    pub(super) fn drain(&mut self, process: Process, ready_since: Moment, cause: StopCause) {
        self.state.phase = Phase::Draining {
            process,
            ready_since,
            until: self.now + self.state.policy.drain_timeout,
            cause,
        };
        self.actions.push(Action::Drain {
            process,
            only_if_idle: cause.is_only_if_idle(),
        });
    }

    pub(super) fn terminate(
        &mut self,
        process: Process,
        ending: Ending,
        ready_for: Option<std::time::Duration>,
    ) {
        self.state.phase = Phase::Stopping {
            process,
            rung: Rung::Terminate {
                until: self.now + self.state.policy.stop_timeout,
            },
            ending,
            ready_for,
            obstacle: None,
        };
        self.actions.push(Action::Terminate(process));
    }

    pub(super) fn kill(
        &mut self,
        process: Process,
        ending: Ending,
        ready_for: Option<std::time::Duration>,
        obstacle: Option<Arc<str>>,
    ) {
        self.state.phase = Phase::Stopping {
            process,
            rung: Rung::Kill,
            ending,
            ready_for,
            obstacle,
        };
        self.actions.push(Action::KillTree(process));
    }

    pub(super) fn note_exit(&mut self, incarnation: u64, exit: Arc<Exit>) {
        self.state.last_exit = Some(LastExit { incarnation, exit });
    }
}

impl State {
    /// A server of which an incarnation outlived the magid that started it: it is ended before
    /// anything else, and what is desired comes after. `process` is that incarnation. With `drains` what
    /// is in flight at it is waited for; otherwise nobody could tell.
    pub fn with_survivor(
        mut self,
        process: Process,
        drains: bool,
        now: Moment,
    ) -> (Self, Vec<Action>) {
        self.incarnation = self.incarnation.max(process.incarnation);
        let mut step = Step {
            state: self,
            actions: Vec::new(),
            now,
        };
        if drains {
            step.drain(process, now, StopCause::Survived);
        } else {
            step.terminate(process, Ending::Asked(StopCause::Survived), None);
        }
        (step.state, step.actions)
    }
}

fn startup_timeout(policy: &Policy, obstacle: Option<&str>) -> Exit {
    let seconds = policy.max_startup_time.as_secs_f64();
    let how_far = obstacle.unwrap_or("no output, no bytes read, no CPU time");
    Exit::without_process(
        ExitClass::StartupTimeout,
        format!(
            "not ready after {seconds} s without progress ({how_far}); the limit is max_startup_time"
        ),
    )
}
