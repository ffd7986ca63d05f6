//! A server and the world around it, as far as the lifecycle can tell.

use std::time::Duration;

use super::laws::{self, Law};
use super::moves::{Message, Move};
use crate::lifecycle::{
    Action, Desired, Event, ExitStatus, FailedCause, Phase, Policy, Process, State,
};
use crate::moment::Moment;

/// The transition function, or a broken one that shows that the laws can be broken.
pub(crate) type StepFn = fn(&State, Event, Moment) -> (State, Vec<Action>);

/// A server and its environment at one moment.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) now: Moment,
    pub(crate) environment: Environment,
    pub(crate) witness: Witness,
    /// What the last move made the server do.
    pub(crate) actions: Vec<Action>,
}

/// What the shell has under way, and what the kernel holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Environment {
    /// A turn was asked for.
    pub(crate) turn: bool,
    /// A process is being made for this incarnation.
    pub(crate) spawning: Option<u64>,
    /// The process, or what is left of its tree.
    pub(crate) process: Option<Process>,
    /// The process itself has ended; only the rest of its tree is there.
    pub(crate) ended: bool,
    /// SIGTERM was sent.
    pub(crate) terminated: bool,
    /// The tree is being killed.
    pub(crate) killing: bool,
    /// Its load is watched.
    pub(crate) awaits_ready: bool,
    /// It is watched for a hang.
    pub(crate) watches: bool,
    /// Its drain is watched.
    pub(crate) drains: bool,
    /// Its drain is given up if it is not idle.
    pub(crate) may_be_busy: bool,
}

/// What is remembered of earlier moves, in order to judge by it and independently of the state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Witness {
    /// It was last asked to run, rather than to stop.
    pub(crate) wanted: bool,
    /// What was asked has not been tried yet.
    pub(crate) owed: bool,
    /// What lives, or is being made, was to be replaced by a new incarnation.
    pub(crate) superseded: bool,
    /// The process ended with status 0 before anybody here ended it.
    pub(crate) ended_well: bool,
    /// The greatest number of an incarnation so far.
    pub(crate) newest: u64,
    /// When the incarnation got ready.
    pub(crate) ready_since: Option<Moment>,
    /// How long it had been ready when its end began.
    pub(crate) ready_for: Option<Duration>,
    /// When the breaker opened.
    pub(crate) opened_at: Option<Moment>,
    /// The breaker let one try through, and it has not been ready yet.
    pub(crate) on_trial: bool,
}

impl World {
    /// A server of which nothing runs.
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            state: State::new(policy, 0, 1),
            now: Moment::default(),
            environment: Environment::default(),
            witness: Witness::default(),
            actions: Vec::new(),
        }
    }

    /// A server of which an incarnation outlived the magid that started it.
    pub(crate) fn with_survivor(policy: Policy, drains: bool) -> Self {
        let process = Process {
            incarnation: 3,
            pid: 9,
        };
        let mut world = Self::new(policy);
        let fresh = State::new(world.state.policy.clone(), process.incarnation, 1);
        let (state, actions) = fresh.with_survivor(process, drains, world.now);
        world.state = state;
        world.environment.process = Some(process);
        world.witness.newest = process.incarnation;
        for action in &actions {
            world.perform(*action).expect("the survivor is there");
        }
        world.actions = actions;
        world
    }

    /// Makes one move, if no law is broken by it.
    pub(crate) fn play(&mut self, step: StepFn, next: Move) -> Result<(), Law> {
        self.actions.clear();
        match next {
            Move::Pass(time) => {
                self.now = self.now + time;
                Ok(())
            }
            Move::Late(message, whose) => {
                let event = message.event(whose.process(self.witness.newest));
                let (state, actions) = step(&self.state, event, self.now);
                if state == self.state && actions.is_empty() {
                    return Ok(());
                }
                self.state = state;
                self.actions = actions;
                Err(Law::LateMeansNothing)
            }
            Move::Ask(ask) => self.send(step, ask.event(&self.state.policy)),
            Move::Tell(message) => {
                let event = message.event(self.subject());
                self.environment.take(message, self.subject());
                self.send(step, event)
            }
        }
    }

    /// The process that the environment has something to tell about.
    fn subject(&self) -> Process {
        self.environment.process.unwrap_or(Process {
            incarnation: self.environment.spawning.unwrap_or(self.witness.newest),
            pid: 1,
        })
    }

    fn send(&mut self, step: StepFn, event: Event) -> Result<(), Law> {
        let (state, actions) = step(&self.state, event.clone(), self.now);
        if step(&self.state, event.clone(), self.now) != (state.clone(), actions.clone()) {
            return Err(Law::Deterministic);
        }
        let before = std::mem::replace(&mut self.state, state);
        self.actions = actions;
        laws::judge_change(&before, &event, self)?;
        self.witness.note(&before, &event, &self.state, self.now);
        if self.environment.may_be_busy && matches!(self.state.phase, Phase::Ready { .. }) {
            // The stop has not come to anything.
            self.witness.wanted = true;
        }
        if self.environment.has_anything() && matches!(event, Event::Restart | Event::Replace) {
            self.witness.superseded = true;
        }
        for index in 0..self.actions.len() {
            self.perform(self.actions[index])?;
        }
        self.environment.drop_what_is_over(&self.state.phase);
        laws::judge(self)
    }

    fn perform(&mut self, action: Action) -> Result<(), Law> {
        laws::judge_action(action, self)?;
        let environment = &mut self.environment;
        match action {
            Action::AwaitTurn => environment.turn = true,
            Action::Spawn(incarnation) => {
                environment.spawning = Some(incarnation);
                self.witness.newest = incarnation;
                self.witness.owed = false;
                self.witness.superseded = false;
            }
            Action::AwaitReady(_) => environment.awaits_ready = true,
            Action::Watch(_) => environment.watches = true,
            Action::Drain { only_if_idle, .. } => {
                environment.drains = true;
                environment.may_be_busy = only_if_idle;
            }
            Action::Terminate(_) => environment.terminated = true,
            Action::KillTree(_) => environment.killing = true,
        }
        Ok(())
    }

    /// Whether a request will have it tried once more.
    pub(crate) fn has_trial(&self) -> bool {
        matches!(
            self.state.phase,
            Phase::Failed {
                retry_at: Some(_),
                ..
            }
        ) && self.state.on_demand
    }

    /// Whether a request has it tried once more now.
    pub(crate) fn has_due_trial(&self) -> bool {
        let due = self.state.view().next_try;
        self.has_trial() && due.is_some_and(|due| due <= self.now)
    }

    /// Whether the moment of the deadline has come.
    pub(crate) fn is_due(&self) -> bool {
        self.state.deadline().is_some_and(|due| due <= self.now)
    }
}

impl Environment {
    /// Whether anything of the server is there, or about to be.
    pub(crate) fn has_anything(&self) -> bool {
        self.process.is_some() || self.spawning.is_some()
    }

    /// Becomes what a message tells of.
    fn take(&mut self, message: Message, subject: Process) {
        match message {
            Message::Turn | Message::DoesNotFit => self.turn = false,
            Message::Spawned => {
                self.spawning = None;
                self.process = Some(subject);
            }
            Message::SpawnFailed(_) => self.spawning = None,
            Message::Exited(_) => self.ended = true,
            Message::Gone => {
                self.process = None;
                self.ended = false;
                self.terminated = false;
                self.killing = false;
            }
            Message::Healed
            | Message::Timer
            | Message::Progress
            | Message::NotYet
            | Message::Healthy
            | Message::Hung
            | Message::Overwritten
            | Message::Shortage
            | Message::MakingRoom
            | Message::Granted
            | Message::Drained
            | Message::Busy
            | Message::Stuck => {}
        }
    }

    /// Drops the effects whose phase is over, as the shell does.
    fn drop_what_is_over(&mut self, phase: &Phase) {
        self.turn &= matches!(phase, Phase::Queued { .. });
        self.awaits_ready &= matches!(phase, Phase::Loading { .. });
        self.watches &= matches!(phase, Phase::Ready { .. });
        self.drains &= matches!(phase, Phase::Draining { .. });
        self.may_be_busy &= self.drains;
    }
}

impl Witness {
    fn note(&mut self, before: &State, event: &Event, after: &State, now: Moment) {
        self.note_what_is_asked(before, event, after);
        self.note_ready(before, after, now);
        let by_itself = matches!(
            before.phase,
            Phase::Loading { .. } | Phase::Ready { .. } | Phase::Draining { .. }
        );
        if let Event::Exited { exit, .. } = event {
            self.ended_well = by_itself && exit.status == Some(ExitStatus::Code(0));
        } else if !matches!(after.phase, Phase::Stopping { .. }) {
            self.ended_well = false;
        }
        self.note_trial(before, event, after, now);
        self.opened_at = match is_open(after) {
            true => self.opened_at.or(Some(now)),
            false => None,
        };
    }

    fn note_what_is_asked(&mut self, before: &State, event: &Event, after: &State) {
        let asks = match event {
            Event::Start | Event::Restart => true,
            Event::Demand => finds_it_stopped(before),
            Event::Replace => self.wanted,
            // It was weighed, and found too heavy.
            Event::DoesNotFit(_) => {
                self.owed = false;
                false
            }
            Event::Stop(reason) if reason.is_only_if_ready() => {
                self.wanted &= !matches!(before.phase, Phase::Ready { .. });
                false
            }
            Event::Stop(_) => {
                self.wanted = false;
                self.owed = false;
                false
            }
            Event::SetPolicy(_)
            | Event::Hurry
            | Event::Healed
            | Event::Waits(_)
            | Event::Turn(_)
            | Event::Spawned(_)
            | Event::SpawnFailed { .. }
            | Event::Progress { .. }
            | Event::NotYet { .. }
            | Event::Healthy { .. }
            | Event::Hung { .. }
            | Event::Overwritten { .. }
            | Event::Drained { .. }
            | Event::Busy { .. }
            | Event::Exited { .. }
            | Event::Stuck { .. }
            | Event::Gone { .. }
            | Event::Timer => false,
        };
        if asks {
            self.wanted = true;
            // One that is on its way up, or there, is the answer.
            self.owed = !matches!(
                after.phase,
                Phase::Spawning {
                    given_up: false,
                    ..
                } | Phase::Loading { .. }
                    | Phase::Ready { .. }
            );
        }
    }

    fn note_trial(&mut self, before: &State, event: &Event, after: &State, now: Moment) {
        let starts = begins(before, after);
        if starts {
            let by_itself = is_automatic(before, event, now);
            let let_through = is_open(before) && by_itself;
            let goes_on = self.on_trial && by_itself;
            self.on_trial = let_through || goes_on;
        } else if matches!(after.phase, Phase::Ready { .. }) {
            self.on_trial = false;
        }
    }

    fn note_ready(&mut self, before: &State, after: &State, now: Moment) {
        match after.phase {
            Phase::Ready { .. } | Phase::Draining { .. } => {
                self.ready_since = self.ready_since.or(Some(now));
            }
            Phase::Stopping { .. } => {
                if !matches!(before.phase, Phase::Stopping { .. }) {
                    self.ready_for = self.ready_since.take().map(|since| now.since(since));
                }
            }
            Phase::Stopped(_)
            | Phase::Queued { .. }
            | Phase::Spawning { .. }
            | Phase::Loading { .. }
            | Phase::Backoff { .. }
            | Phase::Failed { .. } => {
                self.ready_since = None;
                self.ready_for = None;
            }
        }
    }
}

/// Whether a start begins.
pub(crate) fn begins(before: &State, after: &State) -> bool {
    let queued = |state: &State| matches!(state.phase, Phase::Queued { .. });
    queued(after) && !queued(before)
}

/// Whether a request that comes now asks for a start, rather than joins what is under way.
pub(crate) fn finds_it_stopped(state: &State) -> bool {
    matches!(state.desired, Desired::Stopped(_)) || matches!(state.phase, Phase::Stopped(_))
}

/// Whether what starts now is tried again because it is due, and not because somebody asks for it.
pub(crate) fn is_automatic(before: &State, event: &Event, now: Moment) -> bool {
    let trial = match before.phase {
        Phase::Failed { retry_at, .. } => retry_at,
        Phase::Stopped(_)
        | Phase::Queued { .. }
        | Phase::Spawning { .. }
        | Phase::Loading { .. }
        | Phase::Ready { .. }
        | Phase::Draining { .. }
        | Phase::Stopping { .. }
        | Phase::Backoff { .. } => None,
    };
    let is_due = trial.is_some_and(|due| due <= now);
    *event == Event::Timer || *event == Event::Demand && is_due
}

/// Whether the breaker is open.
pub(crate) fn is_open(state: &State) -> bool {
    matches!(
        state.phase,
        Phase::Failed {
            cause: FailedCause::TooMany(_),
            ..
        }
    )
}

/// Whether the witness and the state agree on what is desired.
pub(crate) fn agrees(world: &World) -> bool {
    world.witness.wanted == (world.state.desired == Desired::Running)
}
