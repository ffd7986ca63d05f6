//! Steps of the lifecycle: what each makes of the effects that are under way, and who performs its actions.

use super::turn::account;
use super::{Incarnation, Server};
use crate::lifecycle::{self, Action, Ending, Event, Process as Pid, State, StopCause};

impl Server {
    /// Takes one step of the lifecycle, and does what it asks for.
    pub(super) fn apply(&mut self, event: Event) {
        let now = self.context.clock.now();
        let (state, actions) = lifecycle::step(&self.state, event, now);
        let before = std::mem::replace(&mut self.state, state);
        if was_stopped(&before) && self.is_queued() {
            // Whoever it was stopped for comes first, so it asks for memory anew.
            self.reserved = None;
        }
        self.drop_what_is_over();
        self.announce();
        self.publish();
        // Only now: gateways are told of the state before they are told what to do about it.
        if !matches!(self.state.phase, lifecycle::Phase::Draining { .. }) {
            self.conversation = None;
        }
        for action in actions {
            self.perform(action);
        }
        // Only now: who starts next is told of after this one.
        if !self.state.is_starting() {
            self.turn = None;
        }
        if self.state.is_at_rest() {
            self.reserved = None;
        }
        self.answer_demands();
        if self.state.is_settled() {
            self.waiting.clear();
        }
    }

    /// Drops the effects whose phase is over; that ends them.
    fn drop_what_is_over(&mut self) {
        use lifecycle::Phase;
        let phase = &self.state.phase;
        if !self.state.is_starting() {
            self.published.load_percent = None;
        }
        if !matches!(phase, Phase::Queued { .. }) && self.effects.turn.take().is_some() {
            // It may not have got as far as asking.
            self.context.memory.withdraw(&account(&self.seat));
        }
        if !matches!(phase, Phase::Loading { .. }) {
            self.effects.readiness = None;
        }
        if !matches!(phase, Phase::Ready { .. }) {
            self.effects.watch = None;
            self.effects.idle = None;
            self.published.note = None;
        }
        if !matches!(phase, Phase::Draining { .. }) {
            self.effects.drain = None;
        }
        if !matches!(
            phase,
            Phase::Loading { .. } | Phase::Ready { .. } | Phase::Draining { .. }
        ) {
            self.effects.model = None;
        }
        let heals = matches!(
            phase,
            Phase::Failed {
                cause: lifecycle::FailedCause::Prospect,
                ..
            }
        );
        if !heals {
            self.effects.heal = None;
        } else if self.effects.heal.is_none() {
            self.await_healing();
        }
    }

    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::AwaitTurn => self.await_turn(),
            Action::Spawn(incarnation) => self.begin_spawn(incarnation),
            Action::AwaitReady(process) => self.with(process, Self::await_ready),
            Action::Watch(process) => self.with(process, |server, live| {
                server.watch(live.clone());
                server.await_idleness(live, server.context.clock.now());
            }),
            Action::Drain {
                process,
                only_if_idle,
            } => self.with(process, |server, live| server.drain(live, only_if_idle)),
            Action::Terminate(process) => self.with(process, Self::terminate),
            Action::KillTree(process) => self.with(process, Self::kill_tree),
        }
    }

    /// Does something with the incarnation that an action is about.
    fn with(&mut self, process: Pid, act: impl FnOnce(&mut Self, Incarnation)) {
        match self.incarnation.clone() {
            Some(incarnation) if incarnation.number == process.incarnation => {
                act(self, incarnation)
            }
            Some(_) | None => {
                tracing::error!(server = %self.definition.name, ?process, "an action without its incarnation");
            }
        }
    }
}

/// Whether it is ended since it was to stop, whatever is to follow.
fn was_stopped(state: &State) -> bool {
    use lifecycle::Phase;
    match &state.phase {
        Phase::Stopping {
            ending: Ending::Asked(cause),
            ..
        } => match cause {
            StopCause::Stop(_) => true,
            StopCause::Restart | StopCause::Replace | StopCause::Survived => false,
        },
        Phase::Stopping {
            ending: Ending::Failing(_) | Ending::Ended(_),
            ..
        }
        | Phase::Stopped(_)
        | Phase::Queued { .. }
        | Phase::Spawning { .. }
        | Phase::Loading { .. }
        | Phase::Ready { .. }
        | Phase::Draining { .. }
        | Phase::Backoff { .. }
        | Phase::Failed { .. } => false,
    }
}
