//! The end of an incarnation: how it is brought about, noticed, explained and completed.

use std::io;
use std::sync::Arc;

use nix::sys::signal::Signal;

use super::{Incarnation, Report, Server};
use crate::lifecycle::classify::{Evidence, classify};
use crate::lifecycle::{Event, Exit, ExitStatus, LastExit, PublicState};
use crate::logs;
use crate::name::ServerName;
use crate::process::{Process, Tree, usage};
use crate::supervisor::events::Kind;

impl Server {
    /// Notices the end of the process, and finds out what it means.
    pub(super) fn await_exit(&self, live: &Incarnation) {
        let live = live.clone();
        let (reports, board) = (self.reports.clone(), self.context.board.clone());
        let name = self.definition.name.clone();
        // Not dropped with any phase: every end is noticed.
        tokio::spawn(async move {
            let status = live.process.exited().await;
            let row = board.row(&name);
            let was_ready = row.is_some_and(|row| {
                matches!(row.view.state, PublicState::Ready | PublicState::Draining)
            });
            let incarnation = live.number;
            let exit = blocking(move || Ok(explain_end(&live, status, was_ready)))
                .await
                .unwrap_or_else(|_: io::Error| Exit::of_status(status));
            let exit = Arc::new(exit);
            let _ = reports
                .send(Report::Event(Event::Exited { incarnation, exit }))
                .await;
        });
    }

    pub(super) fn terminate(&mut self, live: Incarnation) {
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            if let Err(error) = live.process.signal(signal) {
                tracing::warn!(server = %self.definition.name, "cannot send {signal}: {error}");
            }
        }
    }

    /// Kills the whole tree; reports once nothing of it is left and the record says so.
    pub(super) fn kill_tree(&mut self, live: Incarnation) {
        let mut record = self.record.clone();
        let (reports, context) = (self.reports.clone(), self.context.clone());
        let name = self.definition.name.clone();
        let incarnation = live.number;
        // Not dropped with any phase: it is what ends the phase.
        tokio::spawn(async move {
            let stuck = reports.clone();
            let tell = move |obstacle: String| {
                let obstacle = Arc::from(obstacle);
                // Only what people are told of it is lost if there is no room.
                let _ = stuck.try_send(Report::Event(Event::Stuck {
                    incarnation,
                    obstacle,
                }));
            };
            live.tree.kill(tell).await;
            live.process.exited().await;
            record.live = None;
            let folder = context.records.clone();
            let kept = record.clone();
            if let Err(error) = blocking(move || kept.write(&folder)).await {
                // The next magid will look for it, and find nothing.
                tracing::warn!(server = %name, "cannot record that nothing is left of it: {error}");
            }
            context.ports.release(name).await;
            let _ = reports
                .send(Report::Gone {
                    incarnation,
                    record,
                })
                .await;
        });
    }

    /// Takes over what an earlier magid left of this server, in order to end it.
    pub(super) fn adopt(&mut self, tree: Tree) {
        let Some(live) = self.record.live.clone() else {
            return;
        };
        let process = match Process::adopt(&tree.main) {
            Ok(Some(process)) => process,
            // Its main process is gone, but the tree has members.
            Ok(None) | Err(_) => Process::gone(&tree.main),
        };
        let number = self.record.incarnation;
        let incarnation = Incarnation {
            number,
            process: Arc::new(process),
            endpoint: live.endpoint,
            program: self.definition.launch.engine.clone(),
            engine: None,
            arguments: Vec::new(),
            model: Default::default(),
            log: self.context.rules.borrow().logs.path(&self.definition.name, number),
            oom_kills: usage::oom_kills(),
            tree,
        };
        let pid = crate::lifecycle::Process {
            incarnation: number,
            pid: incarnation.process.pid(),
        };
        self.record_event(
            Kind::SurvivorFound,
            Some(number),
            None,
            "survived",
            format!(
                "incarnation {number} of {} (pid {}) outlived the magid that started it: it is stopped before anything else",
                self.definition.name, pid.pid
            ),
        );
        self.await_exit(&incarnation);
        self.incarnation = Some(incarnation);
        let state = self.state.clone();
        let (state, actions) = state.with_survivor(pid, self.context.clock.now());
        self.state = state;
        self.announce();
        for action in actions {
            self.perform(action);
        }
    }
}

fn explain_end(live: &Incarnation, status: ExitStatus, was_ready: bool) -> Exit {
    let lines = logs::tail(&live.log, Exit::LAST_LINES * 5).unwrap_or_default();
    classify(&Evidence {
        status,
        reached_ready: was_ready,
        lines: &lines,
        oom_kills_during_life: usage::oom_kills().saturating_sub(live.oom_kills),
    })
}

/// The end of an incarnation in one line.
pub(super) fn sentence(server: &ServerName, last: &LastExit) -> String {
    let exit = &last.exit;
    let how = match exit.status {
        Some(ExitStatus::Code(code)) => format!("exited with status {code}"),
        Some(ExitStatus::Signal(number)) => format!("was ended by signal {number}"),
        Some(ExitStatus::Unknown) => "ended".to_owned(),
        None => "did not run".to_owned(),
    };
    let mut line = format!(
        "incarnation {} of {server} {how}: {}",
        last.incarnation, exit.class
    );
    if !exit.detail.is_empty() {
        line.push_str(&format!(" ({})", exit.detail));
    }
    line
}

/// Does something that blocks, away from the tasks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
