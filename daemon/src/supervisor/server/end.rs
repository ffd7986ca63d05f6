//! The end of an incarnation: how it is brought about, noticed, explained and completed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Incarnation, Report, Server, Survivor, heal, model};
use crate::files::Fingerprint;
use crate::lifecycle::classify::{Evidence, classify};
use crate::lifecycle::{Event, Exit, ExitStatus, LastExit};
use crate::logs;
use crate::name::ServerName;
use crate::process::{Obstacle, Scope, Signal, usage};
use crate::supervisor::events::Kind;

/// How many of the last lines are searched for what an end means.
const LINES_READ: usize = 200;

impl Server {
    /// Notices the end of the process.
    pub(super) fn await_exit(&self, live: &Incarnation) {
        let (process, incarnation) = (live.process.clone(), live.number);
        let reports = self.reports.clone();
        // Not dropped with any phase: every end is noticed.
        tokio::spawn(async move {
            let status = process.exited().await;
            let report = Report::Ended {
                incarnation,
                status,
            };
            let _ = reports.send(report).await;
        });
    }

    /// Finds out what the end of the process means.
    pub(super) fn explain_end(&self, incarnation: u64, status: ExitStatus) {
        let Some(live) = self.incarnation.clone() else {
            return;
        };
        let reached_ready = self.state.ready_since().is_some();
        let (reports, told) = (self.reports.clone(), live.end_told.clone());
        tokio::spawn(async move {
            let exit = blocking(move || Ok(explain(&live, status, reached_ready))).await;
            let exit = exit.unwrap_or_else(|_| explain_without_output(status, reached_ready));
            let exit = Arc::new(exit);
            let _ = reports
                .send(Report::Event(Event::Exited { incarnation, exit }))
                .await;
            told.cancel();
        });
    }

    pub(super) fn terminate(&mut self, live: Incarnation) {
        for signal in [Signal::TERM, Signal::CONT] {
            if let Err(error) = live.process.signal(signal) {
                tracing::warn!(server = %self.definition.name, "cannot send {signal:?}: {error}");
            }
        }
    }

    /// Kills the whole tree; reports once nothing of it is left and the record says so.
    pub(super) fn kill_tree(&mut self, live: Incarnation) {
        let mut record = self.record.clone();
        let (reports, context) = (self.reports.clone(), self.context.clone());
        let seat = self.seat.clone();
        let incarnation = live.number;
        // Not dropped with any phase: it is what ends the phase.
        tokio::spawn(async move {
            let stuck = reports.clone();
            let tell = move |obstacle: Obstacle| {
                let obstacle = Arc::from(obstacle.to_string());
                // Only what people are told of it is lost if there is no room.
                let _ = stuck.try_send(Report::Event(Event::Stuck {
                    incarnation,
                    obstacle,
                }));
            };
            live.tree.kill(&context.scanner, live.scope, tell).await;
            // What the end means comes before what follows from it.
            live.end_told.cancelled().await;
            record.live = None;
            let folder = context.records.clone();
            let kept = record.clone();
            if let Err(error) = blocking(move || kept.write(&folder)).await {
                // The next magid will look for it, and find nothing.
                tracing::warn!(server = %seat, "cannot record that nothing is left of it: {error}");
            }
            context.ports.release(seat).await;
            let _ = reports
                .send(Report::Gone {
                    incarnation,
                    record,
                })
                .await;
        });
    }

    /// Takes over what an earlier magid left of this server, in order to end it.
    pub(super) fn adopt(&mut self, survivor: Survivor) {
        let number = self.record.incarnation;
        let process = crate::lifecycle::Process {
            incarnation: number,
            pid: survivor.process.pid(),
        };
        let incarnation = Incarnation {
            number,
            process: survivor.process,
            tree: survivor.tree,
            scope: Scope::Recovery,
            endpoint: survivor.endpoint,
            api_key: None,
            program: self.definition.launch.engine.clone(),
            engine: None,
            arguments: Vec::new(),
            model: PathBuf::new(),
            log: self
                .context
                .rules
                .borrow()
                .logs
                .path(&self.definition.name, number),
            mapped: heal::Evidence::new(),
            oom_kills: usage::oom_kills().unwrap_or(0),
            end_told: CancellationToken::new(),
        };
        self.record_event(
            Kind::SurvivorFound,
            Some(number),
            None,
            "survived",
            format!(
                "incarnation {number} of {} (pid {}) outlived the magid that started it: it is stopped before anything else",
                self.definition.name, process.pid
            ),
        );
        self.await_exit(&incarnation);
        self.incarnation = Some(incarnation);
        self.reserved = survivor.reserved;
        let drains = self.context.gateways.were_attached();
        let (state, actions) =
            self.state
                .clone()
                .with_survivor(process, drains, self.context.clock.now());
        self.state = state;
        self.announce();
        self.publish();
        for action in actions {
            self.perform(action);
        }
    }
}

fn explain(live: &Incarnation, status: ExitStatus, reached_ready: bool) -> Exit {
    let lines = logs::tail(&live.log, LINES_READ).unwrap_or_default();
    let exit = classify(&Evidence {
        status,
        reached_ready,
        lines: &lines,
        oom_kills_during_life: usage::oom_kills()
            .unwrap_or(0)
            .saturating_sub(live.oom_kills),
    });
    match overwritten(live) {
        Some(file) if matches!(status, ExitStatus::Signal(_)) => Exit {
            status: Some(status),
            last_lines: exit.last_lines,
            ..model::exit(&file)
        },
        Some(_) | None => exit,
    }
}

/// The file of the model that was overwritten. Touching what is no longer there is a SIGBUS, which can
/// come before anybody has looked at the file.
fn overwritten(live: &Incarnation) -> Option<PathBuf> {
    let mut files = live.mapped.iter();
    let overwritten = files.find(|(path, before)| {
        let now = Fingerprint::of(path).ok().flatten();
        let both = now.zip(**before);
        both.is_some_and(|(now, before)| now.was_overwritten_since(&before))
    });
    overwritten.map(|(path, _)| path.clone())
}

fn explain_without_output(status: ExitStatus, reached_ready: bool) -> Exit {
    classify(&Evidence {
        status,
        reached_ready,
        lines: &[],
        oom_kills_during_life: 0,
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
    crate::blocking::blocking(work).await?
}
