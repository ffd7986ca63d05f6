//! Judging a change once everything that it touched has settled.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::owner::{Before, Expectation, Fleet, Member, tell};
use super::{Conclusion, Mode, Pending, Veto};
use crate::lifecycle::{Event, ExitClass, PublicState, StopReason};
use crate::name::ServerName;
use crate::plan::{Step, StepAction};
use crate::supervisor::board::Row;
use crate::supervisor::server::Command;

/// What a server that was touched has come to.
enum Outcome {
    /// As it should be.
    Good,
    /// Something is under way.
    Unsettled,
    /// There is no memory or no port for the successor: it has to wait until its predecessor is gone.
    NeedsRoom,
    /// Not as it should be.
    Bad(Veto),
}

impl Fleet {
    /// Takes note of what a change expects, and of what it changes about what is wanted. What an earlier
    /// one that was not concluded expected of a server that this one leaves alone goes on being expected.
    pub(super) fn expect(&mut self, steps: &[Step], mode: Mode) {
        match mode {
            Mode::Plan | Mode::Start | Mode::Rollback => {
                self.before.clear();
                return self.expected.clear();
            }
            Mode::Reload => {}
        }
        let mut expected = std::mem::take(&mut self.expected);
        for step in steps {
            let before = expected.remove(&step.server);
            let now = match step.action {
                StepAction::Start | StepAction::Replace => {
                    Some(before.unwrap_or_else(|| self.expectation(&step.server)))
                }
                StepAction::Keep | StepAction::Live => before,
                StepAction::Stop | StepAction::Define => None,
            };
            if let Some(now) = now {
                self.expected.insert(step.server.clone(), now);
            }
            match step.action {
                StepAction::Start | StepAction::Stop => self.note_what_is_wanted(&step.server),
                StepAction::Keep | StepAction::Live | StepAction::Replace | StepAction::Define => {}
            }
        }
    }

    fn note_what_is_wanted(&mut self, name: &ServerName) {
        let member = self.members.get(name);
        let member = member.filter(|member| member.removed.is_none());
        let now = Before {
            wanted: member.is_some_and(|member| member.wanted),
            stopped: self.stopped.get(name).copied(),
        };
        self.before.entry(name.clone()).or_insert(now);
    }

    /// Of servers that a change started, those that did not run before are not wanted any more; and what
    /// an operator stopped and the change removed is stopped by the operator again.
    pub(super) fn want_as_before(&mut self) {
        for (name, before) in &self.before {
            if let Some(stop) = before.stopped {
                self.stopped.insert(name.clone(), stop);
            }
            if let Some(member) = self.members.get_mut(name)
                && member.wanted
                && !before.wanted
            {
                member.wanted = false;
                tell(
                    member,
                    Command::Ask(Event::Stop(StopReason::NotAutostarted), None),
                );
            }
        }
    }

    /// Whether a server that a change removed ran, although nothing but a request starts it.
    pub(super) fn ran_before(&self, step: &Step) -> bool {
        let before = self.before.get(&step.server);
        step.action == StepAction::Define && before.is_some_and(|before| before.wanted)
    }

    fn expectation(&self, name: &ServerName) -> Expectation {
        let Some(row) = self.context.board.row(name) else {
            return Expectation::New;
        };
        match row.view.state {
            PublicState::Ready | PublicState::Starting | PublicState::Draining => {
                Expectation::Served
            }
            PublicState::Stopped
            | PublicState::Stopping
            | PublicState::Backoff
            | PublicState::Failed => Expectation::Nothing,
        }
    }

    pub(super) fn conclude(&mut self, may_veto: bool) -> Conclusion {
        let mut vetoes = Vec::new();
        let mut unsettled = Vec::new();
        let mut without_room = Vec::new();
        for (name, expectation) in &self.expected {
            match self.outcome(name, *expectation) {
                Outcome::Good => {}
                Outcome::Unsettled => unsettled.push(name.clone()),
                Outcome::NeedsRoom => without_room.push(name.clone()),
                Outcome::Bad(veto) => vetoes.push(veto),
            }
        }
        if may_veto && !vetoes.is_empty() {
            return Conclusion::Vetoed(vetoes);
        }
        if !unsettled.is_empty() {
            return Conclusion::NotYet(self.settling(&unsettled));
        }
        for veto in &vetoes {
            self.settle_for_drain_restart(&veto.server);
        }
        // Only now that nothing can be vetoed for another reason is anything ended that serves.
        for name in &without_room {
            self.settle_for_drain_restart(name);
        }
        if !without_room.is_empty() {
            return Conclusion::NotYet(self.settling(&without_room));
        }
        self.before.clear();
        for name in std::mem::take(&mut self.expected).into_keys() {
            self.promote(&name);
        }
        Conclusion::Holds
    }

    fn outcome(&self, name: &ServerName, expectation: Expectation) -> Outcome {
        let member = self.members.get(name);
        let is_judged = |member: &&Member| member.removed.is_none() && self.is_wanted(name, member);
        let Some(member) = member.filter(is_judged) else {
            // An operator stopped it meanwhile, or it made room.
            return Outcome::Good;
        };
        if let Some(successor) = &member.successor {
            let row = self.context.board.aside(&successor.seat);
            return row.map_or(Outcome::Unsettled, |row| of_successor(name, &row));
        }
        match self.context.board.row(name) {
            Some(row) if Arc::ptr_eq(&row.definition, &member.definition) => {
                of_server(name, &row, expectation)
            }
            // It has not even taken the new definition.
            Some(_) | None => Outcome::Unsettled,
        }
    }

    /// What is under way at these servers.
    fn settling(&self, names: &[ServerName]) -> Vec<Pending> {
        let members = names
            .iter()
            .filter_map(|name| self.members.get_key_value(name));
        let settling = members.map(|(name, member)| {
            let successor = member.successor.as_ref();
            let handle = successor.map_or(&member.handle, |successor| &successor.handle);
            let (done, finished) = oneshot::channel();
            // A queue that is full answers by dropping the sender, and is asked again.
            let _ = handle.tell(Command::Notify(done));
            Pending {
                server: name.clone(),
                done: finished,
                touched: true,
            }
        });
        settling.collect()
    }
}

fn of_successor(name: &ServerName, row: &Row) -> Outcome {
    // There are as many ports as servers: it takes over that of its predecessor.
    let lacks_a_port = row.view.reason == ExitClass::Bind.code();
    match row.view.state {
        PublicState::Failed if lacks_a_port => Outcome::NeedsRoom,
        PublicState::Ready => Outcome::Good,
        // It was ready, and is not any more: its predecessor serves until it is again.
        PublicState::Starting | PublicState::Draining | PublicState::Stopping => Outcome::Unsettled,
        PublicState::Stopped if row.view.reason == StopReason::Exited.code() => {
            Outcome::Bad(veto(name, row))
        }
        PublicState::Stopped if row.view.reason == StopReason::NotAutostarted.code() => {
            Outcome::Unsettled
        }
        PublicState::Stopped => Outcome::NeedsRoom,
        PublicState::Backoff | PublicState::Failed => Outcome::Bad(veto(name, row)),
    }
}

fn of_server(name: &ServerName, row: &Row, expectation: Expectation) -> Outcome {
    match expectation {
        Expectation::New | Expectation::Served => {}
        Expectation::Nothing => return Outcome::Good,
    }
    match row.view.state {
        PublicState::Failed => Outcome::Bad(veto(name, row)),
        // It exited, or waits for memory that it had before.
        PublicState::Stopped if expectation == Expectation::Served => Outcome::Bad(veto(name, row)),
        PublicState::Starting | PublicState::Draining | PublicState::Stopping => Outcome::Unsettled,
        // It was ready when it was waited for: a failure is what came after.
        PublicState::Ready | PublicState::Stopped | PublicState::Backoff => Outcome::Good,
    }
}

fn veto(name: &ServerName, row: &Row) -> Veto {
    // An incarnation that was told to end is not the one that failed.
    let exit = row.last_exit.as_ref().filter(|(_, last)| {
        Some(last.incarnation) == row.incarnation && last.exit.class != ExitClass::Requested
    });
    Veto {
        server: name.clone(),
        reason: row.view.reason.to_owned(),
        detail: row.view.detail.clone(),
        exit: exit.cloned(),
    }
}
