//! Judging a change once everything that it touched has settled.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::owner::{Expectation, Fleet, tell};
use super::{Conclusion, Mode, Pending, Veto};
use crate::lifecycle::{ExitClass, PublicState};
use crate::name::ServerName;
use crate::plan::{Step, StepAction};
use crate::supervisor::board::Row;
use crate::supervisor::server::Command;

/// What a server that was touched has come to.
enum Outcome {
    /// As it should be.
    Good,
    /// There is no memory or no port for the successor: it has to wait until its predecessor is gone.
    NeedsRoom,
    /// Not as it should be.
    Bad(Veto),
}

impl Fleet {
    /// Takes note of what a change expects. What an earlier one that was not concluded expected of a
    /// server that this one leaves alone goes on being expected.
    pub(super) fn expect(&mut self, steps: &[Step], mode: Mode) {
        match mode {
            Mode::Plan | Mode::Start | Mode::Rollback => return self.expected.clear(),
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
        }
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
        let outcomes: BTreeMap<ServerName, Outcome> = self
            .expected
            .iter()
            .map(|(name, expectation)| (name.clone(), self.outcome(name, *expectation)))
            .collect();
        let mut vetoes = Vec::new();
        let mut pending = Vec::new();
        for (name, outcome) in outcomes {
            match outcome {
                Outcome::Good => {}
                Outcome::NeedsRoom => pending.extend(self.make_room(&name)),
                Outcome::Bad(veto) if may_veto => vetoes.push(veto),
                Outcome::Bad(_) => self.settle_for_drain_restart(&name),
            }
        }
        if !vetoes.is_empty() {
            return Conclusion::Vetoed(vetoes);
        }
        if !pending.is_empty() {
            return Conclusion::NotYet(pending);
        }
        for name in std::mem::take(&mut self.expected).into_keys() {
            self.promote(&name);
        }
        Conclusion::Holds
    }

    fn outcome(&self, name: &ServerName, expectation: Expectation) -> Outcome {
        let member = self.members.get(name);
        let Some(member) = member.filter(|member| member.wanted && member.removed.is_none()) else {
            // An operator stopped it meanwhile.
            return Outcome::Good;
        };
        if let Some(successor) = &member.successor {
            let row = self.context.board.aside(&successor.seat);
            return row.map_or(Outcome::NeedsRoom, |row| of_successor(name, &row));
        }
        let row = self.context.board.row(name);
        row.map_or(Outcome::Good, |row| of_server(name, &row, expectation))
    }

    fn make_room(&mut self, name: &ServerName) -> Option<Pending> {
        self.settle_for_drain_restart(name);
        let (done, finished) = oneshot::channel();
        let member = self.members.get(name)?;
        tell(member, Command::Notify(done));
        Some(Pending {
            server: name.clone(),
            done: finished,
            touched: true,
        })
    }
}

fn of_successor(name: &ServerName, row: &Row) -> Outcome {
    // There are as many ports as servers: it takes over that of its predecessor.
    let lacks_a_port = row.view.reason == ExitClass::Bind.code();
    match row.view.state {
        PublicState::Failed if lacks_a_port => Outcome::NeedsRoom,
        PublicState::Ready | PublicState::Starting | PublicState::Backoff => Outcome::Good,
        PublicState::Stopped => Outcome::NeedsRoom,
        PublicState::Draining | PublicState::Stopping | PublicState::Failed => {
            Outcome::Bad(veto(name, row))
        }
    }
}

fn of_server(name: &ServerName, row: &Row, expectation: Expectation) -> Outcome {
    let failed = match row.view.state {
        PublicState::Failed => true,
        // It exited, or waits for memory that it had before.
        PublicState::Stopped => expectation == Expectation::Served,
        // It was ready, or failed for good, when it was waited for: this is what came after.
        PublicState::Starting
        | PublicState::Ready
        | PublicState::Draining
        | PublicState::Stopping
        | PublicState::Backoff => false,
    };
    match expectation {
        Expectation::New | Expectation::Served if failed => Outcome::Bad(veto(name, row)),
        Expectation::New | Expectation::Served | Expectation::Nothing => Outcome::Good,
    }
}

fn veto(name: &ServerName, row: &Row) -> Veto {
    Veto {
        server: name.clone(),
        reason: row.view.reason.to_owned(),
        detail: row.view.detail.clone(),
    }
}
